//! How much of the time does the repacker work?
//!
//! Little, so that nobody notices it; and none of it in one piece: after each step it pauses for as
//! long as that step has earned. It deliberately does not know what a step is.

use super::rewrite::Stopped;
use crate::spool::mutex::lock;
use crate::spool::shared::Shared;
use std::time::{Duration, Instant};

/// Pause for each unit of work once much waits, at most. Measured beside commits of 20 records:
/// working a fifth of the time made their 99th percentile a third longer, a tenth of it a fifth
/// longer, a fortieth of it a tenth. A tenth is more than what such commits need at 50,000
/// records/s.
const HURRIED: u32 = 9;
/// Pause for the time that passed with it, at most: waiting for the disk, or for a processor that
/// others have, is not work, and keeps others from the disk all the same.
const WAITED: u32 = 4;
/// Sees to it that most of the time is a pause, however slow the disk is: a close rings.
pub struct Pacer<'a> {
    shared: &'a Shared,
    pause: u32,
    /// The step's beginning, and what this thread had worked by then.
    since: Instant,
    worked: Duration,
}

impl<'a> Pacer<'a> {
    /// The first step begins.
    pub fn begin(shared: &'a Shared, much_waits: bool) -> Self {
        let pause = pause(shared.config.repack_pause, much_waits);
        let since = Instant::now();
        *lock(&shared.repack_step) = Some(since);
        Self { shared, pause, since, worked: worked() }
    }

    /// A step is over: pauses, and begins the next one.
    pub fn step(&mut self) -> Result<(), Stopped> {
        *lock(&self.shared.repack_step) = None;
        let work = worked().saturating_sub(self.worked);
        let pause = pause_after(self.pause, work, self.since.elapsed());
        let closing = self.shared.repacking.rung_within(pause);
        (self.since, self.worked) = (Instant::now(), worked());
        *lock(&self.shared.repack_step) = Some(self.since);
        if closing { Err(Stopped::Closing) } else { Ok(()) }
    }
}

/// The pause for each unit of work.
fn pause(usual: u32, much_waits: bool) -> u32 {
    if much_waits { usual.min(HURRIED) } else { usual }
}

/// How long a pause is after so much work, in so much time.
fn pause_after(pause: u32, work: Duration, time: Duration) -> Duration {
    work.saturating_mul(pause).max(time.saturating_mul(pause.min(WAITED)))
}

/// What this thread has worked since it began.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::repack::tests::{config, shared};
    use crate::spool::{self, Config};

    /// Fails when a pause has a longest, when waiting counts as work (beside others who have the
    /// processor it would never come to an end), and when it does not count at all.
    #[test]
    fn it_takes_a_fiftieth_of_a_processor_or_a_tenth_while_much_waits_and_a_fifth_of_the_time() {
        let usual = Config::new("/").repack_pause;
        let [usual, hurried] = [false, true].map(|much_waits| pause(usual, much_waits));
        let seconds = |work, time| {
            let [work, time] = [work, time].map(Duration::from_secs);
            [usual, hurried].map(|pause| pause_after(pause, work, time).as_secs())
        };
        assert_eq!(seconds(1, 1), [49, 9]);
        assert_eq!(seconds(1, 5), [49, 20]);
        assert_eq!(seconds(0, 1_000), [4_000, 4_000]);
    }

    /// Fails when [`Pacer::step`] does not count what this thread works.
    #[test]
    fn a_step_that_works_is_paid_for() {
        let root = tempfile::tempdir().unwrap();
        let config = Config { min_free: 0, repack_pause: 20, ..Config::new(root.path()) };
        let spool = spool::open(config).unwrap();
        let mut pacer = Pacer::begin(shared(&spool), false);
        let enough = worked() + Duration::from_millis(10);
        while worked() < enough {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        pacer.step().unwrap();
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    /// Fails when [`Pacer::step`] does not take the time back that it pauses.
    #[test]
    fn a_repacker_that_pauses_is_not_stuck() {
        let root = tempfile::tempdir().unwrap();
        let spool = spool::open(config(root.path())).unwrap();
        let shared = shared(&spool);
        let since = Instant::now();
        *lock(&shared.repack_step) = Some(since);
        std::thread::scope(|threads| {
            let since = since.checked_sub(Duration::from_secs(5)).unwrap();
            let mut pacer = Pacer { shared, pause: 49, since, worked: Duration::ZERO };
            let pausing = threads.spawn(move || pacer.step());
            while lock(&shared.repack_step).is_some() {
                assert!(!pausing.is_finished(), "it has paused and passed for busy");
                std::thread::yield_now();
            }
            shared.repacking.ring();
            assert!(matches!(pausing.join().unwrap(), Err(Stopped::Closing)));
        });
    }
}
