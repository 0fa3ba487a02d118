//! The commit thread: takes what waits, makes it durable, says so.
//!
//! One commit is: pack the batch, insert the parts, flush, `sync_data`, publish to the reader,
//! settle the promises. `Ok` is settled after the sync and nowhere else.
//!
//! A failure that leaves the state unknown is sticky: after any error of a segment nothing more
//! is committed to it. The batch is made again, once, in a new segment; when that fails too its
//! promises resolve to the error, its sequences are given to the next batch, and the old segment
//! ends before them.

use super::AppendError;
use super::batch::{Batch, Settled, Work};
use super::block::Encoder;
use super::dir;
use super::keeper::Chore;
use super::mutex::lock;
use super::segment::{LiveSegment, SegmentId};
use super::shared::Shared;
use crate::record::{Epoch, Sequence};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// How long a commit waits for as many records as the last one had. A commit takes about as
/// long itself, so waiting longer gains nothing.
const GATHER: Duration = Duration::from_micros(500);

/// The state of the commit thread.
pub struct Committer {
    shared: Arc<Shared>,
    keeper: Sender<Chore>,
    encoder: Encoder,
    tail: Option<Arc<LiveSegment>>,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, keeper: Sender<Chore>) -> io::Result<Self> {
        Ok(Self { shared, keeper, encoder: Encoder::new()?, tail: None })
    }

    /// Commits until the queue is closed and empty. A panic below (sled has some) is turned
    /// into a refusal that names it: no handler is left waiting, and nothing is acknowledged
    /// any more.
    pub fn run(mut self) {
        let mut expected = 1;
        loop {
            let delay = self.shared.config.commit_delay;
            let (target, window) =
                if delay.is_zero() { (expected, GATHER) } else { (u32::MAX, delay) };
            let mut batches = match self.shared.queue.take(target, window) {
                Work::Commit(batches) => batches,
                Work::Close => break,
            };
            expected = batches.iter().map(|batch| batch.draft.count()).sum();
            *lock(&self.shared.committing) = Some(Instant::now());
            let committing = AssertUnwindSafe(|| self.commit_all(&mut batches));
            let outcomes = catch_unwind(committing);
            *lock(&self.shared.committing) = None;
            let outcomes = outcomes.unwrap_or_else(|_| {
                let broken = "the commit thread failed; restart the service".to_owned();
                self.tail = None;
                self.shared.fail(broken.clone());
                vec![Err(AppendError::Failed(broken)); batches.len()]
            });
            let settled: Vec<Settled> = batches
                .into_iter()
                .zip(outcomes)
                .map(|(batch, outcome)| {
                    let (settled, draft) = batch.settle(outcome);
                    self.shared.queue.recycle(draft);
                    settled
                })
                .collect();
            self.shared.ready.hand_over(settled.into_iter());
        }
        self.leave_tail();
    }

    fn commit_all(&mut self, batches: &mut [Batch]) -> Vec<Result<(Epoch, Sequence), AppendError>> {
        batches.iter_mut().map(|batch| self.commit(batch)).collect()
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(Epoch, Sequence), AppendError> {
        if let Some(broken) = self.shared.failure.get() {
            return Err(AppendError::Failed(broken.clone()));
        }
        if let Err(full) = self.shared.make_room() {
            // A tail that is delivered can be freed only once it is closed.
            self.leave_tail();
            self.shared.queue.refuse(Some(full.clone()));
            return Err(full);
        }
        let started = Instant::now();
        let first = self.shared.published();
        let again = match self.try_commit(batch, first) {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!("a commit failed and is made again in a new segment: {error}");
                self.leave_tail();
                self.try_commit(batch, first)
            }
        };
        let again = again.or_else(|error| {
            // Bytes were free: it is inodes that are not, or a quota. One segment has as many of
            // them as a new one needs.
            if !self.shared.drop_oldest_for(&error)? {
                return Err(error);
            }
            self.leave_tail();
            self.try_commit(batch, first)
        });
        if let Err(error) = again {
            tracing::error!("the spool cannot write: {error}");
            self.leave_tail();
            let refusal = AppendError::from_io(&error);
            // Until the keeper looks again: trying at every request would only wear the disk.
            self.shared.queue.refuse(Some(refusal.clone()));
            return Err(refusal);
        }
        self.shared.stats.commits.observe(started.elapsed());
        Ok((self.shared.epoch, first))
    }

    fn try_commit(&mut self, batch: &mut Batch, first: Sequence) -> io::Result<()> {
        let epoch = self.shared.epoch;
        let count = u64::from(batch.draft.count());
        let oldest = batch.draft.oldest().unwrap_or(crate::record::Millis(0));
        let bytes = self.encoder.encode(epoch, first, &mut batch.draft)?;
        let full = self.shared.config.segment_bytes;
        let has_room = self.tail.as_ref().is_some_and(|tail| tail.has_room(bytes.len(), full));
        let tail = match &self.tail {
            Some(tail) if has_room => tail.clone(),
            left => {
                let tail = begin_segment(&self.shared, first)?;
                if let Some(left) = left {
                    // The keeper lives for as long as this thread: it is joined after it.
                    let _ = self.keeper.send(Chore::Retire(left.clone()));
                }
                self.tail = Some(tail.clone());
                tail
            }
        };
        let committed = tail.commit(bytes, oldest)?;
        let stats = &self.shared.stats;
        stats.syncs.fetch_add(1, Relaxed);
        stats.bytes_written.fetch_add(bytes.len() as u64, Relaxed);
        let disk_bytes = tail.disk_bytes()?;
        lock(&self.shared.catalog).grew(tail.id, disk_bytes);
        tail.publish(committed);
        self.shared.published.store(first.plus(count).0, Release);
        self.shared.readable.notify_one();
        Ok(())
    }

    /// Writes no more into the tail, whatever is in it; the next commit begins a new one.
    fn leave_tail(&mut self) {
        if let Some(tail) = self.tail.take() {
            lock(&self.shared.catalog).close(tail.id, self.shared.published());
            let _ = self.keeper.send(Chore::Retire(tail));
        }
    }
}

/// Creates the segment that begins at `first`. Before the old tail ends, the marks are written,
/// so that what a start finds missing in it is known to have been acknowledged.
fn begin_segment(shared: &Shared, first: Sequence) -> io::Result<Arc<LiveSegment>> {
    shared.settle_progress()?;
    let mut id = SegmentId { first, generation: lock(&shared.catalog).next_generation(first) };
    while dir::is_there(&shared.config.dir.join(id.to_string())) {
        id.generation += 1; // one that could not be removed, or something of somebody else
    }
    let live = Arc::new(LiveSegment::create(&shared.config.dir, id, &*shared.stores)?);
    lock(&shared.catalog).begin(live.clone());
    Ok(live)
}
