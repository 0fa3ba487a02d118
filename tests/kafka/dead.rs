//! Of many records some are too large for their topic: are they alone set aside, whatever is killed, and
//! where there is room for no more, is it their topic alone that waits?

use crate::broker::{Broker, Door};
use crate::logins::site;
use crate::support::client::{Connection, ask, post, post_to};
use crate::support::fleet::{Fate, Fleet, Sent, large_message, message};
use crate::support::service::Site;
use crate::support::witness::Comparison;
use crate::support::{PATIENCE, mb, until};
use crate::table::{Row, without_time};
use bytes::Bytes;
use hyper::StatusCode;
use prost::Message as _;
use std::fs;
use std::time::{Duration, Instant};
use waystation::dead;
use waystation::status::KafkaState;

const RECORDS: u64 = 3_000;
/// The record that the topic does not take.
const CULPRIT: u64 = 1_500;
const LARGEST: &str = "20000";
const LARGER: usize = 30_000;
const KILLS: u32 = 8;
/// Of a fleet that posts meanwhile, each with such a pause.
const DEVICES: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// All of one device, one after the other, so that they are of one key and in order.
fn post_all(site: &Site) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::new(site.ingest);
        for number in 1..=RECORDS {
            let message = match number {
                CULPRIT => large_message(0, number, LARGER),
                _ => message(0, number),
            };
            assert!(connection.connect().await);
            let answer = connection.send(post(Bytes::from(message.encode_to_vec()))).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK);
        }
    });
}

/// What the consumer must have seen: all but the culprit, which it must not.
fn sent() -> Sent {
    let fate = |number| match number {
        CULPRIT => Fate::Refused(StatusCode::PAYLOAD_TOO_LARGE),
        _ => Fate::Acknowledged,
    };
    Sent { fates: vec![(1..=RECORDS).map(fate).collect()] }
}

/// A backlog of all of them, for a topic of this name, made while the broker is away.
fn backlog(broker: &mut Broker, topic: &str, delivery: &str) -> Site {
    broker.topic(topic, 1, &[("max.message.bytes", LARGEST)]);
    broker.take_away();
    let mut site = site(broker, Door::Plain, topic);
    site.set("forward.delivery", delivery);
    let service = site.start();
    post_all(&site);
    assert_eq!(service.status().ledger.spooled, RECORDS);
    service.stop();
    site
}

/// The books, the one letter and what arrived, once all is done.
fn judge(broker: &Broker, topic: &str, site: &Site) -> Comparison {
    let reader = broker.read_along(topic, 1);
    let service = site.start();
    let start = Instant::now();
    let status = service.until_status("all is sent or set aside", |status| {
        assert_ne!(status.kafka.state, KafkaState::Paused, "{status:#?}");
        status.ledger.spooled == 0
    });
    let took = start.elapsed().as_secs_f64();
    let compared = reader.compared(&sent(), PATIENCE);
    let memory = mb(service.memory().highest);
    println!("{topic}: {compared}; after {took:.1} s; {memory} (VmHWM); {}", status.sentence);
    let ledger = status.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.accepted, ledger.dead), (RECORDS, 1), "{ledger:?}");
    assert_eq!(ledger.delivered, RECORDS - 1, "{ledger:?}");
    let found = dead::list(&site.spool()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let letter = dead::read(&found[0]).unwrap().unwrap();
    let value: serde_json::Value = serde_json::from_slice(letter.record().value).unwrap();
    assert_eq!(value["sequence"], CULPRIT.to_string());
    assert!(letter.reason.contains("raise its max.message.bytes"), "{}", letter.reason);
    println!("{topic}: {}: {}", letter.name(), letter.reason);
    service.stop();
    compared
}

/// A record that a tracker cannot send, in the way of an import: without a key.
fn lines() -> String {
    let line = |number| {
        let key = if number == KEYLESS { "null" } else { "\"tracker-0\"" };
        format!(
            "{{\"sequence\":0,\"id\":\"00000000deadbeef:{number}\",\"received\":\
             \"2026-01-01T00:00:00.000Z\",\"timestamp\":1767225600000,\"path\":\"/endpoint\",\
             \"topic\":\"compacted\",\"key\":{key},\"headers\":{{}},\"value\":\
             {{\"deviceId\":\"tracker-0\",\"sequence\":\"{number}\"}}}}\n"
        )
    };
    (1..=FEW).map(line).collect()
}

const FEW: u64 = 100;
const KEYLESS: u64 = 50;

/// Fails where the broker's error for it is an unknown one, and where those that shared its batch go
/// with it.
#[test]
fn a_record_without_a_key_for_a_compacted_topic_is_dead_and_its_neighbours_are_not() {
    let Some(broker) = Broker::start() else { return };
    broker.topic("compacted", 1, &[("cleanup.policy", "compact")]);
    let reader = broker.read_along("compacted", 1);
    let site = site(&broker, Door::Plain, "compacted");
    let file = site.root().join("lines.ndjson");
    fs::write(&file, lines()).unwrap();
    let imported = site.command("spool").arg("import").arg(&file).output().unwrap();
    assert!(imported.status.success(), "{imported:?}");
    let service = site.start();
    let status = service.until_status("all is sent or set aside", |status| {
        assert_ne!(status.kafka.state, KafkaState::Paused, "{status:#?}");
        status.ledger.spooled == 0
    });
    assert_eq!((status.ledger.dead, status.ledger.delivered), (1, FEW - 1), "{status:#?}");
    let fate = |number| match number {
        KEYLESS => Fate::Refused(StatusCode::BAD_REQUEST),
        _ => Fate::Acknowledged,
    };
    let sent = Sent { fates: vec![(1..=FEW).map(fate).collect()] };
    println!("compacted: {}; {}", reader.compared(&sent, PATIENCE), status.sentence);
    let found = dead::list(&site.spool()).unwrap();
    let letter = dead::read(&found[0]).unwrap().unwrap();
    assert_eq!((found.len(), letter.record().key), (1, None));
    assert_eq!(letter.name().id.sequence.0, KEYLESS);
    println!("compacted: {}", letter.reason);
    service.stop();
}

/// Room for two of those that are too large.
const ROOM: &str = "64KiB";
const TOO_MANY: u64 = 4;

/// Fails where a letter that has no place is dropped, and where it holds up the other topic.
#[test]
fn letters_that_are_full_hold_their_topic_alone_until_somebody_makes_room() {
    let Some(broker) = Broker::start() else { return };
    broker.topic("free", 3, &[]);
    broker.topic("small", 3, &[("max.message.bytes", LARGEST)]);
    let (free, small) = (broker.read_along("free", 3), broker.read_along("small", 3));
    let mut site = site(&broker, Door::Plain, "free");
    site.set_routes(&[("/endpoint", "free"), ("/small", "small")]);
    site.set("forward.hold_after", "1s");
    site.set("dead.max_size", ROOM);
    let service = site.start();
    let to_free = Fleet::start_slow(site.ingest, DEVICES, PAUSE);
    let to_small = Fleet::start_at(site.ingest, "/small", DEVICES, PAUSE);
    to_small.until_more(100);
    for number in 1..=TOO_MANY {
        let message = large_message(DEVICES, number, LARGER).encode_to_vec();
        let answer = ask(site.ingest, post_to("/small", Bytes::from(message))).unwrap();
        assert_eq!(answer.status, StatusCode::OK);
    }
    let status = service.until_status("its topic is held", |status| {
        let because = status.routes[1].held_because.as_deref().unwrap_or_default();
        because.contains("the dead letters in") && because.contains("are full")
    });
    println!("{}", status.sentence);
    // Also through a crash.
    let memory = service.memory().highest;
    service.kill();
    let service = site.start();
    let goal = to_free.posted();
    until("the other topic's arrive", || free.witness().distinct() > goal);
    let ledger = service.status().ledger;
    assert_eq!((ledger.dead, ledger.dropped, ledger.lost), (2, 0, 0), "{ledger:?}");

    let dropped = site.command("dead").args(["drop", "--all"]).output().unwrap();
    assert!(dropped.status.success(), "{dropped:?}");
    let made = Instant::now();
    let goal = to_small.posted();
    until("what was held goes out", || small.witness().distinct() > goal);
    let back_after = made.elapsed();
    let [of_free, mut of_small] = [to_free, to_small].map(Fleet::stop);
    of_small.fates.push(vec![Fate::Refused(StatusCode::PAYLOAD_TOO_LARGE); 4]);
    let [of_free, of_small] =
        [free.compared(&of_free, PATIENCE), small.compared(&of_small, PATIENCE)];
    let ledger = service.until_status("all is sent", |s| s.ledger.spooled == 0).ledger;
    assert_eq!((ledger.dead, ledger.dropped, ledger.lost), (2, 2, 0), "{ledger:?}");
    assert!(ledger.balances(), "{ledger:?}");
    let memory = memory.max(service.memory().highest);
    service.stop();
    println!("free: {of_free}\nsmall: {of_small}");
    Row {
        failure: "dead letters full",
        provoked: "four records too large for their topic, room for two, kill -9, room made",
        status: vec![status.sentence],
        log: site.log().lines().map(without_time).collect(),
        compared: vec![of_free, of_small],
        memory,
        back_after,
    }
    .add();
}

#[test]
fn only_the_record_that_is_too_large_is_dead_and_its_neighbours_arrive_in_order() {
    let Some(mut broker) = Broker::start() else { return };
    let site = backlog(&mut broker, "large", "at-least-once");
    broker.give_back();
    judge(&broker, "large", &site);

    let site = backlog(&mut broker, "large-and-killed", "at-least-once");
    broker.give_back();
    for _ in 0..KILLS {
        let service = site.start();
        std::thread::sleep(Duration::from_millis(fastrand::u64(100..4_000)));
        service.kill();
    }
    judge(&broker, "large-and-killed", &site);
}

/// Fails where those before the culprit are not committed without it: sending pauses.
#[test]
fn with_transactions_too_its_neighbours_arrive_in_order_and_once() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("waystation-progress", 1, &[]);
    let site = backlog(&mut broker, "once", "exactly-once");
    broker.give_back();
    let compared = judge(&broker, "once", &site);
    assert_eq!(compared.read, compared.distinct);

    let site = backlog(&mut broker, "once-and-killed", "exactly-once");
    broker.give_back();
    for _ in 0..KILLS {
        let service = site.start();
        std::thread::sleep(Duration::from_millis(fastrand::u64(100..4_000)));
        service.kill();
    }
    let compared = judge(&broker, "once-and-killed", &site);
    assert_eq!(compared.read, compared.distinct);
}
