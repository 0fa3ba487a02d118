//! How far the spool has come: the watermark, and what left it by another way than delivery.
//!
//! The books are derived from this, not counted: accepted = the sequences assigned; spooled =
//! those from the watermark on, less the removed ranges; delivered = those below it, less the
//! totals. So they balance by construction, across restarts too.
//!
//! Some sequences are never assigned: where the last segment cannot be read at a start, new records
//! begin far enough behind the mark for whatever it may hold. What lies between is in doubt until
//! the segment is read, and what turns out to be unused then is no accepted record.
//!
//! # The file
//!
//! `progress` holds two slots of [`SLOT_LEN`] bytes, preallocated and written in place by turns,
//! so that it can be written on a full disk and a torn write leaves the other slot. The higher
//! turn whose checksum holds counts. Before a segment is unlinked or begun both slots are written,
//! so that either of them alone accounts for the segments that are there. Little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `WSPR` |
//! | 4 | 1 | format version of the whole spool: 3 with an entry of kind 7 or more, else 2; or 1 |
//! | 5 | 1 | 1 after a clean stop, else 0 |
//! | 6 | 2 | 0 |
//! | 8 | 8 | turn |
//! | 16 | 16 | the spool's id, random |
//! | 32 | 16 | the kernel's boot id at the time of writing |
//! | 48 | 8 | watermark: Kafka has everything below |
//! | 56 | 8 | acknowledged-through mark: everything below was durable |
//! | 64 | 32 | totals below the watermark: dead, dropped, exported, lost |
//! | 96 | 4 | number of removed ranges above the watermark |
//! | 100 | 17 each | kind (0 dead, 1 dropped, 2 exported, 3 lost, 4 unused), first, end |
//! | | 17, if any | kind 5, 0, how many below the watermark were unused |
//! | | 17 each | kind 6, from where on a segment may hold something, where the next one begins |
//! | | 34 each | dead letters that leave (`letters.rs`): kind 7, place, epoch; kind 8, sequence of the id, 0 |
//! | | 17, if any | kind 9, 0, from where on what is sent again of those is looked for |
//! | | 17, if any | kind 10, what was handed over for all or nothing, with an outcome not known yet |
//! | | 4 | CRC-32C of all before it |
//!
//! A program that changes any of the spool's formats raises this version, and writes both slots
//! before anything else: an older one then knows that it must not touch what it does not
//! understand, and sets it aside (`aside.rs`). Version 2 brought records that keep the id of another
//! spool (`block.rs`) and segments that stand for several (`generations.rs`); what version 1 wrote
//! is read as it is. Version 3 brought the dead letters that leave and the handover in doubt, and is
//! written only while there are any: at rest an older program reads what this one wrote.
//!
//! The watermark may lag behind what Kafka has: a lagging one repeats, never skips.

mod handover;
mod letters;
mod slot;

pub use letters::{AT_ONCE, Buried, Exit};

use super::scan;
use crate::ledger::Ledger;
use crate::record::Sequence;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of one slot; holds some 3,800 ranges.
pub const SLOT_LEN: usize = 64 * 1024;
const MAGIC: [u8; 4] = *b"WSPR";
const VERSION: u8 = 3;
/// Of a progress without entries of version 3: an older program understands it.
const PLAIN: u8 = 2;
const OLDEST: u8 = 1;
const FIXED_LEN: usize = 100;
const RANGE_LEN: usize = 17;
/// One entry is kept for the unused ones below the watermark, one for what is pending.
const MOST_RANGES: usize = (SLOT_LEN - FIXED_LEN - 4) / RANGE_LEN - 2;

/// A way out of the spool that is not a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Dead,
    Dropped,
    Exported,
    Lost,
    /// Never assigned to a record: no removal in the books, but nothing to wait for either.
    Unused,
}

const REMOVALS: [Removal; 5] =
    [Removal::Dead, Removal::Dropped, Removal::Exported, Removal::Lost, Removal::Unused];

impl Removal {
    /// As the books call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Dropped => "dropped",
            Self::Exported => "exported",
            Self::Lost => "lost",
            Self::Unused => "unused",
        }
    }
}

/// Sequences that left the spool, from `first` to `end` (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub kind: Removal,
    pub first: Sequence,
    pub end: Sequence,
}

/// What the progress file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub spool_id: [u8; 16],
    pub boot_id: [u8; 16],
    pub clean: bool,
    watermark: Sequence,
    pub acknowledged: Sequence,
    /// By [`Removal`], below the watermark.
    totals: [u64; 5],
    /// Above the watermark, in order, not overlapping.
    ranges: Vec<Range>,
    /// In doubt: from where on a segment may hold something, and where the next one begins. In
    /// order, and none of it in `ranges`.
    doubts: Vec<(Sequence, Sequence)>,
    /// See `letters.rs`.
    leaving: Vec<Buried>,
    again_from: Option<Sequence>,
    /// Handed over for all or nothing, and whether it was taken is not known yet: first, end.
    pending: Option<(Sequence, Sequence)>,
}

/// More separate ranges than the file can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than {} separate ranges of records left the spool without being delivered",
    MOST_RANGES
)]
pub struct TooManyRanges;

impl Progress {
    /// Of a spool in which everything below `watermark` is done.
    pub fn new(spool_id: [u8; 16], watermark: Sequence) -> Self {
        Self {
            spool_id,
            boot_id: [0; 16],
            clean: false,
            watermark,
            acknowledged: watermark,
            totals: [0; 5],
            ranges: Vec::new(),
            doubts: Vec::new(),
            leaving: Vec::new(),
            again_from: None,
            pending: None,
        }
    }

    pub fn watermark(&self) -> Sequence {
        self.watermark
    }

    /// What left otherwise than by delivery, above the watermark, in order.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Moves the watermark forward (never back); ranges below it become part of the totals.
    pub fn advance(&mut self, to: Sequence) {
        self.watermark = self.watermark.max(to);
        let below = self.watermark;
        for range in &mut self.ranges {
            let passed = below.min(range.end);
            self.totals[range.kind as usize] += passed.since(range.first);
            range.first = range.first.max(passed);
        }
        self.ranges.retain(|range| range.first < range.end);
        self.doubts.iter_mut().for_each(|(from, _)| *from = below.max(*from));
        self.doubts.retain(|(from, end)| from < end);
        self.pending = self.pending.filter(|(_, end)| below < *end);
    }

    /// Notes that what lies between may be in a segment, or never have been assigned; it is above
    /// all that is known.
    pub fn doubt(&mut self, from: Sequence, end: Sequence) {
        self.doubts.push((from, end));
    }

    /// Up to where something ought to be there in a segment that `end`s there.
    pub fn promised(&self, end: Sequence) -> Sequence {
        let doubt = self.doubts.iter().find(|(_, next)| *next == end);
        doubt.map_or(end, |(from, _)| *from)
    }

    /// How many sequences from `from` up to `end` are in doubt.
    pub fn in_doubt(&self, from: Sequence, end: Sequence) -> u64 {
        self.doubts.iter().map(|(first, next)| end.min(*next).since(from.max(*first))).sum()
    }

    /// Lists `range` as removed; what of it is listed already, or lies below the watermark, stays
    /// as it is. Gives what was not. Where it takes in the end of what is in doubt, nothing was
    /// there: that much is unused.
    pub fn remove(&mut self, range: Range) -> Result<Vec<Range>, TooManyRanges> {
        let mut after = self.clone();
        let mut pieces = Vec::new();
        let mut first = range.first;
        after.doubts.retain_mut(|(from, end)| {
            if range.end <= *from || *end <= range.first {
                return true;
            }
            if range.end < *end {
                *from = range.end;
                return true;
            }
            let begin = first.max(*from);
            pieces.push(Range { first, end: begin, ..range });
            pieces.push(Range { kind: Removal::Unused, first: begin, end: *end });
            first = *end;
            false
        });
        pieces.push(Range { first, ..range });
        let mut new = Vec::new();
        for piece in pieces {
            new.extend(after.list(piece)?);
        }
        *self = after;
        Ok(new)
    }

    fn list(&mut self, range: Range) -> Result<Vec<Range>, TooManyRanges> {
        let mut first = range.first.max(self.watermark);
        let mut new = Vec::new();
        for known in self.ranges.iter().filter(|known| known.end > range.first) {
            if known.first > first {
                new.push(Range { first, end: known.first.min(range.end), ..range });
            }
            first = first.max(known.end);
        }
        new.push(Range { first, ..range });
        let mut all = self.ranges.clone();
        new.retain(|new| new.first < new.end);
        all.extend(&new);
        all.sort_by_key(|range| range.first);
        all.dedup_by(|next, last| {
            let joins = last.kind == next.kind && last.end == next.first;
            if joins {
                last.end = next.end;
            }
            joins
        });
        if all.len() + self.doubts.len() + self.letter_entries() > MOST_RANGES {
            return Err(TooManyRanges);
        }
        self.ranges = all;
        Ok(new)
    }

    /// `from`, moved past the removed ranges that begin there. Asked for each segment at each
    /// delivery report: only the ranges that join are looked at.
    pub fn past_removed(&self, from: Sequence) -> Sequence {
        let behind = self.ranges.partition_point(|range| range.end <= from);
        let joined = |at, range: &Range| if range.first <= at { Ok(range.end) } else { Err(at) };
        self.ranges[behind..].iter().try_fold(from, joined).unwrap_or_else(|at| at)
    }

    /// Where the next removed range above `from` begins.
    pub fn next_removed(&self, from: Sequence) -> Option<Sequence> {
        self.ranges.iter().map(|range| range.first).find(|first| *first > from)
    }

    /// The books, when sequences below `accepted` have been assigned.
    pub fn ledger(&self, accepted: Sequence) -> Ledger {
        let above = |kind: Removal| -> u64 {
            let of_kind = self.ranges.iter().filter(|range| range.kind == kind);
            of_kind.map(|range| range.end.min(accepted).since(range.first)).sum()
        };
        let [dead, dropped, exported, lost, unused] =
            REMOVALS.map(|kind| self.totals[kind as usize] + above(kind));
        let in_doubt = self.in_doubt(self.watermark, accepted);
        let gone_above: u64 = REMOVALS.map(above).iter().sum::<u64>() + in_doubt;
        Ledger {
            accepted: accepted.0 - unused - in_doubt,
            delivered: self.watermark.0 - self.totals.iter().sum::<u64>(),
            spooled: accepted.since(self.watermark) - gone_above,
            dead,
            dropped,
            exported,
            lost,
        }
    }
}

/// The turn and the progress of the slot that counts, of the whole file's bytes.
fn newest(bytes: &[u8]) -> io::Result<Option<(u64, Progress)>> {
    let (first, second) = bytes.split_at(SLOT_LEN);
    let newest =
        [first, second].into_iter().filter_map(Progress::decode).max_by_key(|(turn, _)| *turn);
    if newest.is_none()
        && let Some(version) = Progress::newer(first).or(Progress::newer(second))
    {
        let version = u32::from(version);
        let text = format!(
            "it was written in format {version} by a newer version of this program, and this \
             one knows format {VERSION}: install the newer one again"
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    Ok(newest)
}

/// What the file holds, for one who only looks; `None` when it is not there, or unreadable as a
/// progress.
pub fn read(path: &Path) -> io::Result<Option<Progress>> {
    let mut bytes = vec![0; 2 * SLOT_LEN];
    match File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0)) {
        Ok(()) => Ok(newest(&bytes)?.map(|(_, progress)| progress)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The file, open for writing in place.
#[derive(Debug)]
pub struct ProgressFile {
    file: File,
    turn: u64,
}

impl ProgressFile {
    /// Opens the file, creating and preallocating it when it is not there (the caller syncs the
    /// directory). Gives what it holds, if anything: synced, since a kill may have left it to the
    /// page cache.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Progress>)> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = vec![0; 2 * SLOT_LEN];
        if file.metadata()?.len() < bytes.len() as u64 {
            // Real zeros, not a hole: a later write must not need room.
            let kept = file.metadata()?.len();
            file.write_all_at(&bytes[usize::try_from(kept).unwrap_or(0)..], kept)?;
        }
        file.sync_data()?;
        read_slots(&file, &mut bytes)?;
        let newest = newest(&bytes)?;
        let turn = newest.as_ref().map_or(0, |(turn, _)| *turn);
        Ok((Self { file, turn }, newest.map(|(_, progress)| progress)))
    }

    /// The format of the spool whose progress this is, when a newer program wrote it: neither slot
    /// holds anything that this one knows (a newer one writes both before anything else).
    pub fn newer_format(path: &Path) -> io::Result<Option<u8>> {
        let mut bytes = vec![0; 2 * SLOT_LEN];
        match scan::open_file(path).and_then(|file| read_slots(&file, &mut bytes)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        let (first, second) = bytes.split_at(SLOT_LEN);
        let known = [first, second].into_iter().any(|slot| Progress::decode(slot).is_some());
        Ok(if known { None } else { Progress::newer(first).or(Progress::newer(second)) })
    }

    /// Writes `progress` into the slot whose turn it is. `Ok` means that it survives a power cut.
    pub fn write(&mut self, progress: &Progress) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_all_at(&progress.encode(turn), (turn % 2) * SLOT_LEN as u64)?;
        self.file.sync_data()?;
        self.turn = turn;
        Ok(())
    }

    /// [`ProgressFile::write`], into both slots: whichever of them is damaged later, the other
    /// says the same.
    pub fn write_both(&mut self, progress: &Progress) -> io::Result<()> {
        self.write(progress)?;
        self.write(progress)
    }
}

/// Reads both slots. One that is cut off or lies on a bad sector comes out as never written.
fn read_slots(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    for (place, slot) in (0..).zip(bytes.chunks_mut(SLOT_LEN)) {
        match file.read_exact_at(slot, place * SLOT_LEN as u64) {
            Err(error)
                if error.kind() == io::ErrorKind::UnexpectedEof || scan::is_bad_sector(&error) =>
            {
                slot.fill(0);
            }
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
