//! What devices sent twice: a message that is durable already is not kept a second time.
//!
//! [`Repeats`] is asked before a message is appended. Two messages are one when all of their JSON is
//! the same, on the same route; they are known by a mark, which is a hash of 128 bits (`SipHash-2-4`)
//! with a key that nobody outside knows. So it cannot be brought about that one record is taken for
//! another, and chance does it once in 10^28 times for as many marks as are kept. That
//! hash takes about as long as the conversion; a hash that is secure without a key would take a multiple.
//!
//! - The first of them is appended, and its promise remembered. A repeat that comes before it is durable
//!   gets a promise of the same record; one that comes later is done with at once.
//! - Whatever is forgotten lets a repeat pass. What must never be is the reverse: a mark that is
//!   remembered, and no record. So a mark counts from when its record's promise is given, and
//!   is forgotten where that fails.
//!
//! # Over a restart
//!
//! The marks begin with the records that the spool still has, read and hashed again: these are
//! there, whatever happened before. Of those that have left the spool the journal tells
//! (`journal.rs`), whose lines are written once their records are durable. A line is believed only
//! where
//!
//! - its record lies below the watermark, so that the spool's books say what became of it. One above
//!   it is in the spool, or was never durable, or lost with what a disk lied about, or with what
//!   was newer than a backup: then its device's resend must not be taken for a repeat, and its
//!   sequence is given anew. No such line is there when that one passes the watermark: each start
//!   begins a new journal, synced, with what it believed and nothing else;
//! - it is of this very spool, by its id, and no record has been lost or dropped since, by its books and
//!   by those of the spools inside it. At run time too, what the books learn of that makes all marks
//!   forgotten before the next repeat is answered: nobody knows whose they were;
//! - its age, by the clock of the day, lies within the window. A clock that was set back or
//!   ahead, as on a box without a battery, makes it forgotten. While the process runs, the clock of
//!   the day is not asked.
//!
//! A start without repeats removes the journal: what it does not follow it cannot vouch for.
//!
//! # What it costs
//!
//! Some 80 bytes of memory a mark, for at most [`MOST`] of them (16 MB), and 36 bytes of disk, twice
//! that while a window lasts. It deliberately knows no HTTP, and not what a message says.

mod journal;
mod table;

use crate::ledger::Ledger;
use crate::record::{Millis, RecordId, Route, Sequence};
use crate::spool::outside::{self, Selection, Selector};
use crate::spool::{Append, AppendError, SpoolWriter};
use journal::{Head, Journal, Line};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::Hasher;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::{Found, Mark, Table};

/// Marks that are kept at most; the oldest go. Of ten minutes, those of 333 messages a second.
pub const MOST: usize = 200_000;

/// What becomes of a message.
#[derive(Debug)]
pub enum Taken {
    /// It is on its way to the disk.
    New(Append),
    /// It is the same as one that is on its way.
    Waiting(Append),
    /// It is the same as one that is durable.
    Repeat,
}

/// The messages of the last while.
pub struct Repeats {
    state: Mutex<State>,
    key: [u8; 16],
    /// When this began; by the table's time, that is one window from its beginning.
    began: Instant,
    window: Duration,
    writer: SpoolWriter,
    /// `None`: it could not be begun, and a restart forgets.
    journal: Option<Journal>,
}

struct State {
    table: Table<Pending>,
    /// Records that are gone by the books, as far as is known here.
    gone: u64,
}

/// A message that is not durable yet.
struct Pending {
    append: Append,
    at: Millis,
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeats").finish_non_exhaustive()
    }
}

impl Repeats {
    /// Begins with what is known of the last `window`, before anything is appended. Where the disk does
    /// not tell, nothing is known.
    pub fn open(writer: &SpoolWriter, window: Duration) -> Self {
        Self::bounded(writer, window, MOST)
    }

    fn bounded(writer: &SpoolWriter, window: Duration, most: usize) -> Self {
        let dir = writer.dir();
        let gone = gone(writer);
        let spool_id = writer.spool_id();
        let known = journal::read(dir, most).unwrap_or_else(|error| {
            tracing::warn!("cannot read which messages were seen before this start: {error}");
            None
        });
        let (head, mut lines) = known.filter(|(head, _)| head.spool_id == spool_id).map_or_else(
            || (Head { spool_id, key: random_key(), gone }, Vec::new()),
            |(head, lines)| (Head { gone, ..head }, if head.gone == gone { lines } else { vec![] }),
        );
        let watermark = writer.watermark();
        lines.retain(|line| line.sequence < watermark);
        let from = Sequence(writer.end().0.saturating_sub(most as u64));
        let now = Millis::now();
        let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        let since = Millis(now.0.saturating_sub_unsigned(window_ms));
        match in_the_spool(dir, from, since, &head.key) {
            Ok(there) => lines.extend(there),
            Err(error) => tracing::warn!(
                "cannot read which messages are in the spool: {error}; repeats of them may pass"
            ),
        }
        let age = |line: &Line| u64::try_from(now.0.checked_sub(line.at.0)?).ok();
        lines.retain(|line| age(line).is_some_and(|age| age <= window_ms));
        lines.sort_by_key(|line| (line.at.0, line.sequence));
        lines.drain(..lines.len().saturating_sub(most));
        let mut table = Table::new(window, most);
        for line in &lines {
            let age = Duration::from_millis(age(line).unwrap_or(window_ms));
            table.restore(line.mark, window.saturating_sub(age));
        }
        let journal = Journal::begin(dir, head, &lines, window, most);
        let journal = journal.inspect_err(|error| {
            tracing::warn!("which messages were seen will not be known after a restart: {error}");
            // A later start must not believe what this one did not follow.
            forget(dir);
        });
        Self {
            state: Mutex::new(State { table, gone }),
            key: head.key,
            began: Instant::now(),
            window,
            writer: writer.clone(),
            journal: journal.ok(),
        }
    }

    /// Appends a message with `put`, unless it came no longer than `within` ago.
    pub fn append(
        &self,
        route: &Route,
        json: &[u8],
        within: Duration,
        put: impl FnOnce() -> Result<Append, AppendError>,
    ) -> Result<Taken, AppendError> {
        let mark = mark(&self.key, route, json);
        let mut state = self.settled();
        let now = self.window + self.began.elapsed();
        if state.table.find(mark, now, within).is_some() {
            // Only when it matters: repeats are rare, and the books are under a lock.
            let gone = gone(&self.writer);
            if gone != state.gone || gone == UNKNOWN {
                state.table.clear();
                state.gone = gone;
                if let Some(journal) = &self.journal {
                    journal.forget(gone);
                }
            }
        }
        match state.table.find(mark, now, within) {
            Some(Found::Durable) => return Ok(Taken::Repeat),
            Some(Found::Waiting(pending)) => return Ok(Taken::Waiting(pending.append.again())),
            None => {}
        }
        let append = put()?;
        let pending = Pending { append: append.again(), at: Millis::now() };
        state.table.insert(mark, now, pending);
        Ok(Taken::New(append))
    }

    /// Notes what has become durable, for a restart.
    pub fn note(&self) {
        drop(self.settled());
    }

    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = |pending: &Pending| Some(pending.append.outcome()?.is_ok());
        state.table.settle(outcome, |mark, pending| {
            let Some(Ok(RecordId { sequence, .. })) = pending.append.outcome() else { return };
            if let Some(journal) = &self.journal {
                journal.append(Line { mark, sequence, at: pending.at });
            }
        });
        state
    }
}

impl Drop for Repeats {
    fn drop(&mut self) {
        self.note();
    }
}

/// In place of a number of records, where the books could not be read.
const UNKNOWN: u64 = u64::MAX;

/// Records that were accepted and will not come to Kafka, by the books of the spool and of those inside it.
fn gone(writer: &SpoolWriter) -> u64 {
    let of = |books: Ledger| books.lost + books.dropped;
    match outside::held(writer.dir()) {
        Ok(held) => {
            let held = held.iter().filter_map(|held| held.view.ledger());
            of(writer.ledger()) + held.map(of).sum::<u64>()
        }
        Err(error) => {
            tracing::debug!("cannot read the books of the topics that are held: {error}");
            UNKNOWN
        }
    }
}

/// Removes what a start with repeats left in the spool's directory `dir`.
pub fn forget(dir: &Path) {
    if let Err(error) = journal::remove(dir) {
        tracing::warn!("cannot remove {}/repeats: {error}", dir.display());
    }
}

/// The marks of the records that are on the disk, from this sequence and this reception on.
fn in_the_spool(
    dir: &Path,
    from: Sequence,
    since: Millis,
    key: &[u8; 16],
) -> io::Result<Vec<Line>> {
    let (first, since) = (Some(from), Some(since));
    let selection = Selection { first, since, with_done: true, ..Selection::default() };
    let mut there = Selector::new(dir, selection).map_err(io::Error::other)?;
    let mut lines = Vec::new();
    while let Some(block) = there.next_block().map_err(io::Error::other)? {
        for record in there.selected(&block).filter(|record| record.invalid().is_none()) {
            let mark = mark(key, record.route, record.value);
            lines.push(Line { mark, sequence: record.sequence, at: record.received.at });
        }
    }
    Ok(lines)
}

fn mark(key: &[u8; 16], route: &Route, json: &[u8]) -> Mark {
    let mut hasher = SipHasher24::new_with_key(key);
    // The lengths keep two routes apart whose names run into each other.
    for name in [&route.path, &route.topic] {
        hasher.write_usize(name.len());
        hasher.write(name.as_bytes());
    }
    hasher.write(json);
    let hash = hasher.finish128();
    Mark([hash.h1, hash.h2])
}

fn random_key() -> [u8; 16] {
    let mut key = [0; 16];
    if getrandom::fill(&mut key).is_err() {
        // Without a random source, as `spool/ids.rs` has it.
        fastrand::fill(&mut key);
    }
    key
}

#[cfg(test)]
mod tests;
