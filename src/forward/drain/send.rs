//! Which record goes out next, and when does the sending rest?
//!
//! Records go out in the order of their sequences, as far as the window has room. What stands
//! in the way of one record (librdkafka refuses it, the next block cannot be read) is looked
//! at only once all that was sent before it has been reported on. It deliberately does not
//! know what the reports say, nor how sending goes on after a failure.

use super::{Forwarder, Rest};
use crate::forward::kafka::SendError;
use crate::forward::setback::Setback;
use crate::forward::verdict::{Failure, Verdict};
use crate::forward::{RETRY, dating};
use crate::record::Millis;
use crate::spool::Block;
use std::time::Instant;

impl Forwarder {
    /// Sends the rest of the block at hand, or the next one, as far as there is room.
    pub(super) fn send_some(&mut self) {
        let Some(block) = self.next_block() else { return };
        if self.cursor < block.first() {
            // What is missing between two blocks no longer exists.
            self.window.skip(self.cursor, block.first());
            self.cursor = block.first();
            self.pass_watermark();
        }
        let Some(producer) = self.producer.as_ref() else { return };
        let mut first = true;
        let mut rest = None;
        let mut setback = None;
        while self.cursor < block.end() {
            let sequence = self.cursor;
            let Some(record) = block.record(sequence).filter(|_| self.window.wants(sequence))
            else {
                self.cursor = sequence.plus(1);
                continue;
            };
            if !self.window.room_for(sequence) {
                rest = Some(Rest::Room);
                break;
            }
            let begun = Instant::now();
            if self.exactly.as_ref().is_some_and(|exactly| exactly.is_full(sequence, begun)) {
                rest = Some(Rest::Transaction);
                break;
            }
            if let Some(until) = self.pace.wait(begun) {
                rest = Some(Rest::Until(until));
                break;
            }
            self.letters.sending(&record);
            let route = self.routes.number(record.route);
            let headers: usize = record.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
            let bytes = record.value.len() + record.key.map_or(0, <[u8]>::len) + headers;
            let now = Millis::now();
            let own = dating::timestamp(&record, now);
            let timestamp = self.recovery.dated(sequence, own, now);
            if timestamp != own && own > now {
                // What made them refused is gone; one by one they would take too long.
                self.one_by_one_until = None;
            }
            let id = record.id.to_string();
            match producer.send(&record, timestamp, &id, &self.config.box_name) {
                Ok(()) => {
                    self.window.sent(sequence, bytes, route);
                    self.pace.handed(bytes);
                    if let Some(exactly) = &mut self.exactly {
                        exactly.sent(sequence, block.epoch(), begun);
                    }
                    self.cursor = sequence.plus(1);
                    if std::mem::take(&mut first) {
                        self.pulse.mark(sequence, Instant::now());
                    }
                    if self.one_by_one() {
                        rest = Some(Rest::Room);
                        break;
                    }
                }
                Err(SendError::Full) => {
                    rest = Some(Rest::Room);
                    break;
                }
                // Its neighbours in flight are not to be taken back for it. Once they are
                // through, it is refused alone. A fatal error lets nobody through.
                Err(SendError::Failed(failure))
                    if self.window.in_flight() > 0 && failure.verdict() != Verdict::Rebuild =>
                {
                    rest = Some(Rest::Empty);
                    break;
                }
                Err(SendError::Failed(failure)) => {
                    let (at, topic) = (Some(sequence), Some(record.route.topic.clone()));
                    setback = Some(Setback { at, topic, failure, until: at, alone: true });
                    break;
                }
            }
        }
        let in_flight = self.window.in_flight();
        self.monitor.set_in_flight(in_flight);
        if let Some(setback) = setback {
            self.fail(setback);
        } else if matches!(rest, Some(Rest::Until(_) | Rest::Transaction))
            || rest.is_some() && in_flight > 0
        {
            self.rest = rest;
            self.block = Some(block);
        } else if rest.is_some() {
            // No room, and no report to come that could make some.
            self.fail(Setback::general(Failure::Other("librdkafka has no room".to_owned())));
        }
        let now = Instant::now();
        self.observe_time(now);
        self.settle_if_done(now);
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
