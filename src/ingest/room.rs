//! Which connection makes room when all are taken and another one comes?
//!
//! The one that has been without a request for longest: idle between two, or still at its headers. One
//! with a request under way never does, and that is from the end of its headers until all of the
//! answer has been handed to the kernel. A connection has a moment at least, so that its request can
//! arrive however many others come. It does not know sockets.
//!
//! What a request costs here is two stores: the order is put right when it is asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Without a request for a shorter time, a connection is not asked to leave.
const MOMENT: Duration = Duration::from_millis(100);

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Room {
    start: Instant,
    /// Each has one entry: since when it has been without a request, as far as is known. It is never later
    /// than what is so.
    seats: Mutex<BTreeMap<(Micros, u64), Arc<Seat>>>,
    numbers: AtomicU64,
}

/// Since the start of the room.
type Micros = u64;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    start: Instant,
    /// Tells those of the same time apart.
    number: u64,
    /// Where its entry is; changed under the room's lock.
    entry: AtomicU64,
    /// [`BUSY`], [`ANSWERED`], or [`FIRST`] and since when it has been without a request.
    state: AtomicU64,
    task: OnceLock<AbortHandle>,
}

/// A request is under way.
const BUSY: u64 = 0;
/// Its answer is made, and is being handed to the kernel.
const ANSWERED: u64 = 1;
const FIRST: u64 = 2;

impl Seat {
    /// The headers of a request are complete.
    pub(super) fn begin(&self) {
        self.state.store(BUSY, Relaxed);
    }

    /// Its answer is made.
    pub(super) fn answered(&self) {
        self.state.store(ANSWERED, Relaxed);
    }

    /// All that was written has been handed to the kernel.
    pub(super) fn flushed(&self, now: impl FnOnce() -> Instant) {
        if self.state.load(Relaxed) == ANSWERED {
            self.state.store(FIRST + micros(now().duration_since(self.start)), Relaxed);
        }
    }

    /// Since when it has been without a request, if it is.
    fn idle_since(&self) -> Option<Micros> {
        self.state.load(Relaxed).checked_sub(FIRST)
    }
}

fn micros(time: Duration) -> Micros {
    // More than half a million years are not told apart.
    u64::try_from(time.as_micros()).map_or(u64::MAX / 2, |micros| micros.min(u64::MAX / 2))
}

impl Room {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, seats: Mutex::default(), numbers: AtomicU64::new(0) }
    }

    /// A new connection, for as long as the guard lives.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Seated {
        let number = self.numbers.fetch_add(1, Relaxed);
        let since = micros(now.duration_since(self.start));
        let seat = Arc::new(Seat {
            start: self.start,
            number,
            entry: AtomicU64::new(since),
            state: AtomicU64::new(FIRST + since),
            task: OnceLock::new(),
        });
        self.seats().insert((since, number), Arc::clone(&seat));
        Seated { room: Arc::clone(self), seat }
    }

    /// Ends the connection that has been without a request for longest; or says after which time it is
    /// worth asking again.
    pub(super) fn make(&self, now: Instant) -> Result<(), Duration> {
        let leaves = self.longest(now)?;
        // One that is not known yet runs in a moment, and then it will be the next to leave.
        let task = leaves.task.get().ok_or(MOMENT)?;
        task.abort();
        Ok(())
    }

    fn longest(&self, now: Instant) -> Result<Arc<Seat>, Duration> {
        let now = micros(now.duration_since(self.start));
        let moment = micros(MOMENT);
        let mut seats = self.seats();
        // Each may be in a wrong place once, and is put into the right one.
        for _ in 0..=seats.len() {
            let Some(first) = seats.first_entry() else { break };
            let known = first.key().0;
            // One with a request under way will not be free before now.
            let since = first.get().idle_since();
            match since {
                Some(since) if since == known && since + moment <= now => {
                    return Ok(Arc::clone(first.get()));
                }
                Some(since) if since == known => {
                    return Err(Duration::from_micros(since + moment - now));
                }
                None if known >= now => break,
                _ => {}
            }
            let seat = first.remove();
            let entry = since.unwrap_or(now);
            seat.entry.store(entry, Relaxed);
            seats.insert((entry, seat.number), seat);
        }
        Err(MOMENT)
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<(Micros, u64), Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in the room; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Seated {
    room: Arc<Room>,
    seat: Arc<Seat>,
}

impl Seated {
    pub(super) fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }
}

impl Seat {
    /// What ends the connection.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        // It is served once.
        let _ = self.task.set(task);
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut seats = self.room.seats();
        seats.remove(&(self.seat.entry.load(Relaxed), self.seat.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A room, and the time so many milliseconds after its start.
    fn room() -> (Arc<Room>, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Arc::new(Room::new(start)), move |millis| start + Duration::from_millis(millis))
    }

    /// The number of the connection that would leave.
    fn leaves(room: &Room, now: Instant) -> Result<u64, Duration> {
        room.longest(now).map(|seat| seat.number)
    }

    #[test]
    fn who_has_been_without_a_request_for_longest_leaves() {
        let (room, at) = room();
        let seats: Vec<_> = (0..3).map(|number| room.enter(at(number))).collect();
        assert_eq!(leaves(&room, at(1_000)), Ok(0));
        seats[0].seat.begin();
        seats[0].seat.answered();
        seats[0].seat.flushed(|| at(500));
        assert_eq!(leaves(&room, at(1_000)), Ok(1));
        drop(seats);
        assert!(room.seats().is_empty());
    }

    #[test]
    fn who_has_a_request_under_way_stays() {
        let (room, at) = room();
        let (first, second) = (room.enter(at(0)), room.enter(at(1)));
        first.seat.begin();
        // What is written before the answer does not end the request.
        first.seat.flushed(|| at(2));
        second.seat.begin();
        second.seat.answered();
        assert_eq!(leaves(&room, at(1_000)), Err(MOMENT));
        second.seat.flushed(|| at(1_000));
        assert_eq!(leaves(&room, at(2_000)), Ok(1));
    }

    #[test]
    fn a_connection_has_a_moment_for_its_request() {
        let (room, at) = room();
        let _first = room.enter(at(0));
        assert_eq!(leaves(&room, at(40)), Err(Duration::from_millis(60)));
        assert_eq!(leaves(&room, at(100)), Ok(0));
    }

    #[tokio::test]
    async fn the_connection_that_leaves_is_ended_and_gone() {
        let (room, at) = room();
        assert_eq!(room.make(at(1_000)), Err(MOMENT), "nobody is there");
        let seated = room.enter(at(0));
        let seat = seated.seat();
        let task = tokio::spawn(async move {
            let _seated = seated;
            std::future::pending::<()>().await;
        });
        seat.is_served_by(task.abort_handle());
        assert_eq!(room.make(at(1_000)), Ok(()));
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(room.seats().is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Enter,
        Leave(prop::sample::Index),
        Begin(prop::sample::Index),
        End(prop::sample::Index),
        Ask,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Enter),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            3 => any::<prop::sample::Index>().prop_map(Step::Begin),
            3 => any::<prop::sample::Index>().prop_map(Step::End),
            2 => Just(Step::Ask),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_the_one_that_a_look_at_all_of_them_finds(
            steps in prop::collection::vec(step(), 0..100)
        ) {
            let (room, at) = room();
            // Each with since when it has been without a request.
            let mut all: Vec<(Seated, Option<u64>)> = Vec::new();
            for (millis, step) in (0_u64..).map(|step| step * 30).zip(steps) {
                match step {
                    Step::Enter => all.push((room.enter(at(millis)), Some(millis))),
                    Step::Leave(place) if !all.is_empty() => drop(all.remove(place.index(all.len()))),
                    Step::Begin(place) if !all.is_empty() => {
                        let (seated, since) = place.get_mut(&mut all);
                        seated.seat.begin();
                        *since = None;
                    }
                    Step::End(place) if !all.is_empty() => {
                        let (seated, since) = place.get_mut(&mut all);
                        seated.seat.answered();
                        seated.seat.flushed(|| at(millis));
                        *since = Some(millis);
                    }
                    _ => {
                        let idle = all.iter().filter_map(|(seated, since)| {
                            since.map(|since| (since, seated.seat.number))
                        });
                        let expected = match idle.min() {
                            Some((since, number)) if since + 100 <= millis => Ok(number),
                            Some((since, _)) => Err(Duration::from_millis(since + 100 - millis)),
                            None => Err(MOMENT),
                        };
                        prop_assert_eq!(leaves(&room, at(millis)), expected);
                        prop_assert_eq!(room.seats().len(), all.len());
                    }
                }
            }
        }
    }
}
