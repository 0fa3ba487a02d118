//! Whose batch is read now?
//!
//! What reads a batch holds more memory than its message (a decoder's window above all), so only some are
//! read at once and the others wait. A batch comes as slowly as its client's link, or as its client
//! likes: whoever has had its turn for a while gives it up as soon as another waits, and sends the rest
//! again. The more wait, the shorter the turns, so that each has one in time. It does not know what a
//! batch is.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A turn lasts at least so long, however many wait: something of a batch is kept in it.
const SHORTEST: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    at_once: u32,
    line: watch::Sender<Line>,
    /// How long one waits, at most.
    patience: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
struct Line {
    /// How many wait for a turn.
    waiting: u32,
    /// How many turns are being given up for them.
    leaving: u32,
}

impl Turns {
    /// So many at once. Each waits for so long at most.
    pub(super) fn new(at_once: u32, patience: Duration) -> Self {
        let free = Semaphore::new(at_once as usize);
        Self { free, at_once, line: watch::Sender::default(), patience }
    }

    /// Waits for a turn; none where there is none in time.
    pub(super) async fn next(&self) -> Option<Turn<'_>> {
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            let _waiting = Waiting::new(&self.line);
            timeout(self.patience, self.free.acquire()).await.ok()?.ok()?
        };
        let is_leaving = AtomicBool::new(false);
        Some(Turn { turns: self, since: Instant::now(), is_leaving, _permit: permit })
    }

    /// How long a turn lasts while so many wait: all of them have theirs within half of their patience.
    fn share(&self, waiting: u32) -> Duration {
        let share = self.patience / 2 * self.at_once / (self.at_once + waiting);
        share.max(SHORTEST.min(self.patience / 2))
    }
}

/// Counted for as long as it lives.
struct Waiting<'a>(&'a watch::Sender<Line>);

impl<'a> Waiting<'a> {
    fn new(line: &'a watch::Sender<Line>) -> Self {
        line.send_modify(|line| line.waiting += 1);
        Self(line)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|line| line.waiting -= 1);
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    since: Instant,
    is_leaving: AtomicBool,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// Resolves when it has lasted for its share and another waits for whom no other turn is given up. To be
    /// asked once.
    pub(super) async fn is_over(&self) {
        let mut line = self.turns.line.subscribe();
        loop {
            let Line { waiting, leaving } = *line.borrow_and_update();
            let end = self.since + self.turns.share(waiting);
            if waiting > leaving && Instant::now() >= end {
                self.turns.line.send_modify(|line| line.leaving += 1);
                self.is_leaving.store(true, Relaxed);
                return;
            }
            tokio::select! {
                () = sleep_until(end), if waiting > leaving => {}
                // The sender lives as long as the turn.
                _ = line.changed() => {}
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_leaving.load(Relaxed) {
            self.turns.line.send_modify(|line| line.leaving -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn so_many_have_a_turn_and_the_next_waits_and_then_goes_without() {
        let turns = Turns::new(2, PATIENCE);
        let (first, second) = (turns.next().await, turns.next().await);
        assert!(first.is_some() && second.is_some());
        assert!(turns.next().await.is_none());
        drop(first);
        assert!(turns.next().await.is_some());
        assert_eq!(turns.line.borrow().waiting, 0);
    }

    #[tokio::test]
    async fn a_turn_goes_on_until_another_waits_for_it() {
        let turns = Turns::new(1, PATIENCE);
        let turn = turns.next().await.unwrap();
        assert!(timeout(PATIENCE, turn.is_over()).await.is_err(), "nobody waits");
        let (next, ()) = tokio::join!(turns.next(), async {
            turn.is_over().await;
            drop(turn);
        });
        assert!(next.is_some());
    }

    /// Fails where one that waits ends all turns that have lasted long enough.
    #[tokio::test]
    async fn for_each_that_waits_one_turn_is_given_up() {
        let turns = Turns::new(3, PATIENCE);
        let had = [turns.next().await, turns.next().await, turns.next().await];
        let mut had: Vec<_> = had.into_iter().flatten().collect();
        tokio::time::sleep(PATIENCE).await;
        let next = turns.next();
        let given_up = async {
            had[0].is_over().await;
            let others = timeout(PATIENCE / 4, had[1].is_over()).await;
            had.remove(0);
            others
        };
        let (next, others) = tokio::join!(next, given_up);
        assert!(next.is_some() && others.is_err());
        assert_eq!(turns.line.borrow().leaving, 0);
    }

    #[test]
    fn the_more_wait_the_shorter_a_turn_so_that_each_has_one_in_time() {
        let turns = Turns::new(8, Duration::from_secs(30));
        for waiting in [0, 1, 8, 100, 1_000] {
            let before_the_last = turns.share(waiting) * u32::div_ceil(waiting, 8);
            assert!(
                before_the_last <= Duration::from_secs(15),
                "{waiting} wait: {before_the_last:?}"
            );
        }
        assert_eq!(turns.share(0), Duration::from_secs(15));
        assert_eq!(turns.share(100_000), SHORTEST);
    }
}
