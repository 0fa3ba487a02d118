//! Each state of a box, and the sentence it gets.

use super::*;
use crate::status::example::snapshot;

fn judged(change: impl FnOnce(&mut Snapshot)) -> (Verdict, String) {
    let mut facts = snapshot();
    change(&mut facts);
    // The books balance unless a test says otherwise.
    let found = judge(&facts, &[]);
    (found.verdict, found.sentence)
}

fn spooled(facts: &mut Snapshot, records: u64) {
    facts.ledger.spooled = records;
    facts.ledger.delivered = facts.ledger.accepted - records;
}

fn says((found, text): (Verdict, String), verdict: Verdict, sentence: &str) {
    assert_eq!((found, text.as_str()), (verdict, sentence));
}

#[test]
fn all_delivered_and_connected_is_ok() {
    let found = judged(|_| {});
    says(found, Verdict::Ok, "Everything is delivered; Kafka is connected.");
}

#[test]
fn a_new_box_says_that_no_record_has_come() {
    let found = judged(|facts| facts.ledger = crate::ledger::Ledger::default());
    says(found, Verdict::Ok, "No record has come yet; Kafka is connected.");
}

#[test]
fn records_in_flight_are_no_backlog() {
    let found = judged(|facts| spooled(facts, 37));
    says(found, Verdict::Ok, "37 records are on their way; Kafka is connected.");
}

#[test]
fn without_kafka_the_box_keeps_and_wants_a_look() {
    let found = judged(|facts| {
        facts.kafka.state = KafkaState::Unconfigured;
        spooled(facts, 1);
    });
    says(found, Verdict::Attention, "No Kafka is configured; one record waits.");
}

fn outage(facts: &mut Snapshot) {
    facts.kafka.state = KafkaState::Outage;
    facts.kafka.outage_seconds = Some(7_980.0);
    facts.spool.full_in_seconds = Some(32_500.0);
    spooled(facts, 1_234_567);
}

#[test]
fn an_outage_with_room_on_the_disk_is_no_emergency() {
    says(
        judged(outage),
        Verdict::Attention,
        "Kafka has been away for 2 h 13 min; 1,234,567 records wait; the disk lasts 9 h more; \
         nothing is lost.",
    );
}

#[test]
fn an_outage_names_its_cause() {
    let (_, sentence) = judged(|facts| {
        outage(facts);
        facts.kafka.cause = Some(Cause::Dns);
    });
    assert!(sentence.starts_with("Kafka has been away for 2 h 13 min (the brokers' names"));
}

#[test]
fn a_disk_that_is_full_within_the_hour_is_critical() {
    let (verdict, sentence) = judged(|facts| {
        outage(facts);
        facts.spool.full_in_seconds = Some(1_500.0);
    });
    assert_eq!(verdict, Verdict::Critical);
    assert!(sentence.contains("the disk is full in 25 min;"), "{sentence}");
}

#[test]
fn a_full_spool_is_critical_and_says_why() {
    let (verdict, sentence) = judged(|facts| {
        outage(facts);
        facts.ingest.state = IngestState::Refusing;
        facts.ingest.reason = Some("the spool is full (2.0 GiB of 2.0 GiB).".to_owned());
    });
    assert_eq!(verdict, Verdict::Critical);
    let start = "New records are refused because the spool is full (2.0 GiB of 2.0 GiB); Kafka";
    assert!(sentence.starts_with(start), "{sentence}");
    assert!(sentence.ends_with("nothing is lost."), "{sentence}");
    assert!(!sentence.contains("the disk"), "it is full already: {sentence}");
}

fn paused_by(cause: Option<Cause>, reason: &str) -> (Verdict, String) {
    judged(|facts| {
        facts.kafka.state = KafkaState::Paused;
        facts.kafka.cause = cause;
        facts.kafka.last_error = (!reason.is_empty()).then(|| reason.to_owned());
        spooled(facts, 5);
    })
}

#[test]
fn a_pause_tells_the_forwarders_own_reason_and_the_hand_that_fits_its_cause() {
    let hands = [
        (Cause::Dns, "check bootstrap.servers and this box's DNS"),
        (Cause::Network, "check bootstrap.servers and the network"),
        (Cause::Tls, "check the certificates named under [kafka]"),
        (Cause::Login, "check the credentials under [kafka]"),
        (Cause::Authorization, "give this box's user the right that it lacks"),
        (Cause::Topic, "create the topic, or correct the route"),
        (Cause::Clock, "set this box's clock if it is wrong"),
    ];
    for (cause, hand) in hands {
        let reason = "topic \"gps\": no;\n all records are kept.";
        says(
            paused_by(Some(cause), reason),
            Verdict::Critical,
            &format!(
                "Sending to Kafka is paused: topic \"gps\": no; all records are kept; to go on, \
                 {hand}; 5 records wait; nothing is lost."
            ),
        );
    }
}

#[test]
fn a_pause_of_no_known_cause_tells_its_reason_and_invents_no_hand() {
    says(
        paused_by(None, "record 3 cannot go to topic \"gps\": it is too large."),
        Verdict::Critical,
        "Sending to Kafka is paused: record 3 cannot go to topic \"gps\": it is too large; 5 \
         records wait; nothing is lost.",
    );
}

#[test]
fn a_pause_without_a_reason_still_asks_for_a_hand() {
    let start = "Sending to Kafka is paused until somebody acts";
    for (cause, then) in
        [(None, "; 5 records"), (Some(Cause::Login), "; to go on, check the credentials")]
    {
        let (verdict, sentence) = paused_by(cause, "");
        assert_eq!(verdict, Verdict::Critical);
        assert!(sentence.starts_with(&format!("{start}{then}")), "{sentence}");
    }
}

#[test]
fn catching_up_says_when_it_will_be_done() {
    let found = judged(|facts| {
        facts.kafka.state = KafkaState::CatchingUp;
        facts.kafka.drain_eta_seconds = Some(95.0);
        spooled(facts, 48_000);
    });
    says(
        found,
        Verdict::Ok,
        "48,000 records wait; Kafka is back and will have them all in 1 min 35 s; nothing is lost.",
    );
}

#[test]
fn a_lost_record_is_critical_and_counted_for_ever() {
    let found = judged(|facts| {
        facts.ledger.lost = 3;
        facts.ledger.delivered -= 3;
    });
    says(
        found,
        Verdict::Critical,
        "Nothing waits; Kafka is connected; 3 records are lost to damage of the medium.",
    );
}

#[test]
fn books_that_do_not_balance_are_critical() {
    let (verdict, sentence) = judged(|facts| facts.ledger.delivered -= 1);
    assert_eq!(verdict, Verdict::Critical);
    assert!(sentence.contains("the books do not balance"), "{sentence}");
}

#[test]
fn dead_letters_held_topics_and_troubles_want_a_look() {
    let mut facts = snapshot();
    facts.ledger.dead = 1;
    facts.ledger.delivered -= 6;
    facts.ledger.spooled = 5;
    facts.routes[0].held = 5;
    facts.routes[0].held_because = Some("the topic does not exist".to_owned());
    let trouble = "the admin listener cannot use 127.0.0.1:10088".to_owned();
    let facts = facts.judged(&[trouble]);
    assert_eq!(facts.verdict, Verdict::Attention);
    assert_eq!(
        facts.sentence,
        "Everything else is delivered; Kafka is connected; one record is a dead letter \
         (`waystation dead ls` says why); 5 records are held for topic test (the topic does not \
         exist); the admin listener cannot use 127.0.0.1:10088."
    );
}

#[test]
fn a_start_is_given_a_minute_to_reach_kafka() {
    for (uptime, expected) in [(5.0, Verdict::Ok), (90.0, Verdict::Attention)] {
        let (verdict, sentence) = judged(|facts| {
            facts.uptime_seconds = uptime;
            facts.kafka.state = KafkaState::Connecting;
        });
        assert_eq!(verdict, expected);
        assert!(sentence.starts_with("Kafka has not been reached yet; "), "{sentence}");
    }
}

/// Fails when the judgement does not look at what is held.
#[test]
fn an_export_that_holds_records_back_is_named_and_wants_a_look_when_it_lasts() {
    for (seconds, expected, lasted) in
        [(90.0, Verdict::Ok, "1 min 30 s"), (5_400.0, Verdict::Attention, "1 h 30 min")]
    {
        let found = judged(|facts| {
            spooled(facts, 5_000);
            facts.spool.held_records = 4_000;
            facts.spool.held_seconds = Some(seconds);
        });
        let sentence = format!(
            "5,000 records wait; Kafka is connected; an export has held 4,000 records back from \
             Kafka for {lasted}."
        );
        says(found, expected, &sentence);
    }
}
