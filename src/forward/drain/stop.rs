//! How does the forwarder end?
//!
//! What is in flight gets the grace period, unless Kafka goes away; then the producer is taken
//! down, and the reports that came meanwhile still count. It deliberately starts nothing new:
//! what is not delivered waits in the spool.

use super::super::exactly::Exactly;
use super::{Forwarder, Phase, arrived, sleep_until};
use crate::forward::kafka::{FAREWELL, Producer};
use crate::forward::mailbox::Mail;
use std::sync::Arc;
use std::time::Instant;

impl Forwarder {
    fn is_unfinished(&self) -> bool {
        let open = self.exactly.as_ref().is_some_and(Exactly::has_open);
        open || self.window.in_flight() > 0
    }

    /// Waits for what is in flight if Kafka is there, then takes the producer down.
    pub(super) async fn stop(mut self) {
        let until = Instant::now() + self.config.grace;
        let flowing = self.phase == Phase::Flowing;
        self.phase = Phase::Stopping;
        self.show();
        self.turn_transaction(Instant::now());
        while flowing
            && self.link.is_up()
            && self.setback.is_none()
            && self.is_unfinished()
            && Instant::now() < until
        {
            let silence = self.link.deadline(true).map_or(until, |at| at.min(until));
            let mailbox = self.producer.as_ref().map(Producer::mailbox);
            tokio::select! {
                () = arrived(mailbox) => self.take_mail(),
                () = sleep_until(Some(silence)) => self.observe_time(Instant::now()),
            }
            self.turn_transaction(Instant::now());
        }
        let farewell = Instant::now() + FAREWELL;
        let left = || farewell.saturating_duration_since(Instant::now());
        if let Some(producer) = self.producer.take() {
            let mailbox = Arc::clone(producer.mailbox());
            if !producer.retire().wait(left()) {
                tracing::debug!("the Kafka client is slow to close; leaving it behind");
            }
            let mut last = Mail::default();
            mailbox.take(&mut last);
            for (sequence, outcome) in last.reports {
                if outcome.is_ok()
                    && let Some(route) = self.window.delivered(sequence)
                {
                    self.letters.delivered(sequence);
                    self.routes.count(route);
                }
            }
            self.pass_on_deliveries(Instant::now());
        }
        if let Some(retired) = self.retired.take() {
            retired.wait(left());
        }
    }
}
