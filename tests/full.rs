//! What happens when the disk has no room left, and is every limit kept until then?
//!
//! On small file systems in memory that the tests mount, so they need root. What strikes at each
//! single step of a commit, a rotation and a start is the matter of `faults.rs`; here the disk is
//! really full, for the whole program, and what the spool takes is measured by the kernel.

#[path = "support/spool.rs"]
mod spools;
mod support;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use prost::Message as _;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use support::client::{Answer, ask, post, request};
use support::fleet::{self, Fate, Fleet, Sent};
use support::kafka::Kafka;
use support::service::{Service, Site};
use support::{PATIENCE, mb, until};
use tempfile::TempDir;
use waystation::record::{Millis, NewRecord, Reception, Route, Sequence};
use waystation::spool::{self, AppendError, Config, Spool, WhenFull};
use waystation::status::{IngestState, LastStop};

const DEVICES: usize = 16;

/// A file system in memory with a spool on it and nothing else.
struct Small(TempDir);

impl Small {
    /// `None` where nothing can be mounted.
    fn mount(options: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a small file system is mounted, which needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "waystation-test"]).arg(dir.path());
        let done = mount.status().unwrap();
        assert!(done.success(), "mount -o {options}: {done}");
        Some(Self(dir))
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    fn filler(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Takes so many bytes, or all that there are.
    fn take(&self, name: &str, bytes: usize) {
        let mut file = File::create(self.filler(name)).unwrap();
        for size in [1 << 20, 4096] {
            let block = vec![1; size];
            let mut taken = usize::try_from(file.metadata().unwrap().len()).unwrap();
            while taken + size <= bytes {
                match file.write(&block) {
                    Ok(written) if written > 0 => taken += written,
                    Err(error) if error.kind() != ErrorKind::StorageFull => panic!("{error}"),
                    _ => break,
                }
            }
        }
    }

    /// Takes every inode that is left.
    fn take_inodes(&self) {
        fs::create_dir(self.filler("inodes")).unwrap();
        for number in 0.. {
            match File::create(self.filler("inodes").join(number.to_string())) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    return;
                }
            }
        }
    }

    /// By the kernel's own count: bytes that are taken, and that are free.
    fn taken_and_free(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(self.0.path()).unwrap();
        ((stat.f_blocks - stat.f_bfree) * stat.f_frsize, stat.f_bavail * stat.f_frsize)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: what a failed test still runs is ended after this.
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !std::thread::panicking() {
            assert!(done.unwrap().success());
        }
    }
}

/// One more device, which is told each answer at once.
struct Device<'a> {
    site: &'a Site,
    number: usize,
    fates: Vec<Fate>,
}

impl Device<'_> {
    fn post(&mut self) -> Answer {
        let message = fleet::message(self.number, self.fates.len() as u64 + 1).encode_to_vec();
        let answer = ask(self.site.ingest, post(message.into())).unwrap();
        self.fates.push(match answer.status {
            StatusCode::OK => Fate::Acknowledged,
            other => Fate::Refused(other),
        });
        answer
    }

    /// The answer that a full disk gives.
    fn is_refused(&mut self) {
        let answer = self.post();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    }
}

/// Starts where there is no room, and so is not ready; the books are as they were.
fn start_full(site: &Site, accepted: u64, last_stop: LastStop) -> Service {
    let service = site.launch();
    until("it answers", || {
        let question = request(Method::GET, "/livez", Bytes::new());
        ask(site.admin, question).is_some_and(|answer| answer.status == StatusCode::OK)
    });
    let status = service.status();
    assert_eq!(status.last_stop, last_stop);
    assert!(status.ledger.balances() && status.ledger.lost == 0, "{:?}", status.ledger);
    assert_eq!(status.ledger.accepted, accepted);
    service
}

/// The end of both stories: Kafka comes back, though nobody has given the disk any room.
fn drains_and_resumes(kafka: &Kafka, service: Service, mut device: Device<'_>, mut sent: Sent) {
    let reader = kafka.read_along();
    kafka.give_back();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    until("records are taken again", || device.post().status == StatusCode::OK);
    for _ in 0..20 {
        assert_eq!(device.post().status, StatusCode::OK);
    }
    sent.fates.push(device.fates);
    let comparison = reader.compared(&sent, PATIENCE);
    let ledger = service.until_status("all is delivered", |now| now.ledger.spooled == 0).ledger;
    assert_eq!(ledger.accepted, sent.count(Fate::Acknowledged));
    assert!(ledger.balances() && ledger.lost + ledger.dropped == 0, "{ledger:?}");
    println!("{comparison}");
    service.stop();
}

/// Fails when the keeper's round does not `look_for_room`.
#[test]
fn a_disk_without_room_refuses_loses_nothing_and_takes_records_again_once_it_is_drained() {
    let Some(small) = Small::mount("size=32m") else { return };
    let kafka = Kafka::start();
    kafka.take_away();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set("spool.dir", small.spool().to_str().unwrap());
    small.take("others", 18 << 20);
    let service = site.start();
    let fleet = Fleet::start(site.ingest, DEVICES);
    service.until_status("it is full", |now| now.ingest.state == IngestState::Refusing);
    let sent = fleet.stop();
    let accepted = sent.count(Fate::Acknowledged);
    assert!(sent.refusals().iter().all(|told| *told == StatusCode::SERVICE_UNAVAILABLE));
    // What the spool keeps for a commit goes as well: now there is nothing at all.
    small.take("rest", 1 << 30);
    assert_eq!(small.taken_and_free().1, 0);
    let mut device = Device { site: &site, number: DEVICES, fates: Vec::new() };
    device.is_refused();
    assert_eq!(service.status().ledger.accepted, accepted);

    service.stop();
    let service = start_full(&site, accepted, LastStop::Clean);
    device.is_refused();
    service.kill();
    let service = start_full(&site, accepted, LastStop::Crash);
    device.is_refused();
    println!("{accepted} records filled {}", mb(disk_bytes(&small.spool())));
    drains_and_resumes(&kafka, service, device, sent);
}

/// Fails without the `take_if` of `SpoolReader::advance_watermark`: the file that was read last is then
/// open, and its inode is the one that the next segment lacks, for good.
#[test]
fn a_disk_without_inodes_refuses_loses_nothing_and_takes_records_again_once_it_is_drained() {
    let Some(small) = Small::mount("size=64m,nr_inodes=200") else { return };
    let kafka = Kafka::start();
    kafka.take_away();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set("spool.dir", small.spool().to_str().unwrap());
    let service = site.start();
    let mut device = Device { site: &site, number: 0, fates: Vec::new() };
    for _ in 0..100 {
        assert_eq!(device.post().status, StatusCode::OK);
    }
    small.take_inodes();
    // The tail has its files.
    assert_eq!(device.post().status, StatusCode::OK);
    service.stop();
    // From here on records need a segment that cannot be made.
    let service = start_full(&site, 101, LastStop::Clean);
    for _ in 0..3 {
        device.is_refused();
    }
    service.kill();
    let service = start_full(&site, 101, LastStop::Crash);
    device.is_refused();
    drains_and_resumes(&kafka, service, device, Sent { fates: Vec::new() });
}

/// Bytes of everything under `path`, each file once; `None` when anything came or went meanwhile,
/// since then no sum was ever true.
fn du(path: &Path) -> Option<u64> {
    fn walk(path: &Path, found: &mut BTreeMap<u64, u64>) -> Option<()> {
        let data = fs::symlink_metadata(path).ok()?;
        found.insert(data.ino(), data.blocks() * 512);
        if data.is_dir() {
            for entry in fs::read_dir(path).ok()? {
                walk(&entry.ok()?.path(), found)?;
            }
        }
        Some(())
    }
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    walk(path, &mut before)?;
    walk(path, &mut after)?;
    before.keys().eq(after.keys()).then(|| before.values().sum())
}

fn disk_bytes(path: &Path) -> u64 {
    let mut sum = None;
    until("the directory holds still", || {
        sum = du(path);
        sum.is_some()
    });
    sum.unwrap()
}

/// The highest and lowest that was ever seen.
#[derive(Debug)]
struct Seen {
    most_used: u64,
    most_taken: u64,
    least_free: u64,
    samples: u64,
}

/// Looks as often as it can until `over`.
fn watch(small: &Small, over: &AtomicBool) -> Seen {
    let mut seen = Seen { most_used: 0, most_taken: 0, least_free: u64::MAX, samples: 0 };
    while !over.load(Relaxed) {
        let (taken, free) = small.taken_and_free();
        seen.most_taken = seen.most_taken.max(taken);
        seen.least_free = seen.least_free.min(free);
        seen.most_used = seen.most_used.max(du(&small.spool()).unwrap_or(0));
        seen.samples += 1;
    }
    seen
}

/// Appends one batch of odd size; whether it was kept.
fn append(spool: &Spool, route: &Arc<Route>, chosen: &mut fastrand::Rng) -> bool {
    let (records, len) = match chosen.u8(..8) {
        // As large as a record may be, and as a fleet's come.
        0 => (1, 900_000),
        1 => (chosen.usize(1..12), 60_000),
        _ => (chosen.usize(1..200), 700),
    };
    let mut value = vec![0; len];
    let mut appends = Vec::new();
    for _ in 0..records {
        // Half noise, so that the repacker has something to gain.
        chosen.fill(&mut value[..len / 2]);
        let now = Millis::now();
        appends.push(spool.writer.append(&NewRecord {
            route,
            key: None,
            timestamp: now,
            received: Reception { at: now, clock_synchronised: true },
            headers: &[],
            value: &value,
            origin: None,
        }));
    }
    let mut kept = true;
    for append in appends {
        match append.and_then(spools::block_on) {
            Ok(_) => {}
            Err(AppendError::Full(_)) => kept = false,
            Err(error) => panic!("{error}"),
        }
    }
    kept
}

/// Reads the next block, if there is one, and calls it delivered; how many records it had.
fn deliver_block(spool: &mut Spool) -> u64 {
    let Some(block) = spool.reader.next_block().unwrap() else { return 0 };
    spool.reader.advance_watermark(block.end());
    block.records().count() as u64
}

/// Fills it, drains half, fills it, drains it, and so on; watched all the time.
fn fill_and_drain(options: &str, config: impl Fn(Config) -> Config) -> Option<(Config, Seen)> {
    let small = Small::mount(options)?;
    let base = Config {
        segment_bytes: 768 << 10,
        repack_after: Duration::ZERO,
        ..Config::new(small.spool())
    };
    let config = config(base);
    let mut spool = spool::open(config.clone()).unwrap();
    let over = AtomicBool::new(false);
    let mut chosen = fastrand::Rng::new();
    println!("seed {}", chosen.get_seed());
    let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
    let mut read = 0;
    let seen = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&small, &over));
        let _over = Over(&over);
        for round in 0..6 {
            let dropped = spool.writer.ledger().dropped;
            let mut refused = 0;
            // Against the limit for a while, not only up to it.
            while refused < 20 && spool.writer.ledger().dropped < dropped + 3_000 {
                refused += u32::from(!append(&spool, &route, &mut chosen));
            }
            let waiting = spool.writer.ledger().spooled;
            let goal = if round % 2 == 0 { waiting / 2 } else { waiting };
            let mut taken = 0;
            while taken < goal {
                taken += deliver_block(&mut spool);
                append(&spool, &route, &mut chosen);
            }
            until("there is room again", || {
                taken += deliver_block(&mut spool);
                append(&spool, &route, &mut chosen)
            });
            read += taken;
        }
        over.store(true, Relaxed);
        watching.join().unwrap()
    });
    read += spools::read_all(&mut spool).len() as u64;
    let ledger = spool.writer.ledger();
    assert!(ledger.balances() && ledger.lost == 0, "{ledger:?}");
    assert_eq!(read + ledger.dropped, ledger.accepted, "{ledger:?}");
    assert_eq!(ledger.dropped > 0, config.when_full == WhenFull::DropOldest, "{ledger:?}");
    spool.reader.advance_watermark(Sequence(ledger.accepted));
    spool.writer.close().unwrap();
    println!("{ledger:?}, {seen:?}");
    Some((config, seen))
}

/// Ends the watching however its thread ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn the_size_is_kept(when_full: WhenFull) {
    let limits = |config| Config { max_size: 24 << 20, min_free: 0, when_full, ..config };
    let Some((config, seen)) = fill_and_drain("size=128m", limits) else { return };
    assert!(seen.most_taken <= config.max_size, "{seen:?}");
    assert!(seen.most_used <= config.max_size, "{seen:?}");
    // It was in the way.
    assert!(seen.most_used > config.max_size * 3 / 4 && seen.samples > 100, "{seen:?}");
}

fn the_reserve_is_kept(when_full: WhenFull) {
    let limits = |config| Config { max_size: 1 << 30, min_free: 16 << 20, when_full, ..config };
    let Some((config, seen)) = fill_and_drain("size=40m", limits) else { return };
    assert!(seen.least_free >= config.min_free, "{seen:?}");
    assert!(seen.least_free < config.min_free + (6 << 20) && seen.samples > 100, "{seen:?}");
}

/// Fails with a `COMMIT_RESERVE` that is smaller than what a commit takes.
#[test]
fn at_no_moment_takes_the_spool_more_than_its_size() {
    the_size_is_kept(WhenFull::Reject);
}

/// The same.
#[test]
fn at_no_moment_takes_the_spool_more_than_its_size_while_it_drops_the_oldest() {
    the_size_is_kept(WhenFull::DropOldest);
}

/// Fails when `check_room` does not ask for the free bytes.
#[test]
fn at_no_moment_is_less_free_than_the_reserve() {
    the_reserve_is_kept(WhenFull::Reject);
}

/// The same.
#[test]
fn at_no_moment_is_less_free_than_the_reserve_while_it_drops_the_oldest() {
    the_reserve_is_kept(WhenFull::DropOldest);
}
