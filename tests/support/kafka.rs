//! A Kafka that can be taken away, and a consumer of its own that reads all along.
//!
//! The broker is the one built into librdkafka, in the test's process on the loopback. It
//! keeps 5 MiB a partition and drops the oldest without a word: so the consumer reads from
//! the beginning, and where it was overtaken all the same the witness says so.

use super::fleet::{Fate, Sent, device_of};
use super::witness::{Comparison, Witness};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const TOPIC: &str = "test";
/// Enough to hold the gate's backlog whole.
const PARTITIONS: i32 = 64;
/// Every broker, for the mock cluster's calls.
const ALL: i32 = -1;
const POLL: Duration = Duration::from_millis(100);

/// See the module.
pub struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Kafka {
    /// One broker, with the topic made.
    pub fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        Self { cluster }
    }

    /// `host:port`.
    pub fn servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Breaks every connection and takes no new one.
    pub fn take_away(&self) {
        self.cluster.broker_down(ALL).unwrap();
    }

    pub fn give_back(&self) {
        self.cluster.broker_up(ALL).unwrap();
    }

    /// Refuses the next requests to produce in a way after which a producer is of no use.
    pub fn break_producers(&self, requests: usize) {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS;
        self.cluster.request_errors(RDKafkaApiKey::Produce, &vec![refusal; requests]);
    }

    /// A consumer of every partition from its beginning.
    fn consumer(&self) -> BaseConsumer<Quiet> {
        let consumer: BaseConsumer<Quiet> = ClientConfig::new()
            .set("bootstrap.servers", self.servers())
            // assign() wants a group, though nothing is ever committed to it.
            .set("group.id", "witness")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            // Fetched well ahead of the test, which takes longer than the drain.
            .set("queued.min.messages", "5000000")
            .set("queued.max.messages.kbytes", "1000000")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "300")
            .create_with_context(Quiet)
            .unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        consumer
    }

    /// Begins to read, for the witness.
    pub fn read_along(&self) -> Reader {
        let consumer = self.consumer();
        let stop = Arc::new(AtomicBool::new(false));
        let witness = Arc::new(Mutex::new(Witness::default()));
        let (stopped, told) = (Arc::clone(&stop), Arc::clone(&witness));
        let thread = std::thread::Builder::new().name("witness".to_owned());
        let thread = thread.spawn(move || {
            while !stopped.load(Relaxed) {
                let Some(read) = consumer.poll(POLL) else { continue };
                let mut witness = told.lock().unwrap();
                match read {
                    Ok(message) => see(&message, &mut witness),
                    Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
                        witness.wrong("Kafka dropped records before they were read".to_owned());
                    }
                    // The connection is gone, or back: librdkafka tries again by itself.
                    Err(_) => {}
                }
            }
        });
        Reader { stop, witness, thread: Some(thread.unwrap()) }
    }

    /// The first record in the topic that comes: key, value, headers.
    pub fn one_record(&self) -> Arrived {
        let consumer = self.consumer();
        super::until_some("a record arrives in Kafka", super::PATIENCE, || {
            let message = consumer.poll(POLL)?.ok()?;
            let headers = message.headers().unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let header = |at| {
                let header = headers.get(at);
                (header.key.to_owned(), text(header.value.unwrap()))
            };
            Some(Arrived {
                key: message.key().map(text),
                value: text(message.payload().unwrap()),
                headers: (0..headers.count()).map(header).collect(),
            })
        })
    }
}

/// A record as a consumer sees it.
#[derive(Debug)]
pub struct Arrived {
    pub key: Option<String>,
    pub value: String,
    pub headers: BTreeMap<String, String>,
}

/// Reads until it is dropped.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    witness: Arc<Mutex<Witness>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap()
    }

    /// Waits until everything acknowledged was read, and compares. Panics as
    /// [`Witness::compare`] does, after the time is over with what is missing.
    pub fn compared(&self, sent: &Sent, within: Duration) -> Comparison {
        let start = Instant::now();
        let acknowledged = sent.count(Fate::Acknowledged);
        while start.elapsed() < within {
            let witness = self.witness();
            // The cheap question first: there may be millions. What is wrong stays wrong.
            let complete = witness.distinct() >= acknowledged && witness.has_all(sent);
            if complete || witness.has_wrongs() {
                break;
            }
            drop(witness);
            std::thread::sleep(Duration::from_millis(3));
        }
        self.witness().compare(sent)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has poisoned the witness: whoever looked knows.
            drop(thread.join());
        }
    }
}

/// Keeps librdkafka quiet: an outage that was asked for is no news.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// The part of the value that names the message; a 64-bit number is a string in its JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    device_id: &'a str,
    sequence: &'a str,
}

fn see(message: &BorrowedMessage<'_>, witness: &mut Witness) {
    let place = format!("partition {}, offset {}", message.partition(), message.offset());
    let header = |name: &str| {
        let headers = message.headers()?;
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let Some(Ok(id)) = header("waystation-id").map(str::parse) else {
        return witness.wrong(format!("{place}: no waystation-id that names a record"));
    };
    let Ok(value) = serde_json::from_slice::<Value<'_>>(message.payload().unwrap_or_default())
    else {
        return witness.wrong(format!("{place}: the value is not the message's JSON"));
    };
    if message.key() != Some(value.device_id.as_bytes()) {
        return witness.wrong(format!("{place}: the key is not the device's id"));
    }
    let (Some(device), Ok(number)) = (device_of(value.device_id), value.sequence.parse()) else {
        return witness.wrong(format!("{place}: no message of the fleet"));
    };
    witness.see(device, number, id);
}
