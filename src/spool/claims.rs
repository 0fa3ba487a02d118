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
    /// From here on copies of dead letters come that the books do not know of yet.
    copies: Option<Sequence>,
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
        Self { handed: watermark, held: None, dropping: None, copies: None }
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

    /// What is neither handed out nor moved: held, being dropped, or perhaps a dead letter's copy.
    fn claimed(&self) -> impl Iterator<Item = (Sequence, Sequence)> {
        let held = self.held.map(|(first, end, _)| (first, end));
        let copies = self.copies.map(|first| (first, Sequence(u64::MAX)));
        held.into_iter().chain(self.dropping).chain(copies)
    }

    /// Nothing from `from` on is handed out or taken out; it never was. Says whether that is so from
    /// now on: not when it is already, from elsewhere on.
    #[must_use]
    pub fn begin_copies(&mut self, from: Sequence) -> bool {
        let may = self.copies.is_none() && self.handed <= from;
        if may {
            self.copies = Some(from);
        }
        may
    }

    /// `end`, or where what may be a copy begins.
    pub fn before_copies(&self, end: Sequence) -> Sequence {
        self.copies.map_or(end, |copies| end.min(copies))
    }

    /// The books know which copies there are.
    pub fn end_copies(&mut self) {
        self.copies = None;
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
        let end = self.before_copies(end);
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

    /// Fails without `copies` in `claimed` and in `hold`: a record could be delivered, or taken out,
    /// before the books know that it is a dead letter's copy.
    #[test]
    fn what_may_be_a_copy_of_a_dead_letter_is_left_alone_until_the_books_know_it() {
        let at = Sequence;
        let mut claims = Claims::new(at(0));
        claims.hand_out(at(30));
        assert!(!claims.begin_copies(at(20)));
        assert!(claims.begin_copies(at(40)) && !claims.begin_copies(at(50)));
        assert_eq!(claims.limit(at(30), at(60)), at(40));
        assert!(claims.are_free(at(30), at(40)) && !claims.are_free(at(45), at(46)));
        assert_eq!(claims.hold(at(0), at(60), Instant::now()), Ok((at(30), at(40))));
        claims.release();
        claims.end_copies();
        assert_eq!(claims.limit(at(30), at(60)), at(60));
    }
}
