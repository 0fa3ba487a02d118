//! What does it cost when the broker is killed, or frozen, in the midst of its work?

use crate::broker::{Broker, Door};
use crate::logins::site;
use crate::support::PATIENCE;
use crate::support::fleet::Fleet;
use crate::support::{mb, until_some};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use waystation::status::KafkaState;

const PARTITIONS: i32 = 6;
/// How soon records must arrive again once the broker answers.
const SOON: Duration = Duration::from_secs(15);
/// The most memory that the service may ever have had.
const MEMORY: u64 = 64_000_000;

#[test]
fn a_broker_that_is_killed_or_frozen_costs_no_record_and_no_order() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("test", PARTITIONS, &[]);
    let reader = broker.read_along("test", PARTITIONS);
    // The longest way to log in.
    let site = site(&broker, Door::Kerberos, "test");
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 32, Duration::from_millis(20));
    let read_on = |what: &str| {
        let (start, goal) = (Instant::now(), reader.witness().distinct() + 100);
        until_some(what, SOON, || (reader.witness().distinct() > goal).then_some(()));
        println!("{what}: read on after {:.1} s", start.elapsed().as_secs_f64());
    };
    let is_away = |what: &str| {
        let status = service.until_status(what, |status| status.kafka.state == KafkaState::Outage);
        println!("{what}: {}", status.sentence);
    };
    read_on("it is there");

    broker.take_away();
    is_away("it was killed");
    broker.give_back();
    read_on("it was killed");

    broker.process().signal(Signal::STOP);
    is_away("it is frozen");
    broker.process().signal(Signal::CONT);
    read_on("it is frozen no more");

    let sent = fleet.stop();
    println!("{}", reader.compared(&sent, PATIENCE));
    let highest = service.memory().highest;
    println!("memory (VmHWM): {}", mb(highest));
    assert!(highest < MEMORY, "{highest}");
    service.stop();
}
