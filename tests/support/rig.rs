//! A spool with a forwarder behind it, a mock Kafka in front, and a consumer of its own.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waystation::dead;
use waystation::forward::{Config, Delivery, Forwarder, Look, Monitor};
use waystation::record::{INVALID, Millis, NewRecord, Reception, Route};
use waystation::spool::{self, Append, SpoolWriter};
use waystation::status::KafkaState;

pub const TOPIC: &str = "gps";
const PARTITIONS: i32 = 3;
/// As shipped.
const HOLD_AFTER: Duration = Duration::from_secs(30);
/// Every wait ends after this, with a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A spool with a forwarder behind it.
pub struct Rig {
    pub writer: SpoolWriter,
    pub monitor: Arc<Monitor>,
    pub route: Arc<Route>,
    stop: tokio::sync::oneshot::Sender<()>,
    forwarder: std::thread::JoinHandle<()>,
    /// The number of the next record, which is its value.
    pub next: u64,
    config: spool::Config,
    // Removed with the spool at the end.
    dir: tempfile::TempDir,
}

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

impl Rig {
    /// Must be called inside a runtime, which wakes the appends.
    pub fn new(bootstrap: Option<&str>) -> Self {
        Self::on(tempfile::tempdir().unwrap(), bootstrap, 0)
    }

    /// The same with other properties of Kafka.
    pub fn with(kafka: &[(&str, &str)]) -> Self {
        Self::build(tempfile::tempdir().unwrap(), kafka, 0, dead::Config::default(), HOLD_AFTER)
    }

    /// On what an earlier rig left here.
    pub fn on(dir: tempfile::TempDir, bootstrap: Option<&str>, next: u64) -> Self {
        Self::with_letters(dir, bootstrap, next, dead::Config::default())
    }

    /// The same with bounds of the dead letters.
    pub fn with_letters(
        dir: tempfile::TempDir,
        bootstrap: Option<&str>,
        next: u64,
        letters: dead::Config,
    ) -> Self {
        Self::holding(dir, bootstrap, next, letters, HOLD_AFTER)
    }

    /// The same where a topic is held after this time.
    pub fn holding(
        dir: tempfile::TempDir,
        bootstrap: Option<&str>,
        next: u64,
        letters: dead::Config,
        hold_after: Duration,
    ) -> Self {
        let kafka = bootstrap.map(|servers| {
            [("bootstrap.servers", servers), ("topic.metadata.propagation.max.ms", "500")]
        });
        Self::build(dir, kafka.as_ref().map_or(&[], |kafka| kafka), next, letters, hold_after)
    }

    fn build(
        dir: tempfile::TempDir,
        kafka: &[(&str, &str)],
        next: u64,
        letters: dead::Config,
        hold_after: Duration,
    ) -> Self {
        let spool_config = spool::Config {
            max_size: 1 << 30,
            min_free: 0,
            max_pending: 64 << 20,
            ..spool::Config::new(dir.path().join("spool"))
        };
        let spool = spool::open(spool_config.clone()).unwrap();
        tokio::spawn(spool.acks.run());
        let config = Config {
            kafka: kafka.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            box_name: "depot-7".to_owned(),
            delivery: Delivery::AtLeastOnce,
            max_in_flight: 2_000,
            max_bytes_per_second: None,
            hold_after,
            grace: Duration::from_secs(10),
        };
        let letters = dead::Store::open(&spool_config.dir, letters);
        let (forwarder, monitor) = Forwarder::new(config, spool.reader, letters).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let forwarder = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(forwarder.run(async {
                // An error means that the test is over; that is a stop as well.
                let _ = stopped.await;
            }));
        });
        let route = Arc::new(Route { path: "/endpoint".into(), topic: TOPIC.into() });
        let (writer, config) = (spool.writer, spool_config);
        Self { writer, monitor, route, stop, forwarder, next, config, dir }
    }

    /// Makes so many more records durable, over twenty keys.
    pub async fn append(&mut self, records: u64) {
        let mut last = None;
        for _ in 0..records {
            last = Some(self.begin());
        }
        if let Some(last) = last {
            last.await.unwrap();
        }
    }

    /// Appends the next record; it is durable when the promise says so.
    pub fn begin(&mut self) -> Append {
        let (now, number) = (Millis::now(), self.next);
        let (key, value) = (format!("tracker-{}", number % 20), number.to_string());
        let record = NewRecord {
            route: &self.route,
            key: Some(key.as_bytes()),
            timestamp: now,
            received: Reception { at: now, clock_synchronised: number.is_multiple_of(2) },
            headers: &[],
            value: value.as_bytes(),
            origin: None,
        };
        self.next += 1;
        self.writer.append(&record).unwrap()
    }

    /// Makes the next record durable, with this timestamp and a header of so many bytes.
    pub async fn append_odd(&mut self, timestamp: Millis, header: usize) {
        let now = Millis::now();
        let headers = [("odd".to_owned(), vec![b'x'; header])];
        let value = self.next.to_string();
        let record = NewRecord {
            route: &self.route,
            key: Some(b"odd"),
            timestamp,
            received: Reception { at: now, clock_synchronised: self.next.is_multiple_of(2) },
            headers: &headers,
            value: value.as_bytes(),
            origin: None,
        };
        self.writer.append(&record).unwrap().await.unwrap();
        self.next += 1;
    }

    /// Makes bytes durable that are no message, marked so.
    pub async fn append_invalid(&mut self, bytes: &[u8], why: &str) {
        self.begin_invalid(bytes, why).await.unwrap();
    }

    /// The same; they are durable when the promise says so.
    pub fn begin_invalid(&mut self, bytes: &[u8], why: &str) -> Append {
        let now = Millis::now();
        let headers = [(INVALID.to_owned(), why.as_bytes().to_vec())];
        let record = NewRecord {
            route: &self.route,
            key: None,
            timestamp: now,
            received: Reception { at: now, clock_synchronised: true },
            headers: &headers,
            value: bytes,
            origin: None,
        };
        self.next += 1;
        self.writer.append(&record).unwrap()
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Look) -> bool) -> Look {
        let start = Instant::now();
        loop {
            let look = self.monitor.look();
            if holds(&look) {
                return look;
            }
            assert!(start.elapsed() < PATIENCE, "never {what}: {look:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The spool's directory.
    pub fn spool(&self) -> &Path {
        &self.config.dir
    }

    pub async fn until_all_delivered(&self) {
        let all = self.next;
        self.until("all delivered", |look| look.delivered == all).await;
    }

    /// Stops the forwarder and the spool. How long the forwarder took, and how many records
    /// the spool calls delivered when it is opened again.
    pub fn stop(self) -> (Duration, u64) {
        self.stop_with(|| ())
    }

    /// The same; `meanwhile` runs once the forwarder says that it is stopping.
    pub fn stop_with(self, meanwhile: impl FnOnce()) -> (Duration, u64) {
        let start = Instant::now();
        self.stop.send(()).unwrap();
        while self.monitor.look().mood.state != KafkaState::Stopping {
            assert!(start.elapsed() < PATIENCE, "it never stops");
            std::thread::sleep(Duration::from_millis(2));
        }
        meanwhile();
        self.forwarder.join().unwrap();
        let took = start.elapsed();
        self.writer.close().unwrap();
        drop(self.writer);
        let ledger = spool::open(self.config).unwrap().report.ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.accepted, self.next);
        (took, ledger.delivered)
    }

    /// Stops everything and leaves the spool for another rig.
    pub fn leave(self) -> tempfile::TempDir {
        self.stop.send(()).unwrap();
        self.forwarder.join().unwrap();
        self.writer.close().unwrap();
        self.dir
    }
}

fn reader(servers: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "reader")
        .set("fetch.wait.max.ms", "50")
        .create()
        .unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    consumer
}

/// The letters of a spool, in order.
pub fn letters(spool: &Path) -> Vec<dead::Letter> {
    let found = dead::list(spool).unwrap();
    found.iter().map(|found| dead::read(found).unwrap().unwrap()).collect()
}

/// The dead, the waiting and the delivered of the books.
pub fn books(rig: &Rig) -> (u64, u64, u64) {
    let ledger = rig.writer.ledger();
    assert!(ledger.balances(), "{ledger:?}");
    (ledger.dead, ledger.spooled, ledger.delivered)
}

/// Kafka's timestamp of the record with this number.
pub fn read_timestamp(servers: &str, number: u64) -> Millis {
    let (consumer, start) = (reader(servers), Instant::now());
    loop {
        assert!(start.elapsed() < PATIENCE, "{number} was not read");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        if message.payload().unwrap() == number.to_string().as_bytes() {
            return Millis(message.timestamp().to_millis().unwrap());
        }
    }
}

/// Reads the topic from its beginning until every number below `all` was seen, and checks
/// that for each key the first occurrences come in order. Gives how many were repeats.
pub fn read_all(servers: &str, all: u64) -> u64 {
    read_all_where(servers, all, |_| true)
}

/// The same, where one number must not be there.
pub fn read_all_but(servers: &str, end: u64, missing: u64) -> u64 {
    read_all_where(servers, end, |number| number != missing)
}

/// The same, where only those numbers are to be there for which this holds.
pub fn read_all_where(servers: &str, end: u64, is_there: impl Fn(u64) -> bool) -> u64 {
    let all = (0..end).filter(|number| is_there(*number)).count() as u64;
    let consumer = reader(servers);
    let (mut seen, mut ids, mut highest) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let (mut repeats, start) = (0, Instant::now());
    while (seen.len() as u64) < all {
        assert!(start.elapsed() < PATIENCE, "only {} of {all} were read", seen.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let number: u64 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
        let headers: BTreeMap<_, _> = message
            .headers()
            .unwrap()
            .iter()
            .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
            .collect();
        assert!(is_there(number), "{number} must not be there");
        assert_eq!(headers["waystation-box"], "depot-7");
        assert_eq!(headers.contains_key("waystation-clock"), number % 2 == 1);
        let id = headers["waystation-id"].to_owned();
        assert_eq!(*ids.entry(number).or_insert_with(|| id.clone()), id);
        if seen.insert(number) {
            let before = highest.insert(message.key().unwrap().to_vec(), number);
            assert!(before.is_none_or(|before| before < number), "{number} after {before:?}");
        } else {
            repeats += 1;
        }
    }
    assert_eq!(ids.values().collect::<BTreeSet<_>>().len() as u64, all, "an id was used twice");
    repeats
}
