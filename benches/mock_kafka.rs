//! A Kafka for benchmarks: librdkafka's mock cluster with the topic `test` of 12 partitions.
//!
//! Prints its address, then stays until standard input is closed. It keeps 5 MiB a partition
//! and drops the oldest, so it costs no more memory however much is sent.

use rdkafka::mocking::MockCluster;
use std::io::Read;

fn main() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("test", 12, 1).expect("a topic");
    println!("{}", cluster.bootstrap_servers());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
}
