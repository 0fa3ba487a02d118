//! What becomes of what is no message, where the route keeps it?
//!
//! The forwarder against librdkafka's mock cluster, and the real program: it is answered 200 once it
//! is durable, it is never sent, it ends among the dead letters with its reason, and the books balance
//! whatever comes between.

use crate::rig::{self, Rig, books, cluster, letters, read_all_but, read_all_where};
use crate::support::client::{ask, post, post_to, request};
use crate::support::fleet::message;
use crate::support::kafka::{Kafka, TOPIC};
use crate::support::service::{Service, Site};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use prost::Message as _;
use rdkafka::types::RDKafkaRespErr;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use waystation::convert::RealtimeGps;
use waystation::dead;
use waystation::record::{Route, Sequence};
use waystation::status::KafkaState;

const BYTES: &[u8] = b"\xff\x1b[2J";
/// What the cluster says of a topic: nobody may write to it, or all is well.
const DENIED: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
const TAKEN: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// Fails without the look at the mark in `send_one` (it is sent), and where it waits for what is in
/// flight before it.
#[tokio::test]
async fn it_becomes_a_letter_in_its_turn_and_is_never_sent() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(5).await;
    rig.until_all_delivered().await;
    cluster.broker_down(-1).unwrap();
    rig.append(50).await;
    rig.append_invalid(BYTES, "latitude is 91").await;
    rig.append(50).await;
    rig.until("in flight", |look| look.in_flight == 100).await;
    rig.until("kept", |_| rig.writer.ledger().dead == 1).await;
    cluster.broker_up(-1).unwrap();
    rig.until("delivered", |look| look.delivered == 105).await;
    assert_eq!(books(&rig), (1, 0, 105));
    let [letter] = &letters(rig.spool())[..] else { panic!("there should be one letter") };
    let record = letter.record();
    assert_eq!((record.sequence, record.value, record.key), (Sequence(55), BYTES, None));
    assert_eq!(letter.reason, "latitude is 91");
    assert_eq!(record.invalid().as_deref(), Some("latitude is 91"));
    assert_eq!(rig.stop().1, 105);
    assert_eq!(read_all_but(&servers, 106, 55), 0);
}

/// Fails where a letter that is no message may be sent again (it would only come back), and where the
/// record is passed though it could not be kept.
#[tokio::test]
async fn where_the_letters_are_full_it_waits_until_a_hand_makes_room() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let one = dead::Config { max_size: 4096 };
    let mut rig = Rig::with_letters(tempfile::tempdir().unwrap(), Some(&servers), 0, one);
    rig.append(5).await;
    rig.append_invalid(BYTES, "first").await;
    rig.append_invalid(BYTES, "second").await;
    rig.append(5).await;
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    let reason = look.mood.reason.unwrap();
    for part in ["record 6 ", "it is no message (second)", "are full", "waystation dead drop"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert_eq!(books(&rig), (1, 6, 5));
    let spool = rig.spool().to_owned();
    let first = letters(&spool)[0].name();
    let left = dead::send_again(&spool, &rig.writer, &[first]).unwrap();
    assert!(left.gone.is_empty(), "{left:?}");
    assert!(left.complaints[0].starts_with("5: it is no message"), "{:?}", left.complaints);
    assert_eq!(dead::drop_letters(&spool, &rig.writer, &[first]).unwrap().gone, [first]);
    rig.until("delivered", |look| look.delivered == 10).await;
    assert_eq!(books(&rig), (1, 0, 10));
    assert_eq!(letters(&spool)[0].reason, "second");
    assert_eq!(rig.stop().1, 10);
}

/// Fails where those of a group for which there is room are not kept, and where the others are passed.
#[tokio::test]
async fn where_there_is_room_for_some_these_are_kept_and_the_others_wait() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let three = dead::Config { max_size: 3 * 4096 };
    let mut rig = Rig::with_letters(tempfile::tempdir().unwrap(), Some(&servers), 0, three);
    let mut last = None;
    for _ in 0..5 {
        last = Some(rig.begin_invalid(BYTES, "odd"));
    }
    last.unwrap().await.unwrap();
    rig.append(5).await;
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    let reason = look.mood.reason.unwrap();
    assert!(reason.contains("record 3 ") && reason.contains("are full"), "{reason}");
    assert_eq!(books(&rig), (3, 7, 0));
    let spool = rig.spool().to_owned();
    let names: Vec<_> = letters(&spool).iter().map(dead::Letter::name).collect();
    dead::drop_letters(&spool, &rig.writer, &names).unwrap();
    rig.until("delivered", |look| look.delivered == 5).await;
    assert_eq!(books(&rig), (2, 0, 5));
    assert_eq!(rig.stop().1, 5);
}

/// Between records that are messages, in blocks with both. Fails where those behind the first of a block
/// are not kept with it (the books are written down for each), where what lies between them is passed
/// over with them (it is never sent), and where one of them is met again.
#[tokio::test]
async fn thousands_of_them_become_letters_many_at_a_time_and_hold_up_nobody() {
    const PAIRS: u64 = 2_500;
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    cluster.broker_down(-1).unwrap();
    let mut rig = Rig::new(Some(&servers));
    let mut last = None;
    for _ in 0..PAIRS {
        // Durable before the one behind it.
        drop(rig.begin());
        last = Some(rig.begin_invalid(BYTES, "odd"));
    }
    last.unwrap().await.unwrap();
    let before = progress_turns(rig.spool());
    cluster.broker_up(-1).unwrap();
    rig.until("delivered", |look| look.delivered == PAIRS).await;
    rig.until("kept", |_| rig.writer.ledger().dead == PAIRS).await;
    assert_eq!(books(&rig), (PAIRS, 0, PAIRS));
    let written = progress_turns(rig.spool()) - before;
    println!("{PAIRS} letters, the books were written {written} times");
    assert!(written < PAIRS, "{written}");
    let letters = letters(rig.spool());
    assert_eq!(letters.len() as u64, PAIRS);
    let places = letters.iter().map(|letter| letter.name().place.0);
    assert!(places.eq((0..PAIRS).map(|pair| 2 * pair + 1)));
    assert!(letters.iter().all(|letter| letter.record().value == BYTES && letter.reason == "odd"));
    assert_eq!(rig.stop().1, PAIRS);
    assert_eq!(read_all_where(&servers, 2 * PAIRS, |number| number % 2 == 0), 0);
}

/// How often the progress of a spool was written: the higher turn of its two slots.
fn progress_turns(spool: &Path) -> u64 {
    let bytes = fs::read(spool.join("progress")).unwrap();
    let turn = |slot: &[u8]| u64::from_le_bytes(slot[8..16].try_into().unwrap());
    bytes.chunks(bytes.len() / 2).map(turn).max().unwrap()
}

/// Moved with its topic, it keeps its mark.
#[tokio::test]
async fn that_of_a_topic_that_is_held_becomes_a_letter_of_that_topics_spool() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let (soon, letters) = (std::time::Duration::from_millis(10), dead::Config::default());
    let mut rig = Rig::holding(tempfile::tempdir().unwrap(), Some(&servers), 0, letters, soon);
    cluster.topic_error(rig::TOPIC, DENIED).unwrap();
    rig.append(5).await;
    rig.append_invalid(BYTES, "odd").await;
    rig.append(5).await;
    rig.until("held", |_| rig.writer.ledger().spooled == 0).await;
    cluster.topic_error(rig::TOPIC, TAKEN).unwrap();
    rig.until("delivered", |look| look.delivered == 10).await;
    let ledger = rig.monitor.books(|| rig.writer.ledger());
    assert!(ledger.balances() && ledger.dead == 1 && ledger.accepted == 11, "{ledger:?}");
    assert_eq!(dead::list_all(rig.spool()).unwrap().len(), 1);
    drop(rig.leave());
    assert_eq!(read_all_but(&servers, 11, 5), 0);
}

/// Fails where those behind the first of a block are kept with it whatever their topic is.
#[tokio::test]
async fn those_of_a_held_topic_go_its_way_though_one_of_another_topic_is_before_them() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    cluster.create_topic("other", 1, 1).unwrap();
    let (soon, config) = (std::time::Duration::from_millis(10), dead::Config::default());
    let mut rig = Rig::holding(tempfile::tempdir().unwrap(), Some(&servers), 0, config, soon);
    cluster.topic_error(rig::TOPIC, DENIED).unwrap();
    rig.append(5).await;
    rig.until("held", |_| rig.writer.ledger().spooled == 0).await;
    let held = std::mem::replace(
        &mut rig.route,
        Arc::new(Route { path: "/other".into(), topic: "other".into() }),
    );
    // One block: each is durable when the last one is.
    drop(rig.begin_invalid(BYTES, "of the other"));
    rig.route = held;
    drop(rig.begin_invalid(BYTES, "of the held one"));
    rig.append(1).await;
    rig.until("gone on", |_| rig.writer.ledger().spooled == 0).await;
    assert_eq!(
        letters(rig.spool()).iter().map(|l| &*l.reason).collect::<Vec<_>>(),
        ["of the other"]
    );
    cluster.topic_error(rig::TOPIC, TAKEN).unwrap();
    rig.until("delivered", |look| look.delivered == 6).await;
    let ledger = rig.monitor.books(|| rig.writer.ledger());
    assert!(ledger.balances() && ledger.dead == 2 && ledger.accepted == 8, "{ledger:?}");
    assert_eq!(dead::list_all(rig.spool()).unwrap().len(), 2);
    drop(rig.leave());
}

fn place(servers: Option<&str>) -> Site {
    let mut site = Site::new(servers);
    site.set_route(TOPIC, "on_invalid = \"keep\"");
    site
}

fn good() -> Bytes {
    message(0, 1).encode_to_vec().into()
}

/// Latitude 91.
fn impossible() -> Bytes {
    let message = RealtimeGps { latitude: Some(91.0), ..message(0, 1) };
    message.encode_to_vec().into()
}

fn posted(site: &Site, body: impl Into<Bytes>) -> StatusCode {
    ask(site.ingest, post(body.into())).unwrap().status
}

fn metric(site: &Site, name: &str) -> String {
    let metrics = ask(site.admin, request(Method::GET, "/metrics", Bytes::new())).unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
}

fn said(site: &Site, command: &str, arguments: &[&str], code: i32) -> String {
    let output = site.command(command).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Posts two that are none between two that are one, then kills the service.
fn kept_and_killed(site: &Site, service: Service) {
    for body in [good(), Bytes::from_static(BYTES), impossible(), good()] {
        assert_eq!(posted(site, body), StatusCode::OK);
    }
    service.kill();
}

#[test]
fn it_is_answered_200_and_is_a_letter_after_kill_9_with_its_reason_and_its_bytes() {
    let kafka = Kafka::start();
    let site = place(None);
    kept_and_killed(&site, site.start());
    let mut with_kafka = site;
    with_kafka.set("kafka.bootstrap.servers", &kafka.servers());
    let site = with_kafka;
    let service = site.start();
    let status = service.until_status("all is done", |status| status.ledger.spooled == 0);
    let ledger = status.ledger;
    assert_eq!((ledger.accepted, ledger.delivered, ledger.dead), (4, 2, 2));
    let listed = said(&site, "dead", &["ls", "--json"], 0);
    let listed: Vec<Value> = listed.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told: Vec<_> = listed.iter().map(|letter| (&letter["sequence"], &letter["kind"])).collect();
    assert_eq!(told, [(&json!(1), &json!("invalid")), (&json!(2), &json!("invalid"))]);
    let reason = listed[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("the body is not a tutorial.REALTIMEGPS message"), "{reason}");
    assert_eq!(listed[1]["reason"], "latitude is 91; it must be -90 to 90 degrees");
    let shown = said(&site, "dead", &["show", "1"], 0);
    for part in ["kind        invalid\n", "base64      /xtbMko=\n"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown:?}");
    said(&site, "dead", &["retry", "1"], 1);
    let exported = said(&site, "dead", &["export", "1"], 0);
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["value"], json!({"base64": "/xtbMko="}));
    assert_eq!(exported["headers"]["waystation-invalid"], reason);
    said(&site, "dead", &["drop", "1"], 0);
    let ledger = service.until_status("dropped", |status| status.ledger.dropped == 1).ledger;
    assert!(ledger.dead == 1 && ledger.balances(), "{ledger:?}");
    service.stop();
}

#[test]
fn only_what_the_message_itself_is_at_fault_for_is_kept_and_all_of_it_is_counted() {
    let site = place(None);
    let service = site.start();
    let large = Bytes::from(vec![0; 65 * 1024]);
    assert_eq!(posted(&site, large), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(posted(&site, BYTES), StatusCode::OK);
    let mut batch = Vec::new();
    for body in [good(), impossible(), Bytes::from_static(BYTES)] {
        prost::encode_length_delimiter(body.len(), &mut batch).unwrap();
        batch.extend_from_slice(&body);
    }
    let answer = ask(site.ingest, post_to("/endpoint/batch", batch.into())).unwrap();
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, json!({"accepted": 3, "rejected": []}))
    );
    let status = service.status();
    assert_eq!((status.ledger.accepted, status.ledger.spooled), (4, 4));
    assert_eq!((status.routes[0].accepted, status.routes[0].invalid), (4, 3));
    let counted = metric(&site, "waystation_records_invalid_total");
    assert_eq!(counted, "waystation_records_invalid_total{path=\"/endpoint\",topic=\"test\"} 3");
    service.stop();
}

/// The mark goes with the record to another box.
#[test]
fn what_waits_can_be_carried_elsewhere_and_is_a_letter_there() {
    let kafka = Kafka::start();
    let site = place(None);
    kept_and_killed(&site, site.start());
    let file = site.root().join("records.ndjson");
    said(&site, "spool", &["export", "--output", file.to_str().unwrap()], 0);
    assert!(fs::read_to_string(&file).unwrap().contains("waystation-invalid"));
    let other = Site::new(Some(&kafka.servers()));
    said(&other, "spool", &["import", file.to_str().unwrap()], 0);
    let service = other.start();
    let status = service.until_status("all is done", |status| {
        status.ledger.accepted == 4 && status.ledger.spooled == 0
    });
    assert_eq!((status.ledger.delivered, status.ledger.dead), (2, 2));
    service.stop();
}
