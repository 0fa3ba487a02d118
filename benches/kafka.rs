//! How fast does a backlog drain into a real Kafka, beside a bare producer?
//!
//!     tests/kafka/fetch.sh
//!     cargo bench --bench kafka
//!     WAYSTATION_BENCH_RECORDS=300000 cargo bench --bench kafka      (1,000,000 by default)
//!
//! In each round, in turn: a bare librdkafka producer with the same properties sends the same
//! records from memory, and the service drains them from its spool. Both into topics of one Apache
//! Kafka on the loopback, on which nothing else happens. Only the ratio of one round means
//! anything. A goal that is missed is exit code 1.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52, for people to read")]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/kafka/broker.rs"]
mod broker;
#[path = "../tests/kafka/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/kafka/kerberos.rs"]
mod kerberos;
#[allow(dead_code, reason = "the other benchmark uses the rest of it")]
#[path = "spool/load.rs"]
mod load;
#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/kafka/process.rs"]
mod process;
#[path = "../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the other benchmark uses the rest of it")]
#[path = "spool/table.rs"]
mod table;

use broker::{Broker, Door};
use load::Load;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use support::service::Site;
use table::{Goal, Table, count};
use waystation::forward;
use waystation::spool::Spool;

/// An odd number, for the ratio in the middle.
const ROUNDS: usize = 5;
const PARTITIONS: i32 = 6;
/// Records a commit of the backlog.
const COMMIT: u64 = 500;
/// One record of so many is sent before the clock starts: connections are made, and Java warms up.
const FIRST: u64 = 10;
const BOX: &str = "depot-7";

fn main() -> ExitCode {
    let records = match std::env::var("WAYSTATION_BENCH_RECORDS").map(|text| text.parse()) {
        Ok(Ok(records)) => records,
        Ok(Err(error)) => {
            eprintln!("WAYSTATION_BENCH_RECORDS is no number of records: {error}");
            return ExitCode::from(64);
        }
        Err(_) => 1_000_000,
    };
    let Some(broker) = Broker::start() else { return ExitCode::from(69) };
    broker.topic("bare", PARTITIONS, &[]);
    broker.topic("test", PARTITIONS, &[]);
    let mut table = Table::default();
    let (mut ratios, mut highest) = (Vec::new(), 0);
    // What comes first pays for a cold broker.
    bare(&broker, records / 4);
    for round in 1..=ROUNDS {
        let bare = bare(&broker, records);
        let (drained, memory) = drained(&broker, records);
        highest = highest.max(memory);
        ratios.push(drained / bare);
        let beside = format!("{} records/s of a bare producer", count(bare));
        table.row(
            &format!("round {round}: drained"),
            &format!("{} records/s", count(drained)),
            &beside,
            None,
        );
    }
    ratios.sort_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    table.row(
        "drained, of a bare producer's rate",
        &format!("{middle:.2}"),
        &format!("{ROUNDS} rounds: {least:.2} to {most:.2}"),
        Goal::AtLeast(0.9).met(middle),
    );
    let megabytes = highest as f64 / 1e6;
    table.row(
        "  memory meanwhile",
        &format!("{megabytes:.1} MB"),
        "",
        Goal::AtMost(64.0).met(megabytes),
    );
    if table.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The service's producer, as far as its properties go.
fn properties(servers: String) -> BTreeMap<String, String> {
    let kafka = [("bootstrap.servers".to_owned(), servers)].into();
    let grace = Duration::from_secs(10);
    let config = forward::Config {
        kafka,
        box_name: BOX.to_owned(),
        max_in_flight: 20_000,
        max_bytes_per_second: None,
        grace,
    };
    config.properties()
}

/// Records a second of a producer that has them in memory.
fn bare(broker: &Broker, records: u64) -> f64 {
    let mut config = ClientConfig::new();
    config.extend(properties(broker.servers(Door::Plain)));
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().expect("a producer");
    let mut load = Load::new();
    let mut start = None;
    let first = records / FIRST;
    for number in 0..records {
        if number == first {
            start = Some(Instant::now());
        }
        let id = format!("{:016x}:{number}", 7);
        let (key, value) = load.next();
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: "waystation-id", value: Some(&id) })
            .insert(Header { key: "waystation-box", value: Some(BOX) });
        let mut record = BaseRecord::to("bare").key(key).payload(value).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "the record is refused");
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_mins(2)).expect("all is delivered");
    (records - first) as f64 / start.expect("a clock").elapsed().as_secs_f64()
}

/// Records a second of the service that has them in its spool; and the most memory it had, bytes.
fn drained(broker: &Broker, records: u64) -> (f64, u64) {
    let mut site = Site::new(Some(&broker.servers(Door::Plain)));
    site.set("box.name", BOX);
    load::run(async {
        let Spool { writer, acks, reader: _reader, .. } = load::open(&site.spool(), None);
        tokio::spawn(acks.run());
        Load::new().batches(&writer, COMMIT, |load| load.records < records).await;
        writer.close().expect("a close");
    });
    let service = site.start();
    let wait = |waiting: u64| {
        support::until_some("it drains", Duration::from_mins(5), || {
            let spooled = service.status().ledger.spooled;
            (spooled <= waiting).then(|| (Instant::now(), spooled))
        })
    };
    let (start, before) = wait(records - records / FIRST);
    let (end, _) = wait(0);
    let memory = service.memory().highest;
    service.stop();
    (before as f64 / (end - start).as_secs_f64(), memory)
}
