//! A histogram of durations: fixed buckets, counted without a lock.
//!
//! For the three durations that operators watch (commit, request, delivery). It deliberately
//! does not know what it measures, nor how its numbers are written out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds; what is slower lands in the last, unbounded one.
pub const BOUNDS: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Counts durations; shared by reference between threads.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

/// What a [`Histogram`] held at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Observations per bucket (not cumulative), in the order of [`BOUNDS`], the unbounded one last.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// The sum of all observations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// The counts now.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a sum of seconds for a graph")]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: std::array::from_fn(|i| self.buckets[i].load(Relaxed)),
            sum: self.sum_nanos.load(Relaxed) as f64 / 1e9,
        }
    }
}

impl Snapshot {
    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lands_in_the_first_bucket_that_is_not_below_it() {
        let histogram = Histogram::default();
        for micros in [1, 250, 251, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..2], [2, 1]);
        assert_eq!(snapshot.buckets[BOUNDS.len()], 1);
        assert_eq!(snapshot.count(), 4);
        assert!((snapshot.sum - 20.000_502).abs() < 1e-9);
    }
}
