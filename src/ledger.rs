//! The books: where every record that was ever accepted has gone.
//!
//! It deliberately does not know how the numbers are found; the spool derives them from
//! its sequences (see `spool/progress.rs`).

use serde::{Deserialize, Serialize};

/// The lifetime books of one spool, in records. They balance at every moment:
/// `accepted = delivered + spooled + dead + dropped + exported + lost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Answered with 200 (or committed, where the answer no longer reached the device).
    pub accepted: u64,
    /// Kafka's delivery report came.
    pub delivered: u64,
    /// On this box's disk, waiting.
    pub spooled: u64,
    /// Set aside because Kafka can never take them.
    pub dead: u64,
    /// Removed by the operator's written policy.
    pub dropped: u64,
    /// Taken out by an operator's hand.
    pub exported: u64,
    /// Damaged on the medium.
    pub lost: u64,
}

impl Ledger {
    /// Whether every accepted record is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accepted
            == self.delivered + self.spooled + self.dead + self.dropped + self.exported + self.lost
    }
}
