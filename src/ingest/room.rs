//! Which connection makes room when all are taken and another one comes, or when what has come of unfinished
//! bodies takes too much memory?
//!
//! The one whose client has been waited for longest: idle between two requests, still at its headers, with a
//! body that is not whole, or with a batch that has no turn. One whose request is here never does, and that
//! is until all of the answer has been handed to the kernel. A connection has a moment at least, so that
//! its request can arrive however many others come.
//!
//! Where one network has a good part of all connections, one of these leaves before all others, and for
//! one from elsewhere without that moment: whoever opens many takes room from itself, and a device elsewhere
//! has all the time that its request needs, over a slow link too. Among themselves they have longer than a
//! moment: who is thrown out and back at once costs what a request costs. So it is with memory. It does not
//! know sockets.

mod seats;

use super::rate::Network;
use seats::{ANSWERED, BUSY, FIRST, Micros, Seat, Seats};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Waited for less than that, a connection is not asked to leave for another.
const MOMENT: Duration = Duration::from_millis(100);
/// The same for those of a crowd among themselves, where others are connected, too. The longer, the more time each
/// has for its request, and the longer one more of them waits.
const AMONG_A_CROWD: Duration = Duration::from_millis(300);

/// A network with no more connections than that, or than an eighth of all that may be open, is like all
/// others.
const FEW: usize = 8;

/// So many connections end for the memory of their bodies within each [`TICK`], at most: whoever is thrown out
/// may be back at once with as many bytes, which would cost what those who behave would have.
const ENDED: u32 = 2;
const TICK: Duration = Duration::from_millis(1);
/// After which a body that waits for others' looks again: there may be a thousand.
const AGAIN: Duration = Duration::from_millis(20);
/// A body of which no more than that has come waits for no other's, or a crowd that is always back would keep
/// it from ever being whole. Nor does one of a network that holds no more than a sixteenth of what all may.
const SMALL: usize = 4_096;
/// However many networks there are: times as much as all may hold, beyond which everybody waits.
const AT_MOST: usize = 4;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Room {
    start: Instant,
    seats: Mutex<Seats>,
    /// Connections of one network that are like all others.
    few: usize,
    numbers: AtomicU64,
    /// Bytes of bodies that are not whole, of all of them.
    held: AtomicUsize,
    /// How many there may be.
    most: usize,
    /// When a tick began, and how many have ended in it.
    pace: Mutex<(Micros, u32)>,
}

impl Room {
    /// So many connections may be open, and bodies that are not whole may hold `most` bytes together.
    pub(super) fn new(start: Instant, connections: usize, most: usize) -> Self {
        Self {
            start,
            seats: Mutex::default(),
            few: FEW.max(connections / 8),
            numbers: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            most,
            pace: Mutex::default(),
        }
    }

    /// A new connection from there, for as long as the guard lives.
    pub(super) fn enter(self: &Arc<Self>, network: Network, now: Instant) -> Seated {
        let number = self.numbers.fetch_add(1, Relaxed);
        let seat = self.seats().enter(network, number, self.micros(now));
        Seated(Guest { room: Arc::clone(self), seat })
    }

    /// The network that has the most connections, if these are a good part of all.
    pub(super) fn crowd(&self) -> Option<Network> {
        self.seats().crowd(self.few)
    }

    /// Ends the connection that leaves for one from there, and says whether it is one more; or after which
    /// time it is worth asking again.
    pub(super) fn make(&self, comes: Network, now: Instant) -> Result<bool, Duration> {
        let leaves = self.leaves(comes, now)?;
        // One that is not known yet runs in a moment, and then it will be the next to leave.
        let task = leaves.task.get().ok_or(MOMENT)?;
        task.abort();
        // Asked again before it has gone, it is the same one.
        Ok(!leaves.is_leaving.swap(true, Relaxed))
    }

    fn leaves(&self, comes: Network, now: Instant) -> Result<Arc<Seat>, Duration> {
        let now = self.micros(now);
        let mut seats = self.seats();
        let crowd = seats.crowd(self.few);
        if let Some(crowd) = crowd.filter(|crowd| *crowd != comes)
            && let Some((_, seat)) = seats.longest(Some(crowd), now)
        {
            return Ok(seat);
        }
        // One more of a crowd takes room from the crowd alone, and each of these has its time.
        let of = crowd.filter(|crowd| *crowd == comes && seats.has_others(comes));
        let time = if of.is_some() { AMONG_A_CROWD } else { MOMENT };
        let (since, seat) = seats.longest(of, now).ok_or(MOMENT)?;
        match (since + micros(time)).checked_sub(now) {
            None | Some(0) => Ok(seat),
            Some(left) => Err(Duration::from_micros(left)),
        }
    }

    /// A body that is not whole has so many bytes more; gives how many all have.
    fn hold(&self, seat: &Seat, bytes: usize) -> usize {
        seat.held.fetch_add(bytes, Relaxed);
        seat.held_there.fetch_add(bytes, Relaxed);
        self.held.fetch_add(bytes, Relaxed) + bytes
    }

    fn release(&self, seat: &Seat) {
        let held = seat.held.swap(0, Relaxed);
        seat.held_there.fetch_sub(held, Relaxed);
        self.held.fetch_sub(held, Relaxed);
    }

    /// Ends connections with unfinished bodies, those of the network first that holds the most, of these
    /// those that have been waited for longest, until the others hold no more than they may, or no more
    /// may end for now; says how many. What they hold is free in a moment, and does not count any more.
    fn unload(&self, now: Instant) -> usize {
        let now = self.micros(now);
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.0 + micros(TICK) <= now {
            *pace = (now, 0);
        }
        let seats = self.seats();
        let mut ended = 0;
        while self.held.load(Relaxed) > self.most
            && pace.1 < ENDED
            && let Some(seat) = seats.holding()
        {
            // One that is not known yet has not begun to read.
            if let Some(task) = seat.task.get() {
                task.abort();
            }
            self.release(seat);
            pace.1 += 1;
            ended += 1;
        }
        ended
    }

    /// Whether a body has to wait for what others hold.
    fn waits(&self, seat: &Seat) -> bool {
        let small =
            seat.held.load(Relaxed) <= SMALL || seat.held_there.load(Relaxed) <= self.most / 16;
        let all = self.held.load(Relaxed);
        all > self.most && (!small || all > self.most.saturating_mul(AT_MOST))
    }

    fn micros(&self, now: Instant) -> Micros {
        micros(now.duration_since(self.start))
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> Micros {
    // More than half a million years are not told apart.
    u64::try_from(time.as_micros()).map_or(u64::MAX / 2, |micros| micros.min(u64::MAX / 2))
}

/// A connection in the room, for those who serve it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    room: Arc<Room>,
    seat: Arc<Seat>,
}

impl Guest {
    /// What ends the connection.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        // It is served once.
        let _ = self.seat.task.set(task);
    }

    /// The headers of a request are complete; what else belongs to it is waited for from now on.
    pub(super) fn begin(&self, now: Instant) {
        self.waits_since(now);
    }

    fn waits_since(&self, now: Instant) {
        self.seat.state.store(FIRST + self.room.micros(now), Relaxed);
    }

    /// So many bytes more have come of a body that is not whole. Where all of them together are too many,
    /// connections end (`ended` is told how many), maybe this one; resolves when what they held is free, or at
    /// once where this body and what its network holds are small beside it.
    pub(super) async fn holds(&self, bytes: usize, ended: impl Fn(usize)) {
        let Self { room, seat } = self;
        if room.hold(seat, bytes) <= room.most {
            return;
        }
        loop {
            let connections = room.unload(Instant::now());
            if connections > 0 {
                ended(connections);
                // Each of them is gone once it has had its turn, and this one too if it is among them.
                tokio::task::yield_now().await;
            }
            if !room.waits(seat) {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Nothing is waited for: the request is whole, or is a batch that has its turn.
    pub(super) fn is_here(&self) {
        self.seat.state.store(BUSY, Relaxed);
        self.room.release(&self.seat);
    }

    /// The answer is made.
    pub(super) fn answered(&self) {
        self.seat.state.store(ANSWERED, Relaxed);
        self.room.release(&self.seat);
    }

    /// All that was written has been handed to the kernel.
    pub(super) fn flushed(&self, now: impl FnOnce() -> Instant) {
        if self.seat.state.load(Relaxed) == ANSWERED {
            self.waits_since(now());
        }
    }
}

/// A connection in the room; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Seated(Guest);

impl Seated {
    pub(super) fn guest(&self) -> Guest {
        self.0.clone()
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let Guest { room, seat } = &self.0;
        room.release(seat);
        room.seats().leave(seat);
    }
}

#[cfg(test)]
mod tests;
