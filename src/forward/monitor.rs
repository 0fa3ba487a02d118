//! What does the forwarder do right now?
//!
//! The forwarder writes here as it goes, anyone may look. Numbers that change with each
//! batch of reports are plain atomics; the rest stands behind a lock that is held for a copy.
//! It deliberately knows neither how the state is decided nor how it is shown.

use crate::histogram::{self, Histogram};
use crate::ledger::Ledger;
use crate::record::{Millis, Route};
use crate::spool::{Depth, SpoolWriter};
use crate::status::{Cause, KafkaState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The forwarder's state, in words and since when.
#[derive(Debug, Clone)]
pub struct Mood {
    pub state: KafkaState,
    /// Where an operator has to look, in an outage or a pause.
    pub cause: Option<Cause>,
    /// Since when Kafka has been away.
    pub outage_since: Option<Instant>,
    /// Why nothing is sent, in one sentence, in a pause.
    pub reason: Option<String>,
    /// The newest error, until Kafka takes records again.
    pub last_error: Option<String>,
    /// What that error says about a setting or a person's work, in an outage.
    pub advice: Option<String>,
}

/// All of it at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    pub mood: Mood,
    /// Records handed to librdkafka and not yet reported on.
    pub in_flight: u64,
    /// Records delivered since this process started.
    pub delivered: u64,
    /// The same by route, in the order of first use.
    pub by_route: Vec<(Arc<Route>, u64)>,
    /// When the last delivery report came, by the wall clock.
    pub last_delivery: Option<Millis>,
    /// From the hand-over of a record to its report; a sample, not every record.
    pub durations: histogram::Snapshot,
}

/// A topic whose records wait in a spool of its own, or did.
#[derive(Debug, Clone)]
pub struct HeldTopic {
    pub topic: String,
    /// Of its spool.
    pub books: Ledger,
    /// Of its records, those that the main spool counts as waiting as well.
    pub ahead: u64,
    /// What waits, while it is held.
    pub depth: Option<Depth>,
    /// Why they are not sent, in one sentence; none while they go out.
    pub because: Option<String>,
    /// Why its spool makes no progress, if so.
    pub stalled: Option<String>,
}

/// The same, as it is kept here.
#[derive(Debug)]
struct Beside {
    topic: String,
    /// Of the records that were ever moved to its spool, those that the watermark of the main one
    /// has passed.
    passed: u64,
    books: Ledger,
    /// Both as this process found them.
    first: (Ledger, u64),
    /// They were looked at from outside only.
    seen: bool,
    /// While it is held.
    open: Option<(SpoolWriter, Arc<Monitor>)>,
    /// Why it is not, though something waits.
    unopened: Option<String>,
}

impl Beside {
    /// Why its records are not sent, without the topic's name: whoever tells it tells of the topic.
    fn because(&self, monitor: &Monitor) -> Option<String> {
        let reason = monitor.look().mood.reason?;
        let named = format!("topic {:?}: ", self.topic);
        Some(reason.strip_prefix(&named).unwrap_or(&reason).to_owned())
    }

    fn books(&self) -> Ledger {
        self.open.as_ref().map_or(self.books, |(writer, _)| writer.ledger())
    }
}

/// Shared between the forwarder and those who look.
#[derive(Debug)]
pub struct Monitor {
    beside: Mutex<Vec<Beside>>,
    failure: OnceLock<String>,
    mood: Mutex<Mood>,
    in_flight: AtomicU64,
    delivered: AtomicU64,
    /// `i64::MIN` before the first.
    last_delivery: AtomicI64,
    by_route: Mutex<Vec<(Arc<Route>, u64)>>,
    durations: Histogram,
}

impl Monitor {
    pub(super) fn new(state: KafkaState) -> Self {
        let mood = Mood {
            state,
            cause: None,
            outage_since: None,
            reason: None,
            last_error: None,
            advice: None,
        };
        Self {
            beside: Mutex::default(),
            failure: OnceLock::new(),
            mood: Mutex::new(mood),
            in_flight: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            last_delivery: AtomicI64::new(i64::MIN),
            by_route: Mutex::default(),
            durations: Histogram::default(),
        }
    }

    /// Everything, as it is now.
    pub fn look(&self) -> Look {
        let last_delivery = self.last_delivery.load(Relaxed);
        Look {
            mood: lock(&self.mood).clone(),
            in_flight: self.in_flight.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            by_route: lock(&self.by_route).clone(),
            last_delivery: (last_delivery != i64::MIN).then_some(Millis(last_delivery)),
            durations: self.durations.snapshot(),
        }
    }

    /// The topics of which records were ever held in spools of their own; `limit` is how long one of
    /// these may be at one piece of work.
    pub fn held_topics(&self, limit: Duration) -> Vec<HeldTopic> {
        let look = |beside: &Beside| {
            let (open, books) = (beside.open.as_ref(), beside.books());
            HeldTopic {
                topic: beside.topic.clone(),
                books,
                ahead: books.accepted.saturating_sub(beside.passed),
                depth: open.map(|(writer, _)| writer.depth()),
                because: match open {
                    Some((_, monitor)) => beside.because(monitor),
                    None => beside.unopened.clone(),
                },
                stalled: open.and_then(|(writer, _)| writer.stalled(limit)),
            }
        };
        lock(&self.beside).iter().map(look).collect()
    }

    /// The books of the main spool, which are asked for, and of those of held topics, as one.
    pub fn books(&self, own: impl FnOnce() -> Ledger) -> Ledger {
        let all = lock(&self.beside);
        all.iter().fold(own(), |whole, beside| {
            let books = beside.books();
            whole.with_held(books, books.accepted.saturating_sub(beside.passed))
        })
    }

    /// The same as this process found them, the main spool's being `own`.
    pub fn books_at_start(&self, own: Ledger) -> Ledger {
        lock(&self.beside).iter().fold(own, |whole, beside| {
            let (books, passed) = beside.first;
            whole.with_held(books, books.accepted.saturating_sub(passed))
        })
    }

    /// The topic is held, in this spool, and drained as this monitor tells; the main watermark has
    /// passed so many of the records there.
    pub(super) fn held(&self, topic: &str, writer: SpoolWriter, monitor: Arc<Self>, passed: u64) {
        let (topic, books, open) = (topic.to_owned(), writer.ledger(), Some((writer, monitor)));
        let (first, seen, unopened) = ((books, passed), false, None);
        self.beside(Beside { topic, passed, books, first, seen, open, unopened });
    }

    /// Nothing waits in the topic's spool, which is closed, with these books if they are known.
    pub(super) fn held_no_more(&self, topic: &str, books: Option<Ledger>) {
        let mut all = lock(&self.beside);
        if let Some(known) = all.iter_mut().find(|known| known.topic == topic) {
            known.books = books.unwrap_or_else(|| known.books());
            known.seen = false;
            (known.open, known.unopened) = (None, None);
            return;
        }
        drop(all);
        let (topic, books) = (topic.to_owned(), books.unwrap_or_default());
        let (passed, first) = (books.accepted, (books, books.accepted));
        let (open, unopened, seen) = (None, None, false);
        self.beside(Beside { topic, passed, books, first, seen, open, unopened });
    }

    /// What is held of the topic is known by these books, and not opened yet.
    pub(super) fn held_before(&self, topic: &str, books: Ledger) {
        let (passed, first) = (books.accepted, (books, books.accepted));
        let (topic, seen, open, unopened) = (topic.to_owned(), true, None, None);
        self.beside(Beside { topic, passed, books, first, seen, open, unopened });
    }

    /// It cannot be opened. Whether that, or its reason, is new.
    pub(super) fn held_unopened(&self, topic: &str, why: &str) -> bool {
        let mut all = lock(&self.beside);
        if let Some(known) = all.iter_mut().find(|known| known.topic == topic) {
            return known.unopened.replace(why.to_owned()).as_deref() != Some(why);
        }
        drop(all);
        self.held_before(topic, Ledger::default());
        self.held_unopened(topic, why)
    }

    /// Something ended that must not.
    pub(super) fn fail(&self, failure: String) {
        self.failure.get_or_init(|| failure);
    }

    /// Why the forwarder cannot go on until the process is started again, if so.
    pub fn failure(&self) -> Option<String> {
        let of_spool = |beside: &Beside| beside.open.as_ref()?.0.failure();
        let held = || lock(&self.beside).iter().find_map(of_spool);
        self.failure.get().cloned().or_else(held)
    }

    fn beside(&self, mut new: Beside) {
        let mut all = lock(&self.beside);
        if let Some(known) = all.iter().position(|known| known.topic == new.topic) {
            let known = all.swap_remove(known);
            new.first = if known.seen { new.first } else { known.first };
        }
        all.push(new);
    }

    /// The main watermark passes records, in one step for who looks at the books: `pass` is given
    /// what tells of a topic how many more of those that were moved.
    pub(super) fn passed(&self, pass: impl FnOnce(&mut dyn FnMut(&str, u64))) {
        let mut all = lock(&self.beside);
        pass(&mut |topic, more| {
            if let Some(known) = all.iter_mut().find(|known| known.topic == topic) {
                known.passed += more;
            }
        });
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        *lock(&self.mood) = mood;
    }

    pub(super) fn set_in_flight(&self, records: usize) {
        self.in_flight.store(records as u64, Relaxed);
    }

    pub(super) fn add_delivered(&self, route: &Arc<Route>, records: u64) {
        self.delivered.fetch_add(records, Relaxed);
        let mut by_route = lock(&self.by_route);
        match by_route.iter_mut().find(|(known, _)| known == route) {
            Some((_, count)) => *count += records,
            None => by_route.push((Arc::clone(route), records)),
        }
        drop(by_route);
        self.last_delivery.store(Millis::now().0, Relaxed);
    }

    pub(super) fn durations(&self) -> &Histogram {
        &self.durations
    }
}

/// Nothing behind these locks can be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_in_all_and_by_route() {
        let monitor = Monitor::new(KafkaState::Connecting);
        assert_eq!(monitor.look().last_delivery, None);
        let route = |path: &str| Arc::new(Route { path: path.to_owned(), topic: "t".to_owned() });
        monitor.add_delivered(&route("/a"), 2);
        monitor.add_delivered(&route("/b"), 3);
        monitor.add_delivered(&route("/a"), 4);
        let look = monitor.look();
        assert_eq!(look.delivered, 9);
        assert_eq!(look.by_route, [(route("/a"), 6), (route("/b"), 3)]);
        assert!(look.last_delivery.is_some());
    }
}
