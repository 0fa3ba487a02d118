//! What does an attack cost those who behave?
//!
//! Nothing but time: while it lasts, each of them is answered with 200, and the memory of the service stays
//! what it is. How much time is measured by `cargo bench --bench attacks`; absolute times are no test.

#[path = "../attacks/mod.rs"]
mod attacks;

use crate::support::fleet::message;
use crate::support::raw::{Raw, request};
use crate::support::service::Site;
use crate::support::until;
use attacks::{Attack, allow_open_files, post, under};
use prost::Message as _;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Bytes of memory that the service may have had, at most.
const MEMORY: u64 = 80_000_000;
/// The same while each connection holds the first pieces of a body (176 MB without the bound).
const WITH_PIECES: u64 = 90_000_000;
/// How long an attack lasts.
const TIME: Duration = Duration::from_millis(1_500);

fn is_withstood(attack: Attack) {
    allow_open_files();
    let site = Site::new(None);
    let service = site.start();
    let (answers, deeds) = under(attack, site.ingest, || post(site.ingest, TIME));
    let memory = service.memory().highest;
    println!("{}: {} answered, {} MB", attack.name(), answers.times.len(), memory / 1_000_000);
    assert_eq!(answers.others, Vec::<String>::new());
    assert!(answers.times.len() > 20, "{answers:?}");
    let most = if attack == Attack::FatBodies { WITH_PIECES } else { MEMORY };
    assert!(memory < most, "{memory} bytes of memory");
    assert!(deeds.connections.load(SeqCst) >= attack.connections() as u64);
    let status = service.status();
    let kept = answers.times.len() as u64;
    // What was answered, or sent again over another connection; and an attacker's, if it is good.
    let beyond = status.ledger.accepted - kept;
    assert!(attack.is_kept() || beyond <= answers.again, "{beyond} more than {kept}");
    let crowded = attack.connections() > 1_024 || attack == Attack::FatBodies;
    assert!(!crowded || status.ingest.closed["made_room"] > 0, "{status:#?}");
    service.stop();
}

#[test]
fn headers_that_come_byte_by_byte() {
    is_withstood(Attack::SlowHeaders);
}

#[test]
fn bodies_that_come_byte_by_byte() {
    is_withstood(Attack::SlowBodies);
}

/// Fails without the bound on what unfinished bodies hold together.
#[test]
fn bodies_that_lack_their_last_byte() {
    is_withstood(Attack::FatBodies);
}

#[test]
fn gzip_bombs() {
    is_withstood(Attack::GzipBombs);
}

#[test]
fn zstd_bombs() {
    is_withstood(Attack::ZstdBombs);
}

#[test]
fn compressed_nothing_without_end() {
    is_withstood(Attack::EmptyMembers);
}

#[test]
fn bombs_as_batches() {
    is_withstood(Attack::BombBatches);
}

#[test]
fn bodies_without_end() {
    is_withstood(Attack::EndlessBodies);
}

#[test]
fn batches_without_end() {
    is_withstood(Attack::EndlessBatches);
}

#[test]
fn batches_that_come_message_by_message_and_never_end() {
    is_withstood(Attack::SlowBatches);
}

#[test]
fn a_thousand_idle_connections() {
    is_withstood(Attack::Idle);
}

#[test]
fn more_idle_connections_than_there_may_be() {
    is_withstood(Attack::Crowd);
}

#[test]
fn pipelined_requests_without_end() {
    is_withstood(Attack::PipelinedFlood);
}

#[test]
fn answers_that_nobody_reads() {
    is_withstood(Attack::Unread);
}

#[test]
fn headers_without_end() {
    is_withstood(Attack::HeaderFlood);
}

/// Fails where it keeps the limit that it begins with: at that nothing is accepted, and no idle connection makes
/// room.
#[test]
fn as_many_connections_as_may_be_open_are_not_too_many_files() {
    let mut site = Site::new(None);
    site.set_number("ingest.max_connections", 3_000);
    site.run_under(&["prlimit", "--nofile=256:9000"]);
    let service = site.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: u64 = files.split_whitespace().next().unwrap().parse().unwrap();
    assert!((5_000..9_000).contains(&soft), "{files}");
    service.stop();
    assert!(!site.log().contains("LimitNOFILE"), "{}", site.log());

    site.run_under(&["prlimit", "--nofile=256:3500"]);
    let service = site.start();
    let (log, part) = (site.log(), "this process may have 3500: raise the limit (LimitNOFILE");
    assert!(log.contains(part), "{log}");
    service.stop();
}

/// One device from another address than the attackers, the first half of whose request comes, and the rest only
/// once so many connections have made room that its own was the oldest for long.
fn has_all_its_time(attack: Attack, body: &[u8]) {
    allow_open_files();
    let mut site = Site::new(None);
    site.set("ingest.body_timeout", "5m");
    site.set("ingest.header_timeout", "5m");
    let service = site.start();
    let request = request("POST /endpoint", &[], body);
    let (first, rest) = request.split_at(request.len() / 2);
    let (status, _) = under(attack, site.ingest, || {
        let mut device = Raw::connect(site.ingest);
        device.send(first);
        let left = || service.status().ingest.closed["made_room"];
        let before = left();
        until("they leave and come back", || left() > before + 2_000);
        device.send(rest);
        device.answer().status
    });
    assert_eq!(status, 200);
    service.stop();
}

/// Fails where the connection that makes room is the one that has been waited for longest, wherever it is
/// from.
#[test]
fn a_device_on_a_slow_link_has_all_its_time_whatever_crowd_comes_from_elsewhere() {
    has_all_its_time(Attack::SlowHeaders, &message(0, 1).encode_to_vec());
}

/// Fails where the body that is given up is the one that has been waited for longest, and where each waits until
/// others hold less.
#[test]
fn a_device_on_a_slow_link_has_all_its_time_whatever_bodies_come_from_elsewhere() {
    let mut message = message(0, 1);
    message.attributes.insert("note".to_owned(), "x".repeat(30_000));
    has_all_its_time(Attack::FatBodies, &message.encode_to_vec());
}
