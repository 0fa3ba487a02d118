//! Is everything there, once, at each step of a rewriting, and whatever happens beside it?

mod come_back;
mod given_up;
mod looked_at;

use super::plan::{self, Learnt, Plan, Rules};
use super::rewrite::{Rewritten, Step, Stopped, rewrite, settle};
use crate::record::{Epoch, Millis, NewRecord, Reception, RecordId, Route, Sequence};
use crate::spool::claims::Claims;
use crate::spool::mutex::lock;
use crate::spool::removal::Finding;
use crate::spool::shared::Shared;
use crate::spool::{self, Config, Spool, dir};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Never by its own thread: the tests take the steps themselves.
pub(super) fn config(dir: &Path) -> Config {
    let repack_after = Duration::from_hours(10_000);
    Config { min_free: 0, repack_after, segment_bytes: 20_000, ..Config::new(dir) }
}

/// One line of JSON that compresses as such lines do.
fn line(number: u64) -> Vec<u8> {
    let noise = fastrand::Rng::with_seed(number).u32(..);
    let text = format!(
        r#"{{"deviceId":"sim-{:05}","latitude":48.{noise},"altitude":512.3,"satellites":11,"fixType":"FIX_3D","ignition":true,"odometer":"{number}","event":"POSITION","vehicleId":"bus-1"}}"#,
        number % 50
    );
    text.into_bytes()
}

/// Makes records durable, two a commit.
pub(super) fn append(spool: &Spool, numbers: std::ops::Range<u64>) {
    let route = Arc::new(Route { path: "/endpoint".to_owned(), topic: "test".to_owned() });
    for pair in numbers.collect::<Vec<_>>().chunks(2) {
        let append = |number: &u64| {
            spool.writer.append(&NewRecord {
                route: &route,
                key: Some(b"k"),
                timestamp: Millis(1),
                received: Reception { at: Millis(2), clock_synchronised: true },
                headers: &[],
                value: &line(*number),
                origin: (number % 10 == 3)
                    .then_some(RecordId { epoch: Epoch(77), sequence: Sequence(*number) }),
            })
        };
        for promise in pair.iter().map(append).collect::<Vec<_>>() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut promise = promise.unwrap();
                let ready = std::future::poll_fn(|context| {
                    context.waker().wake_by_ref();
                    std::pin::Pin::new(&mut promise).poll(context)
                });
                ready.await.unwrap();
            });
        }
    }
}

/// A closed spool of three segments and more, over two epochs, opened anew; and its records.
fn filled(dir: &Path) -> (Spool, Vec<(RecordId, Vec<u8>)>) {
    for half in [0..300, 300..600] {
        let spool = spool::open(config(dir)).unwrap();
        append(&spool, half);
        spool.writer.close().unwrap();
    }
    let copy = dir.with_extension("copy");
    copy_dir(dir, &copy);
    let mut again = spool::open(config(&copy)).unwrap();
    let all = read_all(&mut again);
    assert_eq!(all.len(), 600);
    drop(again);
    fs::remove_dir_all(copy).unwrap();
    let spool = spool::open(config(dir)).unwrap();
    (spool, all)
}

pub(super) fn shared(spool: &Spool) -> &Arc<Shared> {
    &spool.writer.owner.shared
}

pub(super) fn read_all(spool: &mut Spool) -> Vec<(RecordId, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        records.extend(block.records().map(|r| (r.id, r.value.to_vec())));
    }
    records
}

/// What is worth it when age is no matter.
fn plan(spool: &Spool) -> Option<Plan> {
    let shared = shared(spool);
    let rules = Rules { after: Duration::ZERO, full: 20_000 };
    let entries = lock(&shared.catalog).entries().to_vec();
    let books = lock(&shared.books);
    let untouched = |first, end| books.are_untouched(first, end);
    plan::choose(&entries, Instant::now(), rules, &Learnt::new(), untouched)
}

fn rewrite_with(
    spool: &Spool,
    plan: &Plan,
    mut at: impl FnMut(Step) -> Result<(), Stopped>,
) -> Result<Rewritten, Stopped> {
    rewrite(shared(spool), plan, &mut at)
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with("seg-"));
    all.sort();
    all
}

/// Opens what a crash left: everything is there once, and nothing is left over. Whoever looks from
/// outside sees that before.
fn check_crashed(dir: &Path, all: &[(RecordId, Vec<u8>)]) {
    looked_at::check(dir, all);
    let mut after = spool::open(config(dir)).unwrap();
    assert_eq!(after.report.lost, [], "{}", dir.display());
    let ledger = after.writer.ledger();
    assert_eq!((ledger.accepted, ledger.spooled), (all.len() as u64, all.len() as u64));
    let entries = lock(&shared(&after).catalog).entries().to_vec();
    assert!(entries.is_sorted_by(|a, b| a.end <= Some(b.id.first)), "{entries:?}");
    assert!(read_all(&mut after) == all, "{}", dir.display());
    assert_eq!(fs::read_dir(dir.join(dir::TMP)).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.join("quarantine")).unwrap().count(), 0);
    after.writer.close().unwrap();
}

/// Fails without rule 2 of `generations.rs` (old ones beside the copy are read again), without
/// `dir::empty_trash`, when `dir::adopt` comes before the seal, and when `judged` of
/// `outside/view.rs` lets the copy end where the next old one begins.
#[test]
fn at_whatever_step_a_crash_comes_everything_is_there_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, all) = filled(&path);
    let plan = plan(&spool).unwrap();
    assert!(plan.sources.len() >= 3, "{plan:?}");
    let before = root.path().join("before");
    copy_dir(&path, &before);
    let mut crashes = Vec::new();
    rewrite_with(&spool, &plan, |step| {
        if !matches!(step, Step::Copied(n) if crashes.iter().any(|(s, _)| *s == Step::Copied(n))) {
            let crash = root.path().join(format!("crash-{}", crashes.len()));
            copy_dir(&path, &crash);
            crashes.push((step, crash));
        }
        Ok(())
    })
    .unwrap();
    for step in [Step::Begun, Step::Shut, Step::Sealed, Step::Adopted, Step::Replaced] {
        assert!(crashes.iter().any(|(s, _)| *s == step), "{step:?} did not come");
    }
    for (step, crash) in &crashes {
        println!("{step:?}");
        check_crashed(crash, &all);
    }
    // A power cut brings back any of the old ones, beside the copy.
    let old: Vec<_> = plan.ids().map(|id| id.to_string()).collect();
    for subset in 0..1_u32 << old.len().min(6) {
        let cut = root.path().join(format!("cut-{subset}"));
        copy_dir(&path, &cut);
        for (place, name) in old.iter().enumerate().filter(|(place, _)| subset >> place & 1 == 1) {
            assert!(place < 6);
            copy_dir(&before.join(name), &cut.join(name));
        }
        check_crashed(&cut, &all);
        fs::remove_dir_all(&cut).unwrap();
    }
}

/// Fails when `Catalog::replace` leaves the old entries, or `Copy` forgets to change the block at
/// a change of the epoch (the ids are others then).
#[test]
fn a_reader_goes_on_in_the_copy_in_the_midst_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (mut spool, all) = filled(&root.path().join("spool"));
    let first = plan(&spool).unwrap();
    rewrite_with(&spool, &first, |_| Ok(())).unwrap();
    let mut read = Vec::new();
    let shared = shared(&spool).clone();
    while read.len() < 100 {
        let block = spool.reader.next_block().unwrap().unwrap();
        read.extend(block.records().map(|r| (r.id, r.value.to_vec())));
    }
    assert!(read == all[..read.len()]);
    spool.reader.rewind(Sequence(50));
    assert!(read_all(&mut spool) == all[50..]);
    assert_eq!(shared.ledger().lost, 0);
    assert!(plan(&spool).is_none(), "never in a loop, and not what was read");
}

/// Fails without the look at what is untouched in `Shared::replace`.
#[test]
fn what_the_drain_comes_to_meanwhile_is_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (mut spool, all) = filled(&path);
    let (plan, before) = (plan(&spool).unwrap(), names(&path));
    for at in [Step::Begun, Step::Copied(0), Step::Shut, Step::Sealed, Step::Adopted] {
        let shared = shared(&spool).clone();
        let reader = &mut spool.reader;
        let stopped = rewrite(&shared, &plan, &mut |step| {
            if step == at {
                reader.next_block().unwrap();
            }
            Ok(())
        });
        assert!(matches!(stopped, Err(Stopped::Wanted)), "{at:?}: {stopped:?}");
        assert_eq!(names(&path), before);
        assert_eq!(fs::read_dir(path.join(dir::TMP)).unwrap().count(), 0);
        lock(&shared.books).claims = Claims::new(Sequence(0));
        spool.reader.rewind(Sequence(0));
    }
    assert!(read_all(&mut spool) == all);
}

/// Fails without the look into the catalog in `Shared::record_loss`.
#[test]
fn nothing_is_called_lost_on_the_word_of_a_segment_that_was_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (spool, all) = filled(&root.path().join("spool"));
    let plan = plan(&spool).unwrap();
    rewrite_with(&spool, &plan, |_| Ok(())).unwrap();
    let old = plan.sources[0].id;
    let found = shared(&spool).record_loss(old, Sequence(0), Sequence(10)).unwrap();
    assert_eq!(found, Finding::Stale);
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.lost, ledger.spooled), (0, all.len() as u64));
}

/// Fails without the look at what is untouched in `Shared::replace`: the copy would bring back
/// what is called lost.
#[test]
fn a_source_that_is_found_damaged_meanwhile_stays() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, _) = filled(&path);
    let (plan, before) = (plan(&spool).unwrap(), names(&path));
    let stopped = rewrite_with(&spool, &plan, |step| {
        if step == Step::Adopted {
            shared(&spool).record_loss(plan.sources[1].id, Sequence(200), Sequence(202)).unwrap();
        }
        Ok(())
    });
    assert!(matches!(stopped, Err(Stopped::Wanted)), "{stopped:?}");
    assert_eq!(names(&path), before);
}

/// Fails when `Copy::add` takes a gap for the next block.
#[test]
fn a_damaged_segment_is_left_to_the_reader() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (mut spool, all) = filled(&path);
    let (plan, before) = (plan(&spool).unwrap(), names(&path));
    let db = before[1].join("db");
    let mut bytes = fs::read(&db).unwrap();
    let magic = [0xF5, b'W', b'S', 0xFF];
    let part = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == magic).nth(2).unwrap();
    bytes[part + 40] ^= 1;
    fs::write(&db, bytes).unwrap();
    let stopped = rewrite_with(&spool, &plan, |_| Ok(()));
    assert!(matches!(stopped, Err(Stopped::Damaged)), "{stopped:?}");
    assert_eq!(names(&path), before);
    let read = read_all(&mut spool);
    let lost = spool.writer.ledger().lost;
    assert!((1..=2).contains(&lost), "{lost}");
    assert_eq!(read.len() as u64 + lost, all.len() as u64);
    assert!(read.iter().all(|record| all.contains(record)));
}

/// Fails without either look at `has_room_for_copy`: before the copy, and at each block.
#[test]
fn without_room_it_waits_and_goes_on_when_there_is_some() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, all) = filled(&path);
    let (plan, before) = (plan(&spool).unwrap(), names(&path));
    let shared = shared(&spool);
    let (other, max) = (shared.other_bytes.load(Relaxed), shared.config.max_size);
    shared.other_bytes.store(max - (8 << 20), Relaxed);
    let stopped = rewrite_with(&spool, &plan, |step| panic!("{step:?} without room"));
    assert!(matches!(stopped, Err(Stopped::NoRoom)), "{stopped:?}");
    shared.other_bytes.store(other, Relaxed);
    let stopped = rewrite_with(&spool, &plan, |step| {
        if step == Step::Found {
            shared.other_bytes.store(max - (8 << 20), Relaxed);
        }
        assert!(step != Step::Shut, "finished without room");
        Ok(())
    });
    assert!(matches!(stopped, Err(Stopped::NoRoom)), "{stopped:?}");
    assert_eq!(names(&path), before);
    shared.other_bytes.store(other, Relaxed);
    rewrite_with(&spool, &plan, |_| Ok(())).unwrap();
    spool.writer.close().unwrap();
    drop(spool);
    check_crashed(&path, &all);
}

/// Fails when the copy, or what it has taken the place of, is not counted as aside.
#[test]
fn what_it_takes_on_the_disk_is_known_at_every_step() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, _) = filled(&path);
    let plan = plan(&spool).unwrap();
    let before = shared(&spool).disk_bytes();
    let mut highest = 0;
    rewrite_with(&spool, &plan, |step| {
        // The directories themselves, and what sled writes behind the last sync.
        let (known, real) = (shared(&spool).disk_bytes(), dir::disk_bytes(&path).unwrap());
        assert!(known + 64 * 1024 >= real, "{step:?}: {known} of {real} are known");
        if matches!(step, Step::Begun | Step::Copied(_)) {
            let copy = dir::disk_bytes(&path.join(dir::TMP)).unwrap();
            assert!(known + 8 * 1024 >= before + copy, "{step:?}: {known}, {copy} of them new");
        }
        highest = highest.max(known);
        Ok(())
    })
    .unwrap();
    assert!(highest > before, "the copy was counted");
    let (known, real) = (shared(&spool).disk_bytes(), dir::disk_bytes(&path).unwrap());
    assert!(known.abs_diff(real) < 64 * 1024, "{known} of {real} are known");
    assert!(known < before * 7 / 8);
}

/// Fails without `plan::gains` in `Copy::write_block`, and without the mark in `settle`.
#[test]
fn what_does_not_get_smaller_is_given_up_and_not_tried_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let spool = spool::open(config(&path)).unwrap();
    let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
    let mut random = fastrand::Rng::with_seed(1);
    let value: Vec<u8> = (0..40_000).map(|_| random.u8(..)).collect();
    drop(spool.writer.append(&NewRecord {
        route: &route,
        key: None,
        timestamp: Millis(1),
        received: Reception { at: Millis(1), clock_synchronised: true },
        headers: &[],
        value: &value,
        origin: None,
    }));
    spool.writer.close().unwrap();
    drop(spool);
    let spool = spool::open(config(&path)).unwrap();
    let found = plan(&spool).unwrap();
    let stopped = rewrite_with(&spool, &found, |step| {
        assert!(step != Step::Shut, "given up as soon as it is known");
        Ok(())
    });
    assert!(matches!(stopped, Err(Stopped::Larger(_))), "{stopped:?}");
    settle(shared(&spool), &found);
    assert!(plan(&spool).is_none());
    spool.writer.close().unwrap();
    drop(spool);
    let spool = spool::open(config(&path)).unwrap();
    assert!(plan(&spool).is_none());
}
