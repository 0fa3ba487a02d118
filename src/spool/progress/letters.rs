//! Dead letters that leave: what the books say of them.
//!
//! A letter is a file, and the books are another. So that a crash between the two is no trouble, what
//! becomes of a letter is decided by one write of the books, which also names it; its file goes
//! after that, and a start goes on with those that are named.
//!
//! - *Dropped*: dead - 1 and dropped + 1, and its name, in one write.
//! - *Again*: its record is appended once more, under its id. A first write names it and from where
//!   on the copy will be found; the copy is made durable; a second write says which letters have one.
//!   Their old places then count as never assigned, since the copy has a place of its own: dead - 1,
//!   accepted as it was, spooled + 1 and later delivered + 1. A start that finds the first write and
//!   not the second looks for the copies.
//!
//! Only what lies below the watermark is spoken of here: what is dead above it is a range, which the
//! watermark passes in its turn.
//!
//! It deliberately does not know where a letter lies, nor what is in it.

use super::{MOST_RANGES, Progress, Removal, TooManyRanges};
use crate::record::{RecordId, Sequence};

/// Letters that may leave at a time.
pub const AT_ONCE: usize = 128;

/// What names a dead letter: its record's place in this spool, and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buried {
    pub place: Sequence,
    pub id: RecordId,
}

/// How a letter leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// For good.
    Dropped,
    /// A copy of its record waits in the spool.
    Again,
}

impl Progress {
    /// The letters that leave: their files are to go. While copies are looked for, those that leave
    /// if there is one of them.
    pub fn leaving(&self) -> &[Buried] {
        &self.leaving
    }

    /// From where on copies of those that leave are looked for, if it is not known whether there
    /// are any.
    pub fn again_from(&self) -> Option<Sequence> {
        self.again_from
    }

    /// Entries of the file.
    pub(super) fn letter_entries(&self) -> usize {
        2 * self.leaving.len() + usize::from(self.again_from.is_some())
    }

    /// Copies of these may be found from `from` on.
    pub fn begin_again(&mut self, letters: &[Buried], from: Sequence) -> Result<(), TooManyRanges> {
        self.name(letters)?;
        self.again_from = Some(from);
        Ok(())
    }

    /// These letters leave, and so many `stay` whose records lie below the watermark. Gives how
    /// many dead records have become something else.
    ///
    /// The books go by the letters that stay: of what is dropped, they are those of which there is no
    /// letter any more, one that somebody's hand took out before included; and one that they never
    /// knew (their file was lost) changes nothing.
    pub fn let_go(
        &mut self,
        letters: &[Buried],
        stay: u64,
        exit: Exit,
    ) -> Result<u64, TooManyRanges> {
        self.again_from = None;
        self.name(letters)?;
        let dead = self.totals[Removal::Dead as usize];
        let without = dead.saturating_sub(stay);
        let (gone, counts_as) = match exit {
            Exit::Dropped => (without, Removal::Dropped),
            Exit::Again => (without.min(letters.len() as u64), Removal::Unused),
        };
        self.totals[Removal::Dead as usize] -= gone;
        self.totals[counts_as as usize] += gone;
        Ok(gone)
    }

    /// Their files have gone.
    pub fn are_gone(&mut self) {
        self.leaving.clear();
    }

    fn name(&mut self, letters: &[Buried]) -> Result<(), TooManyRanges> {
        let before = std::mem::replace(&mut self.leaving, letters.to_vec());
        let entries = self.ranges.len() + self.doubts.len() + self.letter_entries() + 1;
        if letters.len() > AT_ONCE || entries > MOST_RANGES {
            self.leaving = before;
            return Err(TooManyRanges);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Epoch;
    use crate::spool::progress::Range;

    fn buried(place: u64) -> Buried {
        Buried {
            place: Sequence(place),
            id: RecordId { epoch: Epoch(u64::MAX - place), sequence: Sequence(u64::MAX) },
        }
    }

    /// Ten records, of which three are dead.
    fn three_dead() -> Progress {
        let mut progress = Progress::new([1; 16], Sequence(0));
        let dead = Range { kind: Removal::Dead, first: Sequence(4), end: Sequence(7) };
        progress.remove(dead).unwrap();
        progress.advance(Sequence(10));
        progress
    }

    /// Accepted (of 12 sequences), delivered, spooled, dead, dropped.
    fn books(progress: &Progress) -> [u64; 5] {
        let written = Progress::decode(&progress.encode(7)).unwrap().1;
        assert_eq!(written, *progress);
        let books = progress.ledger(Sequence(12));
        assert!(books.balances(), "{books:?}");
        [books.accepted, books.delivered, books.spooled, books.dead, books.dropped]
    }

    #[test]
    fn a_letter_that_is_dropped_is_dead_no_more() {
        let mut progress = three_dead();
        assert_eq!(books(&progress), [12, 7, 2, 3, 0]);
        assert_eq!(progress.let_go(&[buried(4)], 2, Exit::Dropped), Ok(1));
        assert_eq!(books(&progress), [12, 7, 2, 2, 1]);
        assert_eq!(progress.leaving(), [buried(4)]);
        progress.are_gone();
        // One of the two that stay was taken out by hand.
        assert_eq!(progress.let_go(&[buried(5)], 0, Exit::Dropped), Ok(2));
        assert_eq!(books(&progress), [12, 7, 2, 0, 3]);
    }

    /// Fails where the letters that stay are not looked at.
    #[test]
    fn a_letter_that_the_books_never_knew_changes_nothing() {
        for exit in [Exit::Dropped, Exit::Again] {
            let mut progress = three_dead();
            assert_eq!(progress.let_go(&[buried(1)], 3, exit), Ok(0));
            assert_eq!(books(&progress), [12, 7, 2, 3, 0]);
        }
    }

    /// Fails where a copy is counted as one more record.
    #[test]
    fn a_record_that_is_sent_again_is_accepted_once() {
        let mut progress = three_dead();
        progress.begin_again(&[buried(4), buried(5)], Sequence(11)).unwrap();
        assert_eq!(books(&progress), [12, 7, 2, 3, 0]);
        assert_eq!(progress.again_from(), Some(Sequence(11)));
        // One copy, at 11; a letter that a hand took out before is no copy.
        assert_eq!(progress.let_go(&[buried(4)], 1, Exit::Again), Ok(1));
        assert_eq!(books(&progress), [11, 7, 2, 2, 0]);
        assert_eq!((progress.leaving(), progress.again_from()), (&[buried(4)][..], None));
        progress.are_gone();
        progress.advance(Sequence(12));
        assert_eq!(books(&progress), [11, 9, 0, 2, 0]);
    }

    /// Fails where the version is always the same: at rest an older program reads the file, and
    /// never while it names letters.
    #[test]
    fn the_version_is_a_newer_one_only_while_letters_leave() {
        let mut progress = three_dead();
        assert_eq!(progress.encode(1)[4], 2);
        progress.let_go(&[buried(4)], 2, Exit::Dropped).unwrap();
        assert_eq!(progress.encode(1)[4], 3);
        progress.are_gone();
        assert_eq!(progress.encode(1)[4], 2);
    }

    /// Fails without the entries of letters in the bounds of `list` and `name`.
    #[test]
    fn letters_and_ranges_together_fit_into_the_file() {
        let many: Vec<_> = (0..=AT_ONCE as u64).map(buried).collect();
        let mut progress = three_dead();
        assert_eq!(progress.begin_again(&many, Sequence(9)), Err(TooManyRanges));
        assert_eq!(progress.leaving(), []);
        progress.begin_again(&many[1..], Sequence(9)).unwrap();
        let lost = |n: u64| {
            let first = Sequence(20 + 2 * n);
            Range { kind: Removal::Lost, first, end: first.plus(1) }
        };
        let mut n = 0;
        while progress.remove(lost(n)).is_ok() {
            n += 1;
        }
        assert!(progress.encode(1).len() <= crate::spool::progress::SLOT_LEN);
        progress.let_go(&many[1..], 0, Exit::Again).unwrap();
        assert!(progress.encode(1).len() <= crate::spool::progress::SLOT_LEN);
        progress.are_gone();
        while progress.remove(lost(n)).is_ok() {
            n += 1;
        }
        assert_eq!(progress.let_go(&many[1..2], 0, Exit::Dropped), Err(TooManyRanges));
        assert_eq!(progress.leaving(), []);
    }
}
