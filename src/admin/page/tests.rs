//! What the page holds before its script has run.

use super::*;
use crate::status::{Cause, KafkaState, example::snapshot};

fn rendered(snapshot: &Snapshot) -> String {
    let now = humantime::parse_rfc3339("2026-05-04T10:11:15Z").unwrap();
    render(snapshot, "00ff", now).unwrap()
}

#[test]
fn the_first_paint_holds_the_numbers() {
    let page = rendered(&snapshot());
    for text in [
        "<title>depot-7 · Waystation</title>",
        ">Everything is delivered; Kafka is connected.<",
        "data-v=\"ledger.delivered\" data-as=\"count\">18,412,007<",
        "data-v=\"spool.max_bytes\" data-as=\"bytes\">2.0 GiB<",
        "data-v=\"kafka.last_delivery\" data-as=\"ago\">3 s ago<",
        ">12 malformed, 3 too large<",
        "width=\"0.4%\"",
        ">Routes, since the start<",
        "/endpoint<small>→ test</small></th><td role=\"cell\">18,412,007</td>",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("{{"), "every place is filled");
}

#[test]
fn what_does_not_apply_is_hidden_and_what_applies_is_shown() {
    let mut facts = snapshot();
    assert!(rendered(&facts).contains("data-if=\"kafka.outage_seconds\" hidden>"));
    facts.kafka.state = KafkaState::Outage;
    facts.kafka.cause = Some(Cause::Dns);
    facts.kafka.outage_seconds = Some(7_980.0);
    facts.ledger.lost = 1;
    let page = rendered(&facts);
    assert!(page.contains("data-if=\"kafka.outage_seconds\"><dt>Away for</dt><dd><span"));
    assert!(page.contains(">2 h 13 min<") && page.contains(">names do not resolve<"));
    assert!(page.contains("data-alarm=\"ledger.lost\" data-alarmed>"));
    assert!(page.contains(">Sum, not as accepted<"));
}

#[test]
fn only_reasons_that_refused_something_are_told() {
    let mut facts = snapshot();
    facts.ingest.rejected = [("malformed".to_owned(), 0), ("too_large".to_owned(), 3)].into();
    assert!(rendered(&facts).contains(">3 too large<"));
    facts.ingest.rejected.insert("too_large".to_owned(), 0);
    assert!(rendered(&facts).contains("data-v=\"derived.rejected\" data-as=\"text\">none<"));
}

#[test]
fn a_number_is_not_parted_from_its_unit() {
    let text = kept_together("Away for 2 h 13 min; 2 records wait; 5 % of 2.0 GiB.");
    assert_eq!(text, "Away for 2\u{a0}h 13\u{a0}min; 2 records wait; 5\u{a0}% of 2.0\u{a0}GiB.");
}

#[test]
fn nothing_in_the_snapshot_becomes_markup() {
    let evil = "\"><script>alert('1')</script>&";
    let mut facts = snapshot();
    facts.box_name = evil.to_owned();
    facts.sentence = evil.to_owned();
    facts.kafka.last_error = Some(evil.to_owned());
    facts.ingest.rejected.insert(evil.to_owned(), 1);
    facts.routes[0].path = evil.to_owned();
    facts.routes[0].topic = evil.to_owned();
    facts.routes[0].held_because = Some(evil.to_owned());
    let page = rendered(&facts);
    assert!(!page.contains("<script>"), "only scripts with the nonce");
    assert!(!page.contains("alert('1')"));
    assert_eq!(page.matches("<script").count(), 1);
}

#[test]
fn every_state_and_cause_has_a_word_on_the_page() {
    use crate::status::{IngestState, LastStop, Verdict};
    use Cause::{Authorization, Clock, Dns, Login, Network, Tls, Topic};
    let mut names: Vec<Value> = KafkaState::ALL.iter().map(|state| json!(state)).collect();
    names.extend([Verdict::Ok, Verdict::Attention, Verdict::Critical].map(|v| json!(v)));
    names.extend([IngestState::Accepting, IngestState::Refusing].map(|v| json!(v)));
    let stops = [LastStop::Clean, LastStop::Crash, LastStop::Power, LastStop::Watchdog];
    names.extend(stops.map(|v| json!(v)));
    let causes = [Dns, Network, Tls, Login, Authorization, Topic, Clock];
    names.extend(causes.map(|v| json!(v)));
    for name in names {
        assert!(WORDS.iter().any(|(word, _)| name == *word), "{name}");
    }
}
