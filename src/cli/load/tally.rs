//! What became of the messages, and how long did the answers take?
//!
//! Pure: steps go in, lines come out; memory does not depend on how many messages there
//! were. It deliberately knows neither the clock nor the terminal.

use super::drive::Step;
use super::figures::duration;
use crate::status::words::thousands;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Answers' times in microseconds, in buckets a thirty-second of their value wide.
#[derive(Debug, Clone)]
struct Latencies {
    buckets: Vec<u64>,
    slowest: Duration,
}

impl Latencies {
    const FINE: usize = 32;

    fn new() -> Self {
        Self { buckets: vec![0; Self::FINE * 60], slowest: Duration::ZERO }
    }

    fn record(&mut self, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        // Below 32 each value has a bucket; above, each doubling has 32 of them. The
        // shift leaves five bits below the leading one, so all of it fits a usize.
        let doublings = (63 - (micros | 31).leading_zeros() as usize).saturating_sub(4);
        let step = doublings.saturating_sub(1);
        let within = usize::try_from(micros >> step).unwrap_or(usize::MAX);
        self.buckets[(step * Self::FINE + within).min(Self::FINE * 60 - 1)] += 1;
        self.slowest = self.slowest.max(waited);
    }

    /// The value that `share` (0 to 1) of all are not above, at most a thirty-second too
    /// high; `None` when there are none.
    fn quantile(&self, share: f64) -> Option<Duration> {
        let count: u64 = self.buckets.iter().sum();
        #[allow(clippy::cast_precision_loss, reason = "a rank among fewer than 2^53")]
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to count")]
        let rank = ((count as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            below += bucket;
            below >= rank
        })?;
        let step = (bucket / Self::FINE).saturating_sub(1);
        let upper = ((bucket - step * Self::FINE + 1) as u64) << step;
        Some(Duration::from_micros(upper - 1).min(self.slowest))
    }
}

/// Counts since some moment.
#[derive(Debug, Clone)]
struct Counts {
    sent: u64,
    acknowledged: u64,
    refused: BTreeMap<u16, u64>,
    unanswered: u64,
    given_up: u64,
    latencies: Latencies,
}

impl Counts {
    fn new() -> Self {
        Self {
            sent: 0,
            acknowledged: 0,
            refused: BTreeMap::new(),
            unanswered: 0,
            given_up: 0,
            latencies: Latencies::new(),
        }
    }

    fn saw(&mut self, step: Step) {
        match step {
            Step::Sending { attempt: 1 } => self.sent += 1,
            Step::Sending { .. } => {}
            Step::Acknowledged { waited } => {
                self.acknowledged += 1;
                self.latencies.record(waited);
            }
            Step::Refused { status } => *self.refused.entry(status).or_default() += 1,
            Step::Unanswered => self.unanswered += 1,
            Step::GivenUp => self.given_up += 1,
        }
    }

    /// `503: 12, no answer: 3`; empty when nothing went wrong.
    fn trouble(&self) -> String {
        let mut parts: Vec<String> = self
            .refused
            .iter()
            .map(|(status, count)| format!("{status}: {}", thousands(*count)))
            .collect();
        if self.unanswered > 0 {
            parts.push(format!("no answer: {}", thousands(self.unanswered)));
        }
        parts.join(", ")
    }
}

/// All that a load run counts.
#[derive(Debug, Clone)]
pub struct Tally {
    total: Counts,
    since_line: Counts,
}

impl Tally {
    pub fn new() -> Self {
        Self { total: Counts::new(), since_line: Counts::new() }
    }

    pub fn saw(&mut self, step: Step) {
        self.total.saw(step);
        self.since_line.saw(step);
    }

    /// Whether each message that was sent was acknowledged in the end.
    pub fn all_acknowledged(&self) -> bool {
        self.total.acknowledged == self.total.sent
    }

    /// Whether nothing was ever answered.
    pub fn silent(&self) -> bool {
        self.total.acknowledged == 0 && self.total.refused.is_empty()
    }

    /// The names of the columns of [`Tally::line`].
    pub fn header() -> &'static str {
        "    time        sent  acknowledged       p50       p99  refused"
    }

    /// What happened since the last line; `second` is the time since the start.
    pub fn line(&mut self, second: u64) -> String {
        let counts = std::mem::replace(&mut self.since_line, Counts::new());
        let quantile = |share| counts.latencies.quantile(share).map_or("-".to_owned(), duration);
        let line = format!(
            "{:>6} s  {:>10}  {:>12}  {:>8}  {:>8}  {}",
            thousands(second),
            thousands(counts.sent),
            thousands(counts.acknowledged),
            quantile(0.5),
            quantile(0.99),
            counts.trouble(),
        );
        line.trim_end().to_owned()
    }

    /// The whole run, in a few lines without a line end after the last.
    pub fn summary(&self, took: Duration) -> String {
        let total = &self.total;
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let rate = (total.acknowledged as f64 / took.as_secs_f64().max(0.001)).round() as u64;
        let mut text = format!(
            "sent {}, acknowledged {} in {:.1} s ({} a second), not acknowledged {}",
            thousands(total.sent),
            thousands(total.acknowledged),
            took.as_secs_f64(),
            thousands(rate),
            thousands(total.sent - total.acknowledged),
        );
        let trouble = total.trouble();
        if !trouble.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\nnot answered with 200: {trouble}");
        }
        if let (Some(median), Some(late)) =
            (total.latencies.quantile(0.5), total.latencies.quantile(0.99))
        {
            let _ = write!(
                text,
                "\nanswered within p50 {}, p99 {}, slowest {}",
                duration(median),
                duration(late),
                duration(total.latencies.slowest),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        #[allow(clippy::cast_sign_loss, reason = "small numbers, none negative")]
        fn a_quantile_is_at_most_a_thirty_second_too_high(
            mut micros in prop::collection::vec(0_u64..100_000_000_000, 1..300), share in 0.01_f64..1.0,
        ) {
            let mut latencies = Latencies::new();
            for value in &micros {
                latencies.record(Duration::from_micros(*value));
            }
            micros.sort_unstable();
            let rank = (micros.len() as f64 * share).ceil() as usize;
            let exact = micros[rank - 1];
            let found = latencies.quantile(share).unwrap().as_micros() as u64;
            prop_assert!(found >= exact && found <= exact + exact / 32 + 1, "{found} for {exact}");
        }
    }

    fn acknowledged(millis: u64) -> Step {
        Step::Acknowledged { waited: Duration::from_millis(millis) }
    }

    #[test]
    fn a_line_tells_of_the_time_since_the_line_before() {
        let mut tally = Tally::new();
        for _ in 0..1_500 {
            tally.saw(Step::Sending { attempt: 1 });
            tally.saw(acknowledged(2));
        }
        assert_eq!(tally.line(1), "     1 s       1,500         1,500    2.0 ms    2.0 ms");
        tally.saw(Step::Sending { attempt: 1 });
        tally.saw(Step::Refused { status: 503 });
        tally.saw(Step::Sending { attempt: 2 });
        tally.saw(Step::Unanswered);
        assert_eq!(
            tally.line(2),
            "     2 s           1             0         -         -  503: 1, no answer: 1"
        );
    }

    #[test]
    fn the_columns_stand_under_their_names() {
        let line = Tally::new().line(1);
        assert_eq!(Tally::header().find("  refused").unwrap(), line.len());
    }

    #[test]
    fn a_message_that_was_given_up_is_in_the_summary() {
        let mut tally = Tally::new();
        tally.saw(Step::Sending { attempt: 1 });
        tally.saw(acknowledged(2));
        assert!(tally.all_acknowledged());
        tally.saw(Step::Sending { attempt: 1 });
        tally.saw(Step::Refused { status: 422 });
        tally.saw(Step::GivenUp);
        assert!(!tally.all_acknowledged());
        assert_eq!(
            tally.summary(Duration::from_secs(2)),
            "sent 2, acknowledged 1 in 2.0 s (1 a second), not acknowledged 1\n\
             not answered with 200: 422: 1\n\
             answered within p50 2.0 ms, p99 2.0 ms, slowest 2.0 ms"
        );
    }
}
