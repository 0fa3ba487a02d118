//! What does the forwarder do right now?
//!
//! The forwarder writes here as it goes, anyone may look. Numbers that change with each
//! batch of reports are plain atomics; the rest stands behind a lock that is held for a copy.
//! It deliberately knows neither how the state is decided nor how it is shown.

use crate::histogram::{self, Histogram};
use crate::record::{Millis, Route};
use crate::status::{Cause, KafkaState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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

/// Shared between the forwarder and those who look.
#[derive(Debug)]
pub struct Monitor {
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
