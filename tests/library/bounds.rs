//! Does the spool ever take more of its disk than it was given?
//!
//! On a small disk of its own, with `du`'s and `statvfs`'s own figures: a thread looks at them all
//! the time while records are appended as fast as they are taken, segments are left, repacked,
//! dropped and drained.

use crate::support::{self, Stop, append_all, du, read_all, segments, values, wait_until};
use crate::tmpfs::Tmpfs;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use waystation::record::Sequence;
use waystation::spool::{self, AppendError, Config, SpoolWriter, WhenFull};

const MIB: u64 = 1 << 20;
const DISK: u64 = 48 * MIB;
/// What the spool may take of it.
const LIMIT: u64 = 24 * MIB;

/// The worst that was seen.
#[derive(Debug)]
struct Seen {
    most: u64,
    least_free: u64,
    looks: u64,
}

/// Looks at the disk until it is told to stop.
fn watch(disk: &Tmpfs, dir: &Path, stop: &AtomicBool) -> Seen {
    let mut seen = Seen { most: 0, least_free: u64::MAX, looks: 0 };
    while !stop.load(Relaxed) {
        seen.most = seen.most.max(du(dir));
        seen.least_free = seen.least_free.min(disk.free());
        seen.looks += 1;
        std::thread::sleep(Duration::from_micros(500));
    }
    seen
}

/// What the thread that appends is told, and tells.
#[derive(Debug, Default)]
struct Filling {
    stop: AtomicBool,
    /// It goes on behind the first half.
    whole: AtomicBool,
    refused: AtomicU64,
}

/// Commits of all sizes, one after the other; gives how many records were kept.
fn append_until_stopped(filling: &Filling, writer: &SpoolWriter, half: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(11);
    let the_same = values(1, 1_500, 1).remove(0);
    let mut kept = 0;
    while !filling.stop.load(Relaxed) {
        if writer.depth().disk_bytes > half && !filling.whole.load(Relaxed) {
            std::thread::yield_now();
            continue;
        }
        let values = match random.u8(..) {
            0 => values(1, random.usize(100_000..1_000_000), random.u64(..)),
            _ => (0..random.usize(1..12))
                .map(|_| the_same.iter().copied().chain((0..500).map(|_| random.u8(..))).collect())
                .collect(),
        };
        let appends: Vec<_> = values.iter().map(|value| support::append(writer, value)).collect();
        for append in appends {
            match append.and_then(support::block_on) {
                Ok(_) => kept += 1,
                Err(AppendError::Full(_)) => {
                    filling.refused.fetch_add(1, Relaxed);
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    kept
}

/// Fills a spool to its limit twice and more, drains it in between and in the end, and gives the
/// worst that was seen.
fn fill_and_drain(disk: &Tmpfs, config: &Config) -> Seen {
    let mut spool = spool::open(config.clone()).unwrap();
    let (writer, dir) = (spool.writer.clone(), config.dir.as_path());
    let (filling, watched) = (Filling::default(), AtomicBool::default());
    std::thread::scope(|scope| {
        let _stop = [Stop(&filling.stop), Stop(&watched)];
        let watching = scope.spawn(|| watch(disk, dir, &watched));
        let appending = scope.spawn(|| append_until_stopped(&filling, &writer, LIMIT / 3));
        // A copy has a higher generation than what it was made of.
        let is_copy = |path: &&PathBuf| !path.to_str().unwrap().ends_with("-0000");
        wait_until("something is repacked", || segments(dir).iter().any(|path| is_copy(&path)));
        filling.whole.store(true, Relaxed);
        let mut read = 0;
        for _ in 0..2 {
            let count = || match config.when_full {
                WhenFull::Reject => filling.refused.load(Relaxed),
                WhenFull::DropOldest => writer.ledger().dropped,
            };
            let before = count();
            wait_until("it is full", || count() > before);
            // Half of what waits, while more comes.
            let goal = read + writer.ledger().spooled / 2;
            while read < goal {
                let Some(block) = spool.reader.next_block().unwrap() else { break };
                read += block.records().count() as u64;
                spool.reader.advance_watermark(block.end());
            }
        }
        filling.stop.store(true, Relaxed);
        let kept = appending.join().unwrap();
        read += read_all(&mut spool).len() as u64;
        watched.store(true, Relaxed);
        let ledger = writer.ledger();
        assert!(ledger.balances());
        assert_eq!((ledger.accepted, read + ledger.dropped, ledger.lost), (kept, kept, 0));
        watching.join().unwrap()
    })
}

/// Fails without `COMMIT_RESERVE` in `Shared::check_room`, and without either limit there. (What
/// holds the repacker back is asked in `repack.rs`.)
#[test]
fn neither_max_size_nor_min_free_is_ever_passed_whatever_is_done_to_the_spool() {
    for (max_size, min_free) in [(LIMIT, 0), (1 << 30, DISK - LIMIT)] {
        for when_full in [WhenFull::Reject, WhenFull::DropOldest] {
            let Some(disk) = Tmpfs::new(&format!("size={DISK}")) else { return };
            let config = Config {
                max_size,
                min_free,
                when_full,
                segment_bytes: 3 * MIB,
                repack_after: Duration::from_millis(20),
                repack_pause: 1,
                ..Config::new(disk.path().join("spool"))
            };
            let seen = fill_and_drain(&disk, &config);
            println!("{when_full:?}, max_size {max_size}, min_free {min_free}: {seen:?}");
            assert!(seen.most <= max_size, "{seen:?}");
            assert!(seen.least_free >= min_free, "{seen:?}");
            // It was full: no more is kept free than a commit may need.
            let used = seen.most.max(DISK - seen.least_free);
            assert!(used > LIMIT - 5 * MIB, "{seen:?}");
        }
    }
}

/// Fails without `Shared::drop_oldest_for`: bytes are free all the time.
#[test]
fn where_it_is_inodes_that_are_full_the_oldest_make_room_all_the_same() {
    let Some(disk) = Tmpfs::new("size=64m,nr_inodes=40") else { return };
    let config = Config {
        min_free: 0,
        when_full: WhenFull::DropOldest,
        segment_bytes: 64 << 10,
        ..Config::new(disk.path().join("spool"))
    };
    let mut spool = spool::open(config).unwrap();
    for value in values(300, 5_000, 1) {
        append_all(&spool, &[value]).unwrap();
    }
    let ledger = spool.writer.ledger();
    println!("{ledger:?}");
    assert!(ledger.balances() && ledger.dropped > 0, "{ledger:?}");
    assert_eq!((ledger.accepted, ledger.spooled), (300, 300 - ledger.dropped));
    let left: Vec<_> = read_all(&mut spool).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(left, (ledger.dropped..300).collect::<Vec<_>>());
}

/// Fails when the keeper does not measure what it has moved to the quarantine before it takes it out
/// of the catalog: for up to a second it would be nobody's.
#[test]
fn what_goes_into_quarantine_counts_all_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let max_size = 48 * MIB;
    let config = Config { max_size, segment_bytes: 2 * MIB, ..support::config(dir.path()) };
    let mut spool = spool::open(config).unwrap();
    let writer = spool.writer.clone();
    let append_up_to = |to: u64| {
        while writer.refusal().is_none() && writer.depth().disk_bytes < to {
            let value = &values(1, 300_000, fastrand::u64(..))[0];
            let kept = support::append(&writer, value).and_then(support::block_on);
            assert!(matches!(kept, Ok(_) | Err(AppendError::Full(_))), "{kept:?}");
        }
    };
    append_up_to(max_size - 6 * MIB);
    // As many as are kept.
    let damaged: Vec<_> = segments(dir.path()).into_iter().take(5).collect();
    for segment in &damaged {
        let file = fs::File::options().write(true).open(segment.join("db")).unwrap();
        file.write_all_at(&[0; 1_000], MIB).unwrap();
    }
    let last = segments(dir.path())[5].file_name().unwrap().to_str().unwrap()[4..24].to_owned();
    let last = Sequence(last.parse().unwrap());
    while spool.reader.position() < last {
        spool.reader.next_block().unwrap();
    }
    spool.reader.advance_watermark(last);
    let quarantine = dir.path().join("quarantine");
    wait_until("all are in quarantine", || segments(&quarantine).len() == damaged.len());
    append_up_to(max_size);
    let most = du(dir.path());
    println!("{most} of {max_size}, {} of it in quarantine", du(&quarantine));
    assert!(most <= max_size, "{most}");
    assert!(writer.ledger().lost > 0);
}

/// Fails without `counted` in `dir::other_bytes`: until the next round the spool would pass for
/// fuller than it is, and give up more of its oldest than it must.
#[test]
fn what_is_on_its_way_out_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool::open(Config { segment_bytes: MIB, ..support::config(dir.path()) }).unwrap();
    append_all(&spool, &values(1, 1_000_000, 1)).unwrap();
    append_all(&spool, &values(1, 1_000_000, 2)).unwrap();
    append_all(&spool, &values(1, 1_000_000, 3)).unwrap();
    let [first, ..] = &segments(dir.path())[..] else { panic!("no segment") };
    wait_until("it is sealed", || fs::read(first.join("seal")).is_ok_and(|seal| seal[0] != 0));
    let (bytes, stray) = (du(first), 64 << 10);
    let measured = |stray: u64| {
        fs::write(dir.path().join("stray"), vec![1; usize::try_from(stray).unwrap()]).unwrap();
        let before = spool.writer.depth().disk_bytes;
        wait_until("the keeper has measured", || {
            spool.writer.depth().disk_bytes >= before + stray / 2
        });
        spool.writer.depth().disk_bytes
    };
    let before = measured(stray);
    // As far as a removal has come when it begins to delete.
    fs::rename(first, dir.path().join(".trash").join(first.file_name().unwrap())).unwrap();
    let after = measured(8 * stray);
    assert!(bytes > MIB && after < before + 8 * stray, "{before}, {after}, {bytes} of it moved");
}
