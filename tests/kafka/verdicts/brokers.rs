//! What comes of records while a broker is gone, silent, full, or another one?
//!
//! One broker and scenes one after the other: each of them is the end of its process.

use crate::broker::{Broker, Door, Plan};
use crate::logins::site;
use crate::scene::Scene;
use crate::support::until_some;
use crate::tmpfs::Tmpfs;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use waystation::status::KafkaState;

const PARTITIONS: i32 = 6;
/// When a broker forgets a producer that sends nothing.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// For how many seconds a broker is frozen; without it, until the outage is noticed.
fn frozen_for() -> Option<f64> {
    let seconds = std::env::var("WAYSTATION_FROZEN_SECONDS").ok()?;
    Some(seconds.parse().expect("WAYSTATION_FROZEN_SECONDS is a number of seconds"))
}

#[test]
fn a_broker_that_goes_away_in_any_way_costs_no_record_and_no_order() {
    let Some(disk) = Tmpfs::new("size=192m") else { return };
    let expiration = FORGOTTEN.as_millis();
    let settings = format!(
        "producer.id.expiration.ms={expiration}\nproducer.id.expiration.check.interval.ms=100\n"
    );
    let plan = Plan { data: Some(disk.path()), settings: &settings, ..Plan::default() };
    let Some(mut broker) = Broker::start_as(&plan) else { return };
    killed(&mut broker);
    frozen(&broker);
    forgotten(&broker);
    full(&mut broker, &disk);
    another(&mut broker);
}

/// A fatal idempotence error: that producer takes nothing any more, whatever is tried.
#[test]
fn a_broker_that_was_put_back_to_an_older_copy_gets_all_that_comes_after_it() {
    let Some(mut broker) = Broker::start() else { return };
    let provoked = "the broker's disk put back to an older copy: it lacks sequences";
    let mut scene = begin(&broker, "restored", "fatal idempotence error", provoked);
    scene.is_at_rest();
    broker.take_away();
    broker.back_up();
    broker.give_back();
    scene.fleet.go_on();
    scene.is_well();
    // What Kafka has taken and then forgets is no matter of ours: nothing is under way.
    scene.is_at_rest();
    scene.reads_no_more();
    broker.take_away();
    broker.restore();
    broker.give_back();
    scene.reads(broker.read_from_now("restored", PARTITIONS));
    scene.fleet.go_on();
    scene.is_over();
    scene.says(&["Kafka is connected"]);
    assert!(scene.log().contains("due to sequence desynchronization"), "{}", scene.log());
    scene.end();
}

/// By the longest way to log in.
fn begin(broker: &Broker, topic: &str, failure: &'static str, provoked: &'static str) -> Scene {
    broker.topic(topic, PARTITIONS, &[]);
    let mut scene = Scene::start(failure, provoked, site(broker, Door::Kerberos, topic));
    scene.reads(broker.read_along(topic, PARTITIONS));
    scene.is_well();
    scene
}

fn killed(broker: &mut Broker) {
    let mut scene = begin(broker, "killed", "broker killed", "kill -9, started again");
    broker.take_away();
    let status = scene.says(&["Kafka has been away for", "no broker answers"]);
    assert_eq!(status.kafka.state, KafkaState::Outage);
    broker.give_back();
    scene.is_over();
    scene.end();
}

fn frozen(broker: &Broker) {
    let mut scene = begin(broker, "frozen", "broker frozen", "SIGSTOP, then SIGCONT");
    broker.process().signal(Signal::STOP);
    scene.says(&["Kafka has been away for", "no broker answers"]);
    if let Some(seconds) = frozen_for() {
        scene.lasts(seconds);
    }
    broker.process().signal(Signal::CONT);
    scene.is_over();
    scene.end();
}

fn forgotten(broker: &Broker) {
    let provoked = "silence for longer than producer.id.expiration.ms";
    let mut scene = begin(broker, "forgotten", "producer forgotten", provoked);
    scene.is_at_rest();
    let start = Instant::now();
    until_some("the broker forgets", 4 * FORGOTTEN, || {
        (start.elapsed() > 2 * FORGOTTEN).then_some(())
    });
    scene.fleet.go_on();
    scene.is_over();
    scene.says(&["Kafka is connected"]);
    scene.end();
}

fn full(broker: &mut Broker, disk: &Tmpfs) {
    let provoked = "the broker's disk full (it ends), room made, started again";
    let mut scene = begin(broker, "full", "broker's disk full", provoked);
    let junk = disk.junk();
    junk.take_bytes();
    scene.says(&["Kafka has been away for"]);
    drop(junk);
    broker.take_away();
    broker.give_back();
    scene.is_over();
    scene.end();
}

fn another(broker: &mut Broker) {
    let provoked = "started on empty disks as another cluster and node, topic made";
    let mut scene = begin(broker, "another", "broker is another", provoked);
    scene.is_at_rest();
    scene.reads_no_more();
    broker.take_away();
    scene.fleet.go_on();
    scene.says(&["Kafka has been away for", "no broker answers"]);
    broker.give_back_empty();
    scene.says(&["topic \"another\": the topic does not exist; create it in Kafka"]);
    broker.topic("another", PARTITIONS, &[]);
    scene.reads(broker.read_along("another", PARTITIONS));
    scene.is_over();
    scene.end();
}
