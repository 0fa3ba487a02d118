//! What leaves the spool by another way than delivery: is it counted once, named, and gone?
//!
//! By the policy `drop-oldest`, and by an operator's hand.

use crate::support::{append_all, config, copy_dir, open, read_all, segments, values, wait_until};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs::File;
use std::path::{Path, PathBuf};
use waystation::record::Sequence;
use waystation::spool::{self, Config, HoldError, Spool, WhenFull};

const LIMIT: u64 = 24 << 20;

fn dropping(dir: &Path) -> Config {
    let segment_bytes = 1 << 20;
    Config { max_size: LIMIT, when_full: WhenFull::DropOldest, segment_bytes, ..config(dir) }
}

/// Appends blocks of 400 kB until as many records were accepted.
fn fill(spool: &Spool, until: u64) {
    while spool.writer.ledger().accepted < until {
        append_all(spool, &values(20, 20_000, spool.writer.ledger().accepted)).unwrap();
    }
}

fn sequences(spool: &mut Spool) -> Vec<u64> {
    read_all(spool).into_iter().map(|(sequence, _)| sequence).collect()
}

/// Fails when `Shared::make_room` does not drop, and when `look_for_room` calls the spool full all
/// the same.
#[test]
fn a_full_spool_gives_its_oldest_records_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open(dropping(dir.path())).unwrap();
    fill(&spool, 3_000);
    let ledger = spool.writer.ledger();
    assert!(ledger.balances());
    assert_eq!(ledger.accepted, ledger.dropped + ledger.spooled);
    assert!(ledger.dropped > 1_000, "{ledger:?}");
    assert!(spool.writer.depth().disk_bytes <= LIMIT);
    let newest: Vec<_> = (ledger.dropped..ledger.accepted).collect();
    assert_eq!(sequences(&mut spool), newest);
    spool.reader.advance_watermark(Sequence(ledger.accepted));
    assert_eq!(spool.writer.ledger().delivered, ledger.spooled);
    assert_eq!(spool.writer.ledger().dropped, ledger.dropped);
}

/// Fails when `Claims::are_free` does not ask what was handed out.
#[test]
fn what_was_handed_out_is_not_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open(dropping(dir.path())).unwrap();
    fill(&spool, 100);
    let mut handed = Vec::new();
    for _ in 0..2 {
        let block = spool.reader.next_block().unwrap().unwrap();
        handed.extend(block.records().map(|record| record.sequence.0));
    }
    // An outage: all goes back to the watermark, and may be in Kafka all the same.
    spool.reader.rewind(Sequence(0));
    fill(&spool, 3_000);
    let ledger = spool.writer.ledger();
    assert!(ledger.dropped > 1_000 && ledger.balances(), "{ledger:?}");
    let read = sequences(&mut spool);
    assert_eq!(read[..handed.len()], handed[..]);
    assert_eq!(read.len() as u64, ledger.spooled);
}

/// Fails when `drop_oldest` unlinks before it has written down, and when a start calls a listed
/// range lost (`Survey::waiting`).
#[test]
fn what_was_dropped_stays_dropped_over_a_restart_even_if_the_file_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let before = tempfile::tempdir().unwrap();
    let mut spool = spool::open(dropping(dir.path())).unwrap();
    fill(&spool, 400);
    // The first segment stays, since something of it was handed out.
    let handed = spool.reader.next_block().unwrap().unwrap();
    let oldest = segments(dir.path())[1].clone();
    wait_until("the second is sealed", || {
        std::fs::read(oldest.join("seal")).is_ok_and(|seal| seal[0] != 0)
    });
    let kept = before.path().join("kept");
    copy_dir(&oldest, &kept).unwrap();
    fill(&spool, 3_000);
    let ledger = spool.writer.ledger();
    assert!(ledger.dropped > 1_000);
    spool.writer.close().unwrap();
    drop(spool);
    // A power cut has undone its removal.
    copy_dir(&kept, &oldest).unwrap();

    let mut spool = spool::open(dropping(dir.path())).unwrap();
    assert_eq!(spool.report.lost, []);
    assert_eq!(spool.writer.ledger(), ledger);
    assert!(!oldest.exists());
    let read = sequences(&mut spool);
    assert_eq!((read[0], read.len() as u64), (handed.first().0, ledger.spooled));
}

#[test]
fn what_an_operator_takes_out_is_not_handed_out_and_counts_as_exported() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append_all(&spool, &values(100, 100, 1)).unwrap();
    // Fails when `hand_out` does not stop where a hold begins.
    let hold = spool.writer.hold(Sequence(40), Sequence(60)).unwrap();
    assert_eq!((hold.first(), hold.end()), (Sequence(40), Sequence(60)));
    assert!(matches!(spool.writer.hold(Sequence(0), Sequence(1)), Err(HoldError::Another)));
    assert_eq!(sequences(&mut spool), (0..40).collect::<Vec<_>>());
    // One of them could not be read by whoever exports, and stays.
    let taken = [(Sequence(30), Sequence(50)), (Sequence(51), Sequence(99))];
    assert_eq!(hold.remove(&taken).unwrap(), 19);
    let rest: Vec<_> = std::iter::once(50).chain(60..100).collect();
    assert_eq!(sequences(&mut spool), rest);
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.exported, ledger.spooled), (19, 81));
    spool.reader.advance_watermark(Sequence(100));
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.exported, ledger.delivered, ledger.spooled), (19, 81, 0));
    assert!(ledger.balances());
    spool.writer.close().unwrap();
    drop(spool);
    assert_eq!(open(dir.path()).writer.ledger(), ledger);
}

/// Fails when `Shared::readable` begins below the watermark, where a removal is not listed any more.
#[test]
fn what_was_taken_out_behind_a_delivery_stays_out_once_the_watermark_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append_all(&spool, &values(3, 100, 1)).unwrap();
    let hold = spool.writer.hold(Sequence(1), Sequence(2)).unwrap();
    assert_eq!(hold.remove(&[(Sequence(1), Sequence(2))]).unwrap(), 1);
    let block = spool.reader.next_block().unwrap().unwrap();
    assert_eq!((block.first(), block.end()), (Sequence(0), Sequence(1)));
    spool.reader.advance_watermark(Sequence(1));
    assert_eq!(spool.reader.watermark(), Sequence(2));
    spool.writer.close().unwrap(); // writes the progress
    assert_eq!(sequences(&mut spool), [2]);
}

#[test]
fn what_is_held_and_not_taken_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append_all(&spool, &values(10, 100, 1)).unwrap();
    let hold = spool.writer.hold(Sequence(0), Sequence(u64::MAX)).unwrap();
    assert_eq!(hold.end(), Sequence(10));
    assert!(sequences(&mut spool).is_empty());
    drop(hold);
    assert_eq!(sequences(&mut spool), (0..10).collect::<Vec<_>>());
    // Handed out, they are not an operator's to take any more.
    let late = spool.writer.hold(Sequence(0), Sequence(10));
    assert!(matches!(late, Err(HoldError::Nothing)));
}

/// A directory that cannot be moved, as one that root made is for the service. Until it is dropped.
struct Immovable(PathBuf);

impl Immovable {
    /// Nothing where that cannot be had: the test then says so and ends.
    fn new(path: &Path) -> Option<Self> {
        if let Err(error) = flag(path, true) {
            println!("skipped: no directory can be made immovable here: {error}");
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Immovable {
    fn drop(&mut self) {
        flag(&self.0, false).unwrap();
    }
}

fn flag(path: &Path, on: bool) -> std::io::Result<()> {
    let dir = File::open(path)?;
    let mut flags = ioctl_getflags(&dir)?;
    flags.set(IFlags::IMMUTABLE, on);
    Ok(ioctl_setflags(&dir, flags)?)
}

/// Fails when `free` stops at the first that fails, or forgets it; and when a round does not try it
/// again.
#[test]
fn a_segment_that_cannot_be_removed_is_in_no_others_way_and_is_named_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open(Config { segment_bytes: 1 << 20, ..config(dir.path()) }).unwrap();
    fill(&spool, 400);
    let all = segments(dir.path());
    let Some(immovable) = Immovable::new(&all[1]) else { return };
    assert_eq!(sequences(&mut spool).len(), 400);
    spool.reader.advance_watermark(Sequence(400));
    wait_until("the others are gone", || segments(dir.path()).len() == 2);
    assert!(all[1].exists() && all.last().unwrap().exists());
    wait_until("it is told of", || spool.writer.depth().stuck.is_some());
    let (segments_stuck, why) = spool.writer.depth().stuck.unwrap();
    let name = all[1].file_name().unwrap().to_str().unwrap();
    assert!(segments_stuck == 1 && why.starts_with(name), "{segments_stuck}, {why}");
    drop(immovable);
    wait_until("it is gone as well", || !all[1].exists());
    wait_until("nothing is told of it", || spool.writer.depth().stuck.is_none());
}

/// Fails without `dir::may_go` in `Shared::may_be_dropped`: it would be dropped, and give no room.
#[test]
fn a_segment_that_cannot_be_removed_is_not_dropped_and_the_next_one_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open(dropping(dir.path())).unwrap();
    fill(&spool, 100);
    let oldest = segments(dir.path())[0].clone();
    let Some(_immovable) = Immovable::new(&oldest) else { return };
    fill(&spool, 3_000);
    let ledger = spool.writer.ledger();
    assert!(ledger.dropped > 1_000 && ledger.balances(), "{ledger:?}");
    let read = sequences(&mut spool);
    assert_eq!(read[..20], (0..20).collect::<Vec<_>>());
    assert_eq!(read.len() as u64, ledger.spooled);
}

/// Fails when `free` looks at the oldest segment only.
#[test]
fn a_segment_that_is_taken_out_whole_is_unlinked_before_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool::open(Config { segment_bytes: 1 << 20, ..config(dir.path()) }).unwrap();
    fill(&spool, 400);
    let all = segments(dir.path());
    wait_until("all but the tail are sealed", || {
        let sealed = |segment: &std::path::PathBuf| {
            std::fs::read(segment.join("seal")).is_ok_and(|seal| seal[0] != 0)
        };
        all[..all.len() - 1].iter().all(sealed)
    });
    let hold = spool.writer.hold(Sequence(50), Sequence(350)).unwrap();
    assert_eq!(hold.remove(&[(Sequence(50), Sequence(350))]).unwrap(), 300);
    wait_until("those in its midst are gone", || all[1..4].iter().all(|segment| !segment.exists()));
    assert!(all[0].exists() && all.last().unwrap().exists());
    assert_eq!(spool.writer.ledger().spooled, 100);
}
