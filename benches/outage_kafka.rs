//! A Kafka that can be taken away, and a consumer beside it that writes down what it reads: the
//! other end of `benches/outage.sh`.
//!
//! `outage_kafka FILE` prints its address, then obeys the lines of standard input, `away` and
//! `back`, until that is closed. For each record read it adds a line `device_id,sequence,id` to
//! FILE, in the order of reading; the id is the record's `waystation-id`. It ends with 1 when it
//! was overtaken: the broker, librdkafka's mock cluster, keeps 5 MiB a partition and drops the
//! oldest. It knows nothing of what ought to arrive.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::{Offset, TopicPartitionList};
use std::fs::File;
use std::io::{BufRead as _, BufWriter, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const TOPIC: &str = "test";
/// Together they hold the backlog of an hour.
const PARTITIONS: i32 = 256;
/// Every broker.
const ALL: i32 = -1;

fn main() -> ExitCode {
    let path = std::env::args_os().nth(1).expect("the file to write as the only argument");
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic(TOPIC, PARTITIONS, 1).expect("a topic");
    let consumer = consumer(&cluster.bootstrap_servers());
    let file = File::create(path).expect("a file that can be written");
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let reader = std::thread::spawn(move || read(&consumer, BufWriter::new(file), &ended));
    println!("{}", cluster.bootstrap_servers());
    for line in std::io::stdin().lock().lines() {
        match line.expect("standard input").as_str() {
            "away" => cluster.broker_down(ALL).expect("a broker that goes"),
            "back" => cluster.broker_up(ALL).expect("a broker that comes back"),
            other => panic!("not an order: {other:?}"),
        }
    }
    over.store(true, Relaxed);
    match reader.join() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn consumer(servers: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        // assign() wants a group, though nothing is ever committed to it.
        .set("group.id", "outage")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "300")
        // An outage that was asked for is no news.
        .set("log_level", "0")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("the partitions");
    consumer
}

fn read(
    consumer: &BaseConsumer,
    mut file: BufWriter<File>,
    over: &AtomicBool,
) -> Result<(), String> {
    let io = |error: std::io::Error| format!("cannot write what was read: {error}");
    while !over.load(Relaxed) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => writeln!(file, "{}", line(&message)?).map_err(io)?,
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                return Err("Kafka dropped records before they were read".to_owned());
            }
            // The connection is gone, or back: librdkafka tries again by itself.
            Some(Err(_)) => {}
            None => file.flush().map_err(io)?,
        }
    }
    file.flush().map_err(io)
}

fn line(message: &BorrowedMessage<'_>) -> Result<String, String> {
    let place = || format!("partition {}, offset {}", message.partition(), message.offset());
    let value: serde_json::Value = serde_json::from_slice(message.payload().unwrap_or_default())
        .map_err(|error| format!("{}: the value is no JSON: {error}", place()))?;
    let id = message.headers().and_then(|headers| {
        let header = headers.iter().find(|header| header.key == "waystation-id")?;
        std::str::from_utf8(header.value?).ok()
    });
    let field = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    match (field("deviceId"), field("sequence"), id) {
        (Some(device), Some(sequence), Some(id)) => Ok(format!("{device},{sequence},{id}")),
        _ => Err(format!("{}: not a record of the fleet: {value}", place())),
    }
}
