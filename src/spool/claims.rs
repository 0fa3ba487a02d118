//! Who may have which record: what was handed out once, and what is held for an operator.
//!
//! Pure. It deliberately does not know what is removed already: `progress.rs` does.

use crate::record::Sequence;
use std::time::Instant;

/// Who may have which record, beside what is listed as removed.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Everything below was handed to the reader's owner, at some time since the start.
    handed: Sequence,
    /// What an operator is about to take out, and since when.
    held: Option<(Sequence, Sequence, Instant)>,
}

/// What is kept from the reader while an operator takes it out.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub records: u64,
    pub since: Instant,
}

impl Claims {
    /// Of a spool that is delivered up to `watermark`.
    pub fn new(watermark: Sequence) -> Self {
        Self { handed: watermark, held: None }
    }

    /// Whether none of these was handed out or is held.
    pub fn are_free(&self, first: Sequence, end: Sequence) -> bool {
        let held = self.held.is_some_and(|(from, until, _)| from < end && first < until);
        first >= self.handed && !held
    }

    /// Where reading from `from` on must stop, at the latest at `end`.
    pub fn limit(&self, from: Sequence, end: Sequence) -> Sequence {
        match self.held {
            Some((first, until, _)) if from < until => end.min(first.max(from)),
            _ => end,
        }
    }

    /// All up to `end` (exclusive) is handed out now.
    pub fn hand_out(&mut self, end: Sequence) {
        self.handed = self.handed.max(end);
    }

    /// Holds, from `now` on, what of `first` to `end` was never handed out.
    pub fn hold(
        &mut self,
        first: Sequence,
        end: Sequence,
        now: Instant,
    ) -> Result<(Sequence, Sequence), HoldError> {
        let first = first.max(self.handed);
        if self.held.is_some() {
            return Err(HoldError::Another);
        }
        if first >= end {
            return Err(HoldError::Nothing);
        }
        self.held = Some((first, end, now));
        Ok((first, end))
    }

    /// What is held, as first, end, and since when.
    pub fn held(&self) -> Option<(Sequence, Sequence, Instant)> {
        self.held
    }

    /// Nothing is held any more.
    pub fn release(&mut self) {
        self.held = None;
    }
}

/// Why nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    #[error("other records are being taken out just now; try again when that is done")]
    Another,
    /// They were handed out already, or there are none.
    #[error("none of these records is free to be taken out")]
    Nothing,
}
