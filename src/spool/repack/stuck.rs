//! Is a repacker that the disk holds up noticed, and in nobody's way?

use super::tests::{append, config, read_all};
use crate::spool::store::{Sled, Store, Stores};
use crate::spool::{self, Config, LastStop, dir};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A disk that does not let go of who makes a copy.
#[derive(Debug, Default)]
struct Hanging(AtomicBool);

impl Stores for Hanging {
    fn create(&self, dir: &Path) -> std::io::Result<Box<dyn Store>> {
        while dir.parent().unwrap().ends_with(dir::TMP) && self.0.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Sled.create(dir)
    }
}

/// Fails when `stalled` does not ask the repacker, and when `join` has no limit.
#[test]
fn a_repacker_that_is_stuck_is_noticed_and_does_not_hold_up_a_close() {
    let root = tempfile::tempdir().unwrap();
    let config = Config { repack_after: Duration::from_millis(1), ..config(root.path()) };
    let disk = Arc::new(Hanging(true.into()));
    let spool = spool::open_on(config.clone(), disk.clone(), None).unwrap();
    append(&spool, 0..300);
    let stalled = || spool.writer.stalled(Duration::from_millis(100));
    let begun = Instant::now();
    while !stalled().is_some_and(|told| told.starts_with("a step of the repacker")) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody notices");
        std::thread::yield_now();
    }
    let (closed, is_closed) = mpsc::channel();
    let writer = spool.writer.clone();
    let closing = std::thread::spawn(move || closed.send(writer.close().is_ok()));
    let is_closed = is_closed.recv_timeout(Duration::from_mins(1));
    disk.0.store(false, Relaxed);
    assert_eq!(is_closed, Ok(true));
    closing.join().unwrap().unwrap();
    drop(spool);
    // Its thread holds the lock for as long as it can write.
    let mut again = loop {
        match spool::open(config.clone()) {
            Err(spool::OpenError::InUse { .. }) => std::thread::yield_now(),
            other => break other.unwrap(),
        }
    };
    assert_eq!((again.report.last_stop, read_all(&mut again).len()), (LastStop::Clean, 300));
}
