//! Does memory depend on how much was seen, or on how much waits?
//!
//! What an outage under load costs is asked in `outage.rs`; here it is the steady flow, and
//! the start with a backlog.

use crate::support::fleet::{Fate, Fleet};
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use crate::support::{PATIENCE, mb};

/// So many records fill and free the first segments, and the window has been full.
const EARLY: u64 = 60_000;
const LATER: u64 = 90_000;
/// What so many more may cost; without `app/memory.rs` the allocator alone takes more.
const GROWTH: u64 = 8_000_000;
/// The most memory that the service may ever have.
const MEMORY: u64 = 64_000_000;

#[test]
fn a_steady_flow_takes_no_memory_for_what_has_passed() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 64);
    fleet.until_more(EARLY);
    let early = service.memory();
    fleet.until_more(LATER);
    let late = service.memory();
    let sent = fleet.stop();
    println!("{}", reader.compared(&sent, PATIENCE));
    service.stop();
    println!(
        "memory: {} early, {} late, {} highest",
        mb(early.now),
        mb(late.now),
        mb(late.highest)
    );
    let more = late.now.saturating_sub(early.now);
    assert!(more < GROWTH, "{} more for {LATER} records more", mb(more));
    assert!(late.highest < MEMORY);
}

#[test]
fn a_start_with_a_backlog_takes_no_more_memory_than_one_without() {
    let mut site = Site::new(None);
    let service = site.start();
    let empty = service.memory();
    let fleet = Fleet::start(site.ingest, 64);
    fleet.until_more(40_000);
    let sent = fleet.stop();
    service.kill();

    let service = site.start();
    let all = sent.count(Fate::Acknowledged);
    let found = service.until_status("the backlog is there", |status| status.ledger.spooled >= all);
    assert_eq!((found.ledger.accepted, found.ledger.lost), (all, 0));
    let full = service.memory();
    println!("memory: {} empty, {} with {all} waiting", mb(empty.highest), mb(full.highest));
    assert!(full.highest < MEMORY);

    // And the way out costs no more than the way in.
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    service.stop();
    site.set("kafka.bootstrap.servers", &kafka.servers());
    let service = site.start();
    let comparison = reader.compared(&sent, PATIENCE);
    let drained = service.memory();
    service.stop();
    println!("{comparison}; memory {}", mb(drained.highest));
    assert!(drained.highest < MEMORY);
}
