//! What is left of thousands of rotations?
//!
//! In a child of this program, so that what it has is the spool's, with the allocator set as the
//! program sets it (`app/memory.rs`). `WAYSTATION_ROTATIONS` makes another number of them.

use crate::child;
use crate::support::{append, block_on, segments, wait_until};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::task::{Context, Waker};
use waystation::spool::{self, Config, Spool};

/// How many before the first look.
const FIRST: u64 = 10;
/// How many before the first look at the memory: by then the allocator has what it keeps.
const WARM: u64 = 1_000;
/// Tells the child that it is one.
const CHILD: &str = "WAYSTATION_ROTATING";
/// What the allocator may have more at one moment than at another. Some two hundred bytes that each
/// rotation left behind since would be more.
const GROWTH: u64 = 2 << 20;

/// What the process has.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    threads: usize,
    resident: u64,
}

fn held() -> Held {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    Held { descriptors: count("fd"), threads: count("task"), resident }
}

/// Fails when `Catalog::shut`, by which `retire` closes a segment's database, leaves it open.
#[test]
fn after_ten_thousand_rotations_descriptors_threads_and_memory_are_what_they_were_after_ten() {
    if std::env::var_os(CHILD).is_some() {
        return rotate();
    }
    let name =
        "after_ten_thousand_rotations_descriptors_threads_and_memory_are_what_they_were_after_ten";
    let mut child = child::of(module_path!(), name);
    child.env(CHILD, "1");
    for threshold in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"] {
        child.env(threshold, "131072");
    }
    let done = child.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    assert!(done.status.success() && said.contains("1 passed"), "{}", done.status);
}

fn rotate() {
    let rotations = std::env::var("WAYSTATION_ROTATIONS");
    let rotations = rotations.map_or(10_000, |text| text.parse::<u64>().unwrap());
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    // Each commit begins a segment.
    let config = Config { segment_bytes: 1, min_free: 0, ..Config::new(dir.path()) };
    let Spool { writer, mut reader, acks, .. } = spool::open(config).unwrap();
    // Run as the program runs it: what is settled is kept for it.
    let mut acks = std::pin::pin!(acks.run());
    let value = vec![b'x'; 300];
    let warm_at = WARM.min(rotations);
    let (mut first, mut warm) = (None, None);
    for rotation in 1..=rotations {
        block_on(append(&writer, &value).unwrap()).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(acks.as_mut().poll(&mut context).is_pending());
        assert_eq!(reader.next_block().unwrap().unwrap().records().count(), 1);
        reader.advance_watermark(reader.position());
        // The drain keeps up, and so does the keeper.
        let looks = [FIRST, warm_at, rotations].contains(&rotation);
        let left = if looks { 1 } else { 3 };
        wait_until("what is delivered is freed", || segments(dir.path()).len() <= left);
        if looks {
            // Until then the keeper may be at a segment that has no name any more.
            let trash = dir.path().join(".trash");
            wait_until("the trash is emptied", || fs::read_dir(&trash).unwrap().next().is_none());
            first.get_or_insert_with(held);
        }
        if rotation == warm_at {
            warm = Some(held());
        }
    }
    let (first, warm) = (first.unwrap(), warm.unwrap());
    let mut last = held();
    // A thread that sled made for a moment ends by itself; one that each rotation left does not.
    wait_until("descriptors and threads are no more than after the first", || {
        last = held();
        last.descriptors <= first.descriptors && last.threads <= first.threads
    });
    println!("after {FIRST}: {first:?}; after {warm_at}: {warm:?}; after {rotations}: {last:?}");
    assert_eq!(writer.ledger().delivered, rotations);
    assert!(last.resident < warm.resident + GROWTH, "{warm:?}, {last:?}");
}
