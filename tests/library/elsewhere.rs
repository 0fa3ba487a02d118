//! What becomes of a spool that comes from elsewhere: from a newer program, from a backup, from a
//! copy, from a box whose clock is wrong, with a progress that is damaged?
//!
//! Repeats, each under the id that it had; never a gap, never one id for two records.

use crate::support::{
    self, append_all, block_on, config, copy_dir, open, read_all, segments, values, wait_until,
};
use crate::tmpfs::Tmpfs;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use waystation::record::{Millis, NewRecord, Reception, RecordId, Route, Sequence};
use waystation::spool::{self, Config, Spool};
use waystation::status::rates::age_seconds;

const SLOT: usize = 64 * 1024;

fn ids(spool: &mut Spool) -> BTreeMap<String, Vec<u8>> {
    let mut ids = BTreeMap::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        for record in block.records() {
            ids.insert(record.id.to_string(), record.value.to_vec());
        }
    }
    ids
}

fn names(ids: &[RecordId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// Fails when `open` does not set the spool aside (`aside::set_newer_aside`), and when the report of a
/// later start does not name it.
#[test]
fn a_spool_of_a_newer_program_is_set_aside_whole_and_vehicles_are_heard() {
    let dir = tempfile::tempdir().unwrap();
    let old = open(dir.path());
    append_all(&old, &values(5, 100, 1)).unwrap();
    let id = old.report.spool_id.clone();
    old.writer.close().unwrap();
    drop(old);
    let segment = segments(dir.path())[0].file_name().unwrap().to_owned();
    let mut progress = fs::read(dir.path().join("progress")).unwrap();
    for slot in progress.chunks_mut(SLOT) {
        slot.fill(7);
        slot[..5].copy_from_slice(b"WSPR\x04");
    }
    fs::write(dir.path().join("progress"), &progress).unwrap();
    let db = fs::read(dir.path().join(&segment).join("db")).unwrap();

    for start in 0..2 {
        let mut new = open(dir.path());
        let [kept] = &new.report.set_aside[..] else { panic!("{:?}", new.report.set_aside) };
        assert_eq!(fs::read(kept.join("progress")).unwrap(), progress);
        assert_eq!(fs::read(kept.join(&segment).join("db")).unwrap(), db);
        assert_ne!(new.report.spool_id, id);
        assert_eq!(read_all(&mut new).len(), start);
        let appended = append_all(&new, &values(1, 100, 2)).unwrap();
        assert_eq!(appended[0].sequence, Sequence(start as u64));
        assert!(new.writer.ledger().balances());
        new.writer.close().unwrap();
    }
}

/// Fails when only one slot knows of what was freed (`settle_progress`): the older one would call it
/// lost.
#[test]
fn whichever_slot_of_the_progress_is_damaged_nothing_delivered_passes_for_lost() {
    let dir = tempfile::tempdir().unwrap();
    let small = |dir: &Path| Config { segment_bytes: 100_000, ..config(dir) };
    let mut spool = spool::open(small(dir.path())).unwrap();
    for seed in 0..6 {
        append_all(&spool, &values(10, 10_000, seed)).unwrap();
    }
    read_all(&mut spool);
    // So that one segment is freed, after one writing of the progress.
    spool.reader.advance_watermark(Sequence(12));
    let copy = tempfile::tempdir().unwrap();
    wait_until("the first segment is freed", || {
        segments(dir.path()).iter().all(|path| !path.ends_with("seg-00000000000000000000-0000"))
    });
    support::crash(dir.path(), &copy.path().join("crashed"));
    drop(spool);
    for slot in 0..2 {
        let damaged = copy.path().join(format!("damaged-{slot}"));
        copy_dir(&copy.path().join("crashed"), &damaged).unwrap();
        let mut progress = fs::read(damaged.join("progress")).unwrap();
        progress[slot * SLOT + 50] ^= 1;
        fs::write(damaged.join("progress"), progress).unwrap();
        let mut after = spool::open(small(&damaged)).unwrap();
        assert_eq!(after.report.lost, [], "slot {slot}");
        let ledger = after.writer.ledger();
        assert_eq!((ledger.accepted, ledger.lost, ledger.balances()), (60, 0, true), "slot {slot}");
        let read = read_all(&mut after);
        assert!(read.len() >= 48 && read.last().unwrap().0 == 59, "slot {slot}: a gap");
    }
}

/// Fails when a start takes the epoch of the one before it.
#[test]
fn a_copy_and_an_old_backup_repeat_records_and_give_no_id_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let early = append_all(&spool, &values(10, 100, 1)).unwrap();
    read_all(&mut spool);
    spool.reader.advance_watermark(Sequence(4));
    spool.writer.close().unwrap();
    drop(spool);
    let (backup, clone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_dir(dir.path(), &backup.path().join("spool")).unwrap();
    copy_dir(dir.path(), &clone.path().join("spool")).unwrap();

    let mut all = BTreeMap::new();
    let places = [dir.path().to_owned(), clone.path().join("spool"), backup.path().join("spool")];
    for (seed, place) in (2..).zip(places) {
        let mut spool = open(&place);
        assert_eq!(spool.report.lost, []);
        let late = append_all(&spool, &values(10, 100, seed)).unwrap();
        let read = ids(&mut spool);
        // What was not delivered when the copy was made, and what is new.
        let want: Vec<_> = names(&early[4..]).into_iter().chain(names(&late)).collect();
        assert!(want.iter().all(|id| read.contains_key(id)) && read.len() == 16);
        for (id, value) in read {
            let known = all.entry(id.clone()).or_insert_with(|| value.clone());
            assert_eq!(*known, value, "{id} names two records");
        }
        spool.reader.advance_watermark(Sequence(20));
        assert!(spool.writer.ledger().balances());
        spool.writer.close().unwrap();
    }
    assert_eq!(all.len(), 6 + 3 * 10);
}

#[test]
fn receptions_decades_away_are_kept_and_no_age_is_negative() {
    let dir = tempfile::tempdir().unwrap();
    let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
    let decade = 10 * 365 * 86_400_000;
    let now = Millis::now().0;
    let times = [now, now + 3 * decade, now - 5 * decade, -decade, i64::MAX / 2, now];
    for (start, at) in times.into_iter().enumerate() {
        let mut spool = open(dir.path());
        let record = NewRecord {
            route: &route,
            key: None,
            timestamp: Millis(at),
            received: Reception { at: Millis(at), clock_synchronised: true },
            headers: &[],
            value: b"{}",
            origin: None,
        };
        block_on(spool.writer.append(&record).unwrap()).unwrap();
        let depth = spool.writer.depth();
        assert_eq!(depth.records, start as u64 + 1);
        let oldest = depth.oldest.expect("something waits");
        assert!(age_seconds(Millis::now(), oldest) >= 0.0);
        // A clock that was set back since.
        assert!(age_seconds(Millis(now - 5 * decade), oldest) >= 0.0);
        assert_eq!(read_all(&mut spool).len(), start + 1);
        spool.writer.close().unwrap();
    }
}

/// Fails when `start` asks more of `dir::prepare` than it can do without, and when `dir::empty_trash`
/// wants to see what was never made.
#[test]
fn an_older_spool_on_a_disk_without_an_inode_left_is_opened_drained_and_written_again() {
    let Some(disk) = Tmpfs::new("size=16m,nr_inodes=60") else { return };
    let dir = disk.path().join("spool");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/spool-format-1");
    copy_dir(Path::new(fixture), &dir).unwrap();
    // What that program made besides.
    fs::write(dir.join("lock"), "").unwrap();
    fs::create_dir(dir.join(".trash")).unwrap();
    fs::create_dir(dir.join("quarantine")).unwrap();
    let junk = disk.junk();
    junk.take_inodes();
    let mut spool = open(&dir);
    assert_eq!(spool.report.lost, []);
    assert_eq!(read_all(&mut spool).len(), 5);
    assert!(append_all(&spool, &values(1, 100, 1)).is_err(), "there is no room");
    let to = spool.reader.position();
    spool.reader.advance_watermark(to);
    wait_until("what was delivered is freed", || segments(&dir).is_empty());
    wait_until("records are taken again", || append_all(&spool, &values(1, 100, 2)).is_ok());
}
