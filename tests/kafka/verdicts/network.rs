//! What comes of records while the way to the broker is cut, in one manner or another?
//!
//! The service reaches the broker's Kerberos door by way of a relay that cuts it.

use crate::broker::{Broker, Door, Plan};
use crate::logins::site;
use crate::relay::Relay;
use crate::scene::Scene;
use crate::support::service::free_port;
use std::fs;
use waystation::status::{Cause, KafkaState};

const PARTITIONS: i32 = 3;
/// Seconds of an outage, at the end of which TCP would not try again by itself for a long time.
const LONG: f64 = 13.5;

#[test]
fn a_way_that_is_cut_costs_no_record_and_no_order() {
    let far = free_port();
    let plan = Plan { far: Some((Door::Kerberos, far.port())), ..Plan::default() };
    let Some(broker) = Broker::start_as(&plan) else { return };
    let mut relay = Relay::start(far, broker.port(Door::Kerberos));
    refused(&broker, &mut relay);
    std::thread::scope(|both| {
        both.spawn(|| black_hole(&broker, &mut relay));
        both.spawn(|| unresolved(&broker));
    });
}

fn refused(broker: &Broker, relay: &mut Relay) {
    broker.topic("refused", PARTITIONS, &[]);
    let site = site(broker, Door::Kerberos, "refused");
    let provoked = "connections cut and refused, taken again";
    let mut scene = Scene::start("connections refused", provoked, site);
    scene.reads(broker.read_along("refused", PARTITIONS));
    scene.is_well();
    relay.refuse();
    let status = scene.says(&["Kafka has been away for", "no broker answers"]);
    assert_eq!(status.kafka.cause, Some(Cause::Network));
    scene.lasts(5.0);
    relay.take_again();
    scene.is_over();
    scene.end();
}

fn black_hole(broker: &Broker, relay: &mut Relay) {
    broker.topic("dropped", PARTITIONS, &[]);
    let site = site(broker, Door::Kerberos, "dropped");
    let provoked = "every packet to the broker dropped, let through again";
    let mut scene = Scene::start("packets dropped", provoked, site);
    scene.reads(broker.read_along("dropped", PARTITIONS));
    scene.is_well();
    relay.drop_packets();
    scene.says(&["Kafka has been away for", "no broker answers"]);
    scene.lasts(LONG);
    relay.let_through();
    scene.is_over();
    scene.end();
}

fn unresolved(broker: &Broker) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: a name that does not resolve is made in a mount namespace, by root");
        return;
    }
    broker.topic("unresolved", PARTITIONS, &[]);
    let mut site = site(broker, Door::Plain, "unresolved");
    let server = broker.servers(Door::Plain).replace("localhost", "kafka.depot.test");
    site.set("kafka.bootstrap.servers", &server);
    let (hosts, resolver) = (site.root().join("hosts"), site.root().join("resolv.conf"));
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    // Nobody answers there, at once.
    fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    site.run_under(&[
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"",
        hosts.to_str().unwrap(),
        resolver.to_str().unwrap(),
    ]);
    let provoked = "the brokers' name unknown at the start, known later";
    let mut scene = Scene::start("name unknown", provoked, site);
    scene.reads(broker.read_along("unresolved", PARTITIONS));
    let status = scene.says(&["the name of kafka.depot.test"]);
    assert_eq!((status.kafka.state, status.kafka.cause), (KafkaState::Outage, Some(Cause::Dns)));
    scene.lasts(5.0);
    // In place: the file itself is mounted.
    fs::write(&hosts, "127.0.0.1 localhost kafka.depot.test\n").unwrap();
    scene.is_over();
    scene.end();
}
