//! A spool in process, through its front door: filled, read, crashed.
//!
//! A crash is a copy of the directory taken while the spool is open: what the copy lacks is what a
//! crash would have lost.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use waystation::record::{Millis, NewRecord, Reception, RecordId, Route};
use waystation::spool::{self, Append, AppendError, Config, Spool, SpoolWriter};

pub fn config(dir: &Path) -> Config {
    Config { max_size: 1 << 30, min_free: 0, ..Config::new(dir) }
}

pub fn open(dir: &Path) -> Spool {
    spool::open(config(dir)).unwrap()
}

/// A spool in which what is appended together is one block, however slow the machine.
pub fn open_one_block_a_batch(dir: &Path) -> Spool {
    spool::open(Config { commit_delay: Duration::from_millis(200), ..config(dir) }).unwrap()
}

/// Appends the values and waits until all of them are durable; gives their ids.
pub fn append_all(spool: &Spool, values: &[Vec<u8>]) -> Result<Vec<RecordId>, AppendError> {
    let appends: Vec<_> =
        values.iter().map(|value| append(&spool.writer, value)).collect::<Result<_, _>>()?;
    appends.into_iter().map(block_on).collect()
}

/// Appends one value.
pub fn append(writer: &SpoolWriter, value: &[u8]) -> Result<Append, AppendError> {
    writer.append(&NewRecord {
        route: &Arc::new(Route { path: "/endpoint".to_owned(), topic: "test".to_owned() }),
        key: Some(b"k"),
        timestamp: Millis(1),
        received: Reception { at: Millis::now(), clock_synchronised: true },
        headers: &[],
        value,
        origin: None,
    })
}

/// Polls until it is ready: these tests have no task that wakes the promises.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let start = Instant::now();
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "never committed");
        std::thread::yield_now();
    }
}

/// Everything that can be read from the position on.
pub fn read_all(spool: &mut Spool) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        records.extend(block.records().map(|r| (r.id.sequence.0, r.value.to_vec())));
    }
    records
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_mins(2), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

pub fn values(count: usize, len: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| (0..len).map(|_| random.u8(..)).collect()).collect()
}

/// What a crash now would leave. The progress is copied last: a segment that the keeper removes
/// meanwhile is then known to be done with, as it would be on a disk.
pub fn crash(from: &Path, to: &Path) {
    wait_until("the directory holds still for a copy", || {
        let _ = fs::remove_dir_all(to);
        let progress = |to: &Path| fs::copy(from.join("progress"), to.join("progress"));
        copy_dir(from, to).and_then(|()| progress(to)).is_ok()
    });
}

pub fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let is_segment = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().starts_with("seg-");
    let mut all: Vec<_> = entries.filter(is_segment).collect();
    all.sort();
    all
}

/// What `du` would say: what moves while it looks is counted once.
pub fn du(path: &Path) -> u64 {
    let (mut seen, mut waiting) = (BTreeMap::new(), vec![path.to_owned()]);
    while let Some(path) = waiting.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            waiting.extend(fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()));
        }
        seen.insert(meta.ino(), meta.blocks() * 512);
    }
    seen.values().sum()
}

/// Stops whoever looks at it, also when the test fails.
pub struct Stop<'a>(pub &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
