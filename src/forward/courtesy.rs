//! How many records may still go now, while messages come in?
//!
//! A backlog drains at several hundred thousand records a second where Kafka lets it, and takes a processor
//! and a half for that. Whoever posts a message meanwhile waits for four threads in turn, and
//! notices. So while messages come in the drain keeps to a pace at which it leaves room, and which
//! is always many times theirs: a backlog gets shorter however much comes in. In a pause, at night
//! or when all devices are off, it goes as fast as it can.
//!
//! The allowance is small and comes often: in large ones the same work would be done in bursts. It
//! deliberately knows no clock: the time is handed in.

use crate::record::Sequence;
use std::time::{Duration, Instant};

/// Records a second that may go in any case.
const LEAST: f64 = 50_000.0;
/// And so many times what comes in.
const TIMES: f64 = 8.0;
/// How often there is a new allowance.
const TURN: Duration = Duration::from_millis(5);
/// How often it is asked what comes in.
const LOOK: Duration = Duration::from_millis(250);
/// How long nothing may come in before there is no limit.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Courtesy {
    /// What had come in at the last look, and when that was.
    looked: (Sequence, Instant),
    /// Records a second that came in of late; it falls slowly.
    incoming: f64,
    /// Until then they are taken to come in.
    until: Instant,
    /// Records that may go, and since when there could be more.
    allowed: f64,
    since: Instant,
}

impl Courtesy {
    /// `accepted`: the sequence behind the last record that came in.
    pub fn new(accepted: Sequence, now: Instant) -> Self {
        let (incoming, allowed) = (0.0, 0.0);
        Self { looked: (accepted, now), incoming, until: now, allowed, since: now }
    }

    /// When the next record may go, if not now.
    pub fn wait(&mut self, accepted: Sequence, now: Instant) -> Option<Instant> {
        self.look(accepted, now);
        if now >= self.until {
            return None;
        }
        let turns = (now - self.since).as_secs_f64() / TURN.as_secs_f64();
        if self.allowed < 1.0 && turns < 1.0 {
            return Some(self.since + TURN);
        }
        if turns >= 1.0 {
            // What was not used is not saved up.
            self.allowed = LEAST.max(TIMES * self.incoming) * TURN.as_secs_f64() * turns.min(2.0);
            self.since = now;
        }
        None
    }

    /// A record was handed over.
    pub fn sent(&mut self) {
        self.allowed -= 1.0;
    }

    fn look(&mut self, accepted: Sequence, now: Instant) {
        let (before, at) = self.looked;
        let elapsed = now - at;
        if elapsed < LOOK {
            return;
        }
        self.looked = (accepted, now);
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let incoming = accepted.since(before) as f64 / elapsed.as_secs_f64();
        self.incoming = incoming.max(0.8 * self.incoming);
        if incoming > 0.0 {
            self.until = now + PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a producer takes in a second, at most.
    const ALL: u64 = 1_000_000;

    /// Sends all that may go for so many seconds, while so many records a second come in; how many went
    /// in each of them. There is never a second without one to send.
    fn sent(incoming: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(Sequence(0), start);
        let (mut accepted, mut all) = (0.0, Vec::new());
        for (second, rate) in (0..).zip(incoming) {
            let mut went = 0;
            for millisecond in 0..1_000 {
                let now = start + Duration::from_secs(second) + Duration::from_millis(millisecond);
                #[expect(clippy::cast_precision_loss)]
                let rate = *rate as f64;
                accepted += rate / 1_000.0;
                for _ in 0..ALL / 1_000 {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    if courtesy.wait(Sequence(accepted as u64), now).is_none() {
                        courtesy.sent();
                        went += 1;
                    }
                }
            }
            all.push(went);
        }
        all
    }

    #[test]
    fn while_messages_come_in_it_keeps_to_its_pace_and_in_a_pause_to_none() {
        let went = sent(&[0, 2_000, 2_000, 0, 0]);
        assert_eq!((went[0], went[4]), (ALL, ALL));
        let pace = (0.95 * LEAST)..=(1.05 * LEAST);
        #[expect(clippy::cast_precision_loss)]
        let kept = |went: u64| pace.contains(&(went as f64));
        assert!(kept(went[2]), "{went:?}");
        // One message a second is enough.
        let went = sent(&[1, 1, 1, 1]);
        assert!(kept(went[3]), "{went:?}");
    }

    #[test]
    fn however_much_comes_in_more_goes_out() {
        for incoming in [20_000, 50_000, 100_000] {
            let went = sent(&[incoming; 3]);
            assert!(went[2] > 7 * incoming && went[2] < 9 * incoming, "{incoming}: {went:?}");
        }
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(Sequence(0), start);
        assert!(courtesy.wait(Sequence(1), start + LOOK).is_none());
        let later = start + LOOK + PAUSE / 2;
        let mut went = 0;
        while courtesy.wait(Sequence(2), later).is_none() {
            courtesy.sent();
            went += 1;
        }
        assert!(went <= 1_000, "{went}");
    }
}
