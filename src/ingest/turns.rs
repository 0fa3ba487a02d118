//! Whose batch is read now?
//!
//! What reads a batch holds more memory than its message (a decoder's window above all), so only some are
//! read at once and the others wait. A batch comes as slowly as its client's link, or as its client
//! likes: whoever has had its turn for a while gives it up as soon as another waits, and sends the rest
//! again. It does not know what a batch is.

use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    free: Semaphore,
    /// How many wait for a turn.
    waiting: watch::Sender<usize>,
    /// How long one waits, at most.
    patience: Duration,
}

impl Turns {
    /// So many at once. Each waits for so long at most, and has its turn for half of that at least.
    pub(super) fn new(at_once: usize, patience: Duration) -> Self {
        Self { free: Semaphore::new(at_once), waiting: watch::Sender::new(0), patience }
    }

    /// Waits for a turn; none where there is none in time.
    pub(super) async fn next(&self) -> Option<Turn<'_>> {
        let permit = if let Ok(permit) = self.free.try_acquire() {
            permit
        } else {
            let _waiting = Waiting::new(&self.waiting);
            timeout(self.patience, self.free.acquire()).await.ok()?.ok()?
        };
        Some(Turn { turns: self, until: Instant::now() + self.patience / 2, _permit: permit })
    }
}

/// Counted for as long as it lives.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    until: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Turn<'_> {
    /// Resolves when it has lasted long enough and another waits for one.
    pub(super) async fn is_over(&self) {
        sleep_until(self.until).await;
        // The sender lives as long as the turn.
        let _ = self.turns.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
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
        assert_eq!(*turns.waiting.borrow(), 0);
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

    #[tokio::test]
    async fn however_many_wait_a_turn_lasts_for_its_share() {
        let turns = Turns::new(1, PATIENCE);
        let start = Instant::now();
        let turn = turns.next().await.unwrap();
        tokio::join!(turns.next(), async {
            turn.is_over().await;
            drop(turn);
        });
        assert!(start.elapsed() >= PATIENCE / 2);
    }
}
