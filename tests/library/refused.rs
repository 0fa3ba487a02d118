//! What becomes of the records around one that cannot be sent or read?
//!
//! The spool and the forwarder against librdkafka's mock cluster on the loopback: one record
//! is refused, or one segment cannot be read. Those before it arrive at once, once each, and
//! the status names what stands in the way.

use crate::rig::{self, Rig, cluster, read_all, read_all_but, read_timestamp};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::path::{Path, PathBuf};
use waystation::dead;
use waystation::record::Millis;
use waystation::status::{Cause, KafkaState};

/// Bytes of a header that librdkafka refuses by itself, with the record that has it.
const TOO_LARGE: usize = 9 << 18;
/// Long ago.
const OLD: Millis = Millis(1_000_000_000_000);

/// The data files of the segments, oldest first.
fn data_files(spool: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| path.join("db")).filter(|db| db.is_file()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_record_that_librdkafka_refuses_is_set_aside_and_those_around_it_pass() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    // So that the refused record is found while those before it are in flight.
    cluster.broker_down(-1).unwrap();
    let mut rig = Rig::new(Some(&servers));
    rig.append(300).await;
    rig.append_odd(Millis::now(), TOO_LARGE).await;
    rig.append(5).await;
    cluster.broker_up(-1).unwrap();
    rig.until("all delivered but one", |look| {
        assert_ne!(look.mood.state, KafkaState::Paused);
        look.delivered == 305
    })
    .await;
    let ledger = rig.writer.ledger();
    assert_eq!((ledger.dead, ledger.spooled), (1, 0), "{ledger:?}");
    assert_eq!(rig.stop().1, 305);
    assert_eq!(read_all_but(&servers, 306, 300), 0);
}

/// One record with an old timestamp, behind others; so many requests with it are refused.
async fn refused_timestamps(servers: &str, cluster: &rig::Cluster, refusals: usize) -> Rig {
    let mut rig = Rig::new(Some(servers));
    rig.append(100).await;
    rig.until_all_delivered().await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
    cluster.request_errors(RDKafkaApiKey::Produce, &vec![refusal; refusals]);
    rig.append_odd(OLD, 1).await;
    rig
}

#[tokio::test]
async fn a_record_whose_timestamp_is_refused_arrives_with_the_time_of_sending() {
    let (cluster, start) = (cluster(), Millis::now());
    let servers = cluster.bootstrap_servers();
    // Once with whatever shares its batch, once alone.
    let mut rig = refused_timestamps(&servers, &cluster, 2).await;
    rig.until("all delivered", |look| {
        assert_ne!(look.mood.state, KafkaState::Paused);
        look.delivered == 101
    })
    .await;
    rig.append_odd(OLD, 1).await;
    rig.until_all_delivered().await;
    assert_eq!(rig.stop().1, 102);
    assert!(read_timestamp(&servers, 100) >= start);
    // Nothing else is dated anew.
    assert_eq!(read_timestamp(&servers, 101), OLD);
}

#[tokio::test]
async fn a_broker_that_refuses_the_time_of_sending_too_is_a_matter_of_clocks() {
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    let rig = refused_timestamps(&servers, &cluster, 3).await;
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    assert_eq!(look.mood.cause, Some(Cause::Clock));
    let reason = look.mood.reason.unwrap();
    assert!(reason.contains("record 100 "), "{reason}");
    rig.until_all_delivered().await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    assert_eq!(rig.stop().1, 101);
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_holds_back_nothing_before_it_and_repeats_nothing() {
    let mut first = Rig::new(None);
    first.append(300).await;
    let mut second = Rig::on(first.leave(), None, 300);
    second.append(300).await;
    let dir = second.leave();
    let spool = dir.path().join("spool");
    let cluster = cluster();
    let servers = cluster.bootstrap_servers();
    // So that nothing of the second segment is read yet.
    cluster.broker_down(-1).unwrap();
    let rig = Rig::on(dir, Some(&servers), 600);
    let files = data_files(&spool);
    assert_eq!(files.len(), 2, "{files:?}");
    // A file in the place of its directory: what is asked for in it is an error, not missing.
    let segment = files[1].parent().unwrap();
    let aside = spool.with_extension("aside");
    std::fs::rename(segment, &aside).unwrap();
    std::fs::write(segment, "").unwrap();
    cluster.broker_up(-1).unwrap();
    let look = rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    let reason = look.mood.reason.unwrap();
    assert!(reason.contains("cannot be read"), "{reason}");
    assert_eq!((look.delivered, look.in_flight), (300, 0));
    std::fs::remove_file(segment).unwrap();
    std::fs::rename(&aside, segment).unwrap();
    rig.until_all_delivered().await;
    rig.until("connected", |look| look.mood.state == KafkaState::Connected).await;
    assert_eq!(rig.stop().1, 600);
    assert_eq!(read_all(&servers, 600), 0);
}

#[tokio::test]
async fn a_standstill_is_over_when_its_record_no_longer_exists() {
    let mut earlier = Rig::new(None);
    earlier.append_odd(Millis::now(), TOO_LARGE).await;
    let dir = earlier.leave();
    let spool = dir.path().join("spool");
    let cluster = cluster();
    // No room for a letter.
    let none = dead::Config { max_size: 0 };
    let rig = Rig::with_letters(dir, Some(&cluster.bootstrap_servers()), 1, none);
    rig.until("paused", |look| look.mood.state == KafkaState::Paused).await;
    let files = data_files(&spool);
    assert_eq!(files.len(), 1, "{files:?}");
    let zeros = vec![0; std::fs::metadata(&files[0]).unwrap().len().try_into().unwrap()];
    std::fs::write(&files[0], zeros).unwrap();
    rig.until("over", |look| look.mood.reason.is_none()).await;
    assert_eq!(rig.stop().1, 0);
}
