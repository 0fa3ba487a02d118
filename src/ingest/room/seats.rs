//! The connections by how long their clients have been waited for: all of them, and those of each network.
//!
//! What a request costs is some stores in its [`Seat`]: an order is put right when it is asked for. There is
//! no clock here, and nothing ends.

use crate::ingest::rate::Network;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use tokio::task::AbortHandle;

/// Since the start of the room.
pub type Micros = u64;

/// A request is here, and has no answer yet.
pub const BUSY: u64 = 0;
/// Its answer is made, and is being handed to the kernel.
pub const ANSWERED: u64 = 1;
/// From here on: since when its client is waited for.
pub const FIRST: u64 = 2;

/// What is known of one connection.
#[derive(Debug)]
pub struct Seat {
    pub network: Network,
    /// Tells those of the same time apart.
    pub number: u64,
    /// [`BUSY`], [`ANSWERED`], or [`FIRST`] and since when its client is waited for.
    pub state: AtomicU64,
    /// Bytes that have come of a body that is not whole.
    pub held: AtomicUsize,
    /// The same of all of its network.
    pub held_there: Arc<AtomicUsize>,
    /// It was ended to make room, and is about to go.
    pub is_leaving: AtomicBool,
    /// What ends it.
    pub task: OnceLock<AbortHandle>,
    /// Where its entries are, among [`ALL`] and among those [`THERE`].
    entries: [AtomicU64; 2],
}

const ALL: usize = 0;
const THERE: usize = 1;

impl Seat {
    /// Since when its client is waited for, if it is.
    pub fn waited_since(&self) -> Option<Micros> {
        self.state.load(Relaxed).checked_sub(FIRST)
    }
}

/// Connections, each with one entry: since when its client is waited for, as far as is known. It is never
/// later than what is so.
#[derive(Debug)]
struct Order {
    which: usize,
    entries: BTreeMap<(Micros, u64), Arc<Seat>>,
}

impl Order {
    fn new(which: usize) -> Self {
        Self { which, entries: BTreeMap::new() }
    }

    fn insert(&mut self, seat: Arc<Seat>) {
        self.entries.insert((seat.entries[self.which].load(Relaxed), seat.number), seat);
    }

    fn remove(&mut self, seat: &Seat) {
        self.entries.remove(&(seat.entries[self.which].load(Relaxed), seat.number));
    }

    /// The one whose client has been waited for longest, and since when.
    fn longest(&mut self, now: Micros) -> Option<(Micros, Arc<Seat>)> {
        // Each may be in a wrong place once, and is put into the right one.
        for _ in 0..=self.entries.len() {
            let first = self.entries.first_entry()?;
            let (known, since) = (first.key().0, first.get().waited_since());
            match since {
                Some(since) if since == known => return Some((since, Arc::clone(first.get()))),
                // One whose request is here will not be free before now.
                None if known >= now => return None,
                _ => {
                    let seat = first.remove();
                    seat.entries[self.which].store(since.unwrap_or(now), Relaxed);
                    self.insert(seat);
                }
            }
        }
        None
    }
}

/// The connections of one network.
#[derive(Debug)]
struct There {
    order: Order,
    held: Arc<AtomicUsize>,
}

/// All connections.
#[derive(Debug)]
pub struct Seats {
    all: Order,
    networks: HashMap<Network, There>,
    /// How many there are of each network.
    sizes: BTreeSet<(usize, Network)>,
}

impl Default for Seats {
    fn default() -> Self {
        Self { all: Order::new(ALL), networks: HashMap::new(), sizes: BTreeSet::new() }
    }
}

impl Seats {
    /// One more, whose client is waited for from now on.
    pub fn enter(&mut self, network: Network, number: u64, now: Micros) -> Arc<Seat> {
        let there = self
            .networks
            .entry(network)
            .or_insert_with(|| There { order: Order::new(THERE), held: Arc::default() });
        let seat = Arc::new(Seat {
            network,
            number,
            state: AtomicU64::new(FIRST + now),
            held: AtomicUsize::new(0),
            held_there: Arc::clone(&there.held),
            is_leaving: AtomicBool::new(false),
            task: OnceLock::new(),
            entries: [AtomicU64::new(now), AtomicU64::new(now)],
        });
        let size = there.order.entries.len();
        there.order.insert(Arc::clone(&seat));
        self.all.insert(Arc::clone(&seat));
        self.resize(network, size, size + 1);
        seat
    }

    pub fn leave(&mut self, seat: &Seat) {
        self.all.remove(seat);
        let Some(there) = self.networks.get_mut(&seat.network) else { return };
        let size = there.order.entries.len();
        there.order.remove(seat);
        self.resize(seat.network, size, size - 1);
    }

    fn resize(&mut self, network: Network, from: usize, to: usize) {
        self.sizes.remove(&(from, network));
        if to > 0 {
            self.sizes.insert((to, network));
        } else {
            self.networks.remove(&network);
        }
    }

    /// The network with the most connections, if these are more than a few.
    pub fn crowd(&self, few: usize) -> Option<Network> {
        self.sizes.last().filter(|(size, _)| *size > few).map(|(_, network)| *network)
    }

    /// Whether there are others than from that network.
    pub fn has_others(&self, network: Network) -> bool {
        self.networks.keys().any(|other| *other != network)
    }

    /// The one whose client has been waited for longest, of all or of one network, and since when.
    pub fn longest(&mut self, of: Option<Network>, now: Micros) -> Option<(Micros, Arc<Seat>)> {
        match of {
            None => self.all.longest(now),
            Some(network) => self.networks.get_mut(&network)?.order.longest(now),
        }
    }

    /// Of the network whose unfinished bodies hold the most, the one of them whose client has been waited
    /// for longest.
    pub fn holding(&self) -> Option<&Arc<Seat>> {
        let there = self.networks.values().max_by_key(|there| there.held.load(Relaxed))?;
        let seats = there.order.entries.values();
        let holding = seats.filter(|seat| seat.held.load(Relaxed) > 0);
        holding.min_by_key(|seat| (seat.waited_since(), seat.number))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        let there: usize = self.networks.values().map(|there| there.order.entries.len()).sum();
        let sizes: usize = self.sizes.iter().map(|(size, _)| size).sum();
        assert_eq!([there, sizes], [self.all.entries.len(); 2]);
        there
    }
}
