//! What becomes of a batch that does not end as it should?
//!
//! What came whole is kept and counted, and the client is told from where on to send it again, whatever
//! breaks it off: its size, a stop, a full spool; or its own end.

use crate::support::raw::{Answer, Raw, request};
use crate::support::service::{Service, Site};
use crate::support::{
    self,
    fleet::{large_message, message},
};
use prost::Message as _;
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const BATCH: &str = "/endpoint/batch";

/// These numbers' messages, each behind its length.
fn batch(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.flat_map(|number| message(0, number).encode_length_delimited_to_vec()).collect()
}

/// What stands in the spool, as the service says.
fn kept(service: &Service) -> u64 {
    let status = service.status();
    assert_eq!(status.ledger.accepted, status.ledger.spooled, "{:?}", status.ledger);
    assert_eq!(status.routes[0].accepted, status.ledger.accepted);
    status.ledger.accepted
}

#[track_caller]
fn broke_off(answer: &Answer, status: u16, kind: &str) -> u64 {
    assert_eq!(answer.status, status, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["type"], format!("urn:waystation:problem:{kind}"));
    assert_eq!(problem["next"], problem["accepted"], "{problem}");
    problem["next"].as_u64().unwrap()
}

/// The client of a batch of which 100 messages are kept and half of another one has come.
fn under_way(site: &Site, service: &Service) -> Raw {
    let mut client = Raw::connect(site.ingest);
    client.begin(BATCH);
    client.chunk(&batch(1..101));
    let half = batch(101..102);
    client.chunk(&half[..half.len() / 2]);
    service.until_status("what came is kept", |status| status.ledger.accepted == 100);
    client
}

/// Fails where the answer is lost because the client is still sending, and where messages are dropped that
/// came before the limit.
#[test]
fn of_one_that_is_too_large_all_within_the_limit_is_kept_and_the_rest_is_sent_again() {
    const LIMIT: usize = 64 << 10;
    let mut site = Site::new(None);
    site.set("ingest.max_message", "1KiB");
    site.set("ingest.max_batch", "64KiB");
    let service = site.start();
    let all: Vec<_> =
        (0..3_000).map(|number| message(0, number).encode_length_delimited_to_vec()).collect();
    let mut sent = 0;
    while sent < all.len() {
        let mut client = Raw::connect(site.ingest);
        client.begin(BATCH);
        // All of it before the answer is read, as many clients do.
        for messages in all[sent..].chunks(100) {
            client.chunk(&messages.concat());
        }
        client.chunk(&[]);
        let answer = client.answer();
        let mut bytes = 0;
        let fit = all[sent..].iter().take_while(|message| {
            bytes += message.len();
            bytes <= LIMIT
        });
        let fit = fit.count();
        if sent + fit < all.len() {
            assert_eq!(broke_off(&answer, 413, "too-large"), fit as u64);
        } else {
            assert_eq!((answer.status, &answer.json()["accepted"]), (200, &fit.into()));
        }
        sent += fit;
        assert_eq!(kept(&service), sent as u64);
    }
    service.stop();
}

/// Fails where the stop waits for the rest, until it cuts the connection without a word.
#[test]
fn one_that_a_stop_breaks_off_is_answered_with_how_far_it_came() {
    let site = Site::new(None);
    let service = site.start();
    let mut client = under_way(&site, &service);
    service.signal(Signal::TERM);
    let answer = client.answer();
    assert_eq!(broke_off(&answer, 503, "stopping"), 100);
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    drop(client);
    let status = service.ended(support::PATIENCE);
    assert!(status.success() && !site.log().contains("were cut"), "{status} {}", site.log());
    let service = site.start();
    assert_eq!(service.status().ledger.accepted, 100);
    service.stop();
}

#[test]
fn of_one_whose_client_goes_away_what_came_whole_is_kept_and_counted() {
    let site = Site::new(None);
    let service = site.start();
    drop(under_way(&site, &service));
    service.until_status("the connection's end is seen", |status| {
        status.ingest.rejected["incomplete"] == 1
    });
    assert_eq!(kept(&service), 100);
    // It sends them again, as it was not told.
    let answer =
        Raw::connect(site.ingest).ask(&request(&format!("POST {BATCH}"), &[], &batch(1..102)));
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &101.into()));
    assert_eq!(kept(&service), 201);
    service.stop();
}

#[test]
fn one_during_which_the_spool_becomes_full_is_kept_up_to_there() {
    let mut site = Site::new(None);
    site.set("ingest.max_batch", "64MiB");
    site.set("spool.max_size", "16MiB");
    let large = (0..6_000).map(|number| large_message(0, number, 4_000));
    let large: Vec<_> = large.map(|message| message.encode_length_delimited_to_vec()).collect();
    let service = site.start();
    let mut client = Raw::connect(site.ingest);
    client.begin(BATCH);
    // Noise of 24 MB, of which 12 MiB at most have room.
    for large in large.chunks(100) {
        client.chunk(&large.concat());
    }
    client.chunk(&[]);
    let answer = client.answer();
    let next = broke_off(&answer, 503, "full");
    assert!(0 < next && next < 6_000 && !answer.header("retry-after").is_empty(), "{answer:?}");
    assert_eq!(kept(&service), next);
    service.stop();
}

/// Posts a message at a time until `over`; how many were answered with 200, the others are none.
fn single_posts(address: SocketAddr, over: &AtomicBool) -> Vec<Duration> {
    let mut client = Raw::connect(address);
    let mut times = Vec::new();
    for number in 0.. {
        if over.load(SeqCst) {
            break;
        }
        let start = Instant::now();
        client.send(&request("POST /endpoint", &[], &message(1, number).encode_to_vec()));
        assert_eq!(client.answer().status, 200);
        times.push(start.elapsed());
    }
    times
}

/// Fails where a batch is read without letting others have their turn.
#[test]
fn single_messages_are_answered_beside_batches() {
    let site = Site::new(None);
    let service = site.start();
    let over = AtomicBool::new(false);
    let (mut times, mut batches) = std::thread::scope(|scope| {
        let singles = scope.spawn(|| single_posts(site.ingest, &over));
        let body = request(&format!("POST {BATCH}"), &[], &batch(0..20_000));
        let batches = [(); 3].map(|()| {
            let start = Instant::now();
            let answer = Raw::connect(site.ingest).ask(&body);
            assert_eq!((answer.status, &answer.json()["accepted"]), (200, &20_000.into()));
            start.elapsed()
        });
        over.store(true, SeqCst);
        (singles.join().unwrap(), batches)
    });
    times.sort_unstable();
    batches.sort_unstable();
    // Medians: a disk that stalls once makes both wait.
    let (message, batch) = (times[times.len() / 2], batches[1]);
    println!("{} messages, each {message:?}; a batch {batch:?}", times.len());
    assert!(4 * message < batch, "messages wait for batches: {message:?}, {batch:?}");
    assert_eq!(kept(&service), 60_000 + times.len() as u64);
    service.stop();
}
