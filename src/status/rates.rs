//! How fast, and for how long still: estimates from counters that are read about once a second.
//!
//! Pure: the time is handed in, from a clock that never runs backwards. Every estimate is finite
//! and never negative, whatever is fed. It does not know where the counters come from.

use crate::record::Millis;
use std::collections::VecDeque;
use std::time::Duration;

/// Rates are smoothed over this long.
const SMOOTHED_OVER: Duration = Duration::from_secs(10);
/// The disk's growth is looked at over this long: segments come and go whole, so a shorter
/// look would see steps.
const GROWTH_OVER: Duration = Duration::from_mins(2);
/// Less than this says nothing about growth.
const GROWTH_AT_LEAST: Duration = Duration::from_secs(30);
/// The backlog grows when more than one in so many of the records that come stays. Fewer are
/// noise: what is in flight, and a batch more or less of it at the moment of a sample.
const STAYS: u64 = 20;
/// At most this many samples are kept, however often they are fed.
const SAMPLES: usize = 150;
/// An estimate beyond this is as good as never: ten years.
const NEVER: f64 = 10.0 * 365.25 * 86_400.0;
const DAY: f64 = 86_400.0;
/// A pace measured over less than this is not stretched to a day.
const PACE_AT_LEAST: f64 = 60.0;

/// What is counted at one moment. The counters never fall while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Records accepted.
    pub accepted: u64,
    /// Records delivered.
    pub delivered: u64,
    /// Records waiting now.
    pub backlog: u64,
    /// Bytes of the spool on disk now.
    pub disk_bytes: u64,
    /// Their limit.
    pub max_bytes: u64,
    /// Bytes that the file system can still take.
    pub free_bytes: u64,
    /// Syncs of commits since the process started.
    pub syncs: u64,
    /// Bytes sent to the medium since the process started.
    pub bytes_written: u64,
    /// Whether new records are refused at this moment.
    pub refusing: bool,
}

/// What follows from the counters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimates {
    /// Records accepted a second.
    pub accepted_per_second: f64,
    /// Records delivered a second.
    pub delivered_per_second: f64,
    /// Until the spool or its file system is full; `None` while the backlog does not grow (a
    /// segment's file grows until it is rotated even when each of its records is delivered at
    /// once), while records are refused, and until that has been looked at for half a minute.
    pub full_in_seconds: Option<f64>,
    /// Until the backlog is delivered; `None` while there is none or it does not shrink.
    pub drain_eta_seconds: Option<f64>,
    pub syncs_per_day: u64,
    pub bytes_written_per_day: u64,
}

/// The counters of the last minutes.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// Oldest first; the time is that since the process started.
    samples: VecDeque<(Duration, Counters)>,
}

impl Rates {
    /// Takes the counters as they stand `at` this long after the process started. A time that
    /// is not later than the last one is ignored.
    pub fn feed(&mut self, at: Duration, counters: Counters) {
        if self.samples.back().is_some_and(|(last, _)| at <= *last) {
            return;
        }
        self.samples.push_back((at, counters));
        // One sample older than the window stays, so that the window is always covered.
        while self.samples.len() > SAMPLES
            || self
                .samples
                .get(1)
                .is_some_and(|(second, _)| at.saturating_sub(*second) >= GROWTH_OVER)
        {
            self.samples.pop_front();
        }
    }

    /// The estimates as of the last counters fed.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "estimates")]
    pub fn estimates(&self) -> Estimates {
        let Some((at, now)) = self.samples.back() else { return Estimates::default() };
        let pace = at.as_secs_f64().max(PACE_AT_LEAST);
        let mut estimates = Estimates {
            syncs_per_day: whole(now.syncs as f64 / pace * DAY),
            bytes_written_per_day: whole(now.bytes_written as f64 / pace * DAY),
            ..Estimates::default()
        };
        if let Some((seconds, then)) = self.before(SMOOTHED_OVER) {
            let a_second =
                |later: u64, earlier: u64| later.saturating_sub(earlier) as f64 / seconds;
            estimates.accepted_per_second = a_second(now.accepted, then.accepted);
            estimates.delivered_per_second = a_second(now.delivered, then.delivered);
            let shrinks = estimates.delivered_per_second - estimates.accepted_per_second;
            if now.backlog > 0 && shrinks > 0.0 {
                estimates.drain_eta_seconds = foreseeable(now.backlog as f64 / shrinks);
            }
        }
        if !now.refusing
            && let Some(growth) = self.growth()
        {
            let room = now.max_bytes.saturating_sub(now.disk_bytes).min(now.free_bytes);
            estimates.full_in_seconds = foreseeable(room as f64 / growth);
        }
        estimates
    }

    /// By how many bytes a second the spool grows, more than 0; nothing unless both the backlog
    /// and its bytes grew in the first half of the window and in the second: one step is no
    /// growth.
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    fn growth(&self) -> Option<f64> {
        let (_, now) = self.samples.back()?;
        let (seconds, then) = self.before(GROWTH_OVER)?;
        let (_, between) = self.before(Duration::from_secs_f64(seconds / 2.0))?;
        let grew = grew(then, between) && grew(between, now);
        (grew && seconds >= GROWTH_AT_LEAST.as_secs_f64())
            .then(|| (now.disk_bytes - then.disk_bytes) as f64 / seconds)
    }

    /// The newest counters that are at least `window` older than the last ones, or the oldest
    /// there are; and how many seconds lie between, more than 0.
    fn before(&self, window: Duration) -> Option<(f64, &Counters)> {
        let (at, _) = self.samples.back()?;
        let (then, counters) = self
            .samples
            .iter()
            .rev()
            .skip(1)
            .find(|(then, _)| at.saturating_sub(*then) >= window)
            .or_else(|| self.samples.front())?;
        let seconds = at.saturating_sub(*then).as_secs_f64();
        (seconds > 0.0).then_some((seconds, counters))
    }
}

/// Whether records stayed between the two, beyond noise, and took more of the disk.
fn grew(earlier: &Counters, later: &Counters) -> bool {
    let stayed = later.backlog.saturating_sub(earlier.backlog);
    let came = later.accepted.saturating_sub(earlier.accepted);
    stayed > came / STAYS && later.disk_bytes > earlier.disk_bytes
}

/// How long ago `then` was by the wall clock. A clock that was set back since makes it 0.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
pub fn age_seconds(now: Millis, then: Millis) -> f64 {
    now.0.saturating_sub(then.0).max(0) as f64 / 1000.0
}

fn foreseeable(seconds: f64) -> Option<f64> {
    (seconds < NEVER).then_some(seconds)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests;
