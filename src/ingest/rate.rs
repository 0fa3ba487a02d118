//! How many requests a second of each client are taken.
//!
//! Each client has a bucket that holds one second's worth of requests, at least one, and fills
//! evenly. What is kept of it is one moment: when it will be full again. A client whose bucket is full
//! is not kept at all, so that what is kept is no more than who asked within the last second.
//! Above a bound the one goes whose bucket is the fullest: to be forgotten, a client that is at its limit
//! needs as many others that are.
//!
//! There is no clock in here: time is what the caller says, since any moment of its own.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Clients that are kept at once, at most.
const KEPT: usize = 10_000;

/// The part of a client's address that it cannot choose: an IPv4 address, the first 64 bits of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Network {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        // A listener on `[::]` sees IPv4 addresses inside of IPv6 ones.
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// See the module. Times are nanoseconds.
#[derive(Debug)]
pub(super) struct Rate<K> {
    /// From one request to the next, of a client that asks evenly.
    apart: u64,
    /// How long an empty bucket takes to be full.
    whole: u64,
    most: usize,
    /// When each client's bucket is full again.
    full: HashMap<K, u64>,
    /// The same, by time.
    order: BTreeSet<(u64, K)>,
}

impl<K: Copy + Ord + Hash> Rate<K> {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self::keeping(per_second, KEPT)
    }

    fn keeping(per_second: NonZeroU32, most: usize) -> Self {
        let requests = u64::from(per_second.get());
        let apart = 1_000_000_000 / requests;
        let (full, order) = (HashMap::new(), BTreeSet::new());
        Self { apart, whole: apart * requests, most, full, order }
    }

    /// Takes a request of this client, or says that it is one too many.
    pub(super) fn take(&mut self, client: K, now: Duration) -> Result<(), TooMany> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.forget(now);
        let full = self.full.get(&client).copied();
        let next = full.unwrap_or(now).saturating_add(self.apart);
        if next.saturating_sub(now) > self.whole {
            return Err(TooMany);
        }
        if let Some(full) = full {
            self.order.remove(&(full, client));
        } else if self.full.len() == self.most
            && let Some((_, fullest)) = self.order.pop_first()
        {
            self.full.remove(&fullest);
        }
        self.full.insert(client, next);
        self.order.insert((next, client));
        Ok(())
    }

    /// Those whose buckets are full are like those who never came.
    fn forget(&mut self, now: u64) {
        while let Some((full, _)) = self.order.first()
            && *full <= now
            && let Some((_, client)) = self.order.pop_first()
        {
            self.full.remove(&client);
        }
        if self.full.is_empty() {
            // What a flood has taken is given back.
            self.full.shrink_to(1_000);
        }
    }
}

/// A client asks more often than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

#[cfg(test)]
mod tests;
