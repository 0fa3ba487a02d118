//! What waits for its commit: the shared open batch, and the promise each record in it holds.
//!
//! Handlers convert outside any lock, append under a short one and leave their waker with the
//! batch: no channel and no oneshot a request. The commit thread (`writer.rs`) takes the batch,
//! makes it durable, sets its outcome, and [`Acks`] wakes the handlers inside their own runtime.
//!
//! The invariant: a promise resolves to `Ok` only after its batch's outcome was set, and the
//! outcome is set to `Ok` only after the sync.

use super::AppendError;
use super::block::{self, Draft};
use super::mutex::lock;
use crate::record::{Epoch, NewRecord, RecordId, Sequence};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A record on its way to the disk. Resolves when it is durable, or was not kept.
///
/// Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "the record is durable only once this resolves to Ok"]
pub struct Append {
    ticket: Arc<Ticket>,
    place: u64,
    slot: Option<usize>,
}

impl Append {
    /// A second promise of the same record.
    pub fn again(&self) -> Self {
        Self { ticket: self.ticket.clone(), place: self.place, slot: None }
    }

    /// What it resolves to, once that is known.
    pub fn outcome(&self) -> Option<Result<RecordId, AppendError>> {
        let outcome = self.ticket.outcome.get()?.clone();
        Some(outcome.map(|(epoch, first)| RecordId { epoch, sequence: first.plus(self.place) }))
    }
}

impl Future for Append {
    type Output = Result<RecordId, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ticket.outcome.get().is_none() {
            let mut wakers = lock(&this.ticket.wakers);
            // Looked at again under the lock: wakers left from here on are sure to be woken.
            if this.ticket.outcome.get().is_none() {
                if let Some(slot) = this.slot {
                    wakers[slot].clone_from(context.waker());
                } else {
                    this.slot = Some(wakers.len());
                    wakers.push(context.waker().clone());
                }
                return Poll::Pending;
            }
        }
        // Checked twice above: it is set.
        Poll::Ready(this.outcome().unwrap_or(Err(AppendError::Closing)))
    }
}

/// What the records of one batch share.
#[derive(Debug, Default)]
struct Ticket {
    outcome: OnceLock<Result<(Epoch, Sequence), AppendError>>,
    wakers: Mutex<Vec<Waker>>,
}

/// Records that will be one block.
#[derive(Debug, Default)]
pub struct Batch {
    pub draft: Draft,
    ticket: Arc<Ticket>,
}

/// A batch whose outcome is known and whose handlers are still asleep.
#[derive(Debug)]
pub struct Settled(Arc<Ticket>);

impl Batch {
    /// Sets what all of its promises resolve to; gives back the draft's buffers.
    pub fn settle(self, outcome: Result<(Epoch, Sequence), AppendError>) -> (Settled, Draft) {
        // Only this consumes the batch, so the outcome was not set before.
        let set = self.ticket.outcome.set(outcome);
        debug_assert!(set.is_ok());
        (Settled(self.ticket), self.draft)
    }
}

impl Settled {
    fn wake(self) {
        let wakers = std::mem::take(&mut *lock(&self.0.wakers));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The queue between the handlers and the commit thread.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// Raw bytes that may wait, at most.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    full: VecDeque<Batch>,
    open: Batch,
    bytes: usize,
    spare: Vec<Draft>,
    /// The commit thread sleeps, and is to be woken once this many records wait.
    wake_at: Option<u32>,
    /// Why nothing more is taken.
    refusal: Option<AppendError>,
    /// The refusal stays, whatever comes.
    for_good: bool,
    closing: bool,
}

/// What the commit thread is given to do.
#[derive(Debug)]
pub enum Work {
    Commit(Vec<Batch>),
    /// Nothing waits and nothing will come.
    Close,
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), limit }
    }

    /// Adds a record to the open batch.
    pub fn append(&self, record: &NewRecord<'_>) -> Result<Append, AppendError> {
        self.together().append(record)
    }

    /// What is added before this is dropped is of one batch, up to the first that fills it: nothing
    /// is committed meanwhile, and nobody else's records come between.
    pub fn together(&self) -> Together<'_> {
        Together { queue: self, state: Some(lock(&self.state)), filled: false }
    }

    /// Waits until something is to be committed, then until `target` records wait or `window`
    /// has passed, whichever comes first, and takes all of it.
    pub fn take(&self, target: u32, window: Duration) -> Work {
        let mut state = lock(&self.state);
        let mut due = None;
        loop {
            let waiting = state.open.draft.count();
            if !state.full.is_empty() || waiting >= target || (state.closing && waiting > 0) {
                break;
            }
            if waiting == 0 {
                if state.closing {
                    return Work::Close;
                }
                state.wake_at = Some(1);
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = Instant::now();
            let left = due.get_or_insert(now + window).saturating_duration_since(now);
            if left.is_zero() {
                break;
            }
            state.wake_at = Some(target);
            let woken = self.work.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.wake_at = None;
        let mut batches = Vec::from(std::mem::take(&mut state.full));
        if state.open.draft.count() > 0 {
            let draft = state.spare.pop().unwrap_or_default();
            batches.push(std::mem::replace(&mut state.open, Batch { draft, ..Batch::default() }));
        }
        Work::Commit(batches)
    }

    /// Gives a draft's buffers back, after its batch was settled.
    pub fn recycle(&self, mut draft: Draft) {
        let mut state = lock(&self.state);
        state.bytes = state.bytes.saturating_sub(draft.raw_len());
        draft.clear();
        if state.spare.len() < 2 {
            state.spare.push(draft);
        }
    }

    /// Refuses what comes from now on for this reason, or takes records again.
    pub fn refuse(&self, refusal: Option<AppendError>) {
        let mut state = lock(&self.state);
        if !state.for_good {
            state.refusal = refusal;
        }
    }

    /// Refuses what comes from now on, until the process ends.
    pub fn refuse_for_good(&self, refusal: AppendError) {
        let mut state = lock(&self.state);
        (state.refusal, state.for_good) = (Some(refusal), true);
    }

    /// Why the next record would not be taken.
    pub fn refusal(&self) -> Option<AppendError> {
        let state = lock(&self.state);
        if state.closing { Some(AppendError::Closing) } else { state.refusal.clone() }
    }

    /// Takes no more records; what waits is still committed.
    pub fn close(&self) {
        lock(&self.state).closing = true;
        self.work.notify_one();
    }
}

/// See [`Queue::together`].
#[derive(Debug)]
pub struct Together<'a> {
    queue: &'a Queue,
    /// Taken out at the end only.
    state: Option<MutexGuard<'a, State>>,
    /// What comes now would be of another batch.
    filled: bool,
}

impl Together<'_> {
    /// Whether the batch is full: what comes now would be of another one.
    pub fn is_full(&self) -> bool {
        self.filled
    }

    /// Adds a record.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<Append, AppendError> {
        let Some(state) = &mut self.state else { return Err(AppendError::Closing) };
        if state.closing {
            return Err(AppendError::Closing);
        }
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let size = block::weight(record);
        // What would not fit into an empty queue would be told to come again for ever.
        let most = block::MAX_WEIGHT.min(self.queue.limit);
        if size > most || block::payload(record) > block::MAX_PAYLOAD {
            return Err(AppendError::TooLarge);
        }
        if state.bytes + size > self.queue.limit {
            return Err(AppendError::Busy);
        }
        let before = state.open.draft.raw_len();
        let place = u64::from(state.open.draft.count());
        state.open.draft.push(record);
        state.bytes += state.open.draft.raw_len() - before;
        let append = Append { ticket: state.open.ticket.clone(), place, slot: None };
        if state.open.draft.is_full() {
            self.filled = true;
            let draft = state.spare.pop().unwrap_or_default();
            let full = std::mem::replace(&mut state.open, Batch { draft, ..Batch::default() });
            state.full.push_back(full);
        }
        Ok(append)
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        let Some(mut state) = self.state.take() else { return };
        let waiting = state.open.draft.count();
        if self.filled || state.wake_at.is_some_and(|at| waiting >= at) {
            state.wake_at = None;
            drop(state);
            self.queue.work.notify_one();
        }
    }
}

/// Wakes the handlers of finished commits from inside their own runtime, where it costs a push
/// to a local queue; from the commit thread every wake would take the runtime's lock.
#[derive(Debug)]
pub struct Acks {
    shared: Arc<Ready>,
}

/// The commit thread's end of [`Acks`].
#[derive(Debug, Default)]
pub struct Ready {
    settled: Mutex<Vec<Settled>>,
    bell: Notify,
}

impl Ready {
    /// Hands settled batches over to be woken.
    pub fn hand_over(&self, batches: impl Iterator<Item = Settled>) {
        lock(&self.settled).extend(batches);
        self.bell.notify_one();
    }

    /// The receiving end.
    pub fn acks(self: &Arc<Self>) -> Acks {
        Acks { shared: self.clone() }
    }
}

impl Acks {
    /// Runs for as long as the runtime does: spawn it once where the handlers run.
    pub async fn run(self) {
        loop {
            self.shared.bell.notified().await;
            let settled = std::mem::take(&mut *lock(&self.shared.settled));
            settled.into_iter().for_each(Settled::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Millis, Reception, Route};

    /// Fails when [`Queue::together`] does not keep the lock: a mover would have one of its records
    /// refused, and the next one of the same pass kept.
    #[test]
    fn what_is_put_together_is_committed_together() {
        let queue = Arc::new(Queue::new(1 << 20));
        let taking = Arc::clone(&queue);
        let taken = std::thread::spawn(move || taking.take(1, Duration::ZERO));
        let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
        let received = Reception { at: Millis(0), clock_synchronised: true };
        let (key, timestamp, headers, origin) = (None, Millis(0), &[][..], None);
        let value = &b"{}"[..];
        let record = NewRecord { route: &route, key, timestamp, received, headers, value, origin };
        let mut together = queue.together();
        for _ in 0..3 {
            drop(together.append(&record).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(together);
        let Work::Commit(batches) = taken.join().unwrap() else { panic!("it was not closed") };
        let counts: Vec<_> = batches.iter().map(|batch| batch.draft.count()).collect();
        assert_eq!(counts, [3]);
    }
}
