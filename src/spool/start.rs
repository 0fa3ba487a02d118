//! The start: what a stop of any kind left on the disk becomes a spool again, without a hand.
//!
//! In order: finish removals that a crash interrupted, and drop copies that it interrupted; read
//! the progress; of segments that tell of the same sequences keep the one that counts
//! (`generations.rs`); take the sealed ones at their seals' word; scan every other one, sync what is intact in it (after
//! `kill -9` it may be in the page cache only) and seal it where it stands; list as lost what
//! ought to be there and is not. Nothing is copied, so that a start needs no room on the disk.
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
//! One segment never refuses the spool. What cannot be read (no permission, a page or a
//! directory on a bad sector) stays where it is, under the sequences that it must hold: the reader tries it again
//! and skips nothing, new records are taken meanwhile, and a hand that makes it readable is enough.
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
#[cfg(test)]
mod tests;

use super::aside;
use super::catalog::Entry;
use super::claims::Claims;
use super::config::Config;
use super::dir;
use super::generations::{self, Known};
use super::ids;
use super::progress::{Progress, ProgressFile, Range, Removal};
use super::segment::{Seal, SegmentId};
use super::shared::Books;
use super::store::DATA_FILE;
use super::{LastStop, OpenError};
use crate::record::{Millis, Sequence};
use patience::Patience;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// So many sequences are left free behind a segment that cannot be read: more than one takes after
/// the mark, which is a second old and, where the disk is slow, as old as the watchdog lets it be.
const LEFT_FREE: u64 = 1 << 24;

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

    let (entries, missing, doubt) = (Vec::new(), Vec::new(), None);
    let patience = Patience::default();
    let mut survey =
        Survey { config, progress: &progress, trusted, patience, entries, missing, doubt };
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
    let claims = Claims::new(progress.watermark());
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

struct Survey<'a> {
    config: &'a Config,
    /// As it was found, at a watermark that is past what was removed there.
    progress: &'a Progress,
    /// The marks are known; without them nothing that ever held a part is thrown away.
    trusted: bool,
    patience: Patience,
    entries: Vec<Entry>,
    /// Ought to be there and is not.
    missing: Vec<(Sequence, Sequence)>,
    /// May be in the last segment, or nowhere.
    doubt: Option<(Sequence, Sequence)>,
}

impl Survey<'_> {
    fn path(&self, id: SegmentId) -> PathBuf {
        self.config.dir.join(id.to_string())
    }

    /// Whether any of its blocks is intact.
    fn holds_blocks(&self, id: SegmentId) -> io::Result<bool> {
        Ok(!self.patience.blocks_of(&self.path(id), id)?.is_empty())
    }

    /// Those of the directories that are segments, or may be; the others go out of the way. Only
    /// what looks doubtful is scanned.
    fn believe(&self, ids: Vec<SegmentId>) -> Vec<SegmentId> {
        let mut closed = Sequence(0)..Sequence(0);
        let mut believed = Vec::new();
        for id in ids {
            let path = self.path(id);
            let begun = dir::is_there(&path.join(DATA_FILE));
            let is_one = match seal_of(&path, id) {
                Err(_) => true,
                Ok(Some(seal)) => {
                    if closed.end < seal.end && !seal.repacked {
                        closed = seal.first..seal.end;
                    }
                    true
                }
                // No segment begins within one that was closed before, if that is no copy of it.
                Ok(None) if closed.start < id.first && id.first < closed.end => false,
                Ok(None) => {
                    let promised = !self.trusted || id.first <= self.progress.acknowledged;
                    begun && promised || self.holds_blocks(id).unwrap_or(true)
                }
            };
            if is_one {
                believed.push(id);
            } else {
                let empty = dir::is_new(&path) && !self.holds_blocks(id).unwrap_or(true);
                self.put_away(id, !empty);
            }
        }
        believed
    }

    /// Takes one segment into the catalog, or out of the way. `at` is where the segments before
    /// it end; gives where this one does.
    fn take(&mut self, id: SegmentId, next: Option<Sequence>, at: Sequence) -> Sequence {
        let path = self.path(id);
        let (end, seal) = match self.look(&path, id, at, next) {
            Ok(Some(seal)) => {
                let next = next.filter(|_| !seal.repacked); // it counts before the next one
                let end = next.map_or(seal.end, |next| seal.end.min(next));
                (end, Some(Seal { end, ..seal }))
            }
            Ok(None) => {
                self.put_away(id, !self.trusted);
                return at;
            }
            Err(error) => {
                tracing::error!("{} cannot be read: {error}; it is tried again", path.display());
                (next.unwrap_or_else(|| self.end_of_unread(id.first)), None)
            }
        };
        if at < id.first {
            self.missing.push((at, id.first));
        }
        let gone = end <= self.waiting(id.first) || seal.is_some_and(|seal| seal.records == 0);
        if !gone || !self.put_away(id, seal.is_none_or(|seal| seal.damaged)) {
            let disk_bytes = dir::disk_bytes(&path).unwrap_or_else(|error| {
                tracing::warn!("cannot measure {}: {error}", path.display());
                0
            });
            self.entries.push(Entry::closed(id, end, seal, disk_bytes));
        }
        at.max(end)
    }

    /// Where the last segment, which begins at `first` and cannot be read, ends for those that
    /// come after it. Without a close what it holds may reach beyond the mark.
    fn end_of_unread(&mut self, first: Sequence) -> Sequence {
        let known = self.progress.acknowledged.max(first);
        // By an earlier start.
        let left_free = first < known && self.progress.promised(known) < known;
        if self.progress.clean || left_free {
            return known;
        }
        let end = known.plus(LEFT_FREE);
        self.doubt = Some((known, end));
        end
    }

    /// What a segment holds, sealed by now; `None` when nothing in it was ever acknowledged.
    fn look(
        &mut self,
        path: &Path,
        id: SegmentId,
        at: Sequence,
        next: Option<Sequence>,
    ) -> io::Result<Option<Seal>> {
        if let Some(seal) = seal_of(path, id)? {
            return Ok(Some(seal));
        }
        let seal = self.left_over(path, id, at, next)?;
        if let Some(seal) = seal
            && seal.records > 0
        {
            seal_up(path, &seal);
        }
        Ok(seal)
    }

    /// Removes a segment, or keeps it for inspection. When that fails it stays where it is, for
    /// the next start.
    fn put_away(&self, id: SegmentId, keep: bool) -> bool {
        let (root, path) = (&self.config.dir, self.path(id));
        let done = if keep {
            aside::quarantine(root, &path, self.config.quarantine())
        } else {
            dir::discard(root, &path)
        };
        if let Err(error) = &done {
            tracing::error!("cannot put {} away: {error}", path.display());
        }
        done.is_ok()
    }

    /// What a segment holds that was being written when the process ended; `None` when nothing
    /// in it was ever acknowledged. It ought to hold everything from `at` up to the `next` one's
    /// beginning, or when it is the last one up to the acknowledged-through mark.
    fn left_over(
        &mut self,
        path: &Path,
        id: SegmentId,
        at: Sequence,
        next: Option<Sequence>,
    ) -> io::Result<Option<Seal>> {
        let scanned = self.patience.scan(path)?;
        let limit = next.unwrap_or(Sequence(u64::MAX));
        let begin = id.first.max(at);
        let blocks = scanned.iter().flat_map(|scanned| &scanned.blocks);
        let blocks = blocks.map(|found| found.header);
        let mut seal = Seal {
            first: id.first,
            end: begin,
            records: 0,
            raw_bytes: 0,
            oldest: Millis(i64::MAX),
            damaged: false,
            repacked: false,
            blocks: 0,
        };
        for block in blocks.filter(|block| block.first >= id.first && block.end() <= limit) {
            self.miss(&mut seal, block.first);
            seal.end = block.end();
            seal.records += seal.end.since(block.first);
            seal.raw_bytes += u64::from(block.raw_len);
            seal.blocks = seal.blocks.saturating_add(1);
            seal.oldest = seal.oldest.min(block.base);
        }
        let end = next.unwrap_or(self.progress.acknowledged);
        self.miss(&mut seal, self.progress.promised(end));
        Ok((begin < seal.end).then_some(seal))
    }

    /// Where from `from` on something ought to be there that is neither delivered nor removed.
    fn waiting(&self, from: Sequence) -> Sequence {
        self.progress.past_removed(from.max(self.progress.watermark()))
    }

    /// Extends the seal to `to` over what is not there.
    fn miss(&mut self, seal: &mut Seal, to: Sequence) {
        let from = self.waiting(seal.end);
        if from < to {
            seal.damaged = true;
            self.missing.push((from, to));
        }
        seal.end = seal.end.max(to);
    }

    /// The segments that count (see `generations.rs`), in order; takes the others out of the way.
    fn counting(&self, found: &[SegmentId]) -> Vec<SegmentId> {
        let known = |id: &SegmentId| (*id, Known::of(seal_of(&self.path(*id), *id)));
        let known: Vec<_> = found.iter().map(known).collect();
        let blocks_of = |id| self.patience.blocks_of(&self.path(id), id);
        let judged = generations::judge(&known, blocks_of);
        for (id, seal) in &judged.copies {
            seal_up(&self.path(*id), seal);
        }
        for (id, keep) in &judged.superseded {
            self.put_away(*id, *keep);
        }
        found.iter().copied().filter(|id| judged.counts(*id)).collect()
    }
}

/// Seals a segment. After `kill -9` its data may be in the page cache only.
fn seal_up(path: &Path, seal: &Seal) {
    let synced = File::open(path.join(DATA_FILE)).and_then(|data| data.sync_all());
    if let Err(error) = synced.and_then(|()| seal.write(path)) {
        tracing::error!("cannot seal {}: {error}; the next start will", path.display());
    }
}

/// The seal of that segment; one of another, copied here, does not count.
fn seal_of(path: &Path, id: SegmentId) -> io::Result<Option<Seal>> {
    Ok(Seal::read(path)?.filter(|seal| seal.first == id.first))
}
