//! Does a stop in order lose nothing, take no longer than it must, and leave order behind?

use crate::support::PATIENCE;
use crate::support::fleet::{Fate, Fleet};
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};
use waystation::status::{KafkaState, LastStop};

/// Every segment says what it holds: a start need not search it.
fn assert_sealed(site: &Site) {
    for entry in fs::read_dir(site.spool()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("seg-") {
            // The file is there from the segment's creation on, but full of zeros.
            let seal = fs::read(entry.path().join("seal")).unwrap();
            assert!(seal.starts_with(b"WSSL"), "{} is not sealed", entry.path().display());
        }
    }
}

fn a_stop_under_load_loses_nothing(signal: Signal) {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    fleet.until_more(2_000);
    service.signal(signal);
    let status = service.ended(Duration::from_secs(20));
    assert!(status.success(), "{status}\n{}", site.log());
    assert_sealed(&site);
    let sent = fleet.stop();

    let service = site.start();
    assert_eq!(service.status().last_stop, LastStop::Clean);
    let comparison = reader.compared(&sent, PATIENCE);
    let status = service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    service.stop();
    // Without a crash nothing is kept that was not answered.
    assert_eq!(status.ledger.accepted, comparison.acknowledged, "{comparison}");
    assert!(sent.refusals().iter().all(|status| status.as_u16() == 503), "{comparison}");
}

#[test]
fn sigterm_under_load_loses_nothing() {
    a_stop_under_load_loses_nothing(Signal::TERM);
}

#[test]
fn sigint_under_load_loses_nothing() {
    a_stop_under_load_loses_nothing(Signal::INT);
}

#[test]
fn with_kafka_there_a_stop_leaves_nothing_behind() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    fleet.until_more(2_000);
    let sent = fleet.stop();
    let all = sent.count(Fate::Acknowledged);
    service.until_status("all is delivered or in flight", |status| {
        status.ledger.delivered + status.kafka.in_flight >= all
    });
    service.stop();
    assert!(site.log().contains("0 records wait in the spool"), "{}", site.log());

    // Nothing can be delivered any more: what the books say now was so at the stop.
    kafka.take_away();
    let service = site.start();
    let ledger = service.status().ledger;
    assert_eq!((ledger.accepted, ledger.delivered, ledger.spooled), (all, all, 0));
    service.stop();
}

#[test]
fn with_kafka_away_a_stop_is_quick_and_everything_waits_for_the_next_start() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    fleet.until_more(500);
    kafka.take_away();
    service.until_status("an outage", |status| status.kafka.state == KafkaState::Outage);
    fleet.until_more(2_000);
    service.signal(Signal::TERM);
    let start = Instant::now();
    let status = service.ended(Duration::from_secs(20));
    let took = start.elapsed();
    assert!(status.success(), "{status}");
    // Its grace for records in flight is five seconds: that must not be waited for.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_sealed(&site);
    let sent = fleet.stop();

    let service = site.start();
    let status = service.status();
    assert_eq!(status.last_stop, LastStop::Clean);
    assert!(status.ledger.spooled >= 2_000, "{:?}", status.ledger);
    kafka.give_back();
    println!("{}; the stop took {took:.1?}", reader.compared(&sent, PATIENCE));
    service.stop();
}
