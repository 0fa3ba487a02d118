//! What becomes of a topic that Kafka refuses, and of the others meanwhile?
//!
//! The spool and the forwarder against librdkafka's mock cluster on the loopback, with two topics, of
//! which one is refused. What arrives is read by a consumer.

use crate::rig::{self, Cluster, Rig, TOPIC, cluster};
use crate::support;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waystation::dead;
use waystation::forward::HeldTopic;
use waystation::ledger::Ledger;
use waystation::record::{Millis, Route};
use waystation::spool;
use waystation::status::KafkaState;

/// The topic that is refused.
const REFUSED: &str = "buses";
/// Bytes of a header that librdkafka refuses by itself, with the record that has it.
const TOO_LARGE: usize = 9 << 18;
const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(10);

fn two_topics() -> Cluster {
    let cluster = cluster();
    cluster.create_topic(REFUSED, 3, 1).unwrap();
    cluster
}

fn refuse(cluster: &Cluster) {
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error(REFUSED, denied).unwrap();
}

fn take(cluster: &Cluster) {
    cluster.topic_error(REFUSED, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
}

fn on(dir: tempfile::TempDir, cluster: &Cluster, next: u64, hold_after: Duration) -> Rig {
    let servers = cluster.bootstrap_servers();
    Rig::holding(dir, Some(&servers), next, dead::Config::default(), hold_after)
}

/// So many records for each of the topics, a few at a time.
async fn append(rig: &mut Rig, pairs: u64) {
    for _ in 0..pairs / 25 {
        for topic in [TOPIC, REFUSED] {
            rig.route = Arc::new(Route { path: format!("/{topic}"), topic: topic.to_owned() });
            rig.append(25).await;
        }
    }
}

fn held(rig: &Rig) -> Option<HeldTopic> {
    rig.monitor.held_topics(NEVER).into_iter().find(|held| held.topic == REFUSED)
}

/// How many records wait in the topic's own spool.
fn waiting(rig: &Rig) -> u64 {
    held(rig).and_then(|held| held.depth).map_or(0, |depth| depth.records)
}

fn books(rig: &Rig) -> Ledger {
    let books = rig.monitor.books(|| rig.writer.ledger());
    assert!(books.balances(), "{books:?}");
    books
}

/// Reads so many different records of a topic: their numbers by key, in the order of their first
/// arrival; and how many came again. The same number has the same id.
fn read(cluster: &Cluster, topic: &str, count: usize) -> (Vec<u64>, usize) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "50")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..3 {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let (mut ids, mut last, mut again) = (BTreeMap::new(), BTreeMap::new(), 0);
    let (start, mut quiet) = (Instant::now(), 0);
    while ids.len() < count || quiet < 5 {
        assert!(start.elapsed() < rig::PATIENCE, "{topic}: only {} of {count} came", ids.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else {
            quiet += 1;
            continue;
        };
        quiet = 0;
        let message = message.unwrap();
        let number: u64 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
        let id = message.headers().unwrap().iter().find(|header| header.key == "waystation-id");
        let id = id.unwrap().value.unwrap().to_vec();
        if let Some(known) = ids.insert(number, id.clone()) {
            assert_eq!(known, id, "another id for {number}");
            again += 1;
            continue;
        }
        let before = last.insert(message.key().unwrap().to_vec(), number);
        assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
    }
    let different: BTreeSet<_> = ids.values().collect();
    assert_eq!((different.len(), ids.len()), (count, count), "an id was used twice");
    (ids.into_keys().collect(), again)
}

/// Fails without `Forwarder::hold` (nothing goes on), without `Part::Whole` in `Forwarder::turn` (new
/// records overtake what is held), and without `Held::look` (it is never held no more).
#[tokio::test]
async fn a_topic_that_is_refused_holds_up_no_other_and_its_records_go_out_in_order_once_it_is_taken()
 {
    let cluster = two_topics();
    refuse(&cluster);
    let mut rig = on(tempfile::tempdir().unwrap(), &cluster, 0, SOON);
    append(&mut rig, 1_500).await;
    rig.until("the other topic's are delivered", |look| look.delivered == 1_500).await;
    rig.until("all of the refused topic's are held", |_| waiting(&rig) == 1_500).await;
    let (look, topic) = (rig.monitor.look(), held(&rig).unwrap());
    assert_ne!(look.mood.state, KafkaState::Paused, "{look:?}");
    let because = topic.because.unwrap();
    assert!(
        because.starts_with("this box's user") && because.contains("grant it Write"),
        "{because}"
    );
    // The main spool has let go of them.
    rig.until("nothing is in both", |_| held(&rig).unwrap().ahead == 0).await;
    assert_eq!(rig.writer.ledger().spooled, 0);
    assert_eq!((books(&rig).delivered, books(&rig).spooled), (1_500, 1_500));

    // What comes meanwhile goes the same ways.
    append(&mut rig, 500).await;
    rig.until("the other topic's are delivered", |look| look.delivered == 2_000).await;
    take(&cluster);
    append(&mut rig, 500).await;
    rig.until_all_delivered().await;
    rig.until("it is held no more", |_| held(&rig).unwrap().depth.is_none()).await;
    append(&mut rig, 500).await;
    rig.until_all_delivered().await;
    assert!(held(&rig).unwrap().depth.is_none(), "they went straight to Kafka");
    rig.until("the books say so", |_| books(&rig).delivered == 6_000).await;
    assert_eq!(read(&cluster, TOPIC, 3_000).1, 0);
    assert_eq!(read(&cluster, REFUSED, 3_000).1, 0);
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
}

/// Fails without `Forwarder::take_up_held`: what is held would be forgotten, and overtaken.
#[tokio::test]
async fn what_is_held_is_held_over_a_restart_and_goes_out_before_what_follows() {
    let cluster = two_topics();
    refuse(&cluster);
    let mut rig = on(tempfile::tempdir().unwrap(), &cluster, 0, SOON);
    append(&mut rig, 1_000).await;
    rig.until("all of the refused topic's are held", |_| waiting(&rig) == 1_000).await;
    rig.until("the other topic's are delivered", |look| look.delivered == 1_000).await;
    let next = rig.next;
    let mut rig = on(rig.leave(), &cluster, next, NEVER);
    append(&mut rig, 500).await;
    // At once: nobody waits again for as long as it takes to hold a topic.
    rig.until("the other topic's are delivered", |look| look.delivered == 500).await;
    rig.until("all of the refused topic's are held", |_| waiting(&rig) == 1_500).await;
    rig.until("the books say so", |_| books(&rig).delivered == 1_500).await;
    take(&cluster);
    rig.until("all is delivered", |look| look.delivered == 2_000).await;
    rig.until("the books say so", |_| books(&rig).delivered == 3_000).await;
    read(&cluster, TOPIC, 1_500);
    assert_eq!(read(&cluster, REFUSED, 1_500).1, 0);
    let all = rig.next;
    assert_eq!(rig.stop().1, all);
}

/// Fails without `known` in `Forwarder::turn`: what a crash leaves in both spools is moved twice.
#[tokio::test]
async fn what_a_crash_leaves_in_both_spools_goes_out_once_and_is_counted_once() {
    let cluster = two_topics();
    refuse(&cluster);
    let mut rig = on(tempfile::tempdir().unwrap(), &cluster, 0, SOON);
    append(&mut rig, 25).await;
    rig.until("they are held", |_| waiting(&rig) == 25).await;
    // So that the producer is proven, and more than one record is in flight.
    rig.route = Arc::new(Route { path: "/gps".to_owned(), topic: TOPIC.to_owned() });
    rig.append(25).await;
    rig.until("the others are delivered", |look| look.delivered == 50).await;
    // The watermark stays before these.
    cluster.broker_round_trip_time(-1, Duration::from_mins(1)).unwrap();
    append(&mut rig, 100).await;
    rig.until("they are held", |_| waiting(&rig) == 125).await;
    rig.until("they are in both", |_| held(&rig).unwrap().ahead >= 75).await;
    assert_eq!((books(&rig).delivered, books(&rig).spooled), (50, 225));

    let crashed = tempfile::tempdir().unwrap();
    support::crash(rig.spool(), &crashed.path().join("spool"));
    let next = rig.next;
    cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    take(&cluster);
    let other = two_topics();
    let rig_2 = on(crashed, &other, next, NEVER);
    rig_2.until("all is delivered", |_| books(&rig_2).delivered == next).await;
    let accepted = held(&rig_2).unwrap().books.accepted;
    assert_eq!(accepted, 125, "moved once");
    assert_eq!(rig_2.stop().1, next);
    drop(rig.leave());
}

/// Fails when `Forwarder::bury` stands still without asking whether the topic can be held.
#[tokio::test]
async fn a_record_that_is_dead_and_has_no_place_among_the_letters_holds_up_its_own_topic_only() {
    let cluster = two_topics();
    let servers = cluster.bootstrap_servers();
    let full = dead::Config { max_size: 0 };
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::holding(dir, Some(&servers), 0, full, SOON);
    append(&mut rig, 25).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    append(&mut rig, 500).await;
    rig.until("the other topic's are delivered", |look| look.delivered == 550).await;
    rig.until("its own topic's are held", |_| waiting(&rig) == 501).await;
    let because = rig.until("it says why", |_| held(&rig).unwrap().because.is_some()).await;
    assert_ne!(because.mood.state, KafkaState::Paused, "{because:?}");
    let because = held(&rig).unwrap().because.unwrap();
    assert!(because.contains("the dead letters in") && because.contains("are full"), "{because}");
    assert_eq!((books(&rig).dead, books(&rig).spooled), (0, 501));
    assert_eq!(read(&cluster, TOPIC, 525).1, 0);
}

/// Fails when a held topic's letters lie among those of the main spool: their places are others.
#[tokio::test]
async fn a_dead_record_of_a_held_topic_is_counted_once_and_leaves_like_any_other() {
    let cluster = two_topics();
    refuse(&cluster);
    let mut rig = on(tempfile::tempdir().unwrap(), &cluster, 0, SOON);
    append(&mut rig, 25).await;
    rig.until("they are held", |_| waiting(&rig) == 25).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    append(&mut rig, 25).await;
    take(&cluster);
    rig.until("all but one are delivered", |look| look.delivered == 100).await;
    rig.until("the books say so", |_| (books(&rig).dead, books(&rig).spooled) == (1, 0)).await;
    let (place, inside) = (rig.spool().to_owned(), rig.spool().join("held").join(REFUSED));
    let found = dead::list_all(&place).unwrap();
    assert_eq!((found.len(), found[0].spool()), (1, &*inside));
    assert!(dead::list(&place).unwrap().is_empty());
    let kept = rig.leave();

    // As the command does while no service runs.
    let spool = spool::open(spool::Config { min_free: 0, ..spool::Config::new(&inside) }).unwrap();
    let left = dead::drop_letters(&inside, &spool.writer, &[found[0].name]).unwrap();
    assert_eq!((left.gone.len(), left.complaints), (1, vec![]));
    drop(spool);
    let rig = on(kept, &cluster, 101, NEVER);
    rig.until("the books say so", |_| books(&rig).dropped == 1).await;
    assert_eq!((books(&rig).dead, books(&rig).delivered), (0, 100));
    assert_eq!(rig.stop().1, 101);
}

/// Fails without `within` in `Shared::check_room`, and without `inside` in `Shared::disk_bytes`.
#[test]
fn what_is_held_counts_in_the_spools_own_limit() {
    let dir = tempfile::tempdir().unwrap();
    let config = spool::Config { max_size: 8 << 20, ..support::config(dir.path()) };
    let main = spool::open(config).unwrap();
    let inside = main.reader.open_held("a").unwrap();
    support::append_all(&main, &support::values(15, 100_000, 2)).unwrap();
    let mut kept = 0;
    for value in support::values(100, 100_000, 1) {
        match support::append_all(&inside, &[value]) {
            Ok(_) => kept += 1,
            Err(error) => {
                assert!(error.to_string().contains("spool.max_size"), "{error}");
                break;
            }
        }
        let (told, real) = (main.writer.depth().disk_bytes, support::du(dir.path()));
        assert!(told.abs_diff(real) < 600 << 10, "{told} told, {real} on the disk");
    }
    assert!((10..30).contains(&kept), "4 MiB are kept for a commit: {kept}");
    assert!(support::append_all(&main, &[vec![1; 100]]).is_err(), "nor is there room for others");
    assert_eq!(main.reader.held_topics().unwrap(), ["a"]);
    inside.writer.close().unwrap();
    drop(inside);
    let again = main.reader.open_held("a").unwrap();
    assert_eq!(again.report.ledger.spooled, kept);
    assert!(Path::new(&dir.path().join("held/a/progress")).exists());
}

/// Fails when `Shared::drop_oldest` looks at the main spool alone: fresh records of others would be
/// given for old ones that nobody takes.
#[test]
fn where_the_oldest_make_room_those_of_a_held_topic_do_before_newer_ones() {
    let dir = tempfile::tempdir().unwrap();
    let when_full = spool::WhenFull::DropOldest;
    let small = support::config(dir.path());
    let config = spool::Config { max_size: 8 << 20, segment_bytes: 400_000, when_full, ..small };
    let main = spool::open(config).unwrap();
    let inside = main.reader.open_held("a").unwrap();
    support::append_all(&inside, &support::values(15, 100_000, 1)).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    for value in support::values(40, 100_000, 2) {
        support::append_all(&main, &[value]).unwrap();
        if main.writer.ledger().dropped > 0 {
            break;
        }
    }
    let (own, held) = (main.writer.ledger(), inside.writer.ledger());
    assert!(held.dropped > 0, "{held:?}, {own:?}");
    // Its turn comes as well, be it for the held topic's records.
    for value in support::values(40, 100_000, 3) {
        // What was just left is sealed first, and can be dropped then.
        support::wait_until("there is room", || {
            support::append_all(&inside, std::slice::from_ref(&value)).is_ok()
        });
    }
    assert!(main.writer.ledger().dropped > own.dropped);
    assert!(main.writer.ledger().balances() && inside.writer.ledger().balances());
}
