//! Which connection makes room when all are taken and another one comes, or when what has come of unfinished
//! bodies takes too much memory?
//!
//! The one whose client has been waited for longest: idle between two requests, still at its headers, with a
//! body that is not whole, or with a batch that has no turn. One whose request is here never does, and that
//! is until all of the answer has been handed to the kernel. A connection has a moment at least, so that
//! its request can arrive however many others come. It does not know sockets.
//!
//! What a request costs here is some stores: the order is put right when it is asked for.

use super::rate::Network;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Waited for less than that, a connection is not asked to leave for another.
const MOMENT: Duration = Duration::from_millis(100);

/// A network with no more connections than that is like all others.
const FEW: usize = 8;

/// So many connections end for the memory of their bodies within each [`TICK`], at most: whoever is thrown out
/// may be back at once with as many bytes, which would cost what those who behave would have.
const ENDED: u32 = 2;
const TICK: Duration = Duration::from_millis(1);
/// After which a body that waits for others' looks again: there may be a thousand.
const AGAIN: Duration = Duration::from_millis(20);
/// A body of which no more than that has come waits for no other's, or a crowd that is always back would keep
/// it from ever being whole.
const SMALL: usize = 4_096;

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Room {
    start: Instant,
    seats: Mutex<Seats>,
    numbers: AtomicU64,
    /// Bytes of bodies that are not whole, of all of them.
    held: AtomicUsize,
    /// How many there may be.
    most: usize,
    /// When a tick began, and how many have ended in it.
    pace: Mutex<(Micros, u32)>,
}

#[derive(Debug, Default)]
struct Seats {
    /// Each has one entry: since when its client is waited for, as far as is known. It is never later
    /// than what is so.
    order: BTreeMap<(Micros, u64), Arc<Seat>>,
    /// How many there are of each network.
    counts: HashMap<Network, usize>,
}

/// Since the start of the room.
type Micros = u64;

/// What is known of one connection.
#[derive(Debug)]
struct Seat {
    start: Instant,
    network: Network,
    /// Tells those of the same time apart.
    number: u64,
    /// Where its entry is; changed under the room's lock.
    entry: AtomicU64,
    /// [`BUSY`], [`ANSWERED`], or [`FIRST`] and since when its client is waited for.
    state: AtomicU64,
    /// Bytes that have come of a body that is not whole.
    held: AtomicUsize,
    is_leaving: AtomicBool,
    task: OnceLock<AbortHandle>,
}

/// A request is here, and has no answer yet.
const BUSY: u64 = 0;
/// Its answer is made, and is being handed to the kernel.
const ANSWERED: u64 = 1;
const FIRST: u64 = 2;

impl Seat {
    fn waits_since(&self, now: Instant) {
        self.state.store(FIRST + micros(now.duration_since(self.start)), Relaxed);
    }

    /// Since when its client is waited for, if it is.
    fn waited_since(&self) -> Option<Micros> {
        self.state.load(Relaxed).checked_sub(FIRST)
    }
}

impl Seats {
    fn insert(&mut self, seat: Arc<Seat>) {
        *self.counts.entry(seat.network).or_default() += 1;
        self.order.insert((seat.entry.load(Relaxed), seat.number), seat);
    }

    fn remove(&mut self, seat: &Seat) {
        self.order.remove(&(seat.entry.load(Relaxed), seat.number));
        if let Some(count) = self.counts.get_mut(&seat.network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&seat.network);
            }
        }
    }

    /// The network with the most connections, more than a few.
    fn crowd(&self) -> Option<Network> {
        let (network, count) = self.counts.iter().max_by_key(|(_, count)| **count)?;
        (*count > FEW).then_some(*network)
    }

    /// Of those that are wanted the one whose client has been waited for longest, and since when.
    fn longest(
        &mut self,
        now: Micros,
        wanted: impl Fn(&Seat) -> bool,
    ) -> Option<(Micros, Arc<Seat>)> {
        let mut from = (0, 0);
        while let Some((key, seat)) = self.order.range(from..).next() {
            let ((known, number), since) = (*key, seat.waited_since());
            if since == Some(known) {
                if wanted(seat) {
                    return Some((known, Arc::clone(seat)));
                }
                from = (known, number + 1);
                continue;
            }
            // One whose request is here will not be free before now.
            if since.is_none() && known >= now {
                break;
            }
            // It may be in a wrong place once, and is put into the right one.
            from = (known, number);
            if let Some(seat) = self.order.remove(&from) {
                let entry = since.unwrap_or(now);
                seat.entry.store(entry, Relaxed);
                self.order.insert((entry, number), seat);
            }
        }
        None
    }
}

fn micros(time: Duration) -> Micros {
    // More than half a million years are not told apart.
    u64::try_from(time.as_micros()).map_or(u64::MAX / 2, |micros| micros.min(u64::MAX / 2))
}

impl Room {
    /// Bodies that are not whole may hold `most` bytes together.
    pub(super) fn new(start: Instant, most: usize) -> Self {
        let (numbers, held) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { start, seats: Mutex::default(), numbers, held, most, pace: Mutex::new((0, 0)) }
    }

    /// A new connection from there, for as long as the guard lives.
    pub(super) fn enter(self: &Arc<Self>, network: Network, now: Instant) -> Seated {
        let number = self.numbers.fetch_add(1, Relaxed);
        let since = micros(now.duration_since(self.start));
        let seat = Arc::new(Seat {
            start: self.start,
            network,
            number,
            entry: AtomicU64::new(since),
            state: AtomicU64::new(FIRST + since),
            held: AtomicUsize::new(0),
            is_leaving: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        self.seats().insert(Arc::clone(&seat));
        Seated(Guest { room: Arc::clone(self), seat })
    }

    /// The network that has the most connections, if these are more than a few.
    pub(super) fn crowd(&self) -> Option<Network> {
        self.seats().crowd()
    }

    /// Ends the connection that leaves for one from there; or says after which time it is worth asking
    /// again.
    pub(super) fn make(&self, comes: Network, now: Instant) -> Result<(), Duration> {
        let leaves = self.leaves(comes, now)?;
        // One that is not known yet runs in a moment, and then it will be the next to leave.
        let task = leaves.task.get().ok_or(MOMENT)?;
        task.abort();
        Ok(())
    }

    fn leaves(&self, comes: Network, now: Instant) -> Result<Arc<Seat>, Duration> {
        let now = micros(now.duration_since(self.start));
        let mut seats = self.seats();
        if let Some(crowd) = seats.crowd()
            // Where there is, or comes, another one.
            && (seats.counts.len() > 1 || crowd != comes)
            && let Some((_, seat)) = seats.longest(now, |seat| seat.network == crowd)
        {
            return Ok(seat);
        }
        let (since, seat) = seats.longest(now, |_| true).ok_or(MOMENT)?;
        match (since + micros(MOMENT)).checked_sub(now) {
            None | Some(0) => Ok(seat),
            Some(left) => Err(Duration::from_micros(left)),
        }
    }

    /// Ends connections with unfinished bodies, those of the network first that holds the most, of these
    /// those that have been waited for longest, until the others hold no more than they may, or no more
    /// may end for now; says how many.
    fn unload(&self, now: Instant) -> usize {
        let now = micros(now.duration_since(self.start));
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.0 + micros(TICK) <= now {
            *pace = (now, 0);
        } else if pace.1 >= ENDED {
            return 0;
        }
        let seats = self.seats();
        let held = |seat: &Seat| seat.held.load(Relaxed);
        // What those that are leaving hold goes with them, in a moment.
        let holds = |seat: &&Arc<Seat>| held(seat) > 0 && !seat.is_leaving.load(Relaxed);
        let mut holding: Vec<_> = seats.order.values().filter(holds).collect();
        let mut networks = HashMap::<_, usize>::new();
        for seat in &holding {
            *networks.entry(seat.network).or_default() += held(seat);
        }
        let (mut all, mut ended) = (networks.values().sum::<usize>(), 0);
        while all > self.most && pace.1 < ENDED {
            let Some((most, of_it)) = networks.iter_mut().max_by_key(|(_, held)| **held) else {
                break;
            };
            let of_most = holding.iter().enumerate().filter(|(_, seat)| seat.network == *most);
            let first = of_most.min_by_key(|(_, seat)| (seat.waited_since(), seat.number));
            let Some((at, _)) = first else { break };
            let seat = holding.swap_remove(at);
            all -= held(seat);
            *of_it -= held(seat);
            // One that is not known yet has not begun to read.
            let Some(task) = seat.task.get() else { continue };
            task.abort();
            seat.is_leaving.store(true, Relaxed);
            pace.1 += 1;
            ended += 1;
        }
        ended
    }

    fn release(&self, seat: &Seat) {
        if seat.held.load(Relaxed) > 0 {
            self.held.fetch_sub(seat.held.swap(0, Relaxed), Relaxed);
        }
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        self.seat.waits_since(now);
    }

    /// So many bytes more have come of a body that is not whole. Where all of them together are too many,
    /// connections end (`ended` is told how many), maybe this one; resolves when what they held is free, or at
    /// once where this body is small.
    pub(super) async fn holds(&self, bytes: usize, ended: impl Fn(usize)) {
        let Self { room, seat } = self;
        let of_this = seat.held.fetch_add(bytes, Relaxed) + bytes;
        if room.held.fetch_add(bytes, Relaxed) + bytes <= room.most {
            return;
        }
        while room.held.load(Relaxed) > room.most {
            ended(room.unload(Instant::now()));
            if of_this <= SMALL {
                return;
            }
            // Each of them is gone once it has had its turn, and this one too if it is among them.
            tokio::task::yield_now().await;
            if room.held.load(Relaxed) > room.most {
                tokio::time::sleep(AGAIN).await;
            }
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
            self.seat.waits_since(now());
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
        room.seats().remove(seat);
    }
}

#[cfg(test)]
mod tests;
