//! A record and its block, for the tests of this folder that make them by hand.

use super::block::{Draft, Encoder};
use super::part;
use crate::record::{Epoch, Millis, NewRecord, Reception, Route, Sequence};
use std::sync::Arc;

pub fn route() -> Arc<Route> {
    Arc::new(Route { path: "/endpoint".to_owned(), topic: "test".to_owned() })
}

pub fn record(route: &Arc<Route>) -> NewRecord<'_> {
    NewRecord {
        route,
        key: None,
        timestamp: Millis(1),
        received: Reception { at: Millis(1), clock_synchronised: true },
        headers: &[],
        value: b"{}",
        origin: None,
    }
}

/// A block of so many records from `first` on, as one part.
pub fn block(encoder: &mut Encoder, first: u64, records: u64) -> Vec<u8> {
    let (route, mut draft) = (route(), Draft::default());
    (0..records).for_each(|_| draft.push(&record(&route)));
    let (epoch, first) = (Epoch(3), Sequence(first));
    let header = part::Header { epoch, first, k: 0, n: 1 };
    let mut out = Vec::new();
    part::encode(&header, encoder.encode(epoch, first, &mut draft).unwrap(), &mut out);
    out
}
