//! What does a box's clock that is set by years, back and forth, do to its records?
//!
//! The real program with a library preloaded that sets its clock (`support/clock.c`): while it runs,
//! with Kafka there and away, and from one start to the next.

use crate::preload;
use crate::support::fleet::{Fate, Fleet};
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use crate::support::{PATIENCE, until};
use std::fs;
use std::path::PathBuf;

const YEAR: i64 = 365 * 86_400;
/// By how much the clock is off, from one time to the next.
const OFFSETS: [i64; 6] = [3 * YEAR, -9 * YEAR, 0, 20 * YEAR, -40 * YEAR, -30 * YEAR];

/// What sets the clock.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, offset: i64) {
        // In one step, so that no half of a number is read.
        let new = self.0.with_extension("new");
        fs::write(&new, offset.to_string()).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// The name of the first number in it that is negative.
fn negative(value: &serde_json::Value, name: &str) -> Option<String> {
    match value {
        serde_json::Value::Number(number) => number
            .as_f64()
            .filter(|number| *number < 0.0)
            .map(|number| format!("{name} is {number}")),
        serde_json::Value::Array(all) => all.iter().find_map(|one| negative(one, name)),
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(name, field)| negative(field, name))
        }
        _ => None,
    }
}

/// What the status says now, in which nothing may be negative, nor dropped.
fn look(service: &Service) {
    let status = service.status();
    assert_eq!(negative(&serde_json::to_value(&status).unwrap(), ""), None, "{status:#?}");
    assert!(status.ledger.balances(), "{:?}", status.ledger);
    assert_eq!(status.ledger.dropped + status.ledger.lost + status.ledger.dead, 0);
}

/// Fails when `age_seconds` may be negative, and without `app/waits.rs` (librdkafka's threads then
/// sleep for as long as the clock was set back, and nothing is delivered).
#[test]
fn a_clock_that_is_set_by_years_loses_nothing_keeps_the_order_and_makes_no_age_negative() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let mut site = Site::new(Some(&kafka.servers()));
    let clock = Clock(site.root().join("offset"));
    clock.set(0);
    site.environment("LD_PRELOAD", preload::library("clock", site.root()));
    site.environment("CLOCK_OFFSET", clock.0.clone());
    let mut service = site.start();
    let fleet = Fleet::start(site.ingest, 8);
    for (turn, offset) in OFFSETS.into_iter().enumerate() {
        let delivered = service.status().ledger.delivered;
        // While records flow, and with some that wait.
        clock.set(offset);
        fleet.until_more(200);
        look(&service);
        service.until_status("they flow", |now| now.ledger.delivered > delivered + 100);
        kafka.take_away();
        service.until_status("Kafka is away", |now| now.kafka.outage_seconds.is_some());
        fleet.until_more(200);
        look(&service);
        clock.set(OFFSETS[(turn + 1) % OFFSETS.len()]);
        fleet.until_more(200);
        look(&service);
        if turn % 2 == 0 {
            service.kill();
            clock.set(OFFSETS[(turn + 2) % OFFSETS.len()]);
            service = site.start();
            fleet.until_more(200);
            look(&service);
        }
        let waiting = service.status().ledger.accepted;
        kafka.give_back();
        service.until_status("they are delivered", |now| now.ledger.delivered >= waiting);
        look(&service);
    }
    let sent = fleet.stop();
    assert!(sent.refusals().is_empty(), "{:?}", sent.refusals());
    let status = service.until_status("all is delivered", |now| now.ledger.spooled == 0);
    until("the consumer has read as much", || {
        reader.witness().distinct() >= status.ledger.accepted
    });
    let comparison = reader.compared(&sent, PATIENCE);
    assert!(comparison.acknowledged == sent.count(Fate::Acknowledged));
    println!("{comparison}");
    service.stop();
}
