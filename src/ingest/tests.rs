//! What do clients get, over real connections, from ingest before a real spool?

use super::test_client::{Answer, Client, request};
use super::*;
use crate::convert::{MESSAGE, RealtimeGps};
use crate::record::{Millis, Reception, Record};
use crate::spool::{self, Spool, SpoolReader};
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::{sync::oneshot, task::JoinHandle};

mod door;
mod encrypted;
mod limits;
mod start;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(50);

/// Ingest at work before a spool of its own.
struct Running {
    address: SocketAddr,
    stats: Arc<Stats>,
    writer: SpoolWriter,
    reader: SpoolReader,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    acks: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// The defaults of a test.
fn defaults() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        max_message: 1000,
        max_batch: 20_000,
        max_connections: 100,
        header_timeout: LONG,
        body_timeout: LONG,
        tls: None,
        tokens: None,
        max_requests_per_address: None,
        max_requests_per_token: None,
        routes: vec![route("/endpoint", "test", Some("device_id"))],
        letters: dead::Config::default(),
    }
}

/// Starts with those, after `change`.
fn start(change: impl FnOnce(&mut Config, &mut spool::Config)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mut config = defaults();
    let mut spool_config = spool::Config {
        max_size: 1 << 30,
        min_free: 0,
        max_pending: 1 << 20,
        ..spool::Config::new(dir.path().join("spool"))
    };
    change(&mut config, &mut spool_config);
    let Spool { writer, reader, acks, .. } = spool::open(spool_config).unwrap();
    let acks = tokio::spawn(acks.run());
    let mut server = Server::bind(config, writer.clone()).unwrap();
    server.look_every = Duration::from_millis(2);
    let (address, stats) = (server.local_addr(), server.stats());
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(server.run(async move {
        // A test that ends without a signal stops it too.
        let _ = stopped.await;
    }));
    Running { address, stats, writer, reader, stop, serving, acks, _dir: dir }
}

fn route(path: &str, topic: &str, key: Option<&str>) -> RouteConfig {
    RouteConfig {
        path: path.into(),
        topic: topic.into(),
        source: Source::BuiltIn,
        message: MESSAGE.into(),
        key: key.map(Into::into),
        timestamp: None,
        on_invalid: OnInvalid::Reject,
        dedupe: None,
    }
}

impl Running {
    async fn connect(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    fn rejected(&self, reason: Reason) -> u64 {
        let mut all = self.stats.rejected();
        all.find(|(label, _)| *label == reason.label()).unwrap().1
    }

    fn accepted(&self) -> u64 {
        self.stats.taken().map(|(_, taken)| taken.accepted).sum()
    }

    /// Stops ingest, then the spool; gives what was kept.
    async fn stop(mut self) -> Vec<Kept> {
        let _ = self.stop.send(());
        self.serving.await.unwrap();
        let mut kept = Vec::new();
        while let Some(block) = self.reader.next_block().unwrap() {
            kept.extend(block.records().map(|record| Kept::from(&record)));
        }
        let writer = self.writer.clone();
        tokio::task::spawn_blocking(move || writer.close()).await.unwrap().unwrap();
        // It runs for as long as its runtime.
        self.acks.abort();
        kept
    }
}

/// A record as it was found in the spool.
#[derive(Debug)]
struct Kept {
    topic: String,
    key: Option<String>,
    timestamp: Millis,
    received: Reception,
    value: String,
}

impl From<&Record<'_>> for Kept {
    fn from(record: &Record<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            topic: record.route.topic.clone(),
            key: record.key.map(text),
            timestamp: record.timestamp,
            received: record.received,
            value: text(record.value),
        }
    }
}

fn message(change: impl FnOnce(&mut RealtimeGps)) -> Vec<u8> {
    let mut message =
        RealtimeGps { device_id: "t-1".into(), altitude: Some(0.0), ..RealtimeGps::default() };
    change(&mut message);
    message.encode_to_vec()
}

fn post(body: &[u8]) -> Vec<u8> {
    request("POST /endpoint", &["content-type: application/x-protobuf"], body)
}

/// What must come to be: a test that waits for it in vain fails.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("within a minute")
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, slug: &str) -> serde_json::Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["type"], format!("urn:waystation:problem:{slug}"));
    assert_eq!(body["status"], status);
    assert!(!body["detail"].as_str().unwrap().is_empty());
    body
}

#[tokio::test]
async fn a_message_that_was_answered_with_200_stands_in_the_spool() {
    let running = start(|config, _| config.routes.push(route("/vans", "vans", None)));
    let before = Millis::now();
    let mut client = running.connect().await;
    let answer = client.exchange(post(&message(|_| ()))).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    let van = request("POST /vans?x=1", &[], &message(|m| m.device_id = "t-2".into()));
    assert_eq!(client.exchange(van).await.status, 200);
    assert_eq!((running.accepted(), running.stats.requests().count()), (2, 2));

    drop(client);
    let mut found = Vec::new();
    for record in running.stop().await {
        assert!(record.timestamp >= before && record.received.at == record.timestamp);
        assert!(record.received.clock_synchronised);
        found.push((record.topic, record.key, record.value));
    }
    let json = |id: &str| format!(r#"{{"deviceId":"{id}","altitude":0}}"#);
    let expected = [
        ("test".to_owned(), Some("t-1".to_owned()), json("t-1")),
        ("vans".to_owned(), None, json("t-2")),
    ];
    assert_eq!(found, expected);
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::best());
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut encoder, &mut all).unwrap();
    all
}

#[tokio::test]
async fn each_refusal_has_its_status_and_its_type() {
    let running = start(|_, _| ());
    let good = message(|_| ());
    let kind = "content-type: text/json";
    let coding = "content-encoding: br";
    let gzip = "content-encoding: gzip";
    // Less than a message may have, and a thousand times as much when it is uncompressed.
    let bomb = compressed(&vec![0; 900_000]);
    assert!(bomb.len() < 1000);
    for (request, status, slug) in [
        (request("POST /nowhere", &[], &good), 404, "not-found"),
        (request("GET /endpoint", &[], b""), 405, "method-not-allowed"),
        (request("POST /endpoint", &[kind], &good), 415, "unsupported-type"),
        (request("POST /endpoint", &[coding], &good), 415, "unsupported-encoding"),
        (request("POST /endpoint", &["content-type: \u{e9}"], &good), 415, "unsupported-type"),
        (post(&[0; 1001]), 413, "too-large"),
        (request("POST /endpoint", &[gzip], &good), 400, "malformed"),
        (request("POST /endpoint", &[gzip], &bomb), 413, "too-large"),
        (post(b"{}"), 400, "malformed"),
        (post(b""), 422, "invalid"),
        (post(&message(|m| m.latitude = Some(91.0))), 422, "invalid"),
    ] {
        let answer = running.connect().await.exchange(request).await;
        assert_problem(&answer, status, slug);
    }
    let answer = running.connect().await.exchange(post(&message(|m| m.heading = Some(-1.0)))).await;
    assert_eq!(assert_problem(&answer, 422, "invalid")["field"], "heading");
    assert_eq!(running.rejected(Reason::Invalid), 3);
    assert_eq!(running.rejected(Reason::UnsupportedType), 2);
    assert_eq!(running.rejected(Reason::NotFound), 1);
    assert_eq!(running.accepted(), 0);
    running.stop().await;
}

#[tokio::test]
async fn another_method_is_told_which_one_is_allowed() {
    let running = start(|_, _| ());
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let mut client = running.connect().await;
        client.send(request(&format!("{method} /endpoint"), &[], b"")).await;
        let answer = client.receive(method != "HEAD").await;
        assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "POST"), "{method}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_connection_takes_one_message_after_another_and_survives_a_refusal() {
    let running = start(|_, _| ());
    let mut client = running.connect().await;
    for _ in 0..3 {
        assert_eq!(client.exchange(post(&message(|_| ()))).await.status, 200);
        assert_eq!(client.exchange(post(b"{}")).await.status, 400);
        let lost = request("POST /nowhere", &[], &message(|_| ()));
        assert_eq!(client.exchange(lost).await.status, 404);
    }
    assert_eq!((running.accepted(), running.stats.connections()), (3, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_message_in_chunks_is_put_together() {
    let running = start(|_, _| ());
    let mut client = running.connect().await;
    client.send("POST /endpoint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for byte in message(|_| ()) {
        client.send([b"1\r\n", &[byte][..], b"\r\n"].concat()).await;
    }
    assert_eq!(client.exchange("0\r\n\r\n").await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_why_it_is_refused() {
    let running = start(|_, _| ());
    for header in ["content-length: 600000", "transfer-encoding: chunked"] {
        let mut client = running.connect().await;
        client.send(format!("POST /endpoint HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n")).await;
        if header.ends_with("chunked") {
            client.send("927c0\r\n").await;
        }
        client.send(vec![0; 600_000]).await;
        assert_problem(&client.receive(true).await, 413, "too-large");
    }
    running.stop().await;
}

#[tokio::test]
async fn headers_that_do_not_end_close_the_connection() {
    let running = start(|config, _| config.header_timeout = SHORT);
    let mut client = running.connect().await;
    client.send("POST /endpoint HTTP/1.1\r\nhost:").await;
    assert_eq!(client.closed().await, "");
    let mut idle = running.connect().await;
    assert_eq!(idle.exchange(post(&message(|_| ()))).await.status, 200);
    assert_eq!(idle.closed().await, "");
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_with_408() {
    let running = start(|config, _| config.body_timeout = SHORT);
    let mut client = running.connect().await;
    let whole = post(&message(|_| ()));
    let answer = client.exchange(&whole[..whole.len() - 1]).await;
    assert_problem(&answer, 408, "too-slow");
    assert_eq!(client.closed().await, "");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_reads_its_answer() {
    let running = start(|_, _| ());
    let whole = post(&message(|_| ()));
    for (request, status) in [(&whole[..], "200"), (&whole[..whole.len() - 1], "400")] {
        let mut client = running.connect().await;
        client.send(request).await;
        client.0.get_mut().shutdown().await.unwrap();
        let answer = client.closed().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(running.rejected(Reason::Incomplete), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_broken_connection_harms_no_other() {
    let running = start(|_, _| ());
    for cut in [1, 30, 60] {
        let mut client = running.connect().await;
        client.send(&post(&message(|_| ()))[..cut]).await;
    }
    let mut rubbish = running.connect().await;
    rubbish.send("\0\u{1}\u{2} what is this\r\n\r\n").await;
    assert!(rubbish.closed().await.starts_with("HTTP/1.1 400 "));
    assert_eq!(running.connect().await.exchange(post(&message(|_| ()))).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_message_that_was_begun_before_the_stop_is_still_kept() {
    let running = start(|_, _| ());
    let mut client = running.connect().await;
    assert_eq!(client.exchange(post(&message(|_| ()))).await.status, 200);
    let body = message(|m| m.device_id = "last".into());
    let whole = request("POST /endpoint", &["expect: 100-continue"], &body);
    let (head, body) = whole.split_at(whole.len() - body.len());
    client.send(head).await;
    // The server asks for the body when the request is in its hands.
    let mut line = String::new();
    client.0.read_line(&mut line).await.unwrap();
    client.0.read_line(&mut String::new()).await.unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    let address = running.address;
    let stopping = tokio::spawn(running.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.exchange(body).await.status, 200);
    assert_eq!(client.closed().await, "");
    assert_eq!(stopping.await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_full_spool_is_a_503_that_says_when_to_come_back() {
    let running = start(|_, spool| spool.min_free = 1 << 60);
    let answer = running.connect().await.exchange(post(&message(|_| ()))).await;
    assert_problem(&answer, 503, "full");
    let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
    assert!((30..=90).contains(&seconds));
    assert_eq!((running.rejected(Reason::Full), running.accepted()), (1, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_spool_that_is_closing_is_a_503() {
    let running = start(|_, _| ());
    let writer = running.writer.clone();
    tokio::task::spawn_blocking(move || writer.close()).await.unwrap().unwrap();
    let answer = running.connect().await.exchange(post(&message(|_| ()))).await;
    assert_problem(&answer, 503, "stopping");
    let _ = running.stop.send(());
    running.serving.await.unwrap();
}
