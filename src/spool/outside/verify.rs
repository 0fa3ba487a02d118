//! Is everything there that ought to be?
//!
//! Reads every part of every segment that counts, checks its checksum, puts the blocks together
//! and decodes every record. What ought to be there: every sequence of a segment up to its seal's
//! end or to the next segment, and everything from the watermark to the acknowledged-through mark.
//! What left the spool by another way than delivery is not missed. Behind the mark an unfinished
//! end is no damage: nothing there was acknowledged, or it is just being written.

use super::LookError;
use super::view::{Segment, View};
use super::walk::Walk;
use crate::record::Sequence;
use crate::spool::progress::Removal;
use std::path::Path;

/// What was read, and what of it is not as it should be.
#[derive(Debug, Clone)]
pub struct Verified {
    pub segments: u64,
    pub blocks: u64,
    pub records: u64,
    /// Of the records, before compression.
    pub raw_bytes: u64,
    pub damage: Vec<Damage>,
    /// The spool as it was seen at the end.
    pub view: View,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Records that wait, or were acknowledged, and cannot be read; the next start or the drain
    /// counts them as lost. The segment's name is empty where none holds the place.
    Missing { segment: String, first: Sequence, end: Sequence },
    /// The same, already counted as lost.
    Lost { segment: String, first: Sequence, end: Sequence },
    /// Records that cannot be read any more, and need not be: they were delivered, or left the
    /// spool otherwise.
    Done { segment: String, first: Sequence, end: Sequence },
    /// There are segments, and no progress that says how far they were delivered: all of them are
    /// sent again.
    NoProgress,
}

/// Reads everything in `dir`, the oldest first. `each` is told how many bytes on the disk each
/// segment took, as it is done with.
pub fn verify(dir: &Path, mut each: impl FnMut(u64)) -> Result<Verified, LookError> {
    let mut walk = Walk::new(dir)?;
    // As it was before anything was read: what comes behind it may be under way.
    let mark = walk.view().acknowledged();
    let mut found = Found::default();
    let (mut segments, mut blocks, mut records, mut raw_bytes) = (0, 0, 0, 0);
    let mut at = walk.at();
    while let Some(opened) = walk.next()? {
        segments += 1;
        found.add("", at, opened.segment.first);
        at = at.max(opened.segment.first);
        for block in opened.blocks() {
            let header = block.header;
            if header.end() <= at || opened.read(block)?.is_none() {
                continue;
            }
            found.add(&opened.segment.name, at, header.first);
            // Of a segment that was merged meanwhile a part may have been read before.
            let new = header.end().since(at.max(header.first));
            at = header.end();
            blocks += 1;
            records += new;
            raw_bytes += u64::from(header.raw_len) * new / u64::from(header.count.max(1));
        }
        found.add(&opened.segment.name, at, opened.segment.end);
        at = at.max(opened.segment.end);
        each(opened.segment.disk_bytes);
    }
    if let Some(mark) = mark {
        found.add("", at, mark);
    }
    // The watermark as it is now: what was freed meanwhile was delivered before.
    walk.look_again()?;
    let view = walk.view().clone();
    let damage = found.judged(&view);
    Ok(Verified { segments, blocks, records, raw_bytes, damage, view })
}

/// What was not there: in which segment (none: between two, or behind the last), from, to.
#[derive(Debug, Default)]
struct Found {
    missing: Vec<(String, Sequence, Sequence)>,
}

impl Found {
    fn add(&mut self, segment: &str, from: Sequence, to: Sequence) {
        if from < to {
            match self.missing.last_mut() {
                Some((last, _, end)) if *last == segment && *end == from => *end = to,
                _ => self.missing.push((segment.to_owned(), from, to)),
            }
        }
    }

    fn judged(self, view: &View) -> Vec<Damage> {
        let mut damage = Vec::new();
        let counts = |name: &str| view.segments.iter().any(|s| s.counts() && s.name == name);
        for (segment, first, end) in self.missing {
            let name = || segment.clone();
            let mut parts: Vec<(Damage, Sequence)> = Vec::new();
            // Between segments nothing is missed below the watermark: whole ones are freed.
            let below = end.min(view.watermark());
            if first < below && counts(&segment) {
                parts.push((Damage::Done { segment: name(), first, end: below }, first));
            }
            for (first, end) in view.expected(first, end) {
                parts.push((Damage::Missing { segment: name(), first, end }, first));
            }
            for range in view.ranges() {
                let (first, end) = (range.first.max(first), range.end.min(end));
                if first < end && range.kind == Removal::Lost {
                    parts.push((Damage::Lost { segment: name(), first, end }, first));
                }
            }
            parts.sort_by_key(|(_, first)| *first);
            damage.extend(parts.into_iter().map(|(part, _)| part));
        }
        if view.progress.is_none() && !view.alone && view.segments.iter().any(Segment::counts) {
            damage.insert(0, Damage::NoProgress);
        }
        damage
    }
}
