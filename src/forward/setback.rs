//! How does sending go on after failures?
//!
//! When a record fails, sending stops until everything in flight was reported on or taken
//! back; then it starts again at the watermark. What was reported until then is one
//! [`Setback`], and [`Recovery`] decides from it when and how to start again: soon, later
//! each time that nothing came of it, or, where somebody has to act, every few seconds with
//! the reason on display.
//!
//! It deliberately has no clock and sends nothing.

use super::RETRY;
use super::settings::BatchLimit;
use super::verdict::{Failure, Verdict};
use crate::record::{Millis, Sequence};
use crate::status::Cause;
use std::time::Duration;

/// How often sending may fail at one watermark before it is shown as a standstill.
const PATIENCE: u32 = 3;

/// How long a fenced producer leaves the other one alone.
const FENCED_RETRY: Duration = Duration::from_mins(1);

/// The gravest of the failures since sending last started, and where it struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// The lowest sequence of the gravest verdict; `None` for a failure of the whole producer.
    pub at: Option<Sequence>,
    pub topic: Option<String>,
    pub failure: Failure,
    /// The highest sequence that the same verdict struck: a batch is refused whole.
    pub until: Option<Sequence>,
    /// The record was in flight alone, so that its failure is its own.
    pub alone: bool,
}

impl Setback {
    /// A failure of the whole producer.
    pub fn general(failure: Failure) -> Self {
        Self { at: None, topic: None, failure, until: None, alone: false }
    }

    /// The graver of both; of equally grave ones the one at the lower sequence.
    pub fn or(self, other: Self) -> Self {
        let rank = |setback: &Self| {
            let at = setback.at.map_or(0, |at| at.0);
            (std::cmp::Reverse(setback.failure.verdict()), at)
        };
        let (mut graver, milder) =
            if rank(&other) < rank(&self) { (other, self) } else { (self, other) };
        if graver.failure.verdict() == milder.failure.verdict() {
            graver.until = graver.until.max(milder.until);
        }
        graver
    }
}

/// How to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send again from the watermark, after this time.
    Again { after: Duration },
    /// The same, but one record in flight until the watermark has passed this one: a broker
    /// refuses a batch whole, and only a record that stands alone is refused for itself.
    OneByOne { until: Sequence },
    /// The same, after this record was refused alone for its timestamp: it is to be sent with
    /// the time of sending.
    Redate { at: Sequence },
    /// Kafka can never take this record, which was refused alone: it is to be set aside for good.
    SetAside { at: Sequence },
    /// Somebody has to act; try again after [`RETRY`].
    Stuck { reason: String, cause: Option<Cause> },
}

/// What earlier setbacks taught.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The watermark at the last setback, and how many struck there in a row.
    stuck: (Option<Sequence>, u32),
    batch: BatchLimit,
    /// The record whose own timestamp was refused.
    redated: Option<Sequence>,
    /// A timestamp of the future was refused.
    no_future: bool,
}

impl Recovery {
    /// The batches to send from now on.
    pub fn batch(&self) -> BatchLimit {
        self.batch
    }

    /// The timestamp to send this record with, whose own is `own`. Where the clock was ahead for a
    /// while, each record of that time would be refused, one after the other: once one of them was,
    /// all that lie in the future get the time of sending.
    pub fn dated(&mut self, sequence: Sequence, own: Millis, now: Millis) -> Millis {
        let refused = self.redated == Some(sequence);
        self.no_future |= refused && own > now;
        if refused || (self.no_future && own > now) { now } else { own }
    }

    /// How to go on after this setback, now that everything below `watermark` is delivered.
    pub fn next(&mut self, setback: &Setback, watermark: Sequence) -> Next {
        let in_a_row = if self.stuck.0 == Some(watermark) { self.stuck.1 + 1 } else { 0 };
        self.stuck = (Some(watermark), in_a_row);
        let failure = &setback.failure;
        if failure.verdict() == Verdict::DeadLetter && !setback.alone {
            if *failure == Failure::TooLarge {
                self.batch = BatchLimit::Small;
            }
            return Next::OneByOne { until: setback.until.unwrap_or(watermark) };
        }
        if let (Failure::BadTimestamp, Some(at)) = (failure, setback.at)
            && self.redated != Some(at)
        {
            self.redated = Some(at);
            return Next::Redate { at };
        }
        if failure.verdict() == Verdict::DeadLetter
            && *failure != Failure::BadTimestamp
            && setback.at == Some(watermark)
        {
            return Next::SetAside { at: watermark };
        }
        // What should pass by itself and does not is for somebody to look at as well.
        if failure.verdict().needs_a_hand() || in_a_row >= PATIENCE {
            return Next::Stuck { reason: reason(setback), cause: failure.cause() };
        }
        Next::Again { after: Duration::from_secs(u64::from(in_a_row)) }
    }
}

/// The same where a record that Kafka can never take could not be set aside either.
pub fn not_set_aside(setback: &Setback, why: &str) -> String {
    let what = what(setback);
    let seconds = RETRY.as_secs();
    format!("{what}, and {why}; all records are kept and sending is tried again every {seconds} s")
}

/// One sentence for the status: where it is stuck, what is wrong, which hand is needed, and that
/// nothing is lost by it.
fn reason(setback: &Setback) -> String {
    let what = what(setback);
    format!("{what}; all records are kept and sending is tried again every {} s", RETRY.as_secs())
}

/// The same for records that librdkafka itself sends again and again.
pub fn refused(at: Sequence, topic: String, failure: Failure) -> String {
    let at = Some(at);
    let what = what(&Setback { at, topic: Some(topic), failure, until: at, alone: false });
    format!("{what}; all records are kept and sent as soon as they are taken")
}

/// The same where nobody knows whether Kafka has these records: first, end.
pub fn in_doubt(first: Sequence, end: Sequence) -> String {
    format!(
        "whether Kafka has the records of sequences {first} to {} is not known: it has forgotten how far \
         this box had come, or knows it of another copy of this spool only; set in_doubt = \"repeat\" under [forward] and restart, and they are sent \
         again and may be there twice; all records are kept",
        end.0 - 1
    )
}

/// The same where another producer is at work again and again; and when to try again.
pub fn fenced() -> (String, Duration) {
    let seconds = FENCED_RETRY.as_secs();
    let failure = Failure::Fenced;
    (
        format!("{failure}; all records are kept and it is tried again every {seconds} s"),
        FENCED_RETRY,
    )
}

fn what(setback: &Setback) -> String {
    let Setback { at, topic, failure, .. } = setback;
    match (failure.verdict(), at, topic) {
        (Verdict::DeadLetter, Some(at), Some(topic)) => {
            format!("record {at} cannot go to topic {topic:?}: {failure}")
        }
        (Verdict::Resend | Verdict::Rebuild, Some(at), Some(topic)) => {
            format!("topic {topic:?} does not get past record {at}: {failure}")
        }
        (_, _, Some(topic)) => format!("topic {topic:?}: {failure}"),
        _ => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64, failure: Failure) -> Setback {
        let at = Some(Sequence(sequence));
        Setback { at, topic: Some("gps".into()), failure, until: at, alone: false }
    }

    #[test]
    fn the_cause_stands_out_from_what_was_purged_behind_it() {
        let denied = || Failure::TopicDenied;
        let fatal = Setback { at: None, until: None, ..at(0, Failure::Fatal("gap".into())) };
        let all = [at(3, Failure::Purged), at(7, denied()), fatal, at(5, denied())];
        let worst = all.into_iter().reduce(Setback::or);
        assert_eq!(worst, Some(Setback { until: Some(Sequence(7)), ..at(5, denied()) }));
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_at_once_then_more_slowly_then_shown() {
        let mut recovery = Recovery::default();
        let fatal = at(3, Failure::Fatal("gap".into()));
        let mut wait = |watermark| match recovery.next(&fatal, Sequence(watermark)) {
            Next::Again { after } => Some(after.as_secs()),
            Next::Stuck { .. } => None,
            other => panic!("nothing was refused for itself: {other:?}"),
        };
        assert_eq!([3, 3, 3, 3, 3].map(&mut wait), [Some(0), Some(1), Some(2), None, None]);
        assert_eq!([9, 9].map(&mut wait), [Some(0), Some(1)]);
    }

    #[test]
    fn a_record_is_only_too_large_once_it_was_refused_alone() {
        let mut recovery = Recovery::default();
        let large = || Setback { until: Some(Sequence(9)), ..at(3, Failure::TooLarge) };
        let next = recovery.next(&large(), Sequence(3));
        assert_eq!(next, Next::OneByOne { until: Sequence(9) });
        assert_eq!(recovery.batch(), BatchLimit::Small);
        let alone = Setback { alone: true, ..large() };
        assert_eq!(recovery.next(&alone, Sequence(3)), Next::SetAside { at: Sequence(3) });
        let reason = not_set_aside(&alone, "the store is full: make room");
        for part in ["record 3 ", "gps", "max.message.bytes", "and the store is full: make room; "]
        {
            assert!(reason.contains(part), "{reason}");
        }
        // Not while one before it still waits: it was not refused alone.
        let next = recovery.next(&alone, Sequence(2));
        assert!(matches!(next, Next::Stuck { .. }), "{next:?}");
    }

    /// What is refused for the record itself leaves the way free; a clock's fault is no record's.
    #[test]
    fn only_what_no_clock_and_no_hand_in_the_cluster_can_help_is_set_aside() {
        for (failure, dead) in [
            (Failure::TooLarge, true),
            (Failure::Invalid("no key".into()), true),
            (Failure::BadTimestamp, false),
            (Failure::UnknownTopic, false),
            (Failure::TopicDenied, false),
            (Failure::ClusterDenied, false),
            (Failure::LoginRefused, false),
            (Failure::TimedOut, false),
            (Failure::Purged, false),
            (Failure::Fatal(String::new()), false),
            (Failure::Other(String::new()), false),
        ] {
            let mut recovery = Recovery::default();
            let setback = Setback { alone: true, ..at(12, failure) };
            let mut next = || recovery.next(&setback, Sequence(12));
            let found = [next(), next(), next(), next(), next()];
            let set_aside = found.contains(&Next::SetAside { at: Sequence(12) });
            assert_eq!(set_aside, dead, "{setback:?}: {found:?}");
        }
    }

    /// Stuck for good, with the reason in words and where to look.
    fn stuck(failure: Failure) -> (String, Option<Cause>) {
        let mut recovery = Recovery::default();
        let setback = Setback { alone: true, ..at(12, failure) };
        for _ in 0..=PATIENCE {
            if let Next::Stuck { reason, cause } = recovery.next(&setback, Sequence(12)) {
                return (reason, cause);
            }
        }
        panic!("it should be stuck: {setback:?}")
    }

    #[test]
    fn every_standstill_names_its_topic_the_record_where_it_is_one_and_the_hand_it_needs() {
        let other = || "MessageFromTheFuture".to_owned();
        for (failure, record, hand, cause) in [
            (Failure::TimedOut, true, "look at the brokers", Some(Cause::Network)),
            (Failure::Purged, true, "look at the brokers' logs", None),
            (Failure::Fatal(other()), true, "look at the brokers' logs", None),
            (Failure::UnknownTopic, false, "create it", Some(Cause::Topic)),
            (Failure::TopicDenied, false, "grant it Write", Some(Cause::Authorization)),
            (
                Failure::ClusterDenied,
                false,
                "grant it IdempotentWrite on the cluster",
                Some(Cause::Authorization),
            ),
            (Failure::LoginRefused, false, "check the user", Some(Cause::Login)),
            (Failure::BadTimestamp, true, "box's clock", Some(Cause::Clock)),
            (Failure::TooFewReplicas, true, "bring back the brokers", None),
            (Failure::Other(other()), true, "look at the brokers' logs", None),
        ] {
            let (reason, found) = stuck(failure.clone());
            assert!(reason.contains("topic \"gps\""), "{reason}");
            assert_eq!(reason.contains("record 12"), record, "{reason}");
            assert!(reason.contains(hand), "{reason}");
            assert!(reason.contains("all records are kept") && !reason.ends_with('.'), "{reason}");
            assert_eq!(found, cause, "{failure:?}");
        }
    }

    #[test]
    fn a_refused_timestamp_gives_way_to_the_time_of_sending_and_then_to_a_hand() {
        let mut recovery = Recovery::default();
        let refused = |alone| Setback { alone, ..at(3, Failure::BadTimestamp) };
        let next = recovery.next(&refused(false), Sequence(3));
        assert_eq!((next, recovery.redated), (Next::OneByOne { until: Sequence(3) }, None));
        let next = recovery.next(&refused(true), Sequence(3));
        assert_eq!(next, Next::Redate { at: Sequence(3) });
        assert_eq!(recovery.redated, Some(Sequence(3)));
        let next = recovery.next(&refused(true), Sequence(3));
        assert!(matches!(next, Next::Stuck { cause: Some(Cause::Clock), .. }), "{next:?}");
        // The next record is another one's clock.
        let next = recovery.next(&Setback { at: Some(Sequence(4)), ..refused(true) }, Sequence(4));
        assert_eq!(next, Next::Redate { at: Sequence(4) });
    }

    #[test]
    fn what_a_clock_dated_ahead_is_dated_anew_once_a_broker_refused_one_of_it() {
        let mut recovery = Recovery::default();
        let (now, ahead, old) = (Millis(1_000), Millis(9_000), Millis(1));
        assert_eq!(recovery.dated(Sequence(3), ahead, now), ahead);
        recovery.next(&Setback { alone: true, ..at(3, Failure::BadTimestamp) }, Sequence(3));
        assert_eq!(recovery.dated(Sequence(3), ahead, now), now);
        assert_eq!(recovery.dated(Sequence(4), ahead, now), now);
        assert_eq!(recovery.dated(Sequence(5), old, now), old);
        // One that is too old says nothing of those ahead.
        let mut recovery = Recovery::default();
        recovery.next(&Setback { alone: true, ..at(3, Failure::BadTimestamp) }, Sequence(3));
        assert_eq!(recovery.dated(Sequence(3), old, now), now);
        assert_eq!(recovery.dated(Sequence(4), ahead, now), ahead);
    }

    #[test]
    fn a_missing_topic_waits_for_a_hand_and_says_which_topic() {
        let next = Recovery::default().next(&at(0, Failure::UnknownTopic), Sequence(0));
        let Next::Stuck { reason, cause } = next else { panic!("it should be stuck") };
        assert!(reason.contains("\"gps\": the topic does not exist"), "{reason}");
        assert_eq!(cause, Some(Cause::Topic));
    }
}
