//! What does an outage of Kafka cost?
//!
//! Kafka is taken away in mid-flight under load and given back; what the devices were told
//! is compared with what a consumer read. `WAYSTATION_OUTAGE_RECORDS` makes it larger than
//! the gate needs, `WAYSTATION_BIN` tries another build of the program.

use crate::support::fleet::{Fate, Fleet};
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use crate::support::{PATIENCE, mb, until, until_some};
use std::time::{Duration, Instant};

const DEVICES: usize = 128;
/// The most memory that the service may ever have had.
const MEMORY: u64 = 64_000_000;
/// How much of it may have come with the backlog once the first segment was full, which costs what a
/// segment holds: a backlog held in memory would take several times this.
const GROWTH: u64 = 8_000_000;
/// The most disk that a drained spool may keep.
const DISK: u64 = 40_000_000;

fn records() -> u64 {
    std::env::var("WAYSTATION_OUTAGE_RECORDS").map_or(200_000, |text| text.parse().unwrap())
}

#[test]
fn an_outage_under_load_costs_no_record_no_order_and_no_memory() {
    let records = records();
    let patience = Duration::from_mins(2) + Duration::from_millis(records);
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let begun = Instant::now();
    let fleet = Fleet::start(site.ingest, DEVICES);
    let reached = |what: &str, goal: u64| {
        until_some(what, patience, || (fleet.acknowledged() >= goal).then_some(()));
    };

    reached("a twentieth is acknowledged", records / 20);
    until("the consumer has read some of it", || reader.witness().distinct() > 0);
    kafka.take_away();
    let away = Instant::now();
    service.until_status("records in flight when Kafka went", |status| {
        status.kafka.outage_seconds.is_some() && status.kafka.in_flight > 0
    });
    reached("a quarter is acknowledged", records / 4);
    service.until_status("the first segment is full", |status| status.spool.segments > 1);
    let (early, acknowledged) = (service.memory(), fleet.acknowledged());
    assert!(acknowledged < records * 3 / 4, "only {acknowledged} of {records} filled a segment");
    reached("all are acknowledged", records);
    let full = service.memory();
    let sent = fleet.stop();
    let taken = begun.elapsed();

    assert_eq!((sent.refusals(), sent.count(Fate::Unanswered)), (vec![], 0));
    let status = service.status();
    assert_eq!(status.ledger.accepted, sent.count(Fate::Acknowledged));
    assert!(status.ledger.balances(), "{:?}", status.ledger);
    assert!(status.ledger.spooled > records / 2, "the outage held back too little: {status:#?}");
    let backlog = site.spool_bytes();
    assert!(status.spool.segments > 1, "too small a backlog to free anything of: {status:#?}");

    kafka.give_back();
    let back = Instant::now();
    let lasted = back - away;
    let all = sent.count(Fate::Acknowledged);
    let comparison = reader.compared(&sent, patience);
    let drained = back.elapsed();
    let status = service.until_status("the spool is empty", |status| status.ledger.spooled == 0);
    assert_eq!(status.ledger.delivered, all);
    let small = || site.spool_bytes() < DISK && service.status().spool.segments <= 1;
    until("the spool's directory is small again", small);
    let (disk, end) = (site.spool_bytes(), service.memory());
    service.stop();

    println!(
        "{comparison}\n\
         accepted in {taken:.1?}, Kafka away for {lasted:.1?}, all read {drained:.1?} after it \
         was back\n\
         memory (VmHWM): {} with {acknowledged} waiting, {} with all waiting, {} at the end\n\
         spool on the disk: {} with all waiting, {} at the end",
        mb(early.highest),
        mb(full.highest),
        mb(end.highest),
        mb(backlog),
        mb(disk)
    );
    assert!(end.highest < MEMORY, "VmHWM {}", mb(end.highest));
    let growth = full.highest - early.highest;
    assert!(growth < GROWTH, "memory grew by {} with the backlog", mb(growth));
    let log = site.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("Kafka is away"), lines("Kafka is back")), (1, 1), "{log}");
    assert!(log.lines().count() < 40, "too much to say about one outage:\n{log}");
}

#[test]
fn a_producer_that_breaks_under_load_leaves_no_gap() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    let rebuilt = || site.log().matches("sending again").count();
    for round in 0..5 {
        fleet.until_more(1_000);
        kafka.break_producers(1);
        until("the records are sent again", || rebuilt() > round);
        // Before it breaks again it must have come further.
        let accepted = service.status().ledger.accepted;
        service.until_status("records flow again", |now| now.ledger.delivered >= accepted);
    }
    let sent = fleet.stop();
    assert_eq!((sent.refusals(), sent.count(Fate::Unanswered)), (vec![], 0));
    let all = sent.count(Fate::Acknowledged);
    service.until_status("everything is delivered", |status| status.ledger.delivered == all);
    println!("{}", reader.compared(&sent, PATIENCE));
    service.stop();
}
