//! Does each runtime still run its tasks?
//!
//! A heart is a task that notes the time once a second; one that has been silent for long says
//! that its runtime is stuck. It deliberately does not know why, nor what is done about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_secs(1);

/// The heart of one runtime.
#[derive(Debug)]
pub struct Heart {
    part: &'static str,
    since: Instant,
    /// Milliseconds after `since`.
    last: AtomicU64,
}

impl Heart {
    /// Counts as having beaten just now.
    pub fn new(part: &'static str) -> Arc<Self> {
        Arc::new(Self { part, since: Instant::now(), last: AtomicU64::new(0) })
    }

    /// Beats for as long as the runtime does.
    pub async fn beat(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.store(now, Relaxed);
        }
    }

    /// Which part is stuck, if it has been silent for longer than `limit`.
    pub fn silent(&self, limit: Duration) -> Option<String> {
        let last = Duration::from_millis(self.last.load(Relaxed));
        let silent = self.since.elapsed().saturating_sub(last);
        let part = self.part;
        (silent > limit).then(|| format!("{part} has made no progress for {} s", silent.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_is_stuck_falls_silent_and_one_that_runs_does_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let heart = Heart::new("ingest");
        let beating = heart.clone();
        runtime.spawn(heart.clone().beat());
        // Nothing runs the runtime's tasks yet.
        let limit = Duration::from_millis(20);
        while heart.silent(limit).is_none() {
            std::thread::yield_now();
        }
        assert!(heart.silent(limit).is_some_and(|says| says.starts_with("ingest has made no")));
        runtime.block_on(async {
            while beating.silent(limit).is_some() {
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(heart.silent(Duration::from_mins(1)), None);
    }
}
