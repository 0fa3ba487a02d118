//! How letters leave: dropped for good, or their records sent again.
//!
//! What the spool's books must say, and in which order, is in `spool/progress/letters.rs`. In short:
//! the books decide, in one write that also names the letters; the files go after it; and what a
//! crash or a failure left of that is done by [`recover`], or by the next one that leaves. So at any
//! moment a letter is there and dead, or is neither.
//!
//! To send a record again is to put a copy of it behind all that waits, under the id that it has:
//! it takes the way of every record, with its retries, its order and its proofs, and becomes a dead
//! letter again where it is refused again. The copy is durable before its letter goes. A way of its
//! own past the spool would need all of that a second time, and would have to wait for Kafka.
//!
//! One at a time may be under way in a spool.

use super::letter::Name;
use super::look::{Found, list, read};
use super::store::remove;
use crate::record::{RecordId, Sequence};
use crate::spool::outside::{Selection, Selector};
use crate::spool::{Append, AppendError, Buried, LETTERS_AT_ONCE, SpoolWriter, Unfinished};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of letters that are sent again together: what comes meanwhile waits for them.
const BYTES_AT_ONCE: u64 = 4 << 20;
/// How long a record waits for others to be committed before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
const NO_SUCH: &str = "there is no such dead letter any more";
/// Between two looks at a commit: it takes about as long.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// What became of the letters that were to leave.
#[derive(Debug, Default)]
pub struct Left {
    pub gone: Vec<Name>,
    /// Records that were dead in the books without a letter, as when somebody removed its file: they
    /// count as dropped now.
    pub without: u64,
    /// Why the others stay, a sentence each.
    pub complaints: Vec<String>,
    /// It is no use to go on with others just now.
    pub stopped: bool,
}

impl Left {
    fn complain(&mut self, name: &Name, why: &dyn std::fmt::Display) {
        self.complaints.push(format!("{}: {why}", name.place));
    }

    fn stop(&mut self, why: String) {
        self.complaints.push(why);
        self.stopped = true;
    }
}

/// Drops these letters of the spool in `spool`, which the caller has open. An error says that nothing
/// was changed, and why.
pub fn drop_letters(spool: &Path, writer: &SpoolWriter, names: &[Name]) -> io::Result<Left> {
    let mut left = Left::default();
    let free = free(spool, writer, names, &mut left)?;
    let names: Vec<Name> = free.iter().map(|found| found.name).collect();
    // Also when there is none: the books go by what is there.
    let mut parts = names.chunks(LETTERS_AT_ONCE).chain(names.is_empty().then_some(&names[..]));
    while let Some(part) = parts.next().filter(|_| !left.stopped) {
        match writer.drop_letters(&buried(part), |below| stay(spool, part, below)) {
            Ok(dropped) => {
                for Name { place, id } in part {
                    tracing::warn!("record {place} ({id}), a dead letter, was dropped by hand");
                }
                let without = dropped.saturating_sub(part.len() as u64);
                if without > 0 {
                    tracing::warn!("{without} dead records without a letter were dropped");
                }
                left.without += without;
                left.gone.extend(part);
                depart(spool, writer, &mut left);
            }
            Err(error) if left.gone.is_empty() => return Err(error),
            Err(error) => left.stop(format!("the others stay: {error}")),
        }
    }
    Ok(left)
}

/// Sends the records of these letters again; as [`drop_letters`].
pub fn send_again(spool: &Path, writer: &SpoolWriter, names: &[Name]) -> io::Result<Left> {
    let mut left = Left::default();
    let mut free = free(spool, writer, names, &mut left)?;
    while !free.is_empty() && !left.stopped {
        let mut bytes = 0;
        let fits = |found: &&Found| {
            bytes += found.bytes;
            bytes <= BYTES_AT_ONCE
        };
        let fit = free.iter().take(LETTERS_AT_ONCE).take_while(fits).count().max(1);
        let part: Vec<Found> = free.drain(..fit).collect();
        match send_part(spool, writer, &part, &mut left) {
            Err(error) if left.gone.is_empty() => return Err(error),
            Err(error) => left.stop(format!("the others stay: {error}")),
            Ok(()) => {}
        }
    }
    Ok(left)
}

/// An error says that none of them was sent.
fn send_part(
    spool: &Path,
    writer: &SpoolWriter,
    part: &[Found],
    left: &mut Left,
) -> io::Result<()> {
    let names: Vec<Name> = part.iter().map(|found| found.name).collect();
    let again = writer.begin_again(&buried(&names))?;
    let mut waiting = Vec::new();
    for found in part {
        match append(writer, found) {
            Ok(Some(append)) => waiting.push((found.name, append)),
            Ok(None) => left.complain(&found.name, &NO_SUCH),
            Err(Refused::Letter(why)) => left.complaints.push(why),
            Err(Refused::Spool(why)) => {
                left.stop(format!("{}: {why}", found.name.place));
                break;
            }
        }
    }
    let mut copied = Vec::new();
    for (name, append) in waiting {
        match durable(append) {
            Ok(copy) => copied.push((name, copy.sequence)),
            Err(why) => left.stop(format!("{}: {why}", name.place)),
        }
    }
    let letters: Vec<Name> = copied.iter().map(|(name, _)| *name).collect();
    let written = writer.end_again(&buried(&letters), |below| stay(spool, &letters, below));
    drop(again);
    for (Name { place, id }, copy) in copied {
        tracing::info!("record {place} ({id}), a dead letter, is sent again as record {copy}");
    }
    left.gone.extend(letters);
    match written {
        Ok(_) => depart(spool, writer, left),
        Err(error) => left.stop(format!(
            "their records wait, and that their letters may go cannot be written down: {error}; it \
             is tried again by the next such command, or at the next start"
        )),
    }
    Ok(())
}

/// Goes on with what a crash or a failure left, before anything of the spool is handed out: which
/// letters are to go, and which have a copy already.
pub fn recover(spool: &Path, writer: &SpoolWriter) {
    if let Err(error) = finish(spool, writer) {
        tracing::warn!(
            "dead letters were leaving when the last run ended, and that cannot be gone on with: \
             {error}; the next `waystation dead` command that changes something, or the next start, \
             tries it again, and until then a record may be counted twice"
        );
    }
}

/// Those of which there is a copy from `from` on.
fn copies(spool: &Path, letters: &[Buried], from: Sequence) -> io::Result<Vec<Buried>> {
    let mut without = letters.to_vec();
    let mut copied = Vec::new();
    // Where the start could not look, some may have gone out since.
    let selection = Selection { first: Some(from), with_done: true, ..Selection::default() };
    let mut there = Selector::new(spool, selection).map_err(io::Error::other)?;
    while let Some(block) = there.next_block().map_err(io::Error::other)? {
        for record in there.selected(&block) {
            // Two copies of one record are two letters, each of which has its own.
            let is = |letter: &Buried| letter.id == record.id;
            copied.extend(without.iter().position(is).map(|at| without.remove(at)));
        }
    }
    Ok(copied)
}

/// Removes the letters that the books have let go, and gives their names. Those that may have a copy
/// stay unless one is found.
fn finish(spool: &Path, writer: &SpoolWriter) -> io::Result<Vec<Name>> {
    let Unfinished { leaving: maybe, again_from } = writer.unfinished();
    if let Some(from) = again_from {
        let copied = copies(spool, &maybe, from)?;
        tracing::info!(
            "of {} dead letters that were being sent again, {} were found in the spool",
            maybe.len(),
            copied.len()
        );
        let letters: Vec<Name> = copied.iter().copied().map(Name::from).collect();
        writer.end_again(&copied, |below| stay(spool, &letters, below))?;
    }
    let leaving = leaving(writer);
    if !leaving.is_empty() {
        remove(spool, &leaving)?;
        writer.letters_are_gone();
    }
    Ok(leaving)
}

fn leaving(writer: &SpoolWriter) -> Vec<Name> {
    writer.unfinished().leaving.into_iter().map(Name::from).collect()
}

/// Removes those that left; where that fails it is done later.
fn depart(spool: &Path, writer: &SpoolWriter, left: &mut Left) {
    match remove(spool, &leaving(writer)) {
        Ok(()) => writer.letters_are_gone(),
        Err(error) => left.stop(format!(
            "the books are right, and letters that left cannot be removed: {error}; it is tried \
             again by the next such command, or at the next start"
        )),
    }
}

/// Goes on with what is unfinished; then gives those that are there and may leave. What keeps the
/// others is complained of.
fn free(
    spool: &Path,
    writer: &SpoolWriter,
    names: &[Name],
    left: &mut Left,
) -> io::Result<Vec<Found>> {
    let finished = finish(spool, writer)?;
    let (watermark, end) = (writer.watermark(), writer.end());
    let mut found = list(spool)?;
    for name in names {
        if finished.contains(name) {
            left.complain(name, &"it has left before, and its file is gone only now");
        } else if !found.iter().any(|found| found.name == *name) {
            left.complain(name, &NO_SUCH);
        }
    }
    found.retain(|found| names.contains(&found.name));
    found.retain(|Found { name, .. }| {
        // One of a spool that was lost has a place that is still to come.
        let waits = watermark <= name.place && name.place < end;
        if waits {
            let why = "a record waits in the spool at its place, and if it is this one it is sent \
                       anyway";
            left.complain(name, &why);
        }
        !waits
    });
    Ok(found)
}

/// How many letters beside these are there of records below a sequence.
fn stay(spool: &Path, letters: &[Name], below: Sequence) -> io::Result<u64> {
    let found = list(spool)?.into_iter().map(|found| found.name);
    Ok(found.filter(|name| name.place < below && !letters.contains(name)).count() as u64)
}

fn buried(names: &[Name]) -> Vec<Buried> {
    names.iter().copied().map(Buried::from).collect()
}

/// Why no copy was made.
enum Refused {
    /// It is about this letter.
    Letter(String),
    /// It is about any.
    Spool(AppendError),
}

/// Appends a letter's record; `None` when the letter is gone.
fn append(writer: &SpoolWriter, found: &Found) -> Result<Option<Append>, Refused> {
    let letter = read(found).map_err(|error| Refused::Letter(error.to_string()))?;
    let Some(letter) = letter else { return Ok(None) };
    let record = letter.record();
    if let Some(why) = record.invalid() {
        return Err(Refused::Letter(format!(
            "{}: it is no message, and Kafka is never offered it: {why}; export it, post what it \
             should have been, and drop it",
            found.name.place
        )));
    }
    let headers = record.owned_headers();
    let copy = record.copy(&headers);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match writer.append(&copy) {
            Ok(append) => return Ok(Some(append)),
            Err(AppendError::Busy) if Instant::now() < deadline => thread::sleep(AGAIN_AFTER),
            Err(error) => return Err(Refused::Spool(error)),
        }
    }
}

/// Waits until it is durable. The commit thread settles every append, at a stop as well: this needs
/// nobody who wakes it.
fn durable(mut append: Append) -> Result<RecordId, AppendError> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut append).poll(&mut context) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => thread::sleep(AGAIN_AFTER),
        }
    }
}
