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

impl Line {
    /// Whether one waits for whom no turn is given up.
    fn wants(self) -> bool {
        self.waiting > self.leaving
    }

    /// Whether a turn may end sooner than it did before: about twice as many wait, or somebody does. Not each
    /// that comes and goes is worth waking all that have a turn: there may be thousands in a second.
    fn ends_sooner_than(self, before: Self) -> bool {
        let about = |line: Self| line.waiting.next_power_of_two();
        self.wants() && (!before.wants() || about(self) > about(before))
    }
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
            let _waiting = Waiting::new(self);
            timeout(self.patience, self.free.acquire()).await.ok()?.ok()?
        };
        let is_leaving = AtomicBool::new(false);
        Some(Turn { turns: self, since: Instant::now(), is_leaving, _permit: permit })
    }

    fn change(&self, change: impl FnOnce(&mut Line)) {
        self.line.send_if_modified(|line| {
            let before = *line;
            change(line);
            line.ends_sooner_than(before)
        });
    }

    /// How long a turn lasts while so many wait: all of them have theirs within half of their patience, or
    /// within all of it where the line grew meanwhile (a turn that is not told is up to twice as long).
    fn share(&self, waiting: u32) -> Duration {
        let share = self.patience / 2 * self.at_once / (self.at_once + waiting);
        share.max(SHORTEST.min(self.patience / 2))
    }
}

/// Counted for as long as it lives.
struct Waiting<'a>(&'a Turns);

impl<'a> Waiting<'a> {
    fn new(turns: &'a Turns) -> Self {
        turns.change(|line| line.waiting += 1);
        Self(turns)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|line| line.waiting -= 1);
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
            let now = *line.borrow_and_update();
            let end = self.since + self.turns.share(now.waiting);
            if now.wants() && Instant::now() >= end {
                self.turns.change(|line| line.leaving += 1);
                self.is_leaving.store(true, Relaxed);
                return;
            }
            tokio::select! {
                () = sleep_until(end), if now.wants() => {}
                // The sender lives as long as the turn.
                _ = line.changed() => {}
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_leaving.load(Relaxed) {
            self.turns.change(|line| line.leaving -= 1);
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

    /// Fails where whoever has a turn looks at the line as it was when its turn began.
    #[tokio::test]
    async fn a_turn_ends_the_sooner_the_more_come_while_it_lasts() {
        let turns = Turns::new(1, Duration::from_secs(20));
        let turn = turns.next().await.unwrap();
        let mut waiting = vec![Waiting::new(&turns)];
        // Polled second: by then the turn has looked at the line.
        let more = async { waiting.extend((1..1_000).map(|_| Waiting::new(&turns))) };
        let ended = async { timeout(Duration::from_secs(4), turn.is_over()).await };
        let (ended, ()) = tokio::join!(ended, more);
        assert!(ended.is_ok(), "a share of two is five seconds");
    }

    #[test]
    fn only_what_ends_a_turn_sooner_is_told() {
        let line = |waiting, leaving| Line { waiting, leaving };
        for (before, now, told) in [
            (line(0, 0), line(1, 0), true),
            (line(1, 0), line(2, 0), true),
            (line(2, 0), line(3, 0), true),
            (line(3, 0), line(4, 0), false),
            (line(700, 8), line(701, 8), false),
            (line(701, 8), line(700, 8), false),
            (line(1, 1), line(1, 0), true),
            (line(1, 0), line(1, 1), false),
            (line(8, 8), line(9, 8), true),
            (line(7, 8), line(8, 8), false),
        ] {
            assert_eq!(now.ends_sooner_than(before), told, "{before:?} {now:?}");
        }
    }
}
