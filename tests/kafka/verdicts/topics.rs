//! What comes of records that a topic, or the cluster, does not take?
//!
//! One broker; each scene has a topic and a service of its own, and all play at once.

use crate::broker::{Broker, Door, Plan, USER};
use crate::kerberos::CLIENT;
use crate::logins::site;
use crate::preload;
use crate::scene::{DEVICES, Scene};
use crate::support::PATIENCE;
use crate::support::client::{ask, post};
use crate::support::fleet::large_message;
use bytes::Bytes;
use hyper::StatusCode;
use prost::Message as _;
use std::fs;
use waystation::status::{Cause, KafkaState};

const PARTITIONS: i32 = 3;
/// More than that, and a record is not taken.
const LARGEST: &str = "50000";
const LARGE: usize = 60_000;

#[test]
fn what_a_topic_refuses_is_kept_named_and_sent_once_the_topic_takes_it() {
    let Some(broker) = Broker::start_as(&Plan::default()) else { return };
    let scenes: [fn(&Broker); 7] =
        [missing, recreated, denied, too_few_replicas, too_large, clock_ahead, more_partitions];
    let broker = &broker;
    std::thread::scope(|all| {
        for scene in scenes {
            all.spawn(move || scene(broker));
        }
    });
    // Last, since it shuts everybody out.
    cluster_denied(broker);
}

fn missing(broker: &Broker) {
    let site = site(broker, Door::Kerberos, "missing");
    let mut scene = Scene::start("topic missing", "no such topic at the start, made later", site);
    let status = scene.says(&["topic \"missing\": the topic does not exist; create it in Kafka"]);
    assert_eq!((status.kafka.state, status.kafka.cause), (KafkaState::Paused, Some(Cause::Topic)));
    broker.topic("missing", PARTITIONS, &[]);
    scene.reads(broker.read_along("missing", PARTITIONS));
    scene.is_over();
    scene.end();
}

fn recreated(broker: &Broker) {
    broker.topic("recreated", PARTITIONS, &[]);
    let site = site(broker, Door::Kerberos, "recreated");
    let mut scene = Scene::start("topic deleted", "deleted while records flow, made again", site);
    scene.reads(broker.read_along("recreated", PARTITIONS));
    scene.is_well();
    // What Kafka has taken and then deletes is no matter of ours: nothing is under way.
    scene.is_at_rest();
    scene.reads_no_more();
    broker.delete_topic("recreated");
    scene.fleet.go_on();
    scene.says(&["topic \"recreated\": the topic does not exist; create it in Kafka"]);
    broker.topic("recreated", PARTITIONS, &[]);
    scene.reads(broker.read_along("recreated", PARTITIONS));
    scene.is_over();
    scene.end();
}

fn denied(broker: &Broker) {
    broker.topic("denied", PARTITIONS, &[]);
    let site = site(broker, Door::Kerberos, "denied");
    let mut scene = Scene::start("topic denied", "Write denied while records flow, granted", site);
    scene.reads(broker.read_along("denied", PARTITIONS));
    scene.is_well();
    let user = format!("User:{CLIENT}");
    let rule = ["--deny-principal", &user, "--operation", "Write", "--topic", "denied"];
    broker.rule("--add", &rule);
    let status = scene.says(&["topic \"denied\"", "grant it Write on the topic"]);
    assert_eq!(status.kafka.cause, Some(Cause::Authorization));
    broker.rule("--remove", &rule);
    scene.is_over();
    scene.end();
}

fn cluster_denied(broker: &Broker) {
    broker.topic("cluster", PARTITIONS, &[]);
    // Whoever may write nowhere needs a right of its own to be told who he is.
    let user = format!("User:{USER}");
    let nowhere = ["--allow-principal", &user, "--operation", "Describe", "--topic", "*"];
    broker.rule("--add", &nowhere);
    let cluster = ["--deny-principal", &user, "--operation", "IdempotentWrite", "--cluster"];
    broker.rule("--add", &cluster);
    let site = site(broker, Door::Scram, "cluster");
    let mut scene = Scene::start(
        "cluster denied",
        "neither IdempotentWrite nor Write on any topic, granted later",
        site,
    );
    scene.reads(broker.read_along("cluster", PARTITIONS));
    let status = scene.says(&["grant it IdempotentWrite on the cluster"]);
    assert_eq!(status.kafka.cause, Some(Cause::Authorization));
    broker.rule("--remove", &nowhere);
    scene.is_over();
    scene.end();
}

fn too_few_replicas(broker: &Broker) {
    let insync = "min.insync.replicas";
    let follower = broker.start_follower();
    broker.topic_of_two("replicas", 3, &[(insync, "2")]);
    let site = site(broker, Door::Tls, "replicas");
    let provoked = "one of two replicas killed with min.insync.replicas = 2, then set to 1";
    let mut scene = Scene::start("too few replicas", provoked, site);
    scene.reads(broker.read_along("replicas", PARTITIONS));
    scene.is_well();
    drop(follower);
    scene.says(&["topic \"replicas\" does not get past record", "bring back the brokers"]);
    broker.set_topic("replicas", insync, "1");
    scene.is_over();
    scene.end();
}

fn too_large(broker: &Broker) {
    broker.topic("large", PARTITIONS, &[("max.message.bytes", LARGEST)]);
    let site = site(broker, Door::Tls, "large");
    let ingest = site.ingest;
    let provoked = "one record of 60 kB for a topic that takes 50 kB";
    let mut scene = Scene::start("record too large", provoked, site);
    scene.reads(broker.read_along("large", PARTITIONS));
    scene.is_well();
    // The first device behind the fleet's.
    let message = large_message(DEVICES, 1, LARGE).encode_to_vec();
    assert_eq!(ask(ingest, post(Bytes::from(message))).unwrap().status, StatusCode::OK);
    scene.dead += 1;
    scene.says(&["one record is a dead letter"]);
    scene.is_over();
    scene.end();
}

fn clock_ahead(broker: &Broker) {
    broker.topic("clock", PARTITIONS, &[]);
    let mut site = site(broker, Door::Plain, "clock");
    let offset = site.root().join("offset");
    let set = |seconds: &str| {
        fs::write(offset.with_extension("new"), seconds).unwrap();
        fs::rename(offset.with_extension("new"), &offset).unwrap();
    };
    set("0");
    site.environment("LD_PRELOAD", preload::library("clock", site.root()));
    site.environment("CLOCK_OFFSET", offset.clone());
    let provoked = "the box's clock set two hours ahead, and right again";
    let mut scene = Scene::start("timestamp refused", provoked, site);
    scene.reads(broker.read_along("clock", PARTITIONS));
    scene.is_well();
    set("7200");
    let status = scene.says(&["the broker refuses its timestamp; compare this box's clock"]);
    assert_eq!(status.kafka.cause, Some(Cause::Clock));
    set("0");
    scene.is_over();
    scene.end();
}

fn more_partitions(broker: &Broker) {
    broker.topic("partitions", PARTITIONS, &[]);
    let mut site = site(broker, Door::Plain, "partitions");
    // Otherwise it takes five minutes until a client looks for them.
    site.set("kafka.topic.metadata.refresh.interval.ms", "1000");
    let provoked = "three partitions added to three while records flow";
    let mut scene = Scene::start("partitions added", provoked, site);
    scene.reads(broker.read_along("partitions", PARTITIONS));
    scene.is_well();
    broker.add_partitions("partitions", 3, 3);
    let added = broker.read_some("partitions", PARTITIONS..2 * PARTITIONS);
    crate::support::until_some("the new ones are used", PATIENCE, || {
        (added.witness().distinct() > 0).then_some(())
    });
    scene.reads(added);
    scene.is_over();
    scene.says(&["Kafka is connected"]);
    scene.end();
}
