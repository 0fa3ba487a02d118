//! What is left of thousands of rotations?
//!
//! In a child of this program, so that what it has is the spool's, with the allocator set as the
//! program sets it (`app/memory.rs`). `WAYSTATION_ROTATIONS` makes another number of them.

#[path = "support/spool.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{append_all, read_all, segments, wait_until};
use waystation::spool::{self, Config};

/// How many before the first look.
const FIRST: u64 = 10;
/// Tells the child that it is one.
const CHILD: &str = "WAYSTATION_ROTATING";
/// What the allocator may have more at one moment than at another. A kilobyte that each rotation
/// left behind would be more.
const GROWTH: u64 = 6 << 20;

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
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name =
        "after_ten_thousand_rotations_descriptors_threads_and_memory_are_what_they_were_after_ten";
    child.args(["--exact", name, "--nocapture"]).env(CHILD, "1");
    for threshold in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"] {
        child.env(threshold, "131072");
    }
    assert!(child.status().unwrap().success());
}

fn rotate() {
    let rotations = std::env::var("WAYSTATION_ROTATIONS");
    let rotations = rotations.map_or(10_000, |text| text.parse::<u64>().unwrap());
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let dir = dir.unwrap();
    // Each commit begins a segment.
    let config = Config { segment_bytes: 1, min_free: 0, ..Config::new(dir.path()) };
    let mut spool = spool::open(config).unwrap();
    let value = vec![b'x'; 300];
    let mut first = None;
    for rotation in 1..=rotations {
        append_all(&spool, std::slice::from_ref(&value)).unwrap();
        assert_eq!(read_all(&mut spool).len(), 1);
        spool.reader.advance_watermark(spool.reader.position());
        // The drain keeps up, and so does the keeper.
        let left = if rotation == FIRST || rotation == rotations { 1 } else { 3 };
        wait_until("what is delivered is freed", || segments(dir.path()).len() <= left);
        if rotation == FIRST {
            first = Some(held());
        }
    }
    let (first, last) = (first.unwrap(), held());
    println!("after {FIRST}: {first:?}; after {rotations}: {last:?}");
    assert_eq!(spool.writer.ledger().delivered, rotations);
    assert_eq!((last.descriptors, last.threads), (first.descriptors, first.threads));
    assert!(last.resident < first.resident + GROWTH, "{first:?}, {last:?}");
}
