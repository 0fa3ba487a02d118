//! How many records may still go now, while messages come in?
//!
//! A backlog drains at several hundred thousand records a second where Kafka lets it, and takes a processor
//! and a half for that. Whoever posts a message meanwhile waits for several threads in turn, and
//! notices. So while messages come in the drain keeps to a pace at which it leaves room, and which
//! is always many times theirs. In a pause, at night or when all devices are off, it goes as fast
//! as it can. The drains of held topics share the allowance.
//!
//! The allowance is small and comes often: in large ones the same work would be done in bursts. It
//! deliberately knows no clock: the time is handed in.

use crate::record::Sequence;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records a second that may go in any case.
const LEAST: f64 = 50_000.0;
/// And so many times what comes in.
const TIMES: f64 = 8.0;
/// How often there is a new allowance.
const TURN: Duration = Duration::from_millis(5);
/// Allowances that are made good where nobody asked for them in time, at most.
const LATE: f64 = 4.0;
/// How often it is looked at what comes in.
const LOOK: Duration = Duration::from_millis(250);
/// How long nothing may come in before there is no limit: trackers may be few.
const PAUSE: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Clone)]
pub struct Courtesy(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    /// What had come in at the last look, and when that was.
    looked: (Sequence, Instant),
    /// Records a second that came in of late; it falls slowly.
    incoming: f64,
    /// Until then they are taken to come in.
    until: Instant,
    /// Records that may go, and when that was said.
    allowed: f64,
    since: Instant,
}

impl Courtesy {
    /// `accepted`: the sequence behind the last record that came in.
    pub fn new(accepted: Sequence, now: Instant) -> Self {
        let looked = (accepted, now);
        let shared = Shared { looked, incoming: 0.0, until: now, allowed: 0.0, since: now };
        Self(Arc::new(Mutex::new(shared)))
    }

    /// When the next record may go, if not now. Only who drains the spool into which messages come knows
    /// what came in.
    pub fn wait(&self, accepted: Option<Sequence>, now: Instant) -> Option<Instant> {
        self.with(|shared| {
            if let Some(accepted) = accepted {
                shared.look(accepted, now);
            }
            shared.wait(now)
        })
    }

    /// A record was handed over.
    pub fn sent(&self) {
        self.with(|shared| shared.allowed -= 1.0);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    fn wait(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.until {
            return None;
        }
        let turns = now.saturating_duration_since(self.since).as_secs_f64() / TURN.as_secs_f64();
        if turns >= 1.0 {
            // What was not used is not saved up, but for what came late.
            let pace = LEAST.max(TIMES * self.incoming);
            self.allowed = pace * TURN.as_secs_f64() * turns.min(LATE);
            self.since = now;
        }
        (self.allowed < 1.0).then(|| self.since + TURN)
    }

    fn look(&mut self, accepted: Sequence, now: Instant) {
        let (before, at) = self.looked;
        let elapsed = now.saturating_duration_since(at);
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
    use proptest::prelude::*;

    /// Twice the least pace.
    const ALL: u64 = 100_000;

    /// Sends all that may go, `all` in a second at most, while so many records a second come in; how many
    /// went in each of these seconds. There is never one without a record to send.
    fn sent(all: u64, incoming: &[f64]) -> Vec<u64> {
        let start = Instant::now();
        let courtesy = Courtesy::new(Sequence(0), start);
        let (mut accepted, mut seconds) = (0.0, Vec::new());
        for (second, rate) in (0..).zip(incoming) {
            let mut went = 0;
            for millisecond in 0..1_000 {
                let now = start + Duration::from_secs(second) + Duration::from_millis(millisecond);
                accepted += rate / 1_000.0;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let end = Some(Sequence(accepted as u64));
                for _ in 0..all / 1_000 {
                    if courtesy.wait(end, now).is_none() {
                        courtesy.sent();
                        went += 1;
                    }
                }
            }
            seconds.push(went);
        }
        seconds
    }

    /// Within a twentieth of so many.
    fn about(went: u64, pace: f64) -> bool {
        #[expect(clippy::cast_precision_loss)]
        let went = went as f64;
        (0.95 * pace..=1.05 * pace).contains(&went)
    }

    #[test]
    fn while_messages_come_in_it_keeps_to_its_pace_and_after_a_pause_to_none() {
        let seconds = [&[0.0, 2_000.0, 2_000.0][..], &[0.0; 16]].concat();
        let went = sent(ALL, &seconds);
        assert_eq!((went[0], went[18]), (ALL, ALL));
        assert!(went[2..17].iter().all(|went| about(*went, LEAST)), "{went:?}");
        // One message in five seconds is enough.
        let went = sent(ALL, &[0.2; 12]);
        assert!(went[7..].iter().all(|went| about(*went, LEAST)), "{went:?}");
    }

    #[test]
    fn however_much_comes_in_more_goes_out() {
        for incoming in [20_000.0, 50_000.0, 100_000.0] {
            let went = sent(1_000_000, &[incoming; 3]);
            assert!(about(went[2], TIMES * incoming), "{incoming}: {went:?}");
        }
    }

    #[test]
    fn several_drains_share_what_may_go() {
        let start = Instant::now();
        let first = Courtesy::new(Sequence(0), start);
        let all = [first.clone(), first.clone(), first];
        assert!(all[0].wait(Some(Sequence(1)), start + LOOK).is_none());
        let mut went = 0;
        for millisecond in 0..1_000 {
            let now = start + LOOK + Duration::from_millis(millisecond);
            for _ in 0..200 {
                for courtesy in &all {
                    if courtesy.wait(None, now).is_none() {
                        courtesy.sent();
                        went += 1;
                    }
                }
            }
        }
        assert!(about(went, LEAST), "{went}");
    }

    proptest! {
        /// Asked at any times, with any number to send then.
        #[test]
        fn no_more_goes_than_the_pace_allows_and_whoever_waits_may_go_when_it_is_over(
            steps in prop::collection::vec((0_u32..30_000, 1_u64..2_000), 1..200),
        ) {
            let start = Instant::now();
            let courtesy = Courtesy::new(Sequence(0), start);
            let mut now = start + LOOK;
            prop_assert!(courtesy.wait(Some(Sequence(1)), now).is_none());
            let begun = now;
            let mut went = 0_u32;
            for (microseconds, wanted) in steps {
                now += Duration::from_micros(microseconds.into());
                for _ in 0..wanted {
                    match courtesy.wait(None, now) {
                        None => {
                            courtesy.sent();
                            went += 1;
                        }
                        Some(at) => {
                            prop_assert!(at > now && at <= now + TURN);
                            prop_assert!(courtesy.would_go_at(at), "nothing may go at {at:?}");
                            break;
                        }
                    }
                }
                let seconds = (now - begun).as_secs_f64();
                let most = LEAST * (seconds + LATE * TURN.as_secs_f64());
                let sent = f64::from(went);
                prop_assert!(sent <= most + 1.0, "{sent} in {seconds} s");
            }
        }
    }

    impl Courtesy {
        /// Whether a record might go then, if nothing happened until then.
        fn would_go_at(&self, at: Instant) -> bool {
            self.with(|shared| {
                let mut later = Shared { ..*shared };
                later.wait(at).is_none()
            })
        }
    }
}
