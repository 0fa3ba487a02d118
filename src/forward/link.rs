//! Is Kafka there?
//!
//! librdkafka calls the same error back only now and then, and "all brokers down" also when
//! an idle connection ends. So an outage is latched: it begins with an error (or with
//! silence while records wait for their reports) and ends only with a delivery, or, while
//! nothing is in flight, with an answer to a question of our own. The result is one log line
//! at the start of an outage, one at its end, and a reminder now and then between.
//!
//! It deliberately has no clock and no socket: times are handed in.

use crate::status::Cause;
use std::time::{Duration, Instant};

/// Records in flight and no report for so long: Kafka is away, whatever the connections say.
pub const SILENCE: Duration = Duration::from_secs(15);
/// The same, when there was an error since the last delivery.
pub const SILENCE_AFTER_ERROR: Duration = Duration::from_secs(2);
/// How often a lasting outage is mentioned in the log.
pub const REMINDER: Duration = Duration::from_mins(5);
/// The pause between two questions whether Kafka is there.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What librdkafka said about its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// It has no connection at all; otherwise only something about one broker.
    pub all_down: bool,
    pub cause: Cause,
    pub text: String,
}

/// A turn of events that is worth a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Kafka answered for the first time.
    Reached,
    Began {
        cause: Cause,
        text: String,
    },
    Lasts {
        since: Instant,
    },
    Ended {
        since: Instant,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Away { since: Instant, reminder: Instant },
}

/// The connection to Kafka as a whole.
#[derive(Debug)]
pub struct Link {
    state: State,
    /// The newest error that named a cause, cleared by a delivery.
    hint: Option<(Cause, String)>,
    /// All connections are gone while nothing was in flight: perhaps only for idleness.
    doubted: bool,
    /// When reports last came, or when records began to wait for them.
    heard: Option<Instant>,
    probe_at: Option<Instant>,
}

impl Link {
    /// Nothing was heard yet.
    pub fn new(now: Instant) -> Self {
        let state = State::Connecting;
        Self { state, hint: None, doubted: false, heard: None, probe_at: Some(now) }
    }

    /// Since when Kafka has been away.
    pub fn away_since(&self) -> Option<Instant> {
        match self.state {
            State::Away { since, .. } => Some(since),
            State::Connecting | State::Up => None,
        }
    }

    /// Whether Kafka has answered and is not known to be away.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// What the newest error was, until Kafka takes records again.
    pub fn hint(&self) -> Option<&(Cause, String)> {
        self.hint.as_ref()
    }

    /// librdkafka reported an error about its connections.
    pub fn trouble(&mut self, now: Instant, trouble: Trouble, in_flight: bool) -> Option<Change> {
        let Trouble { all_down, cause, text } = trouble;
        // "All brokers down" names no cause; the error before it did.
        if !all_down || self.hint.is_none() {
            self.hint = Some((cause, text));
        }
        let refused = matches!(cause, Cause::Login | Cause::Tls | Cause::Dns);
        match self.state {
            State::Up if all_down && in_flight => self.begin(now),
            State::Up if all_down => {
                self.doubted = true;
                self.probe_at = Some(now);
                None
            }
            State::Connecting if all_down || refused => self.begin(now),
            State::Connecting | State::Up | State::Away { .. } => None,
        }
    }

    /// Kafka took a record.
    pub fn delivered(&mut self, now: Instant) -> Option<Change> {
        self.heard = Some(now);
        self.answered()
    }

    /// A broker answered, if only to say that it does not take a record for now.
    pub fn refused(&mut self, now: Instant) -> Option<Change> {
        self.delivered(now)
    }

    /// The answer to our own question: whether a broker gave its metadata. It says nothing
    /// about records that wait for their reports.
    pub fn probed(&mut self, now: Instant, answered: bool, in_flight: bool) -> Option<Change> {
        self.probe_at = Some(now + PROBE_EVERY);
        match (answered, &self.state) {
            (true, _) if !in_flight => self.answered(),
            (false, State::Up) if self.doubted => self.begin(now),
            _ => None,
        }
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant, in_flight: bool) -> Option<Change> {
        if !in_flight {
            self.heard = None;
        } else if self.heard.is_none() {
            self.heard = Some(now);
        }
        let silent = self.silent_at().is_some_and(|at| now >= at);
        match &mut self.state {
            State::Away { since, reminder } if now >= *reminder => {
                *reminder = now + REMINDER;
                Some(Change::Lasts { since: *since })
            }
            State::Connecting | State::Up if silent => {
                let nothing = || (Cause::Network, format!("no answer for {} s", SILENCE.as_secs()));
                self.hint.get_or_insert_with(nothing);
                self.begin(now)
            }
            _ => None,
        }
    }

    /// When to ask Kafka whether it is there; only worth it while nothing is in flight.
    pub fn probe_at(&self, in_flight: bool) -> Option<Instant> {
        let worth = !in_flight && (self.doubted || self.state != State::Up);
        self.probe_at.filter(|_| worth)
    }

    /// The question is on its way; the next one waits for its answer.
    pub fn probing(&mut self) {
        self.probe_at = None;
    }

    /// The producer that was asked is gone, and with it the answer.
    pub fn renewed(&mut self, now: Instant) {
        self.probe_at = Some(now + PROBE_EVERY);
        self.heard = None;
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn deadline(&self, in_flight: bool) -> Option<Instant> {
        match self.state {
            State::Away { reminder, .. } => Some(reminder),
            _ if in_flight => self.silent_at(),
            _ => None,
        }
    }

    /// When the silence, if it goes on, means that Kafka is away.
    fn silent_at(&self) -> Option<Instant> {
        let patience = if self.hint.is_some() { SILENCE_AFTER_ERROR } else { SILENCE };
        self.heard.map(|heard| heard + patience)
    }

    fn begin(&mut self, now: Instant) -> Option<Change> {
        self.doubted = false;
        self.state = State::Away { since: now, reminder: now + REMINDER };
        self.probe_at = Some(now + PROBE_EVERY);
        let (cause, text) = self.hint.clone()?;
        Some(Change::Began { cause, text })
    }

    fn answered(&mut self) -> Option<Change> {
        self.hint = None;
        self.doubted = false;
        match std::mem::replace(&mut self.state, State::Up) {
            State::Connecting => Some(Change::Reached),
            State::Up => None,
            State::Away { since, .. } => Some(Change::Ended { since }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Trouble {
        Trouble { all_down: true, cause: Cause::Network, text: "1/1 brokers are down".into() }
    }

    fn refused(cause: Cause) -> Trouble {
        Trouble { all_down: false, cause, text: "refused".into() }
    }

    fn up(now: Instant) -> Link {
        let mut link = Link::new(now);
        assert_eq!(link.delivered(now), Some(Change::Reached));
        link
    }

    #[test]
    fn an_outage_is_announced_once_and_ends_with_a_delivery() {
        let now = Instant::now();
        let mut link = up(now);
        assert!(matches!(link.trouble(now, down(), true), Some(Change::Began { .. })));
        assert_eq!(link.trouble(now, down(), true), None);
        assert_eq!(link.probed(now, true, true), None);
        assert_eq!(link.away_since(), Some(now));
        assert_eq!(link.delivered(now + SILENCE), Some(Change::Ended { since: now }));
        assert_eq!(link.delivered(now + SILENCE), None);
    }

    #[test]
    fn the_cause_is_the_one_that_was_named_before_all_went_down() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.trouble(now, refused(Cause::Login), true), None);
        let began = Change::Began { cause: Cause::Login, text: "refused".into() };
        assert_eq!(link.trouble(now, down(), true), Some(began));
    }

    #[test]
    fn an_idle_connection_that_ends_is_only_an_outage_when_nobody_answers() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.trouble(now, down(), false), None);
        assert!(link.is_up());
        assert_eq!(link.probe_at(false), Some(now));
        assert_eq!(link.probed(now, true, false), None);
        assert!(link.is_up() && link.probe_at(false).is_none());

        assert_eq!(link.trouble(now, down(), false), None);
        assert!(matches!(link.probed(now, false, false), Some(Change::Began { .. })));
        assert_eq!(link.probed(now, true, false), Some(Change::Ended { since: now }));
    }

    #[test]
    fn silence_with_records_in_flight_is_an_outage() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.tick(now, true), None);
        assert_eq!(link.deadline(true), Some(now + SILENCE));
        assert!(matches!(link.tick(now + SILENCE, true), Some(Change::Began { .. })));
    }

    #[test]
    fn an_idle_connection_that_ends_just_before_a_record_is_no_long_silence() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.trouble(now, down(), false), None);
        assert_eq!(link.tick(now, false), None);
        assert_eq!(link.tick(now, true), None);
        assert_eq!(link.deadline(true), Some(now + SILENCE_AFTER_ERROR));
        let began = link.tick(now + SILENCE_AFTER_ERROR, true);
        assert!(matches!(began, Some(Change::Began { cause: Cause::Network, .. })));
    }

    #[test]
    fn a_broker_that_refuses_is_there() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.tick(now, true), None);
        assert_eq!(link.refused(now + SILENCE / 2), None);
        assert_eq!(link.tick(now + SILENCE, true), None);
        assert!(link.is_up());
        link.trouble(now, down(), true);
        assert_eq!(link.refused(now + SILENCE), Some(Change::Ended { since: now }));
    }

    #[test]
    fn silence_without_records_in_flight_is_nothing() {
        let now = Instant::now();
        let mut link = up(now);
        assert_eq!(link.tick(now, true), None);
        assert_eq!(link.tick(now + SILENCE / 2, false), None);
        assert_eq!(link.tick(now + SILENCE * 2, true), None);
        assert!(link.is_up());
    }

    #[test]
    fn a_lasting_outage_is_mentioned_every_five_minutes() {
        let now = Instant::now();
        let mut link = up(now);
        link.trouble(now, down(), true);
        assert_eq!(link.tick(now + REMINDER / 2, true), None);
        assert_eq!(link.tick(now + REMINDER, true), Some(Change::Lasts { since: now }));
        assert_eq!(link.tick(now + REMINDER, true), None);
    }

    #[test]
    fn a_refused_login_is_an_outage_before_the_first_answer() {
        let now = Instant::now();
        let mut link = Link::new(now);
        let change = link.trouble(now, refused(Cause::Login), true);
        assert!(matches!(change, Some(Change::Began { cause: Cause::Login, .. })));
    }
}
