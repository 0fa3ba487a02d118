//! What does the loop make of the reports?
//!
//! Deliveries move the watermark, failures stop the sending, errors of connections go to the
//! link. It deliberately does not know how sending goes on after a failure.

use super::{Forwarder, Part, REFUSED, Rest};
use crate::forward::kafka::Producer;
use crate::forward::mailbox::Signal;
use crate::forward::setback::{Setback, refused};
use crate::forward::verdict::Failure;
use std::sync::Arc;
use std::time::Instant;

impl Forwarder {
    /// Takes the reports into the window, and the watermark to the spool.
    pub(super) fn take_mail(&mut self) {
        let Some(mailbox) = self.producer.as_ref().map(|producer| Arc::clone(producer.mailbox()))
        else {
            return;
        };
        let mut mail = std::mem::take(&mut self.mail);
        mailbox.take(&mut mail);
        let now = Instant::now();
        let (mut delivered, mut refused) = (false, false);
        let alone = self.one_by_one();
        for (sequence, outcome) in mail.reports.drain(..) {
            match outcome {
                Ok(()) => {
                    if let Some(route) = self.window.delivered(sequence) {
                        self.letters.delivered(sequence);
                        self.routes.count(route);
                        delivered = true;
                    }
                }
                Err(failure) => {
                    refused |= failure.is_an_answer();
                    if let Some(route) = self.window.failed(sequence) {
                        let topic = self.routes.get(route).map(|route| route.topic.clone());
                        let (at, alone) = (Some(sequence), alone);
                        self.fail(Setback { at, topic, failure, until: at, alone });
                    }
                }
            }
        }
        if delivered {
            self.pass_on_deliveries(now);
            let change = self.link.delivered(now);
            self.report(change, now);
        }
        if refused {
            let change = self.link.refused(now);
            self.report(change, now);
        }
        for signal in mail.signals.drain(..) {
            self.on_signal(signal, now);
        }
        self.mail = mail;
        if self.window.in_flight() == 0 {
            self.proven |= delivered;
        }
        let in_flight = self.window.in_flight();
        let room = in_flight == 0 || (!self.one_by_one() && !self.window.nearly_full());
        self.rest.take_if(|rest| match rest {
            Rest::Room => room,
            Rest::Empty => in_flight == 0,
            Rest::Until(_) | Rest::Transaction => false,
        });
        self.observe_time(now);
        self.settle_if_done(now);
    }

    /// The watermark to the spool, the counts to whoever looks.
    pub(super) fn pass_on_deliveries(&mut self, now: Instant) {
        let counts = &self.counts;
        if self.exactly.as_ref().is_none_or(|exactly| !exactly.has_open()) {
            self.routes.pass_on(|route, count| counts.add_delivered(route, count));
        }
        self.pulse.stop(&self.window, now, |duration| counts.durations().observe(duration));
        self.monitor.set_in_flight(self.window.in_flight());
        self.pass_watermark();
    }

    /// The watermark to the spool; a standstill that it has passed is over.
    pub(super) fn pass_watermark(&mut self) {
        let delivered = self.window.watermark();
        let watermark = self.exactly.as_mut().map_or(delivered, |exactly| exactly.done(delivered));
        self.pass_to(watermark);
        if let Some(over) =
            self.standstill.take_if(|standstill| standstill.at.is_some_and(|at| watermark > at))
        {
            tracing::info!("records flow again (it was: {})", over.reason);
            if let Part::Whole(held) = &mut self.part {
                held.goes_on();
            }
        }
    }

    fn on_signal(&mut self, signal: Signal, now: Instant) {
        let in_flight = self.awaits_reports();
        match signal {
            // A fatal error comes with the code of its cause as well.
            Signal::Trouble(_) | Signal::Fatal(_) if let Some(failure) = self.fatal() => {
                self.fail(Setback::general(failure));
            }
            Signal::Trouble(trouble) => {
                let change = self.link.trouble(now, trouble, in_flight);
                self.report(change, now);
            }
            Signal::Probed(answered) => {
                let change = self.link.probed(now, answered, in_flight);
                self.report(change, now);
            }
            Signal::Refused { topic, failure } => {
                let change = self.link.refused(now);
                self.report(change, now);
                self.on_refusal(topic, failure, now);
            }
            Signal::Fatal(text) => {
                self.fail(Setback::general(Failure::Fatal(text)));
            }
            Signal::Traffic(traffic) => self.pace.told(traffic),
            Signal::Opened(answer) => self.on_opened(answer, now),
            Signal::Committed(outcome) => self.on_committed(outcome, now),
        }
    }

    /// What lasts is shown; librdkafka sends again by itself.
    fn on_refusal(&mut self, topic: String, failure: Failure, now: Instant) {
        let at = self.window.watermark();
        let since = match self.refused {
            Some((refused, since)) if refused == at => since,
            _ => now,
        };
        self.refused = Some((at, since));
        if now - since >= REFUSED {
            let cause = failure.cause();
            let reason = refused(at, topic, failure);
            self.stand_still(Some(at), reason, cause);
        }
    }

    fn fatal(&self) -> Option<Failure> {
        self.producer.as_ref().and_then(Producer::fatal)
    }
}
