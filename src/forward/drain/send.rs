//! Which record goes out next, and when does the sending rest?
//!
//! Records go out in the order of their sequences, as far as the window has room. What stands
//! in the way of one record (librdkafka refuses it, the next block cannot be read) is looked
//! at only once all that was sent before it has been reported on. It deliberately does not
//! know what the reports say, nor how sending goes on after a failure.

use super::bury::Unkept;
use super::hold::{self, Moving, Turn};
use super::{Forwarder, Part, Rest};
use crate::forward::exactly::Exactly;
use crate::forward::kafka::SendError;
use crate::forward::setback::Setback;
use crate::forward::verdict::{Failure, Verdict};
use crate::forward::{RETRY, dating};
use crate::record::{Millis, Record, Sequence};
use crate::spool::Block;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// One turn of sending, from a block.
#[derive(Default)]
struct Pass {
    /// The first record was handed over.
    begun: bool,
    /// What it ended with.
    rest: Option<Rest>,
    setback: Option<Setback>,
    /// A record that could not be moved, and why.
    not_moved: Option<(Sequence, String)>,
    /// One that is no message, and could not be kept.
    unkept: Option<Unkept>,
    moving: Moving,
    /// Since when records that are no messages have been kept in this turn.
    burying: Option<Instant>,
}

/// How long that goes on at a time: reports wait meanwhile.
const BURYING: Duration = Duration::from_millis(100);

impl Forwarder {
    /// Sends the rest of the block at hand, or the next one, as far as there is room.
    pub(super) async fn send_some(&mut self) {
        let Some(block) = self.next_block() else { return };
        self.look_at_held(Instant::now());
        if self.cursor < block.first() {
            // What is missing between two blocks no longer exists.
            self.window.skip(self.cursor, block.first());
            self.cursor = block.first();
            self.pass_watermark();
        }
        let mut pass = Pass::default();
        while self.cursor < block.end() {
            let sequence = self.cursor;
            let wanted = block.record(sequence).filter(|_| self.window.wants(sequence));
            if let Some(record) = wanted
                && self.send_one(&record, &block, &mut pass).is_break()
            {
                break;
            }
            self.cursor = sequence.plus(1);
        }
        self.end_pass(pass, block).await;
        let now = Instant::now();
        self.observe_time(now);
        self.settle_if_done(now);
    }

    /// Sends the record, or moves it; a break says that it has to wait, and `pass` for what.
    fn send_one(&mut self, record: &Record<'_>, block: &Block, pass: &mut Pass) -> ControlFlow<()> {
        let sequence = record.sequence;
        if !self.window.room_for(sequence) {
            pass.rest = Some(Rest::Room);
            return ControlFlow::Break(());
        }
        let route = self.routes.number(record.route);
        let headers: usize = record.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        let bytes = record.value.len() + record.key.map_or(0, <[u8]>::len) + headers;
        match self.turn(record) {
            Turn::Send => {}
            Turn::Move => {
                self.window.sent(sequence, bytes, route);
                let topic = &record.route.topic;
                match pass.moving.get_mut(topic) {
                    Some(sequences) => sequences.push(sequence),
                    None => drop(pass.moving.insert(topic.clone(), vec![sequence])),
                }
                return ControlFlow::Continue(());
            }
            Turn::Moved => {
                self.window.sent(sequence, bytes, route);
                self.window.delivered(sequence);
                self.letters.moved(sequence);
                return ControlFlow::Continue(());
            }
            Turn::Rest(rest) => {
                pass.rest = Some(rest);
                return ControlFlow::Break(());
            }
            Turn::Failed(why) => {
                pass.not_moved = Some((sequence, hold::why_not_moved(&record.route.topic, &why)));
                return ControlFlow::Break(());
            }
        }
        if let Some(why) = record.invalid() {
            return self.bury_one(record, &why, block, pass);
        }
        let begun = Instant::now();
        if self.exactly.as_ref().is_some_and(|exactly| exactly.is_full(sequence, begun)) {
            pass.rest = Some(Rest::Transaction);
            return ControlFlow::Break(());
        }
        let came_in = matches!(self.part, Part::Whole(_)).then(|| self.reader.end());
        let until = self.pace.wait(begun).max(self.courtesy.wait(came_in, begun));
        if let Some(until) = until {
            pass.rest = Some(Rest::Until(until));
            return ControlFlow::Break(());
        }
        self.letters.sending(record);
        let now = Millis::now();
        let own = dating::timestamp(record, now);
        let timestamp = self.recovery.dated(sequence, own, now);
        if timestamp != own && own > now {
            // What made them refused is gone; one by one they would take too long.
            self.one_by_one_until = None;
        }
        let Some(producer) = self.producer.as_ref() else { return ControlFlow::Break(()) };
        match producer.send(record, timestamp, &record.id.to_string(), &self.config.box_name) {
            Ok(()) => {
                self.window.sent(sequence, bytes, route);
                self.pace.handed(bytes);
                self.courtesy.sent();
                if let Some(exactly) = &mut self.exactly {
                    exactly.sent(sequence, block.epoch(), begun);
                }
                if !std::mem::replace(&mut pass.begun, true) {
                    self.pulse.mark(sequence, Instant::now());
                }
                if self.one_by_one() {
                    self.cursor = sequence.plus(1);
                    pass.rest = Some(Rest::Room);
                    return ControlFlow::Break(());
                }
                return ControlFlow::Continue(());
            }
            Err(SendError::Full) => pass.rest = Some(Rest::Room),
            // Its neighbours in flight are not to be taken back for it. Once they are
            // through, it is refused alone. A fatal error lets nobody through.
            Err(SendError::Failed(failure))
                if self.window.in_flight() > pass.moving.values().map(Vec::len).sum()
                    && failure.verdict() != Verdict::Rebuild =>
            {
                pass.rest = Some(Rest::Empty);
            }
            Err(SendError::Failed(failure)) => {
                let (at, topic) = (Some(sequence), Some(record.route.topic.clone()));
                pass.setback = Some(Setback { at, topic, failure, until: at, alone: true });
            }
        }
        ControlFlow::Break(())
    }

    /// A record that is no message, in its turn: it is kept as a dead letter.
    fn bury_one(
        &mut self,
        record: &Record<'_>,
        why: &str,
        block: &Block,
        pass: &mut Pass,
    ) -> ControlFlow<()> {
        let since = *pass.burying.get_or_insert_with(Instant::now);
        if since.elapsed() > BURYING {
            // For as long again the others have their turn: reports are taken, the heart beats.
            pass.rest = Some(Rest::Until(Instant::now() + BURYING));
            return ControlFlow::Break(());
        }
        let at = record.sequence;
        match self.bury_invalid(block, at) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let topic = record.route.topic.clone();
                pass.unkept = Some(Unkept { at, topic, why: why.to_owned(), error });
                ControlFlow::Break(())
            }
        }
    }

    /// What the pass ended with decides when sending goes on.
    async fn end_pass(&mut self, pass: Pass, block: Block) {
        let Pass { mut rest, setback, not_moved, unkept, moving, .. } = pass;
        let moved = !moving.is_empty();
        let not_moved = self.move_all(&block, moving).await.err().or(not_moved);
        let in_flight = self.window.in_flight();
        self.monitor.set_in_flight(in_flight);
        if let Some(setback) = setback {
            return self.fail(setback);
        }
        if let Some(unkept) = unkept {
            // What lies before it is to be committed without it: a standstill rolls back.
            let open = self.exactly.as_ref().is_some_and(Exactly::has_open);
            if in_flight == 0 && !open {
                return self.not_buried(unkept, Instant::now());
            }
            rest = Some(if open { Rest::Transaction } else { Rest::Empty });
        }
        if let Some((at, why)) = not_moved {
            self.not_moved(at, why);
            self.block = Some(block);
        } else if moved && in_flight == 0 && matches!(rest, Some(Rest::Room | Rest::Empty)) {
            // There is room again: what was moved is in nobody's way any more.
            self.block = Some(block);
        } else if matches!(rest, Some(Rest::Until(_) | Rest::Transaction))
            || rest.is_some() && in_flight > 0
        {
            self.rest = rest;
            self.block = Some(block);
        } else if rest.is_some() {
            // No room, and no report to come that could make some.
            self.fail(Setback::general(Failure::Other("librdkafka has no room".to_owned())));
        }
    }

    fn next_block(&mut self) -> Option<Block> {
        if let Some(block) = self.block.take() {
            return Some(block);
        }
        match self.reader.next_block() {
            Ok(Some(block)) => Some(block),
            Ok(None) => {
                self.caught_up = true;
                let end = self.reader.position();
                if self.cursor < end {
                    // The newest records were lost, and nothing follows that would show it.
                    self.window.skip(self.cursor, end);
                    self.cursor = end;
                    self.pass_watermark();
                }
                None
            }
            Err(_) if self.window.in_flight() > 0 => {
                // What was read before is on its way and in order; the error will be back.
                self.rest = Some(Rest::Empty);
                None
            }
            Err(error) => {
                let reason = format!("the spool cannot be read: {error}");
                self.stand_still(Some(self.window.watermark()), reason, None);
                self.rest = Some(Rest::Until(Instant::now() + RETRY));
                None
            }
        }
    }

    /// Whether at most one record may be in flight.
    pub(super) fn one_by_one(&self) -> bool {
        let watermark = self.window.watermark();
        !self.proven || self.one_by_one_until.is_some_and(|until| watermark <= until)
    }
}
