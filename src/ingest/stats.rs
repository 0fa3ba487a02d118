//! What ingest counts, for the status and the metrics.
//!
//! Counters since the process started; they only grow, but for the open connections. One
//! set is shared by all handlers, without a lock. It does not know how numbers are shown,
//! and the books are not kept here: those are the spool's.

use super::problem::Reason;
use crate::histogram::{Histogram, Snapshot};
use crate::record::Route;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Why this side closed a connection that its client would have kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// Its client had been waited for longest, when all were taken or unfinished bodies held too much.
    MadeRoom,
    /// No request, or not all of its headers, came in time.
    Silent,
    /// The headers of a request were too large, or too many.
    HeadersTooLarge,
    /// What came was no request.
    NotHttp,
    /// The client did not read its answer.
    Unread,
}

impl Closed {
    const ALL: [(Self, &'static str); 5] = [
        (Self::MadeRoom, "made_room"),
        (Self::Silent, "silent"),
        (Self::HeadersTooLarge, "headers_too_large"),
        (Self::NotHttp, "not_http"),
        (Self::Unread, "unread"),
    ];
}

/// The counters of one [`Server`](super::Server).
#[derive(Debug)]
pub struct Stats {
    routes: Vec<(Arc<Route>, Counts)>,
    rejected: [AtomicU64; Reason::ALL.len()],
    requests: Histogram,
    connections: AtomicU64,
    unknown_fields: AtomicU64,
    failed_handshakes: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
}

/// What became of the messages of one route.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    invalid: AtomicU64,
    repeated: AtomicU64,
}

/// What a message was that was answered as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A new one.
    Message,
    /// None, kept as a dead letter.
    Invalid,
    /// One that had been kept before.
    Repeat,
}

/// The same for whoever looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Answered as kept.
    pub accepted: u64,
    /// Of those, kept as dead letters because they are no messages.
    pub invalid: u64,
    /// Answered as kept because they had been kept before; none of the accepted.
    pub repeated: u64,
}

impl Stats {
    pub(super) fn new(routes: impl Iterator<Item = Arc<Route>>) -> Self {
        Self {
            routes: routes.map(|route| (route, Counts::default())).collect(),
            rejected: std::array::from_fn(|_| AtomicU64::new(0)),
            requests: Histogram::default(),
            connections: AtomicU64::new(0),
            unknown_fields: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            closed: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// What was answered as kept, by route, in the order of the configuration.
    pub fn taken(&self) -> impl Iterator<Item = (&Arc<Route>, Taken)> {
        self.routes.iter().map(|(route, counts)| {
            let Counts { accepted, invalid, repeated } = counts;
            let [accepted, invalid, repeated] =
                [accepted, invalid, repeated].map(|count| count.load(Relaxed));
            (route, Taken { accepted, invalid, repeated })
        })
    }

    /// Requests, and messages of batches, that were refused, by the reason's short name (`malformed`, `too_large` ...); every
    /// reason is there, also with 0.
    pub fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().zip(&self.rejected).map(|(reason, n)| (reason.label(), n.load(Relaxed)))
    }

    /// From the end of a request's headers to the decision on its answer; batches aside.
    pub fn requests(&self) -> Snapshot {
        self.requests.snapshot()
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Fields of messages that their schemas do not know, and that were left out.
    pub fn unknown_fields(&self) -> u64 {
        self.unknown_fields.load(Relaxed)
    }

    pub(super) fn count_unknown_fields(&self, fields: u64) {
        if fields > 0 {
            self.unknown_fields.fetch_add(fields, Relaxed);
        }
    }

    /// Connections that did not get as far as a request, because they spoke no TLS, or not rightly.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Relaxed)
    }

    pub(super) fn count_failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Relaxed);
    }

    /// Connections that were closed from this side, by a short name of the reason; every reason is
    /// there, also with 0.
    pub fn closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Closed::ALL.iter().zip(&self.closed).map(|((_, name), n)| (*name, n.load(Relaxed)))
    }

    pub(super) fn count_closed(&self, why: Closed) {
        // The reasons are numbered from 0 in the order of `ALL`; a test says so.
        self.closed[why as usize].fetch_add(1, Relaxed);
    }

    /// One more message of the route at this place is answered as kept.
    pub(super) fn count(&self, route: usize, kind: Kind) {
        let Some((_, counts)) = self.routes.get(route) else { return };
        let Counts { accepted, invalid, repeated } = counts;
        let counted = match kind {
            Kind::Message => &[accepted][..],
            Kind::Invalid => &[accepted, invalid],
            Kind::Repeat => &[repeated],
        };
        for count in counted {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_rejected(&self, reason: Reason) {
        // The reasons are numbered from 0 in the order of `ALL`; a test says so.
        self.rejected[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn observe_request(&self, duration: Duration) {
        self.requests.observe(duration);
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn open_connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.fetch_add(1, Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// See [`Stats::open_connection`].
#[derive(Debug)]
pub(super) struct OpenConnection(Arc<Stats>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let stats = Stats::new(std::iter::empty());
        for (times, reason) in Reason::ALL.into_iter().enumerate() {
            for _ in 0..times {
                stats.count_rejected(reason);
            }
        }
        let expected: Vec<_> =
            (0_u64..).zip(Reason::ALL).map(|(times, reason)| (reason.label(), times)).collect();
        assert_eq!(stats.rejected().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_reason_to_close_has_a_counter_of_its_own() {
        let stats = Stats::new(std::iter::empty());
        for (times, (why, _)) in Closed::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| stats.count_closed(why));
        }
        let counts: Vec<_> = stats.closed().map(|(_, count)| count).collect();
        assert_eq!(counts, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_connection_counts_while_it_is_open() {
        let stats = Arc::new(Stats::new(std::iter::empty()));
        let first = stats.open_connection();
        let second = stats.open_connection();
        assert_eq!(stats.connections(), 2);
        drop((first, second));
        assert_eq!(stats.connections(), 0);
    }
}
