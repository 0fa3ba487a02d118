//! What the end-to-end proofs share.
//!
//! - `service.rs`: the real program as a child process, its files and its addresses
//! - `kafka.rs`: a Kafka that can be taken away; `reader.rs`: the consumer that reads all along
//! - `client.rs`: HTTP connections; `raw.rs`: byte by byte; `fleet.rs`: devices that post, and what they were told
//! - `witness.rs`: what was acknowledged against what was read
//!
//! A proof compares what the client saw acknowledged with what the consumer read; what the
//! service says of itself is compared on top and is never the proof.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod client;
pub mod fleet;
pub mod kafka;
pub mod raw;
pub mod reader;
pub mod service;
pub mod witness;

use std::time::{Duration, Instant};

/// The end of every wait that has no shorter one of its own: then the test fails.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `look` gives something. Panics with `what` never came to be.
pub fn until_some<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Waits until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_some(what, PATIENCE, || holds().then_some(()));
}

/// Bytes as people read them.
pub fn mb(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}
