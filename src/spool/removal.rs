//! What leaves the spool by another way than delivery, and who may have which record.
//!
//! A record has one way out: it is handed to the reader's owner, who delivers it, or it is taken out
//! by policy ([`Shared::drop_oldest`]) or by an operator's hand ([`Hold`]). Both ways are decided under
//! the lock of the books, so that no record takes two: what was handed out once is not taken
//! out any more, and what is held, being dropped or taken out is not handed out.
//!
//! The order that is kept: a removal is synced into both slots of the progress before anything is unlinked. A
//! start finishes the unlinking by what is listed.
//!
//! It deliberately does not know why a range is to go, nor what becomes of it elsewhere.

use super::block::Block;
use super::catalog::Entry;
use super::claims::{Held, HoldError};
use super::dir;
use super::keeper::Chore;
use super::mutex::lock;
use super::progress::{ProgressFile, Range, Removal};
use super::segment::SegmentId;
use super::shared::{Books, Shared};
use super::{AppendError, WhenFull};
use crate::record::{Millis, Sequence};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

/// What became of a loss that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It is written down.
    Lost,
    /// The segment is no more, and another may hold what it lacked: look again.
    Stale,
}

impl Shared {
    /// `from`, moved past what is removed there, and how far reading may go from there on.
    pub fn readable(&self, from: Sequence) -> (Sequence, Sequence) {
        let books = lock(&self.books);
        // What was removed below the watermark is not listed any more.
        let from = books.progress.past_removed(from.max(self.watermark()));
        (from, books.claims.limit(from, self.published()))
    }

    /// Hands out what of the block may be handed out: its first records that are neither removed nor
    /// held. `None` when there are none by now.
    pub fn hand_out(&self, block: Block) -> Option<Block> {
        let books = &mut *lock(&self.books);
        let first = books.progress.past_removed(block.first());
        let until = books.progress.next_removed(first).unwrap_or(block.end()).min(block.end());
        let until = books.claims.limit(first, until);
        if first >= until {
            return None;
        }
        books.claims.hand_out(until);
        Some(block.between(first, until))
    }

    /// Lists the ranges as removed; gives how many records that were not listed yet. `Ok` means
    /// that the removal survives a power cut; on an error nothing is changed.
    ///
    /// Until it is written all of them pass for waiting: whoever lists what could be handed out
    /// meanwhile claims it before.
    fn list(
        &self,
        file: &mut ProgressFile,
        ranges: impl IntoIterator<Item = Range>,
    ) -> io::Result<u64> {
        // A copy first: what could not be written must not pass for known the next time.
        let mut progress = lock(&self.books).progress.clone();
        progress.acknowledged = self.published();
        let (mut records, mut listed) = (0, false);
        for range in ranges {
            let new = progress.remove(range).map_err(io::Error::other)?;
            listed |= !new.is_empty();
            let new = new.iter().filter(|range| range.kind != Removal::Unused);
            records += new.map(|range| range.end.since(range.first)).sum::<u64>();
        }
        if listed {
            file.write_both(&progress)?;
            lock(&self.books).progress = progress;
        }
        Ok(records)
    }

    /// Writes down, for good, that the records were set aside as dead letters: the letters survive a
    /// power cut already.
    pub fn record_dead(&self, records: &[Sequence]) -> io::Result<()> {
        let file = &mut *lock(&self.progress_file);
        let runs = records.chunk_by(|last, next| last.plus(1) == *next);
        let dead = |run: &[Sequence]| {
            let (first, end) = (run[0], run[0].plus(run.len() as u64));
            Range { kind: Removal::Dead, first, end }
        };
        self.list(file, runs.map(dead)).map(drop)
    }

    /// Whether the record is done with: delivered, or listed as removed.
    pub fn is_done_with(&self, at: Sequence) -> bool {
        at < self.watermark() || lock(&self.books).progress.past_removed(at) > at
    }

    /// Writes down, for good, that these sequences were lost; what is known already stays.
    pub fn record_loss(
        &self,
        segment: SegmentId,
        first: Sequence,
        end: Sequence,
    ) -> io::Result<Finding> {
        let (new, promised) = {
            // In one step: no other segment takes this one's place meanwhile.
            let file = &mut *lock(&self.progress_file);
            if !lock(&self.catalog).has(segment) {
                return Ok(Finding::Stale);
            }
            let promised = lock(&self.books).progress.promised(end);
            let range = Range { kind: Removal::Lost, first, end };
            (self.list(file, [range])?, promised)
        };
        if new > 0 {
            let last = promised.0 - 1;
            tracing::error!("sequences {first} to {last} are lost: {segment} is damaged");
        }
        let marked = lock(&self.catalog).mark_damaged(segment);
        let path = self.config.dir.join(segment.to_string());
        if let Some(Err(error)) = marked.map(|seal| seal.write(&path)) {
            // The books are right all the same; the file will be deleted instead of kept.
            tracing::warn!("cannot mark {segment} as damaged: {error}");
        }
        Ok(Finding::Lost)
    }

    /// Puts a repacked segment in the place of those that it was made of. Says whether it did: not
    /// when one of them has changed, or something in them was touched.
    #[must_use]
    pub fn replace(&self, old: &[Entry], new: Entry) -> bool {
        // Under this lock, so that nothing is removed meanwhile: the copy would bring it back.
        let _file = lock(&self.progress_file);
        let books = lock(&self.books);
        let untouched = books.are_untouched(new.id.first, new.end.unwrap_or(new.id.first));
        untouched && lock(&self.catalog).replace(old, new)
    }

    /// Whether [`Shared::drop_oldest`] would find something.
    pub fn can_drop(&self) -> bool {
        let inside = self.inside.open();
        self.may_be_dropped().next().is_some() || inside.iter().any(|inside| inside.can_drop())
    }

    /// When the oldest record was received that [`Shared::drop_own_oldest`] would drop.
    fn oldest_to_drop(&self) -> Option<Millis> {
        let (id, _) = self.may_be_dropped().next()?;
        lock(&self.catalog).seal(id).map(|seal| seal.oldest)
    }

    /// Takes out the oldest segment that may be dropped, of this spool or of those inside it, and
    /// frees its room. Says whether there was one.
    pub fn drop_oldest(&self) -> io::Result<bool> {
        let inside = self.inside.open();
        let oldest = inside.iter().filter_map(|inside| Some((inside.oldest_to_drop()?, inside)));
        let own = self.oldest_to_drop();
        match oldest.min_by_key(|(oldest, _)| *oldest) {
            Some((oldest, inside)) if own.is_none_or(|own| oldest < own) => {
                Ok(inside.drop_own_oldest()?.is_some())
            }
            _ => Ok(self.drop_own_oldest()?.is_some()),
        }
    }

    /// The closed segments of which nothing was handed out or is held, oldest first, and where each
    /// ends. One that could not be removed is none: its records would go, and its bytes would stay.
    fn may_be_dropped(&self) -> impl Iterator<Item = (SegmentId, Sequence)> {
        let closed: Vec<_> = {
            let books = lock(&self.books);
            let free = |first, end| books.claims.are_free(first, end);
            lock(&self.catalog).closed(free).collect()
        };
        let root = &self.config.dir;
        closed.into_iter().filter(|(id, _)| dir::may_go(root, &root.join(id.to_string())))
    }

    /// [`Shared::drop_oldest`] where a write failed for want of room, if that is the policy. Says
    /// whether something was dropped.
    pub fn drop_oldest_for(&self, error: &io::Error) -> io::Result<bool> {
        let full = matches!(AppendError::from_io(error), AppendError::Full(_));
        let wanted = full && self.config.when_full == WhenFull::DropOldest;
        Ok(wanted && self.drop_oldest()?)
    }

    /// Chooses what [`Shared::drop_own_oldest`] takes out, and keeps it from being handed out.
    fn claim_oldest(&self) -> Option<(SegmentId, Sequence)> {
        self.may_be_dropped().find(|(id, end)| {
            let claims = &mut lock(&self.books).claims;
            // The disk was asked meanwhile.
            let still = claims.are_free(id.first, *end) && lock(&self.catalog).has(*id);
            if still {
                claims.begin_drop(id.first, *end);
            }
            still
        })
    }

    /// Takes out this spool's oldest segment that may be dropped, and frees its room. `None` when
    /// there is none.
    pub fn drop_own_oldest(&self) -> io::Result<Option<SegmentId>> {
        let dropped = {
            let file = &mut *lock(&self.progress_file);
            let Some((id, end)) = self.claim_oldest() else { return Ok(None) };
            let listed = self.list(file, [Range { kind: Removal::Dropped, first: id.first, end }]);
            lock(&self.books).claims.end_drop();
            self.readable.notify_one();
            let records = listed?;
            tracing::warn!(
                "no room: {records} records, sequences {} to {}, were dropped",
                id.first,
                end.0 - 1
            );
            id
        };
        dir::discard(&self.config.dir, &self.config.dir.join(dropped.to_string()))?;
        drop(lock(&self.catalog).remove(dropped));
        Ok(Some(dropped))
    }
}

impl Books {
    /// Whether none of these was handed out, is held, or is removed.
    pub fn are_untouched(&self, first: Sequence, end: Sequence) -> bool {
        let removed = self.progress.past_removed(first) > first
            || self.progress.next_removed(first).is_some_and(|removed| removed < end);
        self.claims.are_free(first, end) && !removed
    }

    /// What is held of the records that are there.
    pub fn held(&self) -> Option<Held> {
        let (first, end, since) = self.claims.held()?;
        let ranges = self.progress.ranges().iter();
        let removed: u64 = ranges.map(|r| r.end.min(end).since(r.first.max(first))).sum();
        Some(Held { records: end.since(first).saturating_sub(removed), since })
    }
}

/// Records that are kept from the reader while an operator takes them out. They are given back
/// when this is dropped.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    keeper: Sender<Chore>,
    first: Sequence,
    end: Sequence,
}

impl Hold {
    /// Holds what of `first` to `end` (exclusive) waits and was never handed out.
    pub(super) fn take(
        shared: Arc<Shared>,
        keeper: Sender<Chore>,
        first: Sequence,
        end: Sequence,
    ) -> Result<Self, HoldError> {
        let end = end.min(shared.published());
        let (first, end) = lock(&shared.books).claims.hold(first, end, Instant::now())?;
        Ok(Self { shared, keeper, first, end })
    }

    /// The first sequence held.
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// One past the last.
    pub fn end(&self) -> Sequence {
        self.end
    }

    /// Takes the records in `ranges` (first, end) out for good, as exported, as far as they are held;
    /// the others are given back. Gives how many it were. `Ok` means that it survives a power cut.
    pub fn remove(self, ranges: &[(Sequence, Sequence)]) -> io::Result<u64> {
        let held = |&(first, end): &(Sequence, Sequence)| {
            let (first, end) = (first.max(self.first), end.min(self.end));
            (first < end).then_some(Range { kind: Removal::Exported, first, end })
        };
        let records = {
            let file = &mut *lock(&self.shared.progress_file);
            self.shared.list(file, ranges.iter().filter_map(held))?
        };
        tracing::info!("{records} records were exported and taken out of the spool");
        // The keeper is gone only after a close; the next start frees what is listed.
        let _ = self.keeper.send(Chore::Free);
        Ok(records)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.shared.books).claims.release();
        self.shared.readable.notify_one();
    }
}
