//! Does a backlog keep to the rate that the link is allowed, is the time that it still takes foretold, and
//! does its drain leave room for what comes in?

#[allow(dead_code, clippy::cast_precision_loss, reason = "the benchmarks use the rest of it")]
#[path = "../../benches/spool/load.rs"]
mod load;

use crate::support::fleet::Fleet;
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use crate::support::{PATIENCE, until_some};
use load::Load;
use std::time::{Duration, Instant};
use waystation::spool::Spool;

const DEVICES: usize = 64;
/// Bytes a second: the whole takes some twenty seconds.
const LIMIT: u64 = 128 * 1024;
const BACKLOG: u64 = 20 * LIMIT;
/// Rates are smoothed over ten seconds.
const STEADY: Duration = Duration::from_secs(11);

/// Fails without `Pace::wait` in `send_some`, and when what was handed over is not counted.
#[test]
fn a_backlog_keeps_to_the_limit_and_its_end_is_foretold() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set("forward.max_bytes_per_second", "128KiB");
    // What goes over the wire is then no less than the records' own bytes.
    site.set("kafka.compression.type", "none");
    kafka.take_away();
    let service = site.start();
    let fleet = Fleet::start(site.ingest, DEVICES);
    let full = service.until_status("a backlog", |status| status.spool.bytes >= BACKLOG);
    let sent = fleet.stop();
    let bytes = service.status().spool.bytes.max(full.spool.bytes);
    kafka.give_back();
    let delivered = |status: &waystation::status::Snapshot| status.ledger.delivered > 0;
    service.until_status("it drains", delivered);
    let start = Instant::now();
    let foretold = until_some("the end is foretold", PATIENCE, || {
        let steady = start.elapsed() >= STEADY;
        steady.then(|| service.status().kafka.drain_eta_seconds).flatten()
    });
    let asked = Instant::now();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    let (took, was) = (start.elapsed().as_secs_f64(), asked.elapsed().as_secs_f64());
    println!("{bytes} bytes in {took:.1} s; foretold {foretold:.1} s, it was {was:.1} s");
    println!("{}", reader.compared(&sent, PATIENCE));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let least = bytes as f64 / LIMIT as f64;
    // The first second's share was out when the clock started.
    assert!(took >= least - 2.0, "{took} s of {least}");
    // A quarter, and the second between two looks.
    assert!((foretold - was).abs() <= 0.25 * was + 1.0, "foretold {foretold}, it was {was}");
    service.stop();
}

const MANY: u64 = 300_000;
/// Records a second: the pace, and what a look at it may be wrong by.
const PACE: f64 = 60_000.0;

/// Fails without `Courtesy::wait` in `send_one`, where the program and its Kafka manage more than that.
#[test]
fn a_backlog_leaves_room_for_what_comes_in() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    load::run(async {
        let Spool { writer, acks, reader: _reader, .. } = load::open(&site.spool(), None);
        tokio::spawn(acks.run());
        Load::new().batches(&writer, 500, |load| load.records < MANY).await;
        writer.close().expect("a close");
    });
    kafka.take_away();
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 4, Duration::from_millis(50));
    fleet.until_more(40);
    kafka.give_back();
    let delivered = || (service.status().ledger.delivered, Instant::now());
    // The first looks at what comes in are made by then.
    let (before, start) = until_some("a third of it goes out", PATIENCE, || {
        let (before, start) = delivered();
        (before >= MANY / 3).then_some((before, start))
    });
    let (after, end) = until_some("another third", PATIENCE, || {
        let (after, end) = delivered();
        (after >= before + MANY / 3).then_some((after, end))
    });
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = (after - before) as f64 / (end - start).as_secs_f64();
    fleet.stop();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    println!("{rate:.0} records/s while messages came in; {before} before");
    assert!(rate < PACE, "{rate} records/s");
    service.stop();
}

/// The niceness of each thread; see `proc_pid_stat(5)`.
fn niceness(service: &Service) -> Vec<(String, i32)> {
    let tasks = format!("/proc/{}/task", service.pid());
    let stat = |entry: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (before, fields) = stat.rsplit_once(')')?;
        let nice = fields.split_whitespace().nth(16)?.parse().ok()?;
        Some((before.split_once('(')?.1.to_owned(), nice))
    };
    std::fs::read_dir(tasks).unwrap().filter_map(stat).collect()
}

/// Fails without `spool::start_threads`: sled's threads would be those of whoever writes first, which on a
/// quiet box is the repacker. Fails too where the first producer is made by another thread than the forwarder's.
#[test]
fn whoever_a_reply_waits_for_goes_before_the_drain() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let own = niceness(&service).into_iter().find(|(name, _)| name == "waystation").unwrap().1;
    let all = until_some("the Kafka client has its threads", PATIENCE, || {
        let all = niceness(&service);
        let has = |wanted: &str| all.iter().any(|(name, _)| name.starts_with(wanted));
        (has("kafka") && has("rdk:broker")).then_some(all)
    });
    println!("{all:?}");
    let of = |wanted: &str| {
        let of = all.iter().filter(|(name, _)| name.starts_with(wanted));
        of.map(|(_, nice)| *nice).collect::<Vec<_>>()
    };
    for prompt in ["waystation", "commit", "sled-io"] {
        assert!(!of(prompt).is_empty() && of(prompt).iter().all(|nice| *nice == own), "{all:?}");
    }
    for yields in ["forward", "kafka", "rdk:"] {
        assert!(!of(yields).is_empty() && of(yields).iter().all(|nice| *nice > own), "{all:?}");
    }
    service.stop();
}
