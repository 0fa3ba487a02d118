//! Does much work stay work in small portions?

use super::*;
use crate::spool::part;
use crate::spool::progress::{Progress, SLOT_LEN};
use crate::spool::store::{Store, Stores};
use crate::spool::{self, Config, Spool, WhenFull, sample};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;

const SEGMENTS: usize = 2 * AT_ONCE + 3;

/// Of many segments with one record each, and closed: what its keeper did is done by the test.
fn closed(dir: &Path) -> Spool {
    let when_full = WhenFull::DropOldest;
    let config = Config { min_free: 0, segment_bytes: 1, when_full, ..Config::new(dir) };
    let (spool, route) = (spool::open(config).unwrap(), sample::route());
    for _ in 0..SEGMENTS {
        let append = spool.writer.append(&sample::record(&route));
        let mut append = append.unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        while std::pin::Pin::new(&mut append).poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
    }
    spool.writer.close().unwrap();
    assert_eq!(segments(dir), SEGMENTS);
    spool
}

/// [`closed`], with all of it done.
fn done(dir: &Path) -> Spool {
    let spool = closed(dir);
    let all = (Sequence(0), Sequence(SEGMENTS as u64));
    let hold = spool.writer.hold(all.0, all.1).unwrap();
    assert_eq!(hold.remove(&[all]).unwrap(), SEGMENTS as u64);
    spool
}

fn segments(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .filter(|e| dir::segment(e.as_ref().unwrap()).unwrap().is_some())
        .count()
}

/// How often the progress was written.
fn turn(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join(dir::PROGRESS)).unwrap();
    let turns = bytes.chunks(SLOT_LEN).map(|slot| Progress::decode(slot).unwrap().0);
    turns.max().unwrap()
}

/// Fails without `AT_ONCE`, when the progress is written for each segment, and when `keeping` is
/// not renewed.
#[test]
fn much_to_free_is_freed_in_portions_each_written_down_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = done(dir.path());
    let shared = &*spool.writer.owner.shared;
    let mut troubles = Troubles::default();
    for left in [SEGMENTS - AT_ONCE, SEGMENTS - 2 * AT_ONCE, 0] {
        let (written, began) = (turn(dir.path()), Instant::now());
        *lock(&shared.keeping) = Some(began);
        assert_eq!(free(shared, &mut troubles, Again::No), left > 0);
        assert_eq!((segments(dir.path()), turn(dir.path())), (left, written + 2));
        assert!(lock(&shared.keeping).unwrap() > began);
    }
}

/// Notes how many segments there are when it is shut.
#[derive(Debug, Clone)]
struct Noting {
    dir: PathBuf,
    seen: Arc<Mutex<usize>>,
}

#[derive(Debug)]
struct NotingStore(Noting);

impl Drop for NotingStore {
    fn drop(&mut self) {
        *lock(&self.0.seen) = segments(&self.0.dir);
    }
}

impl Stores for Noting {
    fn create(&self, _: &Path) -> io::Result<Box<dyn Store>> {
        Ok(Box::new(NotingStore(self.clone())))
    }
}

impl Store for NotingStore {
    fn put(&self, _: usize, _: &part::Header, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn get(&self, _: usize, _: &part::Header) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn disk_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn is_whole(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// Fails when the keeper frees all there is before it looks what else it was asked for: every
/// segment that is left meanwhile stays in memory, and a full spool goes on refusing.
#[test]
fn a_segment_that_was_left_is_shut_between_two_portions() {
    let dir = tempfile::tempdir().unwrap();
    let spool = done(dir.path());
    let noting = Noting { dir: dir.path().to_owned(), seen: Arc::default() };
    let id = SegmentId { first: Sequence(1_000_000), generation: 0 };
    let left = Arc::new(LiveSegment::create(dir.path(), id, &noting).unwrap());
    let (chores, inbox) = mpsc::channel();
    for chore in [Chore::Free, Chore::Retire(left), Chore::Close] {
        chores.send(chore).unwrap();
    }
    keep(&spool.writer.owner.shared, &inbox).unwrap();
    assert_eq!(*lock(&noting.seen), SEGMENTS - AT_ONCE + 1);
    assert_eq!(segments(dir.path()), 0);
}

/// Fails without `still_committing`.
#[test]
fn dropping_much_at_a_commit_is_many_pieces_of_work() {
    let dir = tempfile::tempdir().unwrap();
    let spool = closed(dir.path());
    let shared = &*spool.writer.owner.shared;
    shared.other_bytes.store(shared.config.max_size, Relaxed);
    let began = Instant::now();
    *lock(&shared.committing) = Some(began);
    assert!(shared.make_room().is_err(), "nothing was left to be dropped");
    assert_eq!(segments(dir.path()), 0);
    assert!(lock(&shared.committing).unwrap() > began);
}
