//! What becomes of a record that Kafka can never take?
//!
//! It is kept as a dead letter, that is listed in the spool's books, and only then the watermark
//! passes it: whatever happens between, the record is in the spool or among the letters, and is
//! counted once. A crash after the letter leaves the record to be sent again: it is refused
//! again, and its letter replaced; or Kafka takes it by now, and the letter is taken back before the
//! watermark passes it. Where it cannot be kept nothing is dropped: it is a standstill.
//!
//! A record that is no message (`record::INVALID`) is never offered to Kafka: when its turn comes it
//! goes the same way, and what was sent before it may still be in flight. Those of its block that
//! come behind it go with it, ahead of their turns: whoever posts nothing but such is not to hold up
//! everybody's records for as long as a disk takes to sync each.
//!
//! It deliberately does not know why a record is refused, nor how a letter is kept.

use super::Forwarder;
use crate::dead::{self, Letter, Name};
use crate::forward::setback::{Setback, not_set_aside};
use crate::forward::verdict::Failure;
use crate::record::{Millis, Record, Sequence};
use crate::spool::{Block, SpoolReader};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Instant;

/// Records that are no messages which are kept at once, at most: reports wait meanwhile. They are of
/// one block, which bounds their bytes.
const TOGETHER: usize = 64;

/// A record that is no message and could not be kept as a letter.
#[derive(Debug)]
pub struct Unkept {
    pub at: Sequence,
    pub topic: String,
    /// Why it is no message.
    pub why: String,
    pub error: String,
}

/// The store, and the letters in it whose records still wait in the spool.
#[derive(Debug)]
pub struct Letters {
    store: dead::Store,
    /// A crash, or a failure, came between the letter and its listing in the books.
    unlisted: BTreeMap<Sequence, Name>,
}

impl Letters {
    pub fn new(store: dead::Store, reader: &SpoolReader) -> Self {
        let names = store.names().unwrap_or_else(|error| {
            // Until the next start a letter may stand there whose record Kafka takes after all.
            tracing::warn!("cannot list the dead letters: {error}");
            Vec::new()
        });
        let waits = |name: &Name| !reader.is_done_with(name.place);
        let unlisted = names.into_iter().filter(waits).map(|name| (name.place, name)).collect();
        Self { store, unlisted }
    }

    /// The store of a spool inside this one.
    pub fn inside(&self, spool: &Path) -> dead::Store {
        self.store.inside(spool)
    }

    /// The record is sent (again). One of another id has only the place of the letter's.
    pub fn sending(&mut self, record: &Record<'_>) {
        if self.unlisted.get(&record.sequence).is_some_and(|name| *name != Name::of(record)) {
            self.unlisted.remove(&record.sequence);
        }
    }

    /// Kafka has the record after all: it is no dead letter.
    pub fn delivered(&mut self, sequence: Sequence) {
        self.left(sequence, "was delivered");
    }

    /// The record went to its topic's own spool, and is no dead letter of this one.
    pub fn moved(&mut self, sequence: Sequence) {
        self.left(sequence, "was moved to its topic's own spool");
    }

    fn left(&mut self, sequence: Sequence, how: &str) {
        let Some(name) = self.unlisted.remove(&sequence) else { return };
        match self.store.take_back(&name) {
            Ok(()) => tracing::info!("record {sequence} {how} by now: no dead letter"),
            Err(error) => tracing::warn!(
                "record {sequence} {how}, and its dead letter {name} cannot be removed: {error}"
            ),
        }
    }
}

impl Forwarder {
    /// Sets the record at the watermark aside for good and goes on behind it; where that fails,
    /// stands still before it.
    pub(super) fn bury(&mut self, at: Sequence, setback: &Setback, now: Instant) {
        match self.set_aside(at, setback) {
            Ok(()) => self.start_over(now),
            Err(why) => self.stuck(setback, Some(at), not_set_aside(setback, &why), None, now),
        }
    }

    fn set_aside(&mut self, at: Sequence, setback: &Setback) -> Result<(), String> {
        self.reader.rewind(at);
        let unread = |why: &dyn std::fmt::Display| format!("it cannot be read: {why}");
        let block = self.reader.next_block().map_err(|error| unread(&error))?;
        // Lost or removed meanwhile, as the next reading will show.
        let Some(block) = block else { return Ok(()) };
        let letter = Letter::new(&block, at, &setback.failure.to_string(), Millis::now());
        let Some(letter) = letter.map_err(|error| unread(&error))? else { return Ok(()) };
        self.keep(std::slice::from_ref(&letter))?;
        self.window.skip(at, at.plus(1));
        self.pass_watermark();
        let record = letter.record();
        tracing::warn!(
            "record {at} ({}) for topic {:?} is a dead letter now: {}",
            record.id,
            record.route.topic,
            letter.reason
        );
        Ok(())
    }

    /// Keeps the letters, as many of the first as there is room for, one at least; the watermark may
    /// pass their records. Gives how many.
    fn keep(&mut self, letters: &[Letter]) -> Result<usize, String> {
        // After an error, too, any of them may be there.
        let names = letters.iter().map(Letter::name);
        self.letters.unlisted.extend(names.map(|name| (name.place, name)));
        let kept = self.letters.store.keep(letters);
        let kept = kept.map_err(|error| error.to_string())?;
        let mut places: Vec<_> = letters.iter().map(|letter| letter.name().place).collect();
        for place in places.split_off(kept) {
            self.letters.unlisted.remove(&place);
        }
        let mut listed = self.reader.set_aside(&places);
        if listed.is_err() && places.len() > 1 {
            // The books may have room for one.
            places.truncate(1);
            listed = self.reader.set_aside(&places);
        }
        listed.map_err(|error| {
            format!("the spool cannot write down that they are dead letters: {error}")
        })?;
        for place in &places {
            self.letters.unlisted.remove(place);
        }
        Ok(places.len())
    }

    /// Sets a record aside that is no message: its turn has come, and nothing that is in flight has
    /// to be waited for. The reason where it could not be kept.
    pub(super) fn bury_invalid(&mut self, block: &Block, at: Sequence) -> Result<(), String> {
        if !self.reader.is_done_with(at) {
            let letters = self.invalid_from(block, at).map_err(|error| error.to_string())?;
            let kept = self.keep(&letters)?;
            // A device that sends nothing else would fill the log: the status counts them.
            for letter in &letters[..kept] {
                let (id, why) = (letter.name().id, &letter.reason);
                tracing::debug!(
                    "record {} ({id}) is a dead letter now: {why}",
                    letter.name().place
                );
            }
        }
        self.window.skip(at, at.plus(1));
        self.pass_watermark();
        Ok(())
    }

    /// The letters of the record and of those behind it that go with it.
    fn invalid_from(&self, block: &Block, at: Sequence) -> io::Result<Vec<Letter>> {
        let now = Millis::now();
        let mut topic = None;
        let mut letters = Vec::new();
        let mut place = at;
        while place < block.end() && letters.len() < TOGETHER {
            if let Some(record) = block.record(place)
                && let Some(why) = record.invalid()
                && self.window.wants(place)
                && !self.is_moved(&record)
                // What becomes of another topic's is decided in its turn.
                && **topic.get_or_insert(&record.route.topic) == record.route.topic
            {
                letters.extend(Letter::new(block, place, &why, now)?);
            }
            place = place.plus(1);
        }
        Ok(letters)
    }

    /// One that is no message could not be kept: sending goes no further, and what was sent before it
    /// is not to suffer for that.
    pub(super) fn not_buried(&mut self, unkept: Unkept, now: Instant) {
        let Unkept { at, topic, why, error } = unkept;
        let (at, topic, failure) = (Some(at), Some(topic), Failure::NoMessage(why));
        let setback = Setback { at, topic, failure, until: at, alone: true };
        let reason = not_set_aside(&setback, &error);
        self.stuck(&setback, at, reason, None, now);
    }
}
