//! How many records a second become durable over HTTP: in batches, beside one message a request?
//!
//!     cargo bench --bench ingest
//!     WAYSTATION_BENCH_SECONDS=10 cargo bench --bench ingest      (a run; 4 by default)
//!
//! In each round, in turn, against a service of its own without Kafka: single messages over 128 connections,
//! and batches of 500 over 8, as many as are read at once. The requests are made before; what counts is what
//! the service says it accepted, and every answer must be a 200. The client takes a part of the same processors. Only the ratio of one
//! round means anything. A goal that is missed is exit code 1.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52, for people to read")]

#[path = "../tests/support/mod.rs"]
mod support;

use prost::Message as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::fleet::message;
use support::service::Site;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
/// Records of a batch.
const BATCH: u64 = 500;
/// Records a second in batches.
const GOAL: f64 = 400_000.0;

/// One way of posting.
struct Way {
    name: &'static str,
    connections: u64,
    path: &'static str,
    records: u64,
}

const WAYS: [Way; 2] = [
    Way { name: "single messages", connections: 128, path: "/endpoint", records: 1 },
    Way { name: "batches of 500", connections: 8, path: "/endpoint/batch", records: BATCH },
];

impl Way {
    /// What one connection posts, again and again.
    fn request(&self, connection: u64) -> Vec<u8> {
        let device = usize::try_from(connection).expect("a few");
        let messages = (0..self.records).map(|number| message(device, number));
        let body: Vec<u8> = if self.records == 1 {
            messages.flat_map(|message| message.encode_to_vec()).collect()
        } else {
            messages.flat_map(|message| message.encode_length_delimited_to_vec()).collect()
        };
        let (path, length) = (self.path, body.len());
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), &body].concat()
    }

    /// Records a second, and the highest memory of the service.
    fn run(&self, time: Duration) -> (f64, u64) {
        let mut site = Site::new(None);
        site.set("spool.max_size", "20GiB");
        let service = site.start();
        let start = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connections = JoinSet::new();
            for connection in 0..self.connections {
                let request = Arc::new(self.request(connection));
                connections.spawn(post(site.ingest, request, start + time));
            }
            connections.join_all().await;
        });
        let took = start.elapsed().as_secs_f64();
        let accepted = service.status().ledger.accepted;
        let memory = service.memory().highest;
        service.stop();
        (accepted as f64 / took, memory)
    }
}

async fn post(address: SocketAddr, request: Arc<Vec<u8>>, until: Instant) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = Vec::new();
    while Instant::now() < until {
        stream.write_all(&request).await.unwrap();
        answer.clear();
        while !is_whole(&answer) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Whether all of an answer has come: its headers, and as many bytes as they say.
fn is_whole(answer: &[u8]) -> bool {
    let text = std::str::from_utf8(answer).expect("answers are text");
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().expect("a number"))
}

fn main() -> ExitCode {
    let seconds = std::env::var("WAYSTATION_BENCH_SECONDS").map_or(4, |text| text.parse().unwrap());
    let mut batches = Vec::new();
    for round in 1..=ROUNDS {
        let [single, batch] = WAYS.map(|way| {
            let (records, memory) = way.run(Duration::from_secs(seconds));
            let memory = memory / 1_000_000;
            println!(
                "round {round}: {:<15} {records:9.0} records/s, at most {memory} MB",
                way.name
            );
            records
        });
        println!("round {round}: batches are {:.1} times as fast", batch / single);
        batches.push(batch);
    }
    batches.sort_by(f64::total_cmp);
    let median = batches[ROUNDS / 2];
    let reached = median >= GOAL;
    let word = if reached { "reached" } else { "missed" };
    println!("{GOAL:.0} records/s in batches, the median {median:.0}: {word}");
    if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
