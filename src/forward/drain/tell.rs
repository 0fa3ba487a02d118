//! What does the loop tell about itself?
//!
//! One log line for each turn of events, and the state for whoever looks. It changes
//! nothing, but for remembering that the end of the spool has to be seen anew.

use super::{Forwarder, Part, Phase};
use crate::forward::advice::advice;
use crate::forward::link::Change;
use crate::forward::monitor::Mood;
use crate::status::KafkaState;
use std::time::{Duration, Instant};

impl Forwarder {
    pub(super) fn observe_time(&mut self, now: Instant) {
        let change = self.link.tick(now, self.awaits_reports());
        self.report(change, now);
    }

    /// One line in the log for each turn of events.
    pub(super) fn report(&mut self, change: Option<Change>, now: Instant) {
        if let Part::Topic = self.part {
            // The main forwarder tells of Kafka as a whole.
            self.caught_up &= change.is_none();
            return;
        }
        let lasted = |since: Instant| {
            humantime::format_duration(Duration::from_secs((now - since).as_secs()))
        };
        let waiting = self.reader.unread() + self.reader.position().since(self.reader.watermark());
        match change {
            None => return,
            Some(Change::Reached) => tracing::info!("Kafka is there"),
            Some(Change::Began { cause, text }) => {
                let advice = advice(&text, &self.config.kafka);
                let advice = advice.map(|says| format!("{says}: ")).unwrap_or_default();
                tracing::warn!(
                    ?cause,
                    "Kafka is away ({advice}{text}); records are kept on the disk"
                );
            }
            Some(Change::Lasts { since }) => {
                tracing::warn!("Kafka has been away for {}; {waiting} records wait", lasted(since));
            }
            Some(Change::Ended { since }) => {
                let lasted = lasted(since);
                tracing::info!("Kafka is back after {lasted}; it held back {waiting} records");
            }
        }
        self.caught_up = false;
    }

    /// Shows the state to whoever looks.
    pub(super) fn show(&self) {
        let hint = self.link.hint();
        let away = self.link.away_since();
        let standstill = self.standstill.as_ref();
        let state = match self.phase {
            Phase::Stopping => KafkaState::Stopping,
            Phase::Unconfigured => KafkaState::Unconfigured,
            // Without a client nobody asks whether Kafka is there.
            _ if standstill.is_some_and(|standstill| standstill.at.is_none()) => KafkaState::Paused,
            _ if away.is_some() => KafkaState::Outage,
            _ if standstill.is_some() => KafkaState::Paused,
            _ if !self.link.is_up() => KafkaState::Connecting,
            _ if !self.caught_up => KafkaState::CatchingUp,
            _ => KafkaState::Connected,
        };
        let cause = match state {
            KafkaState::Outage => hint.map(|(cause, _)| *cause),
            KafkaState::Paused => standstill.and_then(|standstill| standstill.cause),
            _ => None,
        };
        self.monitor.set_mood(Mood {
            state,
            cause,
            outage_since: away,
            reason: standstill.map(|standstill| standstill.reason.clone()),
            last_error: hint.map(|(_, text)| text.clone()),
            advice: hint
                .filter(|_| state == KafkaState::Outage)
                .and_then(|(_, text)| advice(text, &self.config.kafka)),
        });
    }
}
