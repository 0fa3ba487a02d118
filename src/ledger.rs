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

    /// The books of this spool and of one that records were moved to, as one: this one takes what
    /// was moved for delivered, except `ahead` of them, which it counts as waiting like the other.
    #[must_use]
    pub fn with_held(self, held: Self, ahead: u64) -> Self {
        let ahead = ahead.min(self.spooled);
        let moved = held.accepted.saturating_sub(ahead);
        let here_and_there = self.delivered + held.delivered;
        // Moved and, as it seems, not passed by the watermark: it still waits here.
        let early = moved.saturating_sub(here_and_there);
        Self {
            accepted: self.accepted,
            delivered: here_and_there.saturating_sub(moved),
            spooled: (self.spooled + held.spooled).saturating_sub(ahead + early),
            dead: self.dead + held.dead,
            dropped: self.dropped + held.dropped,
            exported: self.exported + held.exported,
            lost: self.lost + held.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However many were moved, passed, delivered and set aside, at any moment in between.
        #[test]
        fn the_books_of_two_spools_balance_as_one(
            direct in 0..100_u64, waiting in 0..100_u64, passed in 0..100_u64, ahead in 0..100_u64,
            gone in 0..50_u64, dead in 0..20_u64,
        ) {
            let moved = passed + ahead;
            let (gone, dead) = (gone.min(moved), dead.min(moved.saturating_sub(gone)));
            let delivered = direct + passed;
            let spooled = waiting + ahead;
            let own = Ledger { accepted: delivered + spooled, delivered, spooled, ..Ledger::default() };
            let held = Ledger {
                accepted: moved,
                delivered: gone,
                dead,
                spooled: moved - gone - dead,
                ..Ledger::default()
            };
            let whole = own.with_held(held, ahead);
            prop_assert!(own.balances() && held.balances() && whole.balances(), "{whole:?}");
            prop_assert_eq!(whole.delivered, direct + gone);
            prop_assert_eq!((whole.dead, whole.spooled), (dead, waiting + held.spooled));
            // Where nobody knows how many stand in both it balances all the same.
            prop_assert!(own.with_held(held, 0).balances());
        }
    }
}
