//! Is a dead letter that leaves counted once, whatever comes between: a kill, a power cut, a disk
//! that fails?
//!
//! The spool lies on a medium (`medium/`) that knows what was synced. While letters are dropped or
//! their records sent again, the process is killed at every access, the power is cut before every
//! sync, and every access fails once; the start that follows is cut as well. After the next one there
//! is a letter and a dead record, or neither.
//!
//! `WAYSTATION_SEED` repeats a run.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::Mount;
use crate::medium::random;
use crate::support as spool;
use fastrand::Rng;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use waystation::dead::{self, Config, Left, Letter, Name, Store};
use waystation::record::{Millis, RecordId, Sequence};
use waystation::spool::{Spool, SpoolWriter};

const PLACE: &str = "spool";
/// Of records that are not dead.
const DELIVERED: u64 = 2;
/// Of records that are.
const DEAD: u64 = 3;
/// Of one that waits, in the segment to which copies come.
const WAITS: u64 = 1;

/// How letters leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Drop,
    Retry,
}

impl Way {
    fn leave(self, dir: &Path, writer: &SpoolWriter) -> io::Result<Left> {
        let names: Vec<Name> = dead::list(dir)?.iter().map(|found| found.name).collect();
        match self {
            Self::Drop => dead::drop_letters(dir, writer, &names),
            Self::Retry => dead::send_again(dir, writer, &names),
        }
    }
}

/// A disk with a spool of which everything is delivered or dead; all of it is durable.
fn start(mount: &Mount, random: &mut Rng) -> Layers {
    let disk = mount.insert(Layers::new());
    let dir = disk.path().join(PLACE);
    fs::create_dir(&dir).unwrap();
    File::open(disk.path()).unwrap().sync_all().unwrap();
    let mut spool = spool::open(&dir);
    spool::append_all(&spool, &spool::values(5, 900, 1)).unwrap();
    let store = Store::open(&dir, Config::default());
    while let Some(block) = spool.reader.next_block().unwrap() {
        for at in block.records().map(|record| record.sequence) {
            if (1..=DEAD).contains(&at.0) {
                let letter = Letter::new(&block, at, "too large", Millis(1)).unwrap().unwrap();
                store.keep(std::slice::from_ref(&letter)).unwrap();
                spool.reader.set_aside(&[at]).unwrap();
            }
        }
    }
    spool.reader.advance_watermark(Sequence(5));
    spool.writer.close().unwrap();
    assert_eq!((spool.writer.ledger().dead, spool.writer.ledger().delivered), (DEAD, DELIVERED));
    drop(spool);
    disk.layers().crash(Keep::Everything, random)
}

fn open(dir: &Path) -> Spool {
    let spool = spool::open(dir);
    dead::recover(dir, &spool.writer);
    spool
}

/// The ids of what waits.
fn waiting(spool: &mut Spool) -> Vec<RecordId> {
    let mut ids = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        ids.extend(block.records().map(|record| record.id));
    }
    ids
}

/// Every record is counted once, and the letters are those of the books. Gives how many there are.
#[track_caller]
fn balanced(dir: &Path, spool: &mut Spool, way: Way) -> u64 {
    let letters: Vec<_> = dead::list(dir).unwrap().iter().map(|found| found.name.id).collect();
    let books = spool.writer.ledger();
    assert!(books.balances(), "{books:?}");
    assert_eq!(books.dead, letters.len() as u64, "{books:?}");
    let accepted = DELIVERED + DEAD + WAITS;
    assert_eq!((books.accepted, books.delivered), (accepted, DELIVERED), "{books:?}");
    let gone = DEAD - books.dead;
    let expected = if way == Way::Drop { (gone, WAITS) } else { (0, gone + WAITS) };
    assert_eq!((books.dropped, books.spooled), expected, "{books:?}");
    let waiting = waiting(spool);
    let ids: BTreeSet<_> = letters.iter().chain(&waiting).map(ToString::to_string).collect();
    assert_eq!((ids.len(), waiting.len() as u64), (letters.len() + waiting.len(), books.spooled));
    books.dead
}

/// What the start that follows a crash leaves when it is cut as well.
fn cut_again(mount: &Mount, left: &Layers, random: &mut Rng) -> Layers {
    let disk = mount.insert(left.clone());
    let seen: Arc<Mutex<Vec<Layers>>> = Arc::default();
    let cut = Arc::clone(&seen);
    disk.disk().guard(Box::new(move |access, _, layers| {
        if !matches!(access, Access::Open | Access::Read) {
            cut.lock().unwrap().push(layers.clone());
        }
        Ok(())
    }));
    drop(open(&disk.path().join(PLACE)));
    disk.disk().unguarded();
    let seen = seen.lock().unwrap();
    let keep = Keep::ALL[random.usize(..Keep::ALL.len())];
    seen[random.usize(..seen.len())].crash(keep, random)
}

/// What a crash has left goes on by itself, and what stays can leave. Gives how many letters stayed.
#[track_caller]
fn goes_on(mount: &Mount, left: Layers, way: Way) -> u64 {
    let disk = mount.insert(left);
    let dir = disk.path().join(PLACE);
    let stayed = balanced(&dir, &mut open(&dir), way);
    let mut spool = open(&dir);
    let left = way.leave(&dir, &spool.writer).unwrap();
    assert_eq!((left.gone.len() as u64, left.complaints.len()), (stayed, 0), "{left:?}");
    assert_eq!(balanced(&dir, &mut spool, way), 0);
    stayed
}

/// Fails without `recover`; where a letter goes before the books are written, or without a sync of
/// its directory; and, of the retry, without the first write of the books, and where the copies
/// are not looked for.
#[test]
fn a_letter_that_leaves_at_a_kill_or_a_power_cut_is_counted_once() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let begin = start(&mount, &mut random);
    for way in [Way::Drop, Way::Retry] {
        let disk = mount.insert(begin.clone());
        let dir = disk.path().join(PLACE);
        let spool = open(&dir);
        spool::append_all(&spool, &spool::values(1, 100, 2)).unwrap();
        let seen: Arc<Mutex<Vec<(Access, Layers, bool)>>> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let (cut, told) = (Arc::clone(&seen), Arc::clone(&done));
        disk.disk().guard(Box::new(move |access, _, layers| {
            if !matches!(access, Access::Open | Access::Read) {
                cut.lock().unwrap().push((access, layers.clone(), told.load(Relaxed)));
            }
            Ok(())
        }));
        let left = way.leave(&dir, &spool.writer).unwrap();
        done.store(true, Relaxed);
        assert_eq!((left.gone.len() as u64, left.complaints.len()), (DEAD, 0), "{left:?}");
        let after = disk.layers();
        spool.writer.close().unwrap();
        disk.disk().unguarded();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.push((Access::Sync, after, true));
        let (cuts, mut states, mut stayed) = (seen.len(), 0, BTreeSet::new());
        for (access, layers, done) in seen {
            // A kill leaves everything, a power cut any part of what was not synced.
            let keeps = if access == Access::Sync { &Keep::ALL[..] } else { &[Keep::Everything] };
            for keep in keeps {
                let left = layers.crash(*keep, &mut random);
                let again = cut_again(&mount, &left, &mut random);
                let letters = goes_on(&mount, left, way);
                assert_eq!(goes_on(&mount, again, way), letters, "{way:?}: after two cuts");
                assert!(letters == 0 || !done, "{way:?}, {keep:?}: {letters} are back");
                stayed.insert(letters);
                states += 1;
            }
        }
        println!("{way:?}: {cuts} cuts, {states} states of the disk");
        assert!(stayed.contains(&0) && stayed.contains(&DEAD), "{stayed:?}");
    }
}

/// Fails where letters leave whose leaving could not be written, and where what failed is not gone
/// on with by the next command.
#[test]
fn whichever_access_fails_a_letter_that_leaves_is_counted_once() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let begin = start(&mount, &mut random);
    for (way, error) in [
        (Way::Drop, Errno::IO),
        (Way::Retry, Errno::IO),
        (Way::Drop, Errno::NOSPC),
        (Way::Retry, Errno::NOSPC),
    ] {
        let mut at = 0;
        loop {
            let disk = mount.insert(begin.clone());
            let dir = disk.path().join(PLACE);
            let mut spool = open(&dir);
            spool::append_all(&spool, &spool::values(1, 100, 2)).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            disk.disk().guard(Box::new(move |_, _, _| {
                if counted.fetch_add(1, Relaxed) == at { Err(error) } else { Ok(()) }
            }));
            let left = way.leave(&dir, &spool.writer);
            disk.disk().unguarded();
            let struck = count.load(Relaxed) > at;
            // As a kill leaves it now, and a power cut.
            for keep in [Keep::Everything, Keep::Nothing] {
                goes_on(&mount, disk.layers().crash(keep, &mut random), way);
            }
            // The process goes on. What has failed at the disk, it tries again by itself.
            spool::wait_until("records are taken", || spool.writer.refusal().is_none());
            let again = way.leave(&dir, &spool.writer).unwrap();
            let left_before = |why: &String| why.contains("it has left before");
            assert!(again.complaints.iter().all(left_before), "{at}: {again:?}, {left:?}");
            assert_eq!(balanced(&dir, &mut spool, way), 0, "{at}: {left:?}");
            spool.writer.close().unwrap();
            drop(spool);
            goes_on(&mount, disk.layers().crash(Keep::Nothing, &mut random), way);
            if !struck {
                assert_eq!(left.unwrap().gone.len() as u64, DEAD);
                println!("{way:?}, {error}: {at} accesses failed, one after the other");
                assert!(at > 5);
                break;
            }
            at += 1;
        }
    }
}
