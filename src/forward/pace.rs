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

use std::sync::{Arc, Mutex, PoisonError};
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

/// What all clients that share a limit have used of it.
#[derive(Debug)]
struct Shared {
    /// What may be on the wire by now, in the count of `used`.
    allowed: f64,
    used: f64,
    next: Instant,
    /// Allowances so far.
    turn: u64,
    /// Clients that had something to send in this turn, and in the one before.
    wanting: [u32; 2],
}

/// See the module.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; without it nothing is ever held back.
    limit: Option<f64>,
    shared: Arc<Mutex<Shared>>,
    traffic: Traffic,
    /// Bytes that this client was handed.
    handed: f64,
    /// What of its use stands in `shared`.
    counted: f64,
    /// The last turn in which this client had something to send, and what it has used since.
    turn: (u64, f64),
}

impl Pace {
    pub fn new(limit: Option<u64>, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let limit = limit.map(|bytes| bytes as f64);
        let shared = Shared { allowed: 0.0, used: 0.0, next: now, turn: 0, wanting: [0; 2] };
        let (traffic, handed, counted, turn) = (Traffic::default(), 0.0, 0.0, (0, 0.0));
        Self { limit, shared: Arc::new(Mutex::new(shared)), traffic, handed, counted, turn }
    }

    /// One of another client, within the same limit. In the first half of a second each of those that
    /// have something to send may use its part of the allowance, in the second half what is left.
    pub fn beside(&self) -> Self {
        let (limit, shared) = (self.limit, Arc::clone(&self.shared));
        let (traffic, handed, counted, turn) = (Traffic::default(), 0.0, 0.0, (0, 0.0));
        Self { limit, shared, traffic, handed, counted, turn }
    }

    /// When the next record may go, if not now.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.limit?;
        let used = self.used();
        let shared = &mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let more = used - std::mem::replace(&mut self.counted, used);
        shared.used += more;
        self.turn.1 += more;
        if now >= shared.next {
            let turns = 1.0 + (now - shared.next).as_secs_f64() / TURN.as_secs_f64();
            // What was not used is not saved up: the link is not to be flooded later.
            let most = shared.used + limit * TURN.as_secs_f64();
            shared.allowed = (shared.allowed + turns * limit * TURN.as_secs_f64()).min(most);
            shared.next = now + TURN;
            shared.turn += 1;
            shared.wanting = [0, shared.wanting[0]];
        }
        if self.turn.0 != shared.turn {
            self.turn = (shared.turn, 0.0);
            shared.wanting[0] += 1;
        }
        let part = limit * TURN.as_secs_f64() / f64::from(shared.wanting[1].max(1));
        let half = shared.next.checked_sub(TURN / 2).unwrap_or(shared.next);
        if shared.used >= shared.allowed {
            Some(shared.next)
        } else if self.turn.1 >= part && now < half {
            Some(half)
        } else {
            None
        }
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
        let used = self.used();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.used += used - self.counted;
        self.turn.1 += used - self.counted;
        drop(shared);
        (self.traffic, self.handed, self.counted) = (Traffic::default(), 0.0, 0.0);
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

    /// Two clients that would send so many records of 100 bytes a second each; what each got through
    /// in a minute, a second of which allows 100 records.
    fn side_by_side(wanted: [u32; 2]) -> [u32; 2] {
        let start = Instant::now();
        let first = Pace::new(Some(10_000), start);
        let mut paces = [first.beside(), first];
        let (mut sent, mut left) = ([0; 2], [0; 2]);
        for tick in 0..600 {
            let now = start + tick * TURN / 10;
            for who in 0..2 {
                left[who] += wanted[who] / 10;
                while left[who] > 0 && paces[who].wait(now).is_none() {
                    paces[who].handed(100);
                    left[who] -= 1;
                    sent[who] += 1;
                }
            }
        }
        sent
    }

    /// Fails when one takes what the other needs, and when a part is kept for one that does not.
    #[test]
    fn two_clients_share_a_limit_and_neither_starves_nor_wastes_any() {
        let about = |sent: u32, wanted: u32| sent.abs_diff(wanted) <= wanted / 20 + 150;
        for (wanted, expected) in [
            ([1_000, 1_000], [3_000, 3_000]),
            ([1_000, 0], [6_000, 0]),
            ([0, 1_000], [0, 6_000]),
            ([1_000, 20], [4_800, 1_200]),
            ([30, 1_000], [1_800, 4_200]),
            ([30, 40], [1_800, 2_400]),
        ] {
            let sent = side_by_side(wanted);
            let right = (0..2).all(|who| about(sent[who], expected[who]));
            assert!(right, "{wanted:?}: {sent:?}, not {expected:?}");
        }
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
