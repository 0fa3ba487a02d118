//! What survives a power cut?
//!
//! The spool's directory lies on a medium (`medium/`) that knows what was synced. A power cut may
//! leave any part of the rest, and each part is tried: nothing, everything, names without bytes,
//! bytes without names, a prefix, random pages and sectors and names.
//!
//! A cut between two syncs leaves a part of what is unsynced before the second one. So a cut
//! before every sync, of which any part is kept, is a cut everywhere.
//!
//! `WAYSTATION_SEED` repeats a run, `WAYSTATION_POWER_CUTS` makes it longer.

#[path = "../medium/selftest.rs"]
mod selftest;

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::{Inserted, Mount};
use crate::medium::outside::{Bench, LINES, Mark, Outside};
use crate::medium::{cuts, random};
use crate::support;
use fastrand::Rng;
use rustix::io::Errno;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use waystation::record::Sequence;
use waystation::spool::{Config, LastStop, WhenFull};

/// The end of a wait for a commit.
const PATIENCE: Duration = support::PATIENCE;

/// Where the spool lies on a disk; the directory above it is made by the spool as well.
const PLACE: &str = "lib/spool";

/// A disk right before one of its syncs, and what the world knew then.
struct Cut {
    layers: Layers,
    mark: Mark,
}

/// Makes a cut before every sync of a disk from now on.
#[derive(Clone, Default)]
struct Watch {
    mark: Arc<Mutex<Mark>>,
    cuts: Arc<Mutex<Vec<Cut>>>,
}

impl Watch {
    fn begin(disk: &Inserted, mark: Mark) -> Self {
        let watch = Self { mark: Arc::new(Mutex::new(mark)), cuts: Arc::default() };
        let seen = watch.clone();
        disk.disk().guard(Box::new(move |access, _, layers| {
            if access == Access::Sync {
                seen.cut(layers.clone());
            }
            Ok(())
        }));
        watch
    }

    /// The world knows as much from now on.
    fn knows(&self, mark: Mark) {
        *self.mark.lock().unwrap() = mark;
    }

    fn cut(&self, layers: Layers) {
        self.cuts.lock().unwrap().push(Cut { layers, mark: *self.mark.lock().unwrap() });
    }

    /// The cuts so far, and one of the disk as it is now.
    fn end(&self, disk: &Inserted) -> Vec<Cut> {
        disk.disk().unguarded();
        self.cut(disk.layers());
        std::mem::take(&mut *self.cuts.lock().unwrap())
    }
}

/// Everything that the spool does, from a start to a stop in order, with a cut before each sync.
fn work(mount: &Mount, start: &Layers, outside: &mut Outside, random: &mut Rng) -> Vec<Cut> {
    let disk = mount.insert(start.clone());
    let dir = disk.path().join(PLACE);
    let watch = Watch::begin(&disk, outside.mark());
    let mut bench = Bench::open(&dir).unwrap();
    for _ in 0..8 {
        let outcomes = bench.append(outside, random.u64(1..8), PATIENCE);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Ok(_)))), "{outcomes:?}");
        watch.knows(outside.mark());
        if random.bool() {
            bench.read_all();
            let to = random.u64(outside.delivered..=bench.spool.reader.position().0);
            // First Kafka has them, then the spool is told.
            watch.knows(Mark { delivered: to, ..outside.mark() });
            bench.deliver(outside, Sequence(to));
        }
    }
    bench.spool.writer.close().unwrap();
    bench.check_house(&dir);
    drop(bench);
    watch.end(&disk)
}

/// What was found when the spool was started on what a cut left.
struct Examined {
    /// The disk and what the world knew, after one more record, as a kill leaves them.
    end: Cut,
    known: Outside,
    /// Cuts before each sync of the start, of the reading and of one more record.
    cuts: Vec<Cut>,
}

/// The spool starts by itself, has everything, and takes one more record.
fn examine(mount: &Mount, left: &Layers, outside: &Outside, mark: Mark) -> Examined {
    let disk = mount.insert(left.clone());
    let dir = disk.path().join(PLACE);
    let watch = Watch::begin(&disk, mark);
    let mut bench = Bench::open(&dir).expect("the start needs no hand");
    let read = bench.read_all();
    outside.check(mark, &read);
    bench.check_house(&dir);
    let mut known = outside.after(&read);
    known.delivered = mark.delivered;
    let outcomes = bench.append(&mut known, 1, PATIENCE);
    assert!(matches!(outcomes[..], [Some(Ok(_))]), "{outcomes:?}");
    let mut cuts = watch.end(&disk);
    drop(bench);
    let mut end = cuts.pop().expect("the end is the last");
    end.mark = known.mark();
    Examined { end, known, cuts }
}

/// A start on what a cut left, which is cut before each of its syncs. Gives how many states that
/// were.
fn cut_again(
    mount: &Mount,
    cut: &Cut,
    left: &Layers,
    keeps: &[Keep],
    outside: &Outside,
    random: &mut Rng,
) -> usize {
    let found = examine(mount, left, outside, cut.mark);
    // What that start found beside may be gone again, or not: nobody was told of it.
    let outside = Outside { offered: found.known.offered, ..outside.clone() };
    for second in &found.cuts {
        for keep in keeps {
            examine(mount, &second.layers.crash(*keep, random), &outside, cut.mark);
        }
    }
    found.cuts.len() * keeps.len()
}

/// What the cut may leave, and last what a kill would: the page cache outlives that.
fn remains(cut: &Cut, random: &mut Rng) -> Vec<Layers> {
    let crash = |keep| cut.layers.crash(keep, random);
    let mut remains: Vec<_> = Keep::ALL.into_iter().map(crash).collect();
    remains.push(cut.layers.clone());
    remains
}

/// Lives of one spool, each on what a cut of the one before left. Fails without any of these, and
/// others:
/// - `sync_data` in `SledStore::sync`: acknowledged records are gone;
/// - the syncs of the segment's directory and of its parent in `LiveSegment::create`: the
///   segment is gone with all that was acknowledged in it;
/// - `settle_progress` before the removal in `keeper::free`, or its `sync_data`: delivered
///   records pass for lost;
/// - the sync of a left-over segment's data before it is sealed in `start/survey.rs`: what a start found
///   after a kill is gone after the next cut.
#[test]
fn whatever_a_cut_before_any_sync_leaves_holds_all_that_was_acknowledged() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::default();
    let mut start = Layers::new();
    let (mut lives, mut made, mut states) = (0, 0, 0);
    while made < cuts(60) {
        let cuts = work(&mount, &start, &mut outside, &mut random);
        let goes_on = random.usize(..cuts.len());
        let mut next = None;
        for (place, cut) in cuts.iter().enumerate() {
            for left in remains(cut, &mut random) {
                let found = examine(&mount, &left, &outside, cut.mark);
                // A second cut, which takes all that was not synced by then.
                let left = found.end.layers.crash(Keep::Nothing, &mut random);
                let again = examine(&mount, &left, &found.known, found.end.mark);
                states += 2;
                if place == goes_on {
                    next = Some(again);
                }
            }
        }
        made += cuts.len() as u64;
        lives += 1;
        let next = next.expect("one of the cuts is gone on from");
        (start, outside) = (next.end.layers, next.known);
    }
    println!("{made} cuts in {lives} lives left {states} states");
}

/// Fails when a start throws anything away before the next one could do without it: without the
/// sync in `ProgressFile::open` it removes what only the page cache knows to be delivered.
#[test]
fn a_second_cut_during_the_start_after_a_cut_costs_nothing_either() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::default();
    let first = work(&mount, &Layers::new(), &mut outside, &mut random);
    let mut states = 0;
    for _ in 0..cuts(12) {
        let cut = &first[random.usize(..first.len())];
        let mut remains = remains(cut, &mut random);
        let left = remains.swap_remove(random.usize(..remains.len()));
        states += cut_again(&mount, cut, &left, &Keep::ALL, &outside, &mut random);
    }
    // After a kill a start sees what a cut takes with it: the names that it changes may stand, and
    // the bytes that made it change them may not.
    for cut in &first {
        let keeps = [Keep::Nothing, Keep::Entries];
        states += cut_again(&mount, cut, &cut.layers, &keeps, &outside, &mut random);
    }
    println!("{states} states");
}

/// Fails without the sync in `Seal::write` (the next start would scan what it could know), without
/// the one in `ProgressFile::write`, and when a start does not write the progress before it is done.
#[test]
fn after_a_stop_in_order_a_cut_leaves_every_seal_and_the_last_progress() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::default();
    let cuts = work(&mount, &Layers::new(), &mut outside, &mut random);
    let left = cuts.last().unwrap().layers.crash(Keep::Nothing, &mut random);
    let disk = mount.insert(left);
    let dir = disk.path().join(PLACE);
    let mut seals = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("seg-") {
            let seal = std::fs::read(path.join("seal")).unwrap();
            assert!(seal.starts_with(b"WSSL"), "{} is not sealed: {seal:?}", path.display());
            seals += 1;
        }
    }
    assert!(seals > 0);
    let bench = Bench::open(&dir).unwrap();
    assert_eq!(bench.spool.report.last_stop, LastStop::Clean);
    assert_eq!(bench.spool.report.ledger.delivered, outside.delivered);
    let left = disk.layers().crash(Keep::Nothing, &mut random);
    drop(bench);
    let disk = mount.insert(left);
    let bench = Bench::open(&disk.path().join(PLACE)).unwrap();
    assert_eq!(bench.spool.report.last_stop, LastStop::Crash, "that start was not stopped");
}

/// Fails without the sync of the seal's zeros in `LiveSegment::create`, and without the sync of
/// the spool's directory at the end of a start: sealing, and what makes the rest of a start work,
/// have their place on the disk before anything is acknowledged.
#[test]
fn a_start_after_a_cut_needs_no_room() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::default();
    let cuts = work(&mount, &Layers::new(), &mut outside, &mut random);
    for cut in cuts.iter().filter(|cut| cut.mark.acknowledged > 0) {
        for left in remains(cut, &mut random) {
            let disk = mount.insert(left);
            disk.disk().guard(Box::new(|access, _, _| match access {
                Access::Grow | Access::Create => Err(Errno::NOSPC),
                _ => Ok(()),
            }));
            let dir = disk.path().join(PLACE);
            let mut bench = Bench::open(&dir).expect("the start needs no room");
            outside.check(cut.mark, &bench.read_all());
            bench.check_house(&dir);
        }
    }
}

/// Small segments are merged, and no cut in the midst of that costs anything. Fails when
/// `dir::adopt` syncs neither directory (the old ones are gone, and the copy's name as well), and when
/// a start takes an old one that is half gone for damage (`believe` in `start/survey.rs`), or does not
/// sync the directory before it removes the old ones.
#[test]
fn a_cut_at_any_step_of_a_repacking_leaves_all_that_was_acknowledged() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::from(LINES);
    let disk = mount.insert(Layers::new());
    let dir = disk.path().join(PLACE);
    for _ in 0..5 {
        let bench = Bench::open(&dir).unwrap();
        for _ in 0..8 {
            let outcomes = bench.append(&mut outside, 2, PATIENCE);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Ok(_)))), "{outcomes:?}");
        }
        bench.spool.writer.close().unwrap();
    }
    let start = disk.layers();
    drop(disk);
    let (mut made, mut states) = (0, 0);
    while made < cuts(20) {
        let mut outside = outside.clone();
        let disk = mount.insert(start.clone());
        let dir = disk.path().join(PLACE);
        let watch = Watch::begin(&disk, outside.mark());
        let repack_after = Duration::from_millis(1);
        let mut bench =
            Bench::open_with(Config { repack_after, repack_pause: 1, ..Config::new(&dir) })
                .unwrap();
        support::until("they are merged", || Bench::is_repacked(&dir));
        bench.append(&mut outside, 1, PATIENCE);
        watch.knows(outside.mark());
        bench.read_all();
        bench.spool.writer.close().unwrap();
        bench.check_house(&dir);
        drop(bench);
        let cuts = watch.end(&disk);
        for cut in &cuts {
            for left in remains(cut, &mut random).into_iter().chain(remains(cut, &mut random)) {
                examine(&mount, &left, &outside, cut.mark);
                states += 1;
            }
            // After a kill.
            states += cut_again(&mount, cut, &cut.layers, &[Keep::Some], &outside, &mut random);
        }
        made += cuts.len() as u64;
    }
    println!("{made} cuts left {states} states");
}

/// Records are dropped for want of room and exported by hand, and nothing of that is ever taken
/// for a loss, or lost beyond it. Fails when `Shared::drop_oldest` or `Hold::remove` unlinks
/// before the removal is synced.
#[test]
fn what_leaves_by_policy_or_by_hand_is_counted_through_any_cut() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut outside = Outside::default();
    let disk = mount.insert(Layers::new());
    let dir = disk.path().join(PLACE);
    let watch = Watch::begin(&disk, outside.mark());
    // The commit's reserve, and a few segments.
    let max_size = (4 << 20) + 250_000;
    let config = Config { max_size, when_full: WhenFull::DropOldest, ..Config::new(&dir) };
    let mut bench = Bench::open_with(config).unwrap();
    let mut round = 0;
    while round < 20 || bench.spool.writer.ledger().dropped == 0 {
        round += 1;
        assert!(round < 200, "nothing is ever dropped: {:?}", bench.spool.writer.depth());
        let outcomes = bench.append(&mut outside, random.u64(1..8), PATIENCE);
        watch.knows(outside.mark());
        // Where all that is closed was handed out, nothing can be dropped.
        let full = outcomes.iter().any(|outcome| matches!(outcome, Some(Err(_))));
        let end = bench.spool.writer.ledger().accepted;
        let position = bench.spool.reader.position().0;
        if round % 10 == 0 && position < end {
            let first = random.u64(position..end);
            let hold = bench.spool.writer.hold(Sequence(first), Sequence(end)).unwrap();
            let range = (hold.first(), hold.end());
            hold.remove(&[range]).unwrap();
        }
        if round % 10 == 0 || full {
            bench.read_all();
            let to = bench.spool.reader.position();
            watch.knows(Mark { delivered: to.0, ..outside.mark() });
            bench.deliver(&mut outside, to);
            support::until("records are taken", || bench.spool.writer.refusal().is_none());
        }
    }
    bench.spool.writer.close().unwrap();
    let ledger = bench.spool.writer.ledger();
    println!("{ledger:?}");
    assert!(ledger.dropped > 0 && ledger.exported > 0 && ledger.lost == 0);
    drop(bench);
    let cuts = watch.end(&disk);
    for cut in &cuts {
        for left in remains(cut, &mut random) {
            examine(&mount, &left, &outside, cut.mark);
        }
    }
}
