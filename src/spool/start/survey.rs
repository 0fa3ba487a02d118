//! Which segments are there at a start, what does each hold, and what ought to be there and is not?
//!
//! What counts as a segment, and what is expected of one, is told in `start.rs`. What nobody needs is
//! put away on the way; what is found is only told.

use super::patience::Patience;
use crate::record::{Millis, Sequence};
use crate::spool::aside;
use crate::spool::catalog::Entry;
use crate::spool::config::Config;
use crate::spool::dir;
use crate::spool::generations::{self, Known};
use crate::spool::progress::Progress;
use crate::spool::segment::{Seal, SegmentId};
use crate::spool::store::DATA_FILE;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// So many sequences are left free behind a segment that cannot be read: more than one takes after
/// the mark, which is a second old and, where the disk is slow, as old as the watchdog lets it be.
const LEFT_FREE: u64 = 1 << 24;

pub struct Survey<'a> {
    config: &'a Config,
    /// As it was found, at a watermark that is past what was removed there.
    progress: &'a Progress,
    /// The marks are known; without them nothing that ever held a part is thrown away.
    trusted: bool,
    patience: Patience,
    pub entries: Vec<Entry>,
    /// Ought to be there and is not.
    pub missing: Vec<(Sequence, Sequence)>,
    /// May be in the last segment, or nowhere.
    pub doubt: Option<(Sequence, Sequence)>,
}

impl<'a> Survey<'a> {
    pub fn new(config: &'a Config, progress: &'a Progress, trusted: bool) -> Self {
        let (entries, missing, doubt) = (Vec::new(), Vec::new(), None);
        Self { config, progress, trusted, patience: Patience::default(), entries, missing, doubt }
    }

    fn path(&self, id: SegmentId) -> PathBuf {
        self.config.dir.join(id.to_string())
    }

    /// Whether any of its blocks is intact.
    fn holds_blocks(&self, id: SegmentId) -> io::Result<bool> {
        Ok(!self.patience.blocks_of(&self.path(id), id)?.is_empty())
    }

    /// Those of the directories that are segments, or may be; the others go out of the way. Only
    /// what looks doubtful is scanned.
    pub fn believe(&self, ids: Vec<SegmentId>) -> Vec<SegmentId> {
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
    pub fn take(&mut self, id: SegmentId, next: Option<Sequence>, at: Sequence) -> Sequence {
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
    pub fn counting(&self, found: &[SegmentId]) -> Vec<SegmentId> {
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
