//! The Kafka of the demo: the broker built into librdkafka, and an independent consumer.
//!
//! The only file of the demo that names rdkafka. The broker listens on loopback, keeps
//! 5 MiB a partition and drops the oldest without a word, so the consumer reads all along;
//! where it was overtaken all the same, it says so instead of calling records missing.
//! librdkafka's own log lines go nowhere: an outage that was asked for is no news.

use super::ledger::Arrival;
use crate::record::RecordId;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError as Rd, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The route's default topic.
const TOPIC: &str = "test";
/// As many as hold the backlog of the story's outage many times over.
const PARTITIONS: i32 = 12;
/// Every broker, for the mock cluster's calls.
const ALL: i32 = -1;
/// The longest a poll waits; so long a stopped consumer takes to notice.
const POLL: Duration = Duration::from_millis(200);

/// The demo's Kafka, or its reader, does not do as it is told.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    #[error("the embedded Kafka: {0}")]
    Kafka(#[from] Rd),
    #[error("cannot start the thread that reads from Kafka: {0}")]
    Thread(#[from] std::io::Error),
}

const OVERTAKEN: &str = "the embedded Kafka, which keeps 5 MiB a partition, dropped records \
                         before they were read: use a lower --rate";

/// Keeps librdkafka quiet.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: Rd, _: &str) {}
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &rdkafka::message::DeliveryResult<'_>, (): ()) {}
}

/// A Kafka that can be taken away.
pub struct Broker {
    /// The client that the mock cluster lives in; it sends nothing itself.
    host: BaseProducer<Quiet>,
}

impl Broker {
    /// Starts it, with the topic made.
    pub fn start() -> Result<Self, KafkaError> {
        let host: BaseProducer<Quiet> =
            ClientConfig::new().set("test.mock.num.brokers", "1").create_with_context(Quiet)?;
        let broker = Self { host };
        broker.cluster()?.create_topic(TOPIC, PARTITIONS, 1)?;
        Ok(broker)
    }

    fn cluster(&self) -> Result<MockCluster<'_, Quiet>, Rd> {
        // Only a client without a mock cluster has none; this one was made with it.
        self.host.client().mock_cluster().ok_or(Rd::MockCluster(RDKafkaErrorCode::Fail))
    }

    /// `host:port`, one here.
    pub fn address(&self) -> Result<String, KafkaError> {
        Ok(self.cluster()?.bootstrap_servers())
    }

    /// Breaks every connection and takes no new one.
    pub fn take_away(&self) -> Result<(), KafkaError> {
        Ok(self.cluster()?.broker_down(ALL)?)
    }

    /// Takes connections again, at the same address.
    pub fn give_back(&self) -> Result<(), KafkaError> {
        Ok(self.cluster()?.broker_up(ALL)?)
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

/// What the consumer has to tell.
#[derive(Debug)]
pub enum Sight<'a> {
    Record(Arrival<'a>),
    /// Not a record as it should be, or the consumer itself cannot go on.
    Wrong(String),
}

/// Reads every partition from its beginning, in a thread of its own.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// `tell` is called for each record in the order of its partition.
    pub fn start(
        bootstrap: &str,
        mut tell: impl FnMut(Sight<'_>) + Send + 'static,
    ) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<Quiet> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            // assign() wants a group, though nothing is ever committed to it.
            .set("group.id", "waystation-demo-witness")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "500")
            .create_with_context(Quiet)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
        }
        consumer.assign(&all)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match consumer.poll(POLL) {
                    Some(Ok(message)) => see(&message, &mut tell),
                    Some(Err(Rd::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                        tell(Sight::Wrong(OVERTAKEN.to_owned()));
                    }
                    // The connection is gone, or back: librdkafka tries again by itself.
                    Some(Err(_)) | None => {}
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has already said so on standard error.
            drop(thread.join());
        }
    }
}

/// What the value must carry of the message that was posted; a 64-bit number is a string
/// in protobuf's JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    #[serde(borrow)]
    device_id: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
}

fn see(message: &BorrowedMessage<'_>, tell: &mut impl FnMut(Sight<'_>)) {
    let wrong = |what: &str| {
        let (partition, offset) = (message.partition(), message.offset());
        Sight::Wrong(format!("record at partition {partition}, offset {offset}: {what}"))
    };
    let id = message.headers().and_then(|headers| {
        headers.iter().find(|header| header.key == "waystation-id").and_then(|header| header.value)
    });
    let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()?.parse::<RecordId>().ok()) else {
        return tell(wrong("no waystation-id that names a record"));
    };
    let value = message.payload().unwrap_or_default();
    let Ok(value) = serde_json::from_slice::<Value<'_>>(value) else {
        return tell(wrong("the value is not the message's JSON"));
    };
    let Ok(sequence) = value.sequence.parse() else {
        return tell(wrong("the message's sequence is no number"));
    };
    if message.key() != Some(value.device_id.as_bytes()) {
        return tell(wrong("the key is not the device's id"));
    }
    tell(Sight::Record(Arrival { device_id: &value.device_id, sequence, id }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::BaseRecord;
    use std::sync::mpsc::{Receiver, channel};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn producer(broker: &Broker) -> BaseProducer<Quiet> {
        ClientConfig::new()
            .set("bootstrap.servers", broker.address().unwrap())
            .set("reconnect.backoff.max.ms", "200")
            .create_with_context(Quiet)
            .unwrap()
    }

    fn send(producer: &BaseProducer<Quiet>, id: &str, key: &str, value: &str) {
        let headers = OwnedHeaders::new().insert(Header { key: "waystation-id", value: Some(id) });
        producer
            .send(BaseRecord::to(TOPIC).key(key).payload(value).headers(headers))
            .map_err(|(error, _)| error)
            .unwrap();
    }

    fn send_sound(producer: &BaseProducer<Quiet>, sequence: u64) {
        let id = format!("0000000000c0ffee:{sequence}");
        let value = format!(r#"{{"deviceId":"a","speed":1.5,"sequence":"{sequence}"}}"#);
        send(producer, &id, "a", &value);
    }

    /// What the reader tells, in words.
    fn read(broker: &Broker) -> (Reader, Receiver<String>) {
        let (tell, told) = channel();
        let reader = Reader::start(&broker.address().unwrap(), move |sight| {
            let text = match sight {
                Sight::Record(arrival) => {
                    format!("{} {} {}", arrival.device_id, arrival.sequence, arrival.id)
                }
                Sight::Wrong(text) => text,
            };
            // The test may have ended.
            let _ = tell.send(text);
        });
        (reader.unwrap(), told)
    }

    #[test]
    fn the_reader_reads_on_after_kafka_was_away() {
        let broker = Broker::start().unwrap();
        let (_reader, told) = read(&broker);
        let producer = producer(&broker);
        send_sound(&producer, 1);
        producer.flush(PATIENCE).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "a 1 0000000000c0ffee:1");

        broker.take_away().unwrap();
        send_sound(&producer, 2);
        assert!(producer.flush(Duration::from_millis(300)).is_err(), "Kafka was not away");
        broker.give_back().unwrap();
        producer.flush(PATIENCE).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "a 2 0000000000c0ffee:2");
    }

    #[test]
    fn a_record_that_is_not_as_it_should_be_is_told_with_its_place() {
        let broker = Broker::start().unwrap();
        let (_reader, told) = read(&broker);
        let producer = producer(&broker);
        let value = r#"{"deviceId":"a","sequence":"1"}"#;
        let id = "0000000000c0ffee:1";
        for (id, key, value, what) in [
            ("1", "a", value, "no waystation-id"),
            (id, "a", "{", "not the message's JSON"),
            (id, "b", value, "the key is not"),
            (id, "a", r#"{"deviceId":"a","sequence":"x"}"#, "no number"),
        ] {
            send(&producer, id, key, value);
            producer.flush(PATIENCE).unwrap();
            let text = told.recv_timeout(PATIENCE).unwrap();
            assert!(text.contains(what) && text.starts_with("record at partition "), "{text}");
        }
    }
}
