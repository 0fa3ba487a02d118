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
    /// What is being dropped: its way out is decided, and not written down yet.
    dropping: Option<(Sequence, Sequence)>,
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
        Self { handed: watermark, held: None, dropping: None }
    }

    /// Whether none of these was handed out, is held, or is being dropped.
    pub fn are_free(&self, first: Sequence, end: Sequence) -> bool {
        let mut claimed = self.claimed();
        first >= self.handed && !claimed.any(|(from, until)| from < end && first < until)
    }

    /// Where reading from `from` on must stop, at the latest at `end`.
    pub fn limit(&self, from: Sequence, end: Sequence) -> Sequence {
        let ahead = self.claimed().filter(|(_, until)| from < *until);
        ahead.map(|(first, _)| from.max(first)).fold(end, Sequence::min)
    }

    /// What is neither handed out nor moved: held, or being dropped.
    fn claimed(&self) -> impl Iterator<Item = (Sequence, Sequence)> {
        let held = self.held.map(|(first, end, _)| (first, end));
        held.into_iter().chain(self.dropping)
    }

    /// Keeps these from being handed out until they are dropped.
    pub fn begin_drop(&mut self, first: Sequence, end: Sequence) {
        self.dropping = Some((first, end));
    }

    /// They are listed as dropped, or could not be.
    pub fn end_drop(&mut self) {
        self.dropping = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails without `dropping` in `limit`, and in `are_free`: while the disk syncs the removal its
    /// records would go out as well.
    #[test]
    fn what_is_being_dropped_is_not_handed_out_and_comes_back_when_it_could_not_be() {
        let at = Sequence;
        let mut claims = Claims::new(at(0));
        claims.hold(at(40), at(50), Instant::now()).unwrap();
        claims.begin_drop(at(10), at(20));
        assert_eq!([0, 10, 15, 20].map(|from| claims.limit(at(from), at(60)).0), [10, 10, 15, 40]);
        assert!(claims.are_free(at(0), at(10)) && !claims.are_free(at(5), at(11)));
        claims.end_drop();
        assert_eq!(claims.limit(at(0), at(60)), at(40));
        assert!(claims.are_free(at(0), at(40)) && !claims.are_free(at(0), at(41)));
    }
}
