//! What waits at one moment, and what it takes.
//!
//! It deliberately does not know how the numbers are found.

use super::claims::Held;
use crate::histogram;
use crate::record::Millis;
use std::path::PathBuf;

/// How much waits, and what it has cost.
#[derive(Debug, Clone, Default)]
pub struct Depth {
    pub records: u64,
    /// Of those records, before compression.
    pub bytes: u64,
    /// Of everything under the directory that is this spool's.
    pub disk_bytes: u64,
    /// Of those, damaged segments that are kept for inspection.
    pub quarantine_bytes: u64,
    /// Spools of a newer program that lie in `set-aside/`.
    pub set_aside: Vec<PathBuf>,
    /// How many segments are done with and could not be removed, and what keeps the first of them.
    pub stuck: Option<(usize, String)>,
    pub max_bytes: u64,
    /// Free on the file system, less `min_free`.
    pub free_bytes: u64,
    pub segments: u64,
    /// When the oldest waiting record was received, going by whole blocks.
    pub oldest: Option<Millis>,
    /// What an operator's hand keeps from the reader.
    pub held: Option<Held>,
    /// Since this process started.
    pub syncs: u64,
    /// Bytes of blocks, since this process started.
    pub bytes_written: u64,
    /// Of commits, since this process started.
    pub commits: histogram::Snapshot,
}
