//! What does the loop do after a failed delivery?
//!
//! Always the same: it stops sending, waits until everything in flight was reported on or
//! taken back, gives the producer up, goes back to the watermark, and starts again with a
//! new one. When, and what is said about it, [`Recovery`](super::super::setback::Recovery)
//! decides. It deliberately does not know what the failures mean.

use super::{Forwarder, Part, Phase, SETTLE, Standstill};
use crate::forward::RETRY;
use crate::forward::kafka::{FAREWELL, Producer};
use crate::forward::obstacle::Obstacle;
use crate::forward::setback::{Next, Setback};
use crate::forward::settings::{self, BatchLimit};
use crate::forward::verdict::Failure;
use crate::record::Sequence;
use crate::status::Cause;
use std::time::Instant;

impl Forwarder {
    /// Something failed: stop sending, and let what is in flight come to rest.
    pub(super) fn fail(&mut self, setback: Setback) {
        let fatal = matches!(setback.failure, Failure::Fatal(_))
            || setback.at.is_none()
            || self.exactly.is_some(); // nothing of a transaction counts any more
        self.setback = Some(match self.setback.take() {
            Some(earlier) => earlier.or(setback),
            None => setback,
        });
        let (Some(producer), Phase::Flowing | Phase::Settling(_)) = (&self.producer, self.phase)
        else {
            return;
        };
        if self.phase == Phase::Flowing {
            producer.take_back_queued();
            self.phase = Phase::Settling(Instant::now() + SETTLE);
        }
        if fatal {
            producer.take_back_all();
        }
    }

    pub(super) fn settle_if_done(&mut self, now: Instant) {
        if let Phase::Settling(until) = self.phase
            && (self.window.in_flight() == 0 || now >= until)
        {
            self.settle(now);
        }
    }

    /// Everything in flight came to rest (or never will): decide how to go on.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(setback) = self.setback.take() else {
            return self.start_over(now);
        };
        self.roll_back();
        if self.settle_transaction(&setback, now) {
            return;
        }
        let watermark = self.window.watermark();
        match self.recovery.next(&setback, watermark) {
            Next::Again { after } => {
                tracing::info!("sending again from {watermark} ({})", setback.failure);
                self.start_over(now + after);
            }
            Next::OneByOne { until } => {
                let topic = setback.topic.unwrap_or_default();
                tracing::warn!(
                    "a batch for topic {topic:?} was refused ({}): sending its records one by one{}",
                    setback.failure,
                    match self.recovery.batch() {
                        BatchLimit::Default => "",
                        BatchLimit::Small => "; batches stay small until the next start",
                    }
                );
                self.one_by_one_until = Some(until);
                self.start_over(now);
            }
            Next::Redate { at } => {
                let topic = setback.topic.unwrap_or_default();
                tracing::warn!(
                    "the timestamp of record {at} for topic {topic:?} was refused: sending it \
                     again with the time of sending"
                );
                self.start_over(now);
            }
            Next::SetAside { at } => self.bury(at, &setback, now),
            Next::Stuck { reason, cause } => {
                // What is refused of the records themselves an empty transaction does not disprove.
                let of_records = setback.failure == Failure::TopicDenied;
                let of_beginning = self.exactly.is_some() && setback.at.is_none() && !of_records;
                let at = setback.at.unwrap_or(watermark);
                self.stuck(&setback, Some(at), reason, cause, now);
                self.standstill.iter_mut().for_each(|it| it.of_beginning = of_beginning);
            }
        }
    }

    /// Somebody has to act: sending stands still, unless it is for a topic that can be held.
    pub(super) fn stuck(
        &mut self,
        setback: &Setback,
        at: Option<Sequence>,
        reason: String,
        cause: Option<Cause>,
        now: Instant,
    ) {
        match self.hold(setback, now) {
            Ok(true) => {
                self.standstill = None;
                return self.start_over(now);
            }
            Ok(false) => self.stand_still(at, reason, cause),
            Err(why) => self.stand_still(at, format!("{reason}; {why}"), cause),
        }
        self.start_over(now + RETRY);
    }

    pub(super) fn stand_still(
        &mut self,
        at: Option<Sequence>,
        reason: String,
        cause: Option<Cause>,
    ) {
        if self.standstill.as_ref().is_none_or(|known| known.reason != reason) {
            match self.part {
                Part::Whole(_) => tracing::warn!("nothing is sent: {reason}"),
                Part::Topic => tracing::warn!("held: {reason}"),
            }
        }
        self.standstill = Some(Standstill { at, reason, cause, of_beginning: false });
    }

    /// Gives the producer up and goes back to the watermark; the next producer comes at `at`.
    pub(super) fn start_over(&mut self, at: Instant) {
        self.retired = self.producer.take().map(Producer::retire).or(self.retired.take());
        self.window.forget_in_flight();
        self.roll_back();
        self.pulse.clear();
        self.pace.renewed();
        self.monitor.set_in_flight(0);
        let watermark = self.window.watermark();
        self.reader.rewind(watermark);
        self.block = None;
        self.cursor = watermark;
        self.rest = None;
        self.proven = false;
        self.caught_up = false;
        self.setback = None;
        self.phase = Phase::Waiting(at);
    }

    /// A new producer, now that the wait is over.
    pub(super) fn reconnect(&mut self, now: Instant) {
        if let Some(retired) = self.retired.take()
            && !retired.wait(FAREWELL)
        {
            tracing::warn!("the previous Kafka client is slow to close; going on without it");
        }
        self.connect(now);
        self.link.renewed(now);
    }

    /// Makes a producer, or says what is in the way of one and waits.
    pub(super) fn connect(&mut self, now: Instant) {
        let mut properties = settings::properties(&self.config, self.recovery.batch());
        match self.make_producer(&mut properties) {
            Ok(producer) => {
                self.producer = Some(producer);
                self.phase = Phase::Flowing;
                self.open_transactions();
                let waited = self.standstill.take_if(|standstill| standstill.at.is_none());
                if waited.is_some() {
                    tracing::info!("what was in the way of a Kafka client is gone");
                }
            }
            Err(error) => {
                let obstacle = Obstacle::of(&properties, &error);
                self.stand_still(None, obstacle.reason(), obstacle.cause());
                self.phase = Phase::Waiting(now + RETRY);
            }
        }
    }
}
