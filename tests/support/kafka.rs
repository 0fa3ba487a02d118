//! A Kafka that can be taken away.
//!
//! The broker is the one built into librdkafka, in the test's process on the loopback. It
//! keeps 5 MiB a partition and drops the oldest without a word: so the consumer reads from
//! the beginning, and where it was overtaken all the same the witness says so.

use super::reader::{POLL, Reader, consumer};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeMap;

pub const TOPIC: &str = "test";
/// Enough to hold the gate's backlog whole, and that few devices share one.
const PARTITIONS: i32 = 256;
/// Every broker, for the mock cluster's calls.
const ALL: i32 = -1;

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

    /// Begins to read, for the witness.
    pub fn read_along(&self) -> Reader {
        Reader::start(consumer(&self.servers(), TOPIC, PARTITIONS, &[]))
    }

    /// The first record in the topic that comes: key, value, headers.
    pub fn one_record(&self) -> Arrived {
        let consumer = consumer(&self.servers(), TOPIC, PARTITIONS, &[]);
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
                timestamp: message.timestamp().to_millis(),
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
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    pub headers: BTreeMap<String, String>,
}
