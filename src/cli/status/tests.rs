//! The command against a true admin listener.

use super::*;
use crate::admin::fake::{Fake, Served};
use crate::status::{IngestState, KafkaState};

async fn ran(snapshot: Snapshot, json: bool) -> (u8, String, String) {
    let served = Served::new(Fake { snapshot: snapshot.judged(&[]), failing: None }).await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = look(served.address, json, &mut out, &mut err).await.unwrap();
    served.stop().await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn in_an_outage() -> Snapshot {
    let mut facts = Fake::default().snapshot;
    facts.kafka.state = KafkaState::Outage;
    facts.kafka.outage_seconds = Some(7_980.0);
    facts.kafka.last_error = Some(
        "abc-0.com:6667/bootstrap: Connect to ipv4#10.1.2.3:6667 failed: Connection refused \
         (after 3 ms in state CONNECT)"
            .to_owned(),
    );
    facts.ledger.spooled = 1_234_567;
    facts.ledger.delivered -= 1_234_567;
    facts
}

#[tokio::test]
async fn the_exit_code_is_the_verdict() {
    let (code, out, err) = ran(Fake::default().snapshot, false).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("Everything is delivered; Kafka is connected.\n\n"), "{out}");
    let (code, ..) = ran(in_an_outage(), false).await;
    assert_eq!(code, 1);
    let mut refusing = in_an_outage();
    refusing.ingest.state = IngestState::Refusing;
    let (code, ..) = ran(refusing, false).await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn nobody_there_is_exit_code_3_and_a_sentence() {
    // Bound but not listening: nobody else gets the port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(look(address, false, &mut out, &mut err).await.unwrap(), 3);
    assert!(out.is_empty());
    let err = String::from_utf8(err).unwrap();
    assert!(err.starts_with(&format!("waystation: nothing listens at {address}")), "{err}");
}

#[tokio::test]
async fn the_table_fits_a_terminal_and_its_numbers_stand_in_a_column() {
    let mut facts = in_an_outage();
    facts.routes[0].held = 3;
    facts.routes[0].held_because = Some("the topic does not exist".to_owned());
    (facts.routes[0].invalid, facts.routes[0].repeated) = (12, 3_456);
    let (_, out, _) = ran(facts, false).await;
    for line in out.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    assert!(out.contains("ledger  accepted      18,412,007\n"), "{out}");
    assert!(out.contains("        + spooled      1,234,567\n"), "{out}");
    assert!(out.contains("        + lost                 0\n"), "{out}");
    assert!(out.contains("        away for      2 h 13 min\n"), "{out}");
    assert!(out.contains("\nroutes  since the start                      accepted "), "{out}");
    assert!(out.contains("          held: the topic does not exist\n"), "{out}");
    assert!(out.contains("          12 of the accepted are no messages\n"), "{out}");
    assert!(out.contains("          3,456 repeats not kept again\n"), "{out}");
}

#[tokio::test]
async fn only_reasons_that_refused_something_are_told() {
    let mut facts = in_an_outage();
    facts.ingest.rejected = [("malformed".to_owned(), 0), ("too_large".to_owned(), 3)].into();
    let (_, out, _) = ran(facts.clone(), false).await;
    assert!(out.contains("        rejected      3 too large\n"), "{out}");
    facts.ingest.rejected.insert("too_large".to_owned(), 0);
    let (_, out, _) = ran(facts, false).await;
    assert!(out.contains("        rejected      none\n"), "{out}");
}

#[tokio::test]
async fn json_is_what_was_served() {
    let facts = in_an_outage().judged(&[]);
    let (code, out, _) = ran(facts.clone(), true).await;
    assert_eq!(code, 1);
    assert_eq!(out, serde_json::to_string_pretty(&facts).unwrap() + "\n");
}
