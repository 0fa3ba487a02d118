//! How fast does a backlog drain into a real Kafka, beside a bare producer?
//!
//!     tests/kafka/fetch.sh
//!     cargo bench --bench kafka
//!     WAYSTATION_BENCH_RECORDS=300000 cargo bench --bench kafka      (1,000,000 by default)
//!     cargo bench --bench kafka -- ingest                            (that part alone; or drain)
//!
//! In each round, in turn: a bare librdkafka producer with the same properties sends the same
//! records from memory, and the service drains them from its spool, at least once and exactly once. All
//! into topics of one Apache Kafka on the loopback, on which nothing else happens. Then messages are
//! posted at a steady rate while a backlog drains, and while none does; that broker is one that yields the
//! processor and the disk, since a box's brokers are other machines. Only the ratio of one round means
//! anything. A goal that is missed is exit code 1.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52, for people to read")]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../tests/kafka/admin.rs"]
mod admin;
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
#[path = "../tests/support/tmpfs.rs"]
mod tmpfs;

use broker::{Broker, Door, Plan};
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
use tmpfs::Tmpfs;
use waystation::forward;
use waystation::spool::Spool;
use waystation::status::KafkaState;

/// An odd number, for the ratio in the middle.
const ROUNDS: usize = 5;
const PARTITIONS: i32 = 6;
/// Records a commit of the backlog.
const COMMIT: u64 = 500;
/// One record of so many is sent before the clock starts: connections are made, and Java warms up.
const FIRST: u64 = 10;
const BOX: &str = "depot-7";
/// Records a second that a drain is to manage beside them: nine tenths of its pace.
const PACE: f64 = 45_000.0;
/// Messages posted a second: as many as the largest depot sends.
const RATE: &str = "2000";

fn main() -> ExitCode {
    let records = match std::env::var("WAYSTATION_BENCH_RECORDS").map(|text| text.parse()) {
        Ok(Ok(records)) => records,
        Ok(Err(error)) => {
            eprintln!("WAYSTATION_BENCH_RECORDS is no number of records: {error}");
            return ExitCode::from(64);
        }
        Err(_) => 1_000_000,
    };
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if let Some(other) = only.as_deref().filter(|only| !["drain", "ingest"].contains(only)) {
        eprintln!("there is no part {other:?}; there are drain and ingest");
        return ExitCode::from(64);
    }
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut table = Table::default();
    if wanted("drain") {
        let Some(broker) = Broker::start() else { return ExitCode::from(69) };
        broker.topic("bare", PARTITIONS, &[]);
        broker.topic("test", PARTITIONS, &[]);
        broker.topic("waystation-progress", 1, &[]);
        drain_beside(&broker, records, &mut table);
    }
    if wanted("ingest") {
        let Some(disk) = Tmpfs::new("size=12g") else { return ExitCode::from(69) };
        let plan = Plan { data: Some(disk.path()), yields: true, ..Plan::default() };
        let Some(broker) = Broker::start_as(&plan) else { return ExitCode::from(69) };
        broker.topic("test", PARTITIONS, &[]);
        ingest_beside(&broker, 5 * records, &mut table);
    }
    if table.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The rate of a drain, at least once and exactly once, beside that of a bare producer.
fn drain_beside(broker: &Broker, records: u64, table: &mut Table) {
    let (mut ratios, mut once, mut highest) = (Vec::new(), Vec::new(), 0);
    // What comes first pays for a cold broker.
    bare(broker, records / 4);
    for round in 1..=ROUNDS {
        let bare = bare(broker, records);
        let (drained, memory) = drained_by(broker, records, "at-least-once");
        let (exactly, more) = drained_by(broker, records, "exactly-once");
        highest = highest.max(memory).max(more);
        once.push(exactly / drained);
        ratios.push(drained / bare);
        let beside = format!("{} records/s of a bare producer", count(bare));
        table.row(
            &format!("round {round}: drained"),
            &format!("{} records/s", count(drained)),
            &beside,
            None,
        );
        let least = format!("{} records/s at least once", count(drained));
        let exactly = format!("{} records/s", count(exactly));
        table.row(&format!("round {round}: drained exactly once"), &exactly, &least, None);
    }
    let (middle, range) = middle(ratios);
    table.row(
        "drained, of a bare producer's rate",
        &format!("{middle:.2}"),
        &range,
        Goal::AtLeast(0.9).met(middle),
    );
    let (middle, range) = self::middle(once);
    table.row(
        "drained exactly once, of the rate at least once",
        &format!("{middle:.2}"),
        &range,
        None,
    );
    let megabytes = highest as f64 / 1e6;
    table.row(
        "  memory meanwhile",
        &format!("{megabytes:.1} MB"),
        "",
        Goal::AtMost(64.0).met(megabytes),
    );
}

/// The ratio in the middle, and where the others lie.
fn middle(mut ratios: Vec<f64>) -> (f64, String) {
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[ROUNDS - 1]);
    (ratios[ROUNDS / 2], format!("{ROUNDS} rounds: {least:.2} to {most:.2}"))
}

/// The service's producer, as far as its properties go.
fn properties(servers: String) -> BTreeMap<String, String> {
    let kafka = [("bootstrap.servers".to_owned(), servers)].into();
    let grace = Duration::from_secs(10);
    let config = forward::Config {
        kafka,
        box_name: BOX.to_owned(),
        delivery: forward::Delivery::AtLeastOnce,
        max_in_flight: 20_000,
        max_bytes_per_second: None,
        hold_after: Duration::from_secs(30),
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

/// The wait for an answer while a backlog of so many records drains, beside that while there is none.
fn ingest_beside(broker: &Broker, records: u64, table: &mut Table) {
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let alone = p99(broker, 0);
        let beside = p99(broker, records);
        ratios.push(beside.p99 / alone.p99);
        rates.push(beside.drained);
        table.row(
            &format!("round {round}: p99 of ingest while it drains"),
            &format!("{:.2} ms", beside.p99 * 1e3),
            &format!("{:.2} ms while nothing drains", alone.p99 * 1e3),
            None,
        );
        assert!(beside.left > 0, "the backlog was gone before the end; take more records");
    }
    let (middle, range) = middle(ratios);
    table.row(
        "p99 of ingest while it drains",
        &format!("{middle:.2} of without"),
        &range,
        Goal::AtMost(1.5).met(middle),
    );
    rates.sort_by(f64::total_cmp);
    let (rate, least) = (rates[ROUNDS / 2], rates[0]);
    table.row(
        "  drained meanwhile",
        &format!("{} records/s", count(rate)),
        &format!("the least {}", count(least)),
        Goal::AtLeast(PACE).met(rate),
    );
}

/// What was seen while messages were posted.
struct Beside {
    /// The 99th percentile of answers, seconds.
    p99: f64,
    /// Records a second that went to Kafka.
    drained: f64,
    /// Records that still waited at the end.
    left: u64,
}

fn p99(broker: &Broker, backlog: u64) -> Beside {
    let site = Site::new(Some(&broker.servers(Door::Plain)));
    fill(&site, backlog);
    let service = site.start();
    service.until_status("Kafka takes records", |status| {
        status.ledger.delivered > 0 || backlog == 0 && status.kafka.state != KafkaState::Connecting
    });
    let url = format!("http://{}/endpoint", site.ingest);
    let mut load = site.command("load");
    load.args(["--url", &url, "--rate", RATE, "--connections", "32", "--for", "8s"]);
    let (before, start) = (service.status().ledger, Instant::now());
    let output = load.output().expect("a load");
    assert!(output.status.success(), "{output:?}");
    let (after, took) = (service.status().ledger, start.elapsed());
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    service.stop();
    Beside {
        p99: seconds(&said).unwrap_or_else(|| panic!("no p99 in {said}")),
        drained: (after.delivered - before.delivered) as f64 / took.as_secs_f64(),
        left: after.spooled,
    }
}

/// The p99 in what `waystation load` says: `p99 2.4 ms, `.
fn seconds(said: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once("p99 ")?;
    let (number, unit) = rest.split_once(',')?.0.split_once(' ')?;
    let factor = [("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    let (_, factor) = factor.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<f64>().ok()? * factor)
}

/// A spool with so many records, in commits as under load.
fn fill(site: &Site, records: u64) {
    load::run(async {
        let Spool { writer, acks, reader: _reader, .. } = load::open(&site.spool(), None);
        tokio::spawn(acks.run());
        Load::new().batches(&writer, COMMIT, |load| load.records < records).await;
        writer.close().expect("a close");
    });
}

/// Records a second of the service that has them in its spool; and the most memory it had, bytes.
fn drained_by(broker: &Broker, records: u64, delivery: &str) -> (f64, u64) {
    let mut site = Site::new(Some(&broker.servers(Door::Plain)));
    site.set("forward.delivery", delivery);
    site.set("box.name", BOX);
    fill(&site, records);
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
