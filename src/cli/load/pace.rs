//! When is the next message due, and how long does a tracker wait before it tries again?
//!
//! Pure: times are passed in and handed out. The load is open: a message is due at its
//! time whether or not earlier ones were answered, so that a server that stalls is
//! charged for all that it kept waiting.

use std::str::FromStr;
use std::time::Duration;

/// How many messages a second, over all connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many a second: more than 0.
    Messages(f64),
    /// The next one as soon as the last is answered.
    Max,
}

/// A rate that is neither a number above 0 nor `max`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number of messages a second above 0, such as 1000, or max")]
pub struct ParseRateError;

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.replace([',', '_'], "").parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Self::Messages(rate)),
            _ => Err(ParseRateError),
        }
    }
}

/// The timetable of one connection among several that share a rate evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    first: f64,
    between: f64,
}

impl Pace {
    /// For connection `index` of `connections`; `None` where nothing is ever due at a
    /// time ([`Rate::Max`]).
    pub fn new(rate: Rate, index: usize, connections: usize) -> Option<Self> {
        #[allow(clippy::cast_precision_loss, reason = "numbers of connections are small")]
        match rate {
            Rate::Messages(rate) => {
                Some(Self { first: index as f64 / rate, between: connections as f64 / rate })
            }
            Rate::Max => None,
        }
    }

    /// When this connection's message number `turn` (0 first) is due, from the start.
    pub fn due(&self, turn: u64) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 messages")]
        let seconds = self.first + self.between * turn as f64;
        // A rate of next to nothing is due after the end of all time.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// What a tracker waits before it sends a message again: from 50 ms, doubled each time up
/// to 2 s, of which the second half is left to chance (`jitter`, 0 to 1) so that a fleet
/// does not come back all at once; and never less than the server asked for.
pub fn backoff(attempt: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doubled = Duration::from_millis(50 << attempt.saturating_sub(1).min(6));
    let longest = doubled.min(Duration::from_secs(2));
    longest.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0)).max(asked.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        fn connections_together_keep_the_rate(rate in 1.0..100_000.0, connections in 1_usize..100) {
            let mut due: Vec<Duration> = (0..connections)
                .filter_map(|index| Pace::new(Rate::Messages(rate), index, connections))
                .flat_map(|pace| (0..20).map(move |turn| pace.due(turn)))
                .collect();
            due.sort();
            for (place, due) in due.iter().enumerate() {
                let expected = place as f64 / rate;
                prop_assert!((due.as_secs_f64() - expected).abs() < 1e-6);
            }
        }

        #[test]
        fn a_wait_is_bounded_and_never_shorter_than_asked(
            attempt in 1_u32..1_000, asked in 0_u64..10_000, jitter in 0.0..1.0,
        ) {
            let asked = Duration::from_millis(asked);
            let wait = backoff(attempt, Some(asked), jitter);
            prop_assert!(wait >= asked);
            prop_assert!(wait <= asked.max(Duration::from_secs(2)));
            prop_assert!(backoff(attempt, None, jitter) >= Duration::from_millis(25));
        }
    }

    #[test]
    fn waits_double() {
        let waits = [1, 2, 3, 6, 7, 50].map(|attempt| backoff(attempt, None, 1.0).as_millis());
        assert_eq!(waits, [50, 100, 200, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn a_rate_is_a_number_above_nought_or_max() {
        assert_eq!("1,000".parse(), Ok(Rate::Messages(1_000.0)));
        assert_eq!("0.5".parse(), Ok(Rate::Messages(0.5)));
        assert_eq!("max".parse(), Ok(Rate::Max));
        for text in ["0", "-1", "inf", "NaN", "", "fast"] {
            assert_eq!(text.parse::<Rate>(), Err(ParseRateError), "{text}");
        }
    }

    #[test]
    fn nothing_is_due_at_a_time_when_the_rate_is_max() {
        assert_eq!(Pace::new(Rate::Max, 0, 8), None);
    }
}
