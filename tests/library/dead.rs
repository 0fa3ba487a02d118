//! What becomes of a record that Kafka can never take?
//!
//! The spool and the forwarder against librdkafka's mock cluster on the loopback: the record is kept
//! as a dead letter and counted once, whatever comes between; those around it arrive in order; and
//! where it cannot be kept nothing is dropped.

use crate::rig::{self, Rig, books, cluster, letters, read_all, read_all_but};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::fs;
use waystation::dead::{self, Letter, Store};
use waystation::record::{Millis, Sequence};
use waystation::spool::{self, Config, Spool};
use waystation::status::KafkaState;

/// Bytes of a header that librdkafka refuses by itself, with the record that has it.
const TOO_LARGE: usize = 9 << 18;

async fn until_paused(rig: &Rig) -> String {
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    look.mood.reason.unwrap()
}

async fn until_delivered(rig: &Rig, records: u64) {
    rig.until("delivered", |look| look.delivered == records).await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
}

/// Fails without the letter, without its listing in the books, and where the neighbours of its
/// batch go with it.
#[tokio::test]
async fn of_a_batch_that_is_refused_only_the_record_that_is_refused_alone_is_dead() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(50).await;
    rig.until_all_delivered().await;
    // Five of one key and one batch. It is refused, and so is the first of them alone.
    cluster.broker_down(-1).unwrap();
    let start = Millis::now();
    for _ in 0..5 {
        rig.append_odd(Millis::now(), 10).await;
    }
    rig.until("five in one batch", |look| look.in_flight == 5).await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 2]);
    cluster.broker_up(-1).unwrap();
    until_delivered(&rig, 54).await;
    assert_eq!(books(&rig), (1, 0, 54));
    let spool = rig.spool().to_owned();
    let [letter] = &letters(&spool)[..] else { panic!("there should be one letter") };
    let record = letter.record();
    assert_eq!((record.sequence, record.value), (Sequence(50), b"50".as_slice()));
    assert_eq!((record.key, &*record.route.topic), (Some(b"odd".as_slice()), rig::TOPIC));
    assert_eq!(record.headers, [("odd", [b'x'; 10].as_slice())]);
    assert!(letter.reason.contains("max.message.bytes"), "{}", letter.reason);
    assert!(letter.at >= start && letter.at <= Millis::now());
    assert_eq!(rig.stop().1, 54);
    assert_eq!(read_all_but(&servers, 55, 50), 0);
}

#[tokio::test]
async fn a_record_that_the_broker_calls_invalid_is_dead_as_well() {
    let cluster = cluster();
    let mut rig = Rig::new(Some(&cluster.bootstrap_servers()));
    rig.append(5).await;
    rig.until_all_delivered().await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refusal; 2]);
    rig.append_odd(Millis::now(), 10).await;
    rig.until("set aside", |_| rig.writer.ledger().dead == 1).await;
    assert!(letters(rig.spool())[0].reason.contains("calls it invalid"));
    assert_eq!(rig.stop().1, 5);
}

/// Fails where the record is listed as dead before its letter is kept.
#[tokio::test]
async fn a_full_store_holds_the_record_and_all_behind_it_until_a_hand_makes_room() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    // Room for one: what cannot be sent is easily compressed.
    let one = dead::Config { max_size: 4096 };
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::with_letters(dir, Some(&servers), 0, one);
    rig.append(10).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append(10).await;
    let reason = until_paused(&rig).await;
    for part in ["record 11 ", "one letter, 4.0 KiB of 4.0 KiB", "[dead]", "all records are kept"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(books(&rig), (1, 11, 10));
    let spool = rig.spool().to_owned();
    let first = dead::list(&spool).unwrap().remove(0);
    fs::remove_file(first.path).unwrap();
    until_delivered(&rig, 20).await;
    assert_eq!(books(&rig), (2, 0, 20));
    let places: Vec<_> = letters(&spool).iter().map(|letter| letter.name().place).collect();
    assert_eq!(places, [Sequence(11)]);
    assert_eq!(rig.stop().1, 20);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_holds_the_record_and_names_the_place() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    let place = dead::place(rig.spool());
    fs::write(&place, "in the way").unwrap();
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append(3).await;
    let reason = until_paused(&rig).await;
    assert!(reason.contains(&place.display().to_string()), "{reason}");
    assert_eq!(books(&rig), (0, 4, 0));
    fs::remove_file(&place).unwrap();
    until_delivered(&rig, 3).await;
    assert_eq!((books(&rig), letters(rig.spool()).len()), ((1, 0, 3), 1));
    assert_eq!(rig.stop().1, 3);
}

/// A spool of two records, the second with a header of so many bytes, as a crash leaves it that came
/// after the letter of that one and before the books.
async fn after_a_crash(header: usize) -> tempfile::TempDir {
    let mut before = Rig::new(None);
    before.append(1).await;
    before.append_odd(Millis::now(), header).await;
    let config = Config { min_free: 0, ..Config::new(before.spool()) };
    let dir = before.leave();
    let Spool { writer, mut reader, .. } = spool::open(config.clone()).unwrap();
    let store = Store::open(&config.dir, dead::Config::default());
    while let Some(block) = reader.next_block().unwrap() {
        if let Some(letter) = Letter::new(&block, Sequence(1), "before", Millis(5)).unwrap() {
            store.keep(std::slice::from_ref(&letter)).unwrap();
        }
    }
    writer.close().unwrap();
    assert_eq!(letters(&config.dir).len(), 1);
    dir
}

#[tokio::test]
async fn a_crash_between_the_letter_and_the_books_counts_it_once() {
    let dir = after_a_crash(TOO_LARGE).await;
    let cluster = cluster();
    let rig = Rig::on(dir, Some(&cluster.bootstrap_servers()), 2);
    rig.until("set aside", |_| rig.writer.ledger().dead == 1).await;
    until_delivered(&rig, 1).await;
    assert_eq!(books(&rig), (1, 0, 1));
    let [letter] = &letters(rig.spool())[..] else { panic!("there should be one letter") };
    assert!(letter.reason.contains("max.message.bytes") && letter.at > Millis(5));
    assert_eq!(rig.stop().1, 1);
}

/// Fails without `Letters::delivered`.
#[tokio::test]
async fn a_letter_that_a_crash_left_goes_when_kafka_takes_its_record_by_now() {
    let dir = after_a_crash(10).await;
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let rig = Rig::on(dir, Some(&servers), 2);
    rig.until_all_delivered().await;
    assert_eq!((books(&rig), letters(rig.spool()).len()), ((0, 0, 2), 0));
    assert_eq!(rig.stop().1, 2);
    assert_eq!(read_all(&servers, 2), 0);
}

/// Fails without `Letters::sending`: a letter of another record is taken for this one's.
#[tokio::test]
async fn a_letter_that_the_books_know_stays_whatever_is_sent_in_its_place_later() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append(1).await;
    until_delivered(&rig, 1).await;
    let dir = rig.leave();
    let rig = Rig::on(dir, Some(&servers), 2);
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    assert_eq!((books(&rig), letters(rig.spool()).len()), ((1, 0, 1), 1));
    // The spool is lost, and the letters are not: another record comes to stand at that place.
    let dir = rig.leave();
    let spool = dir.path().join("spool");
    for entry in fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "progress" {
            fs::remove_file(entry).unwrap();
        } else if name.starts_with("seg-") {
            fs::remove_dir_all(entry).unwrap();
        }
    }
    let mut rig = Rig::on(dir, Some(&servers), 0);
    rig.append(2).await;
    rig.until_all_delivered().await;
    assert_eq!((books(&rig), letters(rig.spool()).len()), ((0, 0, 2), 1));
    assert_eq!(rig.stop().1, 2);
}

/// Fails where a copy is counted as one more record, or where it gets another id.
#[tokio::test]
async fn a_record_that_is_sent_again_and_refused_again_is_a_dead_letter_again() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let mut rig = Rig::new(Some(&servers));
    rig.append(3).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append(3).await;
    until_delivered(&rig, 6).await;
    let spool = rig.spool().to_owned();
    let [first] = &letters(&spool)[..] else { panic!("there should be one letter") };
    let left = dead::send_again(&spool, &rig.writer, &[first.name()]).unwrap();
    assert_eq!((&left.gone[..], left.complaints.len()), (&[first.name()][..], 0));
    rig.until("dead again", |_| {
        dead::list(&spool).unwrap().iter().any(|found| found.name.place == Sequence(7))
    })
    .await;
    rig.until("counted", |_| rig.writer.ledger().dead == 1).await;
    assert_eq!(books(&rig), (1, 0, 6));
    assert_eq!(rig.writer.ledger().accepted, 7);
    let [second] = &letters(&spool)[..] else { panic!("there should be one letter") };
    assert_eq!(second.name().id, first.name().id);
    assert_eq!(second.record().headers, first.record().headers);
    assert_eq!(rig.stop().1, 6);
}

/// Fails without the look at the watermark in `free`: the record would go out, and its letter be
/// counted as well.
#[tokio::test]
async fn a_letter_whose_record_still_waits_does_not_leave() {
    let dir = after_a_crash(10).await;
    let config = Config { min_free: 0, ..Config::new(dir.path().join("spool")) };
    let spool = spool::open(config.clone()).unwrap();
    let names = [letters(&config.dir)[0].name()];
    for leave in [dead::drop_letters, dead::send_again] {
        let left = leave(&config.dir, &spool.writer, &names).unwrap();
        assert!(left.gone.is_empty() && left.complaints[0].starts_with("1: a record waits"));
        let books = spool.writer.ledger();
        assert_eq!((books.accepted, books.spooled, letters(&config.dir).len()), (2, 2, 1));
    }
    spool.writer.close().unwrap();
}
