//! A consumer of the tests' own that reads all along, and what it tells the witness.
//!
//! It reads every partition from its beginning, by itself: what the service says is no part of it.

use super::fleet::{Fate, Sent, device_of};
use super::witness::{Comparison, Witness};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const POLL: Duration = Duration::from_millis(100);

/// A consumer of every partition from its beginning, with these settings of librdkafka besides.
pub fn consumer(
    servers: &str,
    topic: &str,
    partitions: i32,
    settings: &[(&str, &str)],
) -> BaseConsumer<Quiet> {
    consumer_of(servers, topic, 0..partitions, settings)
}

/// [`consumer`], of these partitions.
pub fn consumer_of(
    servers: &str,
    topic: &str,
    partitions: Range<i32>,
    settings: &[(&str, &str)],
) -> BaseConsumer<Quiet> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
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
        .set("reconnect.backoff.max.ms", "300");
    for (name, value) in settings {
        config.set(*name, *value);
    }
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).unwrap();
    // Not `Beginning`: what was dropped before the consumer asked for that would be passed over in silence.
    let all = partitions.map(|partition| (partition, Offset::Offset(0)));
    assign(&consumer, topic, all);
    consumer
}

/// Reads these partitions from these places on, and nothing else.
pub fn assign(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    places: impl Iterator<Item = (i32, Offset)>,
) {
    let mut all = TopicPartitionList::new();
    for (partition, offset) in places {
        all.add_partition_offset(topic, partition, offset).unwrap();
    }
    consumer.assign(&all).unwrap();
}

/// Reads until it is dropped.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    witness: Arc<Mutex<Witness>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads what `consumer` is assigned.
    pub fn start(consumer: BaseConsumer<Quiet>) -> Self {
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
        Self { stop, witness, thread: Some(thread.unwrap()) }
    }

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

impl Reader {
    /// Reads no more; what it has read.
    pub fn end(mut self) -> Witness {
        self.join();
        std::mem::take(&mut *self.witness())
    }

    fn join(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has poisoned the witness: whoever looked knows.
            drop(thread.join());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.join();
    }
}

/// Keeps librdkafka quiet: an outage that was asked for is no news.
#[derive(Debug)]
pub struct Quiet;

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
