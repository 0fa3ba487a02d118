//! What can be set on a spool.
//!
//! It deliberately does not know how a setting is written in a file, nor check one: `config` does.

use std::path::PathBuf;
use std::time::Duration;

/// What the operator sets under `[spool]`, and what only tests and benchmarks set.
#[derive(Debug, Clone)]
pub struct Config {
    pub dir: PathBuf,
    /// Bytes on disk of everything under `dir`, at most.
    pub max_size: u64,
    /// Bytes that stay free on the file system.
    pub min_free: u64,
    pub when_full: WhenFull,
    /// Bytes on disk of damaged segments that are kept for inspection, at most: part of
    /// `max_size`, of which they take no more than a quarter.
    pub max_quarantine: u64,
    /// How long a commit waits for more records to join it, up to 1 s; 0 for as short as is
    /// useful.
    pub commit_delay: Duration,
    /// Bytes of records that may wait for their commit.
    pub max_pending: usize,
    /// A segment is left when it holds this many bytes of parts. sled keeps about as much in
    /// memory, and only the tail is open.
    pub segment_bytes: u64,
    /// How long a segment of which pages cannot be read is tried again before what stands in them
    /// counts as lost: a bus that is reset, or a stick that is put back, answers again.
    pub read_patience: Duration,
    /// How old a sealed segment is when it is rewritten, if it would be smaller. Most segments
    /// are delivered before, and are then written once.
    pub repack_after: Duration,
    /// Pauses of the rewriting, as a multiple of its work, while little waits for it.
    pub repack_pause: u32,
}

impl Config {
    /// A spool in `dir` with the defaults of the configuration file.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_size: 2 << 30,
            min_free: 256 << 20,
            when_full: WhenFull::Reject,
            max_quarantine: 64 << 20,
            commit_delay: Duration::ZERO,
            max_pending: 8 << 20,
            segment_bytes: 8 << 20,
            read_patience: Duration::from_mins(1),
            repack_after: Duration::from_secs(30),
            repack_pause: 49,
        }
    }

    /// What the damaged segments may take: however small the spool, they never fill it.
    pub(super) fn quarantine(&self) -> u64 {
        self.max_quarantine.min(self.max_size / 4)
    }
}

/// What happens to new records while there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// They are refused, and devices try again.
    Reject,
    /// The oldest ones that were not handed to Kafka make room, a segment at a time.
    DropOldest,
}
