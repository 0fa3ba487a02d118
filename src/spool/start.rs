//! The start: what a stop of any kind left on the disk becomes a spool again, without a hand.
//!
//! In order: sync what a kill left to the page cache, since the rest is done on its word; finish
//! removals that a crash interrupted, and drop copies that it interrupted; read the progress; of
//! segments that tell of the same sequences keep the one that counts (`generations.rs`); take the
//! sealed ones at their seals' word; scan every other one, sync what is intact in it and seal it
//! where it stands; list as lost what ought to be there and is not. Nothing is copied, so that a
//! start needs no room on the disk.
//!
//! What ought to be there: everything from the watermark up to the next segment's beginning, and
//! in the last one up to the acknowledged-through mark or the last intact block. An incomplete
//! block behind that is torn: it was never acknowledged, and its sequences are assigned anew,
//! under another epoch.
//!
//! What counts as a segment: a directory of such a name that holds a seal, a block, or at least a
//! data file where one was begun. Anything else with such a name proves nothing about any sequence
//! and is put out of the way.
//!
//! One segment never refuses the spool. What cannot be read (no permission, a page or a directory
//! on a bad sector) stays where it is, under the sequences that it must hold: the reader tries it
//! again and skips nothing, new records are taken meanwhile, and a hand that makes it readable is
//! enough.
//! The last one may hold more than the mark says, unless the stop was a clean one: sequences are
//! left free for it, and once it is read what was not needed of them counts as never assigned.
//! What cannot be sealed or put away stays for the keeper and the next start.
//!
//! A progress file that was put back from an older copy shows by its acknowledged-through mark: it
//! lies below the beginning of a segment, which is never begun before both slots say that
//! everything below it is acknowledged. Then a gap in front of the first segment is what was
//! delivered and freed since, and counts as such. A gap there under a progress that is not older
//! is a loss: both slots know of all that was freed. (An older one that no segment was begun after
//! cannot be told, and calls lost what was freed meanwhile: only the books suffer.)
//!
//! It deliberately does not verify sealed segments: the reader does, when it comes to them.

mod patience;
mod survey;
#[cfg(test)]
mod tests;

use super::catalog::Entry;
use super::claims::Claims;
use super::config::Config;
use super::dir;
use super::ids;
use super::progress::{Progress, ProgressFile, Range, Removal};
use super::segment::SegmentId;
use super::shared::Books;
use super::{LastStop, OpenError};
use crate::record::Sequence;
use std::fs;
use std::io;
use std::path::Path;
use survey::Survey;

/// What the start found.
#[derive(Debug)]
pub struct Found {
    pub file: ProgressFile,
    pub books: Books,
    pub entries: Vec<Entry>,
    /// The next sequence to be assigned.
    pub next: Sequence,
    /// Found missing just now: first, end.
    pub lost: Vec<(Sequence, Sequence)>,
    pub last_stop: LastStop,
    /// See `OpenReport`.
    pub uncertain_from: Option<Sequence>,
}

/// Makes a spool of what is in its directory, under its lock.
pub fn start(config: &Config) -> Result<Found, OpenError> {
    let dir = &config.dir;
    let wrong =
        |doing: &'static str| move |source| OpenError::Io { doing, path: dir.to_owned(), source };
    if let Err(error) = dir::prepare(dir) {
        // What needs one makes it, and on a full disk there is a drain to be done before.
        tracing::warn!("cannot create a directory in {}: {error}", dir.display());
    }
    // Of what a kill left, the rest may stand on nothing but the page cache: no segment goes for
    // the sake of another one's name, or of a progress, that the next power cut takes.
    dir::sync(dir).map_err(wrong("sync"))?;
    dir::empty_trash(dir).map_err(wrong("empty the trash in"))?;
    let path = dir.join(dir::PROGRESS);
    if fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
        dir::out_of_the_way(&path).map_err(wrong("make place for a progress file in"))?;
    }
    let opened = ProgressFile::open(&path);
    let (mut file, progress) =
        opened.map_err(|source| OpenError::Io { doing: "read or create", path, source })?;
    let found = list(dir).map_err(wrong("list"))?;

    let boot_id = ids::boot_id();
    let trusted = progress.is_some();
    if !trusted && !found.is_empty() {
        tracing::error!(
            "the progress of {} is lost: all of its records are sent again, and what became of \
             earlier ones is not known any more",
            dir.display()
        );
    }
    let last_stop = match &progress {
        None if found.is_empty() => LastStop::First,
        Some(progress) if progress.clean => LastStop::Clean,
        Some(progress) if progress.boot_id != boot_id => LastStop::Power,
        _ => LastStop::Crash,
    };
    // Without a progress file nothing is known to be delivered: all that is there goes out.
    let lowest = found.first().map_or(Sequence(0), |id| id.first);
    let mut progress = progress.unwrap_or_else(|| Progress::new(ids::random_id(), lowest));
    let watermark = progress.past_removed(progress.watermark());
    progress.advance(watermark);

    let mut survey = Survey::new(config, &progress, trusted);
    let ids = survey.counting(&survey.believe(found));
    let mut at = watermark;
    for (place, id) in ids.iter().enumerate() {
        let next = ids[place + 1..].iter().map(|id| id.first).find(|first| *first > id.first);
        at = survey.take(*id, next, at);
    }
    if at < progress.acknowledged {
        survey.missing.push((at, progress.acknowledged));
        at = progress.acknowledged;
    }
    let Survey { entries, mut missing, doubt, .. } = survey;
    let older = ids.iter().any(|id| id.first > progress.acknowledged)
        || progress.clean && at > progress.acknowledged;
    if trusted && older {
        tracing::error!(
            "the progress of {} is older than its segments: what was delivered since sequence \
             {watermark} is sent again, as far as it is still there",
            dir.display()
        );
        let begin = ids.first().map_or(watermark, |id| id.first);
        missing.retain(|(first, end)| *first != watermark || *end > begin);
        progress.advance(begin);
    }
    // First what no segment's reader will find to be missing.
    missing.sort_by_key(|(first, _)| entries.iter().any(|entry| entry.covers(*first)));
    let (mut lost, mut unlisted) = (Vec::new(), 0);
    for (first, end) in missing {
        let Ok(new) = progress.remove(Range { kind: Removal::Lost, first, end }) else {
            unlisted += 1;
            continue;
        };
        let new = new.iter().filter(|range| range.kind == Removal::Lost);
        lost.extend(new.map(|range| (range.first, range.end)));
    }
    if unlisted > 0 {
        tracing::error!(
            "{unlisted} more ranges were lost; they are listed as the others are passed"
        );
    }
    if let Some((from, end)) = doubt {
        progress.doubt(from, end);
    }
    let past = progress.past_removed(progress.watermark());
    progress.advance(past);
    progress.boot_id = boot_id;
    progress.clean = false;
    progress.acknowledged = at;
    // What was handed over with an outcome that is not known is nobody else's.
    let handed = progress.pending().map_or(progress.watermark(), |(_, end)| end);
    let claims = Claims::new(handed.max(progress.watermark()));
    let books = Books { progress, claims };
    // Both slots, since they also say which format what comes next is written in.
    file.write_both(&books.progress).map_err(wrong("write the progress in"))?;
    dir::sync(dir).map_err(wrong("sync"))?;
    let unclean = matches!(last_stop, LastStop::Crash | LastStop::Power);
    let uncertain_from = unclean.then_some(books.progress.promised(at));
    Ok(Found { file, books, entries, next: at, lost, last_stop, uncertain_from })
}

/// The segments' names, in order.
fn list(dir: &Path) -> io::Result<Vec<SegmentId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        ids.extend(dir::segment(&entry?)?);
    }
    ids.sort_unstable();
    Ok(ids)
}
