//! How many bytes may still go to Kafka in this second?
//!
//! For a link that is paid by the byte, or shared: `forward.max_bytes_per_second` counts what goes
//! over the wire, compressed and with all that the protocol adds. That is known only afterwards,
//! from the totals that librdkafka tells about once a second; until then what was handed over is
//! taken to become as much as it did so far. What an estimate was wrong by is made good in the
//! seconds after it.
//!
//! A second's allowance goes out at once, so that batches are large and compress well. It
//! deliberately knows no clock: the time is handed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often there is a new allowance.
const TURN: Duration = Duration::from_secs(1);
/// Bytes on the wire a byte handed over, before anything is known.
const UNKNOWN: f64 = 1.0;
/// What may be believed of it: one record and its protocol, and a fleet that says the same
/// over and over.
const LEAST: f64 = 0.01;
const MOST: f64 = 10.0;

/// What librdkafka told of one client, since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent to brokers, everything included.
    pub wire: u64,
    /// Bytes of messages that went out with them, before they were compressed.
    pub messages: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; without it nothing is ever held back.
    limit: Option<f64>,
    /// What may be on the wire by now, in the count of `traffic`.
    allowed: f64,
    next: Instant,
    traffic: Traffic,
    /// Bytes that this client was handed.
    handed: f64,
    /// Held by all who share the limit, in equal parts.
    sharers: Arc<()>,
}

impl Pace {
    pub fn new(limit: Option<u64>, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let limit = limit.map(|bytes| bytes as f64);
        let (traffic, sharers) = (Traffic::default(), Arc::default());
        Self { limit, allowed: 0.0, next: now, traffic, handed: 0.0, sharers }
    }

    /// One that shares this limit from now on, for as long as both are there.
    pub fn shared(&self, now: Instant) -> Self {
        let (traffic, sharers) = (Traffic::default(), Arc::clone(&self.sharers));
        Self { limit: self.limit, allowed: 0.0, next: now, traffic, handed: 0.0, sharers }
    }

    /// When the next record may go, if not now.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let limit = self.limit? / Arc::strong_count(&self.sharers) as f64;
        if now >= self.next {
            let turns = 1.0 + (now - self.next).as_secs_f64() / TURN.as_secs_f64();
            // What was not used is not saved up: the link is not to be flooded later.
            let most = self.used() + limit * TURN.as_secs_f64();
            self.allowed = (self.allowed + turns * limit * TURN.as_secs_f64()).min(most);
            self.next = now + TURN;
        }
        (self.used() >= self.allowed).then_some(self.next)
    }

    /// A record of so many bytes was handed over.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn handed(&mut self, bytes: usize) {
        self.handed += bytes as f64;
    }

    pub fn told(&mut self, traffic: Traffic) {
        self.traffic = traffic;
    }

    /// Another client counts from 0.
    pub fn renewed(&mut self) {
        self.allowed -= self.used();
        (self.traffic, self.handed) = (Traffic::default(), 0.0);
    }

    /// What is on the wire, and will be of what was handed over.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn used(&self) -> f64 {
        let Traffic { wire, messages } = self.traffic;
        let (wire, messages) = (wire as f64, messages as f64);
        let ratio = if messages > 0.0 { (wire / messages).clamp(LEAST, MOST) } else { UNKNOWN };
        wire + ratio * (self.handed - messages).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands over records of 100 bytes for so long, each of which becomes so much on the wire,
    /// and is told so a second later; gives what went over the wire.
    fn sent(pace: &mut Pace, start: Instant, seconds: u64, ratio: f64) -> f64 {
        let (mut now, mut handed, mut later) = (start, 0_u64, Traffic::default());
        while now < start + Duration::from_secs(seconds) {
            while pace.wait(now).is_none() {
                pace.handed(100);
                handed += 100;
            }
            now = pace.wait(now).unwrap();
            pace.told(later);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            #[expect(clippy::cast_precision_loss)]
            let wire = (handed as f64 * ratio) as u64;
            later = Traffic { wire, messages: handed };
        }
        #[expect(clippy::cast_precision_loss)]
        let wire = handed as f64 * ratio;
        wire
    }

    #[test]
    fn what_goes_over_the_wire_keeps_to_the_limit_however_it_is_compressed() {
        for ratio in [0.1, 0.5, 1.0, 3.0] {
            let start = Instant::now();
            let wire = sent(&mut Pace::new(Some(10_000), start), start, 100, ratio);
            assert!((900_000.0..=1_050_000.0).contains(&wire), "{ratio}: {wire}");
        }
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        pace.handed(usize::MAX);
        assert_eq!(pace.wait(start), None);
    }

    #[test]
    fn a_pause_saves_nothing_up() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1_000), start);
        let later = start + Duration::from_hours(1);
        assert_eq!(pace.wait(later), None);
        pace.handed(1_000);
        assert_eq!(pace.wait(later), Some(later + TURN));
    }

    #[test]
    fn a_record_larger_than_the_limit_goes_and_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1_000), start);
        assert_eq!(pace.wait(start), None);
        pace.handed(5_000);
        let free = (1..10).find(|turn| pace.wait(start + *turn * TURN).is_none());
        assert_eq!(free, Some(5));
    }

    #[test]
    fn another_client_neither_gains_nor_loses() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(1_000), start);
        assert_eq!(pace.wait(start), None);
        pace.handed(600);
        pace.told(Traffic { wire: 600, messages: 600 });
        pace.renewed();
        assert_eq!(pace.wait(start), None);
        pace.handed(400);
        assert!(pace.wait(start).is_some());
    }
}
