//! Dead letters that leave, as the spool's books have it (`progress/letters.rs` says in which order).
//!
//! The letters are files that the spool does not know: who removes them says which ones, and how
//! many stay.
//!
//! A copy of a letter's record that is on its way into the spool is kept from everybody
//! ([`Again`]) until the books say that it is one: were it delivered and freed before, no start
//! would find it, and its letter would stay.

use super::SpoolWriter;
use super::mutex::lock;
use super::progress::{Buried, Exit, Progress};
use super::shared::Shared;
use crate::record::Sequence;
use std::io;
use std::sync::Arc;

/// What an earlier process, or a failure, left to be done.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    /// Their files are to go; where copies are looked for, if there is one.
    pub leaving: Vec<Buried>,
    /// Copies of them are to be looked for from here on.
    pub again_from: Option<Sequence>,
}

/// While copies of letters' records are appended: nothing that comes is handed out or taken out.
#[derive(Debug)]
pub struct Again(Arc<Shared>);

impl SpoolWriter {
    /// Kafka has everything below, or it has left in another way.
    pub fn watermark(&self) -> Sequence {
        self.owner.shared.watermark()
    }

    /// The next sequence to be assigned.
    pub fn end(&self) -> Sequence {
        self.owner.shared.published()
    }

    /// Whether the record has left the spool for good: delivered, or in another way.
    pub fn is_done_with(&self, at: Sequence) -> bool {
        self.owner.shared.is_done_with(at)
    }

    pub fn unfinished(&self) -> Unfinished {
        let progress = &lock(&self.owner.shared.books).progress;
        Unfinished { leaving: progress.leaving().to_vec(), again_from: progress.again_from() }
    }

    /// These letters are dropped. `stay` gives how many others there are of records below a
    /// sequence. Gives how many records were dead until now; an error says that none was dropped,
    /// unless a start finds otherwise. `Ok` means that this survives a power cut.
    pub fn drop_letters(
        &self,
        letters: &[Buried],
        stay: impl FnOnce(Sequence) -> io::Result<u64>,
    ) -> io::Result<u64> {
        let shared = &self.owner.shared;
        let file = &mut *lock(&shared.progress_file);
        let mut progress = shared.progress_now();
        let stay = stay(progress.watermark())?;
        let dropped = progress.let_go(letters, stay, Exit::Dropped).map_err(io::Error::other)?;
        file.write_both(&progress)?;
        lock(&shared.books).progress = progress;
        Ok(dropped)
    }

    /// Copies of these letters' records are about to be appended. `Ok` means that a start after a
    /// power cut looks for them.
    pub fn begin_again(&self, letters: &[Buried]) -> io::Result<Again> {
        let shared = &self.owner.shared;
        let file = &mut *lock(&shared.progress_file);
        let from = {
            let claims = &mut lock(&shared.books).claims;
            let from = shared.published();
            if !claims.begin_copies(from) {
                return Err(io::Error::other("other letters are being sent again just now"));
            }
            from
        };
        // From here on its end gives back what is kept.
        let again = Again(shared.clone());
        let mut progress = shared.progress_now();
        progress.begin_again(letters, from).map_err(io::Error::other)?;
        file.write_both(&progress)?;
        lock(&shared.books).progress = progress;
        Ok(again)
    }

    /// These letters have a copy, which is durable; `stay` as in [`SpoolWriter::drop_letters`]. Gives
    /// how many records were dead until now. An error says that this is not written down yet: a
    /// start would look for the copies.
    pub fn end_again(
        &self,
        letters: &[Buried],
        stay: impl FnOnce(Sequence) -> io::Result<u64>,
    ) -> io::Result<u64> {
        let shared = &self.owner.shared;
        let file = &mut *lock(&shared.progress_file);
        let mut progress = shared.progress_now();
        // The copies are there: whatever fails, that much is known to the books from here on, and
        // their next write says it.
        let stay = stay(progress.watermark());
        let counted = *stay.as_ref().unwrap_or(&0);
        let again = progress.let_go(letters, counted, Exit::Again).map_err(io::Error::other)?;
        {
            // In one step for who counts: the copies, and that the old places do not.
            let books = &mut *lock(&shared.books);
            books.progress = progress.clone();
            books.claims.end_copies();
        }
        file.write_both(&progress)?;
        stay.map(|_| again)
    }

    /// The files of the letters that leave have gone for good.
    pub fn letters_are_gone(&self) {
        let shared = &self.owner.shared;
        {
            let _file = lock(&shared.progress_file);
            lock(&shared.books).progress.are_gone();
        }
        // At rest an older program is to read what is there. To remove them once more does no harm.
        if let Err(error) = shared.settle_progress() {
            tracing::debug!("that letters are gone is not written down yet: {error}");
        }
    }
}

impl Shared {
    /// The progress as it is to be written. The caller holds the lock of its file.
    fn progress_now(&self) -> Progress {
        let mut progress = lock(&self.books).progress.clone();
        progress.advance(self.watermark());
        progress.acknowledged = self.published();
        progress
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        lock(&self.0.books).claims.end_copies();
        self.0.readable.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Config, open, sample};
    use std::pin::Pin;
    use std::task::{Context, Waker};

    /// Appends a record, and waits until it is durable.
    fn append(writer: &SpoolWriter) {
        let mut append = writer.append(&sample::record(&sample::route()));
        let append = append.as_mut().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        while Pin::new(&mut *append).poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
    }

    /// Fails where copies can be read, or are counted, before the books know them: one that is
    /// delivered and freed by then would not be found by the start after a crash, and a count that
    /// goes up and down again is taken for a new process.
    #[test]
    fn what_comes_with_copies_is_read_and_counted_once_the_books_know_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(Config { min_free: 0, ..Config::new(dir.path()) }).unwrap();
        let again = spool.writer.begin_again(&[]).unwrap();
        assert!(spool.writer.begin_again(&[]).is_err(), "one at a time");
        append(&spool.writer);
        assert!(spool.reader.next_block().unwrap().is_none());
        assert_eq!(spool.writer.ledger().accepted, 0);
        assert_eq!(spool.writer.unfinished().again_from, Some(Sequence(0)));
        spool.writer.end_again(&[], |_| Ok(0)).unwrap();
        drop(again);
        assert_eq!(spool.reader.next_block().unwrap().unwrap().end(), Sequence(1));
        assert_eq!(
            (spool.writer.ledger().accepted, spool.writer.unfinished().again_from),
            (1, None)
        );
    }
}
