//! Does the load generator tell what a server really answered?
//!
//! Against small servers of our own on 127.0.0.1, port 0.

use super::*;
use crate::convert::RealtimeGps;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::net::TcpListener;

/// What a server does with a message that reaches it as the `n`th (0 first).
#[derive(Debug, Clone, Copy)]
enum Reply {
    Status(u16),
    /// Close the connection without an answer.
    HangUp,
}

type Taken = Arc<Mutex<Vec<RealtimeGps>>>;

/// A server that answers as `reply` says; gives its address and the messages that it
/// answered with 200.
async fn server(reply: fn(usize) -> Reply) -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Taken::default();
    let (all, seen) = (Arc::clone(&taken), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (all, seen) = (Arc::clone(&all), Arc::clone(&seen));
            let answer = service_fn(move |request: Request<Incoming>| {
                let (all, seen) = (Arc::clone(&all), Arc::clone(&seen));
                async move {
                    assert_eq!(request.method(), "POST");
                    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let message = RealtimeGps::decode(body).unwrap();
                    let nth = seen.fetch_add(1, Relaxed);
                    match reply(nth) {
                        Reply::HangUp => Err("hung up"),
                        Reply::Status(status) => {
                            if status == 200 {
                                all.lock().unwrap().push(message);
                            }
                            let answer: Response<Full<Bytes>> = Response::default();
                            let (mut head, body) = answer.into_parts();
                            head.status = status.try_into().unwrap();
                            Ok(Response::from_parts(head, body))
                        }
                    }
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer),
            );
        }
    });
    (address, taken)
}

fn args(url: &str, more: &[&str]) -> Args {
    use clap::Parser;
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let line = ["load", "--url", url, "--vehicles", "6", "--connections", "3", "--rate", "400"];
    Line::parse_from(line.iter().chain(more)).args
}

/// Counts steps, and stops the drive at a number of acknowledged messages.
struct Counting {
    tally: Mutex<Tally>,
    acknowledged: Mutex<Vec<(String, u64)>>,
    enough: usize,
    stop: watch::Sender<bool>,
}

impl Observer for Counting {
    fn saw(&self, posting: Posting<'_>, step: Step) {
        self.tally.lock().unwrap().saw(step);
        let mut acknowledged = self.acknowledged.lock().unwrap();
        if matches!(step, Step::Acknowledged { .. }) {
            acknowledged.push((posting.device_id.to_owned(), posting.sequence));
        }
        if acknowledged.len() >= self.enough {
            self.stop.send_replace(true);
        }
    }
}

/// Drives six vehicles over three connections until `enough` are acknowledged.
async fn drive_to(address: SocketAddr, retry: bool, enough: usize) -> Arc<Counting> {
    let (stop, stopped) = watch::channel(false);
    let counting = Arc::new(Counting {
        tally: Mutex::new(Tally::new()),
        acknowledged: Mutex::default(),
        enough,
        stop,
    });
    let plan = Plan {
        target: Target::local(address, "/endpoint"),
        rate: Rate::Max,
        connections: 3,
        retry,
        patience: Duration::from_secs(20),
    };
    let drive = drive(plan, fleet::vehicles(6, 1), Arc::clone(&counting), stopped);
    tokio::time::timeout(Duration::from_mins(1), drive).await.unwrap();
    counting
}

#[tokio::test]
async fn what_is_told_as_acknowledged_is_what_the_server_took_in_order() {
    let (address, taken) = server(|_| Reply::Status(200)).await;
    let counting = drive_to(address, false, 300).await;
    let mut last = BTreeMap::new();
    for message in taken.lock().unwrap().iter() {
        let next = last.entry(message.device_id.clone()).or_insert(0);
        *next += 1;
        assert_eq!(message.sequence, *next);
    }
    assert_eq!(last.len(), 6);
    let mut theirs: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|message| (message.device_id.clone(), message.sequence))
        .collect();
    let mut ours = counting.acknowledged.lock().unwrap().clone();
    theirs.sort();
    ours.sort();
    assert_eq!(theirs, ours);
    assert!(counting.tally.lock().unwrap().all_acknowledged());
}

#[tokio::test]
async fn with_retry_a_message_goes_again_until_it_is_acknowledged() {
    let reply = |nth| match nth % 10 {
        3 => Reply::Status(503),
        7 => Reply::HangUp,
        _ => Reply::Status(200),
    };
    let (address, taken) = server(reply).await;
    let counting = drive_to(address, true, 60).await;
    assert!(counting.tally.lock().unwrap().all_acknowledged());
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), counting.acknowledged.lock().unwrap().len());
    let line = counting.tally.lock().unwrap().line(1);
    assert!(line.contains("503: ") && line.contains("no answer: "), "{line}");
}

#[tokio::test]
async fn without_retry_what_is_refused_is_given_up() {
    let reply = |nth| if nth % 2 == 0 { Reply::Status(422) } else { Reply::Status(200) };
    let (address, taken) = server(reply).await;
    let counting = drive_to(address, false, 20).await;
    assert!(!counting.tally.lock().unwrap().all_acknowledged());
    assert_eq!(taken.lock().unwrap().len(), counting.acknowledged.lock().unwrap().len());
}

#[tokio::test]
async fn the_command_writes_down_what_was_acknowledged() {
    let (address, taken) = server(|_| Reply::Status(200)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("http://{address}/endpoint");
    let path = file.path().to_str().unwrap();
    let code = load(&args(&url, &["--for", "1100ms", "--acked", path])).await.unwrap();
    assert_eq!(code, exit::OK);
    let mut theirs: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|message| format!("{},{}", message.device_id, message.sequence))
        .collect();
    let text = std::fs::read_to_string(path).unwrap();
    let mut ours: Vec<_> = text.lines().collect();
    assert!(ours.len() > 100, "{}", ours.len());
    theirs.sort();
    ours.sort_unstable();
    assert_eq!(theirs, ours);
}

#[tokio::test]
async fn a_refusal_and_a_closed_port_have_exit_codes_of_their_own() {
    let (address, _) = server(|_| Reply::Status(400)).await;
    let url = format!("http://{address}/endpoint");
    assert_eq!(load(&args(&url, &["--for", "50ms"])).await.unwrap(), exit::FAILURE);

    // Bound and not listening: nobody else can be given this port meanwhile.
    let unused = tokio::net::TcpSocket::new_v4().unwrap();
    unused.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let url = format!("http://{}/endpoint", unused.local_addr().unwrap());
    let (code, sentence) = load(&args(&url, &["--for", "50ms"])).await.unwrap_err();
    assert_eq!(code, exit::UNAVAILABLE);
    assert!(sentence.contains("nobody answers at 127.0.0.1"), "{sentence}");

    let (code, _) = load(&args("http://192.0.2.1/", &["--for", "50ms"])).await.unwrap_err();
    assert_eq!(code, exit::USAGE);
}
