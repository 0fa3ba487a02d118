//! How are records sent in transactions, where they are to arrive once?
//!
//! [`Exactly`](super::super::exactly) says when; here it is done. A producer first asks for the offset
//! of this spool, and what lies below it is done. Then transactions follow one another: before each
//! commit the spool notes, durably, that its outcome is not known, and after it that it is done. The
//! offset is there whenever that note is made: the first one is committed alone. So an offset that is
//! missing beside that note was forgotten by the broker, and nothing else.
//!
//! Any failure is a failure of the producer (`recover.rs`): what it left open is aborted, the window
//! goes back to what is committed, and the next producer sends it again. Without transactions nothing
//! here does anything. It deliberately knows no error and no file.

use super::{Forwarder, Phase, Rest};
use crate::forward::RETRY;
use crate::forward::exactly::{Begin, Found, Offset};
use crate::forward::kafka::{CreateError, Producer};
use crate::forward::mailbox::Refused;
use crate::forward::setback::{Setback, in_doubt};
use crate::forward::verdict::Failure;
use crate::record::Sequence;
use crate::spool::ReadError;
use std::collections::BTreeMap;
use std::time::Instant;

impl Forwarder {
    /// A producer of the kind that is wanted.
    pub(super) fn make_producer(
        &self,
        properties: &mut BTreeMap<String, String>,
    ) -> Result<Producer, CreateError> {
        let Some(exactly) = &self.exactly else { return Producer::new(properties) };
        exactly.adapt(properties);
        Producer::with_transactions(properties, exactly.progress_topic())
    }

    /// There is a new producer: one with transactions asks for its offset before anything is sent.
    pub(super) fn open_transactions(&mut self) {
        let Some(exactly) = &mut self.exactly else { return };
        if let Some(transactions) = self.producer.as_ref().and_then(Producer::transactions) {
            exactly.opening();
            self.rest = Some(Rest::Transaction);
            transactions.open();
        }
    }

    /// The answer to that.
    pub(super) fn on_opened(
        &mut self,
        answer: Result<Option<(i64, String)>, Refused>,
        now: Instant,
    ) {
        let known = match answer {
            Ok(known) => known.map(|(offset, metadata)| Offset::new(offset, &metadata)),
            Err(refused) => return self.fail_transaction(refused, now),
        };
        let change = self.link.delivered(now);
        self.report(change, now);
        let before = self.reader.watermark();
        let done = match self.find_done(known.as_ref()) {
            Ok(done) => done,
            Err(error) => {
                let reason = format!("the spool cannot be read: {error}");
                self.stand_still(Some(before), reason, None);
                return self.start_over(now + RETRY);
            }
        };
        let Some(exactly) = &mut self.exactly else { return };
        let found = Found { offset: known, done, pending: self.reader.pending() };
        let begin = exactly.opened(&found);
        if before < done {
            let records = done.since(before);
            tracing::info!("Kafka has {records} more records, up to sequence {}", done.0 - 1);
        }
        match begin {
            Begin::Send => {}
            Begin::Repeat(first, end) => tracing::warn!(
                "sequences {first} to {} are sent again, and may be repeated: whether Kafka has them \
                 is not known any more",
                end.0 - 1
            ),
            Begin::Pause(first, end) => {
                return self.stand_still(Some(before), in_doubt(first, end), None);
            }
        }
        self.window.begin_at(done);
        self.reader.rewind(done);
        self.block = None;
        self.cursor = done;
        self.pass_watermark();
        self.write_down_outcome();
        // What was refused may be refused again, and only a commit shows that it is not.
        let prove = self.standstill.as_ref().is_some_and(|standstill| standstill.of_beginning);
        let mark = self.exactly.as_mut().and_then(|exactly| exactly.first_mark(&found, prove));
        let transactions = self.producer.as_ref().and_then(Producer::transactions);
        if let (Some(mark), Some(transactions)) = (mark, transactions) {
            transactions.mark(mark);
            transactions.commit();
        } else {
            self.rest = None;
        }
    }

    /// Up to where the offset says that what waits here is done.
    fn find_done(&mut self, offset: Option<&Offset>) -> Result<Sequence, ReadError> {
        let mut done = self.reader.watermark();
        let Some(Offset { next, sent }) = offset else { return Ok(done) };
        self.reader.rewind(done);
        while done < *next {
            let Some(block) = self.reader.next_block()? else {
                // What is missing at the end does not exist any more.
                done = self.reader.position().min(*next);
                break;
            };
            let end = block.end().min(*next);
            if block.first() < *next && !sent.covers(block.first(), end, block.epoch()) {
                break;
            }
            done = end;
        }
        // The spool passes what was read alone.
        self.reader.advance_watermark(done);
        Ok(done)
    }

    /// Ends the transaction at hand if it is time to, and commits it once all of it is delivered.
    pub(super) fn turn_transaction(&mut self, now: Instant) {
        let Some(exactly) = &mut self.exactly else { return };
        let stopping = self.phase == Phase::Stopping;
        if self.setback.is_some() || !(stopping || self.phase == Phase::Flowing) {
            return;
        }
        let Some(producer) = &self.producer else { return };
        let Some(transactions) = producer.transactions() else { return };
        let at_once = stopping || self.rest == Some(Rest::Transaction);
        if let Some(mark) = exactly.close(now, at_once) {
            self.rest = Some(Rest::Transaction);
            // Before the last records are there: it fails early where it cannot be committed.
            transactions.mark(mark);
        }
        if self.window.in_flight() > 0 {
            return;
        }
        let Some(end) = exactly.commit(now) else { return };
        if let Err(error) = self.reader.begin_handover(end) {
            let reason = format!("the spool cannot write down that it commits: {error}");
            self.stand_still(Some(self.reader.watermark()), reason, None);
            return self.start_over(now + RETRY);
        }
        transactions.commit();
    }

    /// The outcome of a commit.
    pub(super) fn on_committed(&mut self, outcome: Result<(), Refused>, now: Instant) {
        if let Err(refused) = outcome {
            return self.fail_transaction(refused, now);
        }
        let Some(exactly) = &mut self.exactly else { return };
        exactly.committed();
        if let Some(over) = self.standstill.take_if(|standstill| standstill.of_beginning) {
            tracing::info!("records flow again (it was: {})", over.reason);
        }
        let change = self.link.delivered(now);
        self.report(change, now);
        self.pass_on_deliveries(now);
        self.write_down_outcome();
        self.rest.take_if(|rest| *rest == Rest::Transaction);
    }

    /// Where that fails, the offset tells it after the next start.
    fn write_down_outcome(&mut self) {
        if let Err(error) = self.reader.end_handover() {
            tracing::warn!("the spool cannot write down what was committed: {error}");
        }
    }

    fn fail_transaction(&mut self, (topic, failure): Refused, now: Instant) {
        if failure.is_an_answer() {
            let change = self.link.refused(now);
            self.report(change, now);
        }
        self.fail(Setback { topic, ..Setback::general(failure) });
    }

    /// Nothing of the open transaction counts: everything is as it was after the last commit.
    pub(super) fn roll_back(&mut self) {
        let Some(exactly) = &mut self.exactly else { return };
        let committed = exactly.lost(Instant::now());
        self.window.begin_at(committed);
        self.routes.pass_on(|_, _| ());
    }

    /// What transactions alone make of a setback, if they do: the producer was fenced too often, or
    /// those before a record that was refused alone have to be committed before it is judged.
    pub(super) fn settle_transaction(&mut self, setback: &Setback, now: Instant) -> bool {
        let Some(exactly) = &mut self.exactly else { return false };
        if let Some(at) = exactly.cut(setback) {
            tracing::info!("sending what lies before record {at} again, without it");
            self.start_over(now);
            return true;
        }
        if setback.failure == Failure::Fenced && exactly.fenced(now) {
            let (reason, after) = crate::forward::setback::fenced();
            self.stand_still(Some(self.reader.watermark()), reason, None);
            self.start_over(now + after);
            return true;
        }
        false
    }
}
