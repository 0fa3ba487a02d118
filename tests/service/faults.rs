//! What does the spool do when its disk is full, or fails to write, to sync or to read, at any
//! step of what it does?
//!
//! One scenario (a start on what a kill left, commits, rotations, seals, progress, frees, a stop)
//! runs on a medium (`medium/`) once for every access that a fault can strike, and so does one that
//! begins with small segments, which are repacked. The fault strikes there: once, or until it is lifted. A failed sync is as the kernel's: what it was to
//! make durable never will be, and the next sync of the file succeeds all the same.
//!
//! What is looked at afterwards is what a kill leaves and what a power cut leaves.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::{Inserted, Mount};
use crate::medium::outside::{Bench, LINES, Outside};
use crate::medium::tree::Inode;
use crate::support::until;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use waystation::record::Sequence;
use waystation::spool::{Config, OpenError};

/// The end of a wait for a commit; a longer one hangs.
const PATIENCE: Duration = Duration::from_secs(20);
const PLACE: &str = "spool";
/// So many reads fail, one after the other, when they do not fail once: several scans of a
/// segment.
const READS: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// No space for anything, once: a quota, a file system that copies on write.
    NoSpaceOnce,
    /// No space for what is new, until it is lifted; what has its place can be written over.
    NoSpace,
    FailedWriteOnce,
    FailedWrites,
    FailedSyncOnce,
    FailedSyncs,
    FailedReadOnce,
    FailedReads,
    FailedOpenOnce,
    FailedOpens,
}

impl Fault {
    fn strikes(self, access: Access) -> bool {
        use Access::{Create, Grow, Open, Overwrite, Read, Remove, Rename, Sync};
        match self {
            Self::NoSpaceOnce => matches!(access, Grow | Overwrite | Create | Rename | Remove),
            Self::NoSpace => matches!(access, Grow | Create),
            Self::FailedWriteOnce | Self::FailedWrites => {
                matches!(access, Grow | Overwrite | Create | Rename | Remove)
            }
            Self::FailedSyncOnce | Self::FailedSyncs => access == Sync,
            Self::FailedReadOnce | Self::FailedReads => access == Read,
            Self::FailedOpenOnce | Self::FailedOpens => access == Open,
        }
    }

    fn lasts(self) -> bool {
        use Fault::{FailedOpens, FailedReads, FailedSyncs, FailedWrites, NoSpace};
        matches!(self, NoSpace | FailedWrites | FailedSyncs | FailedReads | FailedOpens)
    }

    fn is_of_reads(self) -> bool {
        use Fault::{FailedOpenOnce, FailedOpens, FailedReadOnce, FailedReads};
        matches!(self, FailedReadOnce | FailedReads | FailedOpenOnce | FailedOpens)
    }

    fn errno(self) -> Errno {
        match self {
            Self::NoSpaceOnce | Self::NoSpace => Errno::NOSPC,
            _ => Errno::IO,
        }
    }
}

/// The fault of one run.
#[derive(Clone)]
struct Plan(Arc<Mutex<State>>);

struct State {
    fault: Fault,
    /// Accesses that are spared.
    spared: u64,
    struck: u64,
    lifted: bool,
    /// Segments' data files of which a sync failed.
    failed: BTreeSet<Inode>,
    /// One of them was written all the same.
    reused: bool,
}

impl Plan {
    fn of(disk: &Inserted, fault: Fault, spared: u64) -> Self {
        let (struck, lifted, failed, reused) = (0, false, BTreeSet::new(), false);
        let state = State { fault, spared, struck, lifted, failed, reused };
        let plan = Self(Arc::new(Mutex::new(state)));
        let seen = plan.clone();
        disk.disk().guard(Box::new(move |access, inode, layers| seen.ask(access, inode, layers)));
        plan
    }

    fn ask(&self, access: Access, inode: Inode, layers: &Layers) -> Result<(), Errno> {
        let state = &mut *self.0.lock().unwrap();
        let writes = matches!(access, Access::Grow | Access::Overwrite);
        state.reused |= writes && state.failed.contains(&inode);
        let outcome = state.ask(access);
        if access == Access::Sync && outcome.is_err() && layers.now.is_called(inode, "db") {
            state.failed.insert(inode);
        }
        outcome
    }

    fn struck(&self) -> bool {
        self.0.lock().unwrap().struck > 0
    }

    fn reused(&self) -> bool {
        self.0.lock().unwrap().reused
    }

    fn lift(&self) {
        self.0.lock().unwrap().lifted = true;
    }
}

impl State {
    fn ask(&mut self, access: Access) -> Result<(), Errno> {
        if self.lifted || !self.fault.strikes(access) {
            return Ok(());
        }
        if let Some(fewer) = self.spared.checked_sub(1) {
            self.spared = fewer;
            return Ok(());
        }
        if self.struck > 0 && !self.fault.lasts() {
            return Ok(());
        }
        if self.fault.is_of_reads() && self.struck == READS {
            self.lifted = true;
            return Ok(());
        }
        self.struck += 1;
        Err(self.fault.errno())
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// The scenario was over before the fault's turn.
    NotStruck,
    /// The start said no, with a reason; the next one after the fault went well.
    NoStart,
    /// It went on by itself.
    WentOn,
    /// It said that it must be started again.
    Restart,
    /// A commit hung, which the watchdog is told of.
    Hung,
}

struct Scenario {
    mount: Mount,
    start: Layers,
    known: Outside,
    /// Whether what it starts on is repacked before anything else comes.
    repacks: bool,
}

impl Scenario {
    /// What it starts on: sealed segments, one partly delivered, and a tail that a kill left.
    fn new() -> Option<Self> {
        let mount = Mount::new()?;
        let disk = mount.insert(Layers::new());
        let mut known = Outside::default();
        let dir = disk.path().join(PLACE);
        // What is appended together is one block, so that it always starts on the same.
        let commit_delay = Duration::from_millis(200);
        let mut bench = Bench::open_with(Config { commit_delay, ..Config::new(&dir) }).unwrap();
        for _ in 0..6 {
            for outcome in bench.append(&mut known, 8, PATIENCE) {
                outcome.unwrap().unwrap();
            }
        }
        bench.read_all();
        bench.deliver(&mut known, Sequence(20));
        let first = dir.join("seg-00000000000000000000-0000");
        until("the first segment is freed", || !first.exists());
        let start = disk.layers();
        drop(bench);
        drop(disk);
        Some(Self { mount, start, known, repacks: false })
    }

    /// What it starts on: what several short lives left, which is worth repacking.
    fn repacking() -> Option<Self> {
        let mount = Mount::new()?;
        let disk = mount.insert(Layers::new());
        let mut known = Outside::from(LINES);
        for _ in 0..5 {
            let bench = Bench::open(&disk.path().join(PLACE)).unwrap();
            for outcome in bench.append(&mut known, 8, PATIENCE) {
                outcome.unwrap().unwrap();
            }
            bench.spool.writer.close().unwrap();
        }
        let start = disk.layers();
        drop(disk);
        Some(Self { mount, start, known, repacks: true })
    }

    fn open(&self, dir: &Path) -> Result<Bench, OpenError> {
        let default = Config::new(dir);
        let soon = Duration::from_millis(1);
        let repack_after = if self.repacks { soon } else { default.repack_after };
        Bench::open_with(Config { repack_after, repack_pause: 1, ..default })
    }

    fn run(&self, fault: Fault, spared: u64) -> End {
        let mut known = self.known.clone();
        let disk = self.mount.insert(self.start.clone());
        let plan = Plan::of(&disk, fault, spared);
        let dir = disk.path().join(PLACE);
        let mut end = End::WentOn;
        let mut bench = match self.open(&dir) {
            Ok(bench) => bench,
            Err(error) => {
                assert!(plan.struck(), "no start without a fault: {error}");
                assert!(fault != Fault::NoSpace, "no start on a full disk: {error}");
                plan.lift();
                end = End::NoStart;
                self.open(&dir).expect("the fault is over")
            }
        };
        if self.repacks {
            let merged = || bench.spool.writer.depth().segments < 5;
            until("they are merged, or it keeps off the disk", || merged() || plan.struck());
        }
        for round in 0..6 {
            for outcome in bench.append(&mut known, 4, PATIENCE) {
                match outcome {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => assert!(plan.struck(), "{error}, without a fault"),
                    None => end = End::Hung,
                }
            }
            if end == End::Hung {
                break;
            }
            // Not after each: what is read later is read from sealed segments, not through sled.
            if round % 3 == 2 {
                let (_, outcome) = bench.read();
                let may_fail = fault.is_of_reads() && plan.struck();
                assert!(outcome.is_ok() || may_fail, "{outcome:?}");
                let to = bench.spool.reader.position();
                bench.deliver(&mut known, to);
            }
        }
        if end == End::Hung {
            let limit = Duration::from_secs(1);
            assert!(bench.spool.writer.stalled(limit).is_some(), "a commit hangs unnoticed");
            // The watchdog kills the process; here its threads are left behind.
            let left = disk.layers();
            std::mem::forget(bench);
            self.check(&left, &known);
            return end;
        }
        // Reading needs no writing.
        let unread = bench.spool.reader.unread();
        assert!(unread == 0 || fault.is_of_reads(), "{unread} records are not read");
        if fault == Fault::NoSpace && plan.struck() {
            let to = bench.spool.reader.position();
            bench.deliver(&mut known, to);
            until("a full disk is freed", || bench.spool.writer.depth().segments <= 1);
            drop(bench);
            bench = Bench::open(&dir).expect("a start needs no room");
            bench.read_all();
        }
        let struck = plan.struck();
        plan.lift();
        if struck && !Self::goes_on(&bench, &mut known) {
            end = End::Restart;
        }
        let closed = bench.spool.writer.close();
        assert!(struck || closed.is_ok(), "{closed:?}");
        let panicked = closed.is_err_and(|error| error.to_string().contains("panicked"));
        assert!(!panicked, "a thread of the spool is gone without a word");
        assert!(!plan.reused(), "a segment was written after a sync of it had failed");
        drop(bench);
        self.check(&disk.layers(), &known);
        if plan.struck() { end } else { End::NotStruck }
    }

    /// Whether records are taken again, without a restart; if not, it must say why.
    fn goes_on(bench: &Bench, known: &mut Outside) -> bool {
        let begun = Instant::now();
        loop {
            if let [Some(Ok(_))] = bench.append(known, 1, PATIENCE)[..] {
                return true;
            }
            if let Some(sentence) = bench.spool.writer.failure() {
                assert!(sentence.contains("restart the service"), "{sentence}");
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "no record is taken, and nothing says why");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The next start has everything, after a kill and after a power cut.
    fn check(&self, left: &Layers, known: &Outside) {
        let cut = left.crash(Keep::Nothing, &mut fastrand::Rng::with_seed(0));
        for left in [left.clone(), cut] {
            let disk = self.mount.insert(left);
            let dir: PathBuf = disk.path().join(PLACE);
            let mut bench = Bench::open(&dir).expect("the start needs no hand");
            let read = bench.read_all();
            known.check(known.mark(), &read);
            bench.check_house(&dir);
        }
    }

    /// Runs the scenario with the fault at one access after the other until it is over before.
    fn sweep(&self, fault: Fault) {
        let next = AtomicU64::new(0);
        let ends = Mutex::new(BTreeMap::<End, u64>::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let spared = next.fetch_add(1, Relaxed);
                        let end = self.run(fault, spared);
                        *ends.lock().unwrap().entry(end).or_default() += 1;
                        if end == End::NotStruck {
                            break;
                        }
                    }
                });
            }
        });
        let ends = ends.into_inner().unwrap();
        println!("{fault:?}: {ends:?}");
        assert!(ends.get(&End::WentOn).is_some_and(|runs| *runs > 1), "{fault:?}: {ends:?}");
        let by_hand = [End::Restart, End::Hung].map(|end| ends.contains_key(&end));
        assert_eq!(by_hand, [false; 2], "{fault:?}: {ends:?}");
    }
}

/// Fails when a start creates anything that it could do without, or when the refusal is not lifted
/// by `Shared::look_for_room`.
#[test]
fn a_disk_that_is_full_at_any_step_costs_nothing_and_is_gone_on_from() {
    let Some(scenario) = Scenario::new() else { return };
    scenario.sweep(Fault::NoSpaceOnce);
    scenario.sweep(Fault::NoSpace);
}

/// Fails when the refusal is not lifted by `Shared::look_for_room`.
#[test]
fn a_write_that_fails_at_any_step_costs_nothing_and_is_gone_on_from() {
    let Some(scenario) = Scenario::new() else { return };
    scenario.sweep(Fault::FailedWriteOnce);
    scenario.sweep(Fault::FailedWrites);
}

/// Fails when `Committer::commit` does not leave the tail before its second attempt, or when
/// `SledStore` is dropped without its `catch_unwind`: sled panics then, and a restart is needed.
#[test]
fn nothing_is_acknowledged_from_a_segment_after_a_sync_of_it_failed() {
    let Some(scenario) = Scenario::new() else { return };
    scenario.sweep(Fault::FailedSyncOnce);
    scenario.sweep(Fault::FailedSyncs);
}

/// Fails when `SpoolReader::next_block` never gives up, or gives up more than it must.
#[test]
fn a_segment_that_can_never_be_read_is_lost_alone_and_kept() {
    let Some(Scenario { mount, start, known, .. }) = Scenario::new() else { return };
    let disk = mount.insert(start);
    let dir = disk.path().join(PLACE);
    let read_patience = Duration::from_millis(50);
    let mut bench = Bench::open_with(Config { read_patience, ..Config::new(&dir) }).unwrap();
    let name = "seg-00000000000000000016-0000";
    let bad = fs::metadata(dir.join(name).join("db")).unwrap().ino() & u64::from(u32::MAX);
    disk.disk().guard(Box::new(move |access, inode, _| {
        if access == Access::Read && inode == bad { Err(Errno::IO) } else { Ok(()) }
    }));
    let begun = Instant::now();
    let mut numbers = Vec::new();
    let mut tries = 0;
    loop {
        let (read, outcome) = bench.read();
        numbers.extend(read.records.iter().map(|(_, number)| *number));
        match outcome {
            Ok(()) => break,
            Err(error) => assert!(error.to_string().contains("nothing is skipped"), "{error}"),
        }
        assert!(begun.elapsed() < PATIENCE, "it never gives up");
        tries += 1;
    }
    assert!(tries > 0, "it gave up at once");
    let rest: Vec<u64> = (32..known.offered).collect();
    assert_eq!(numbers, rest);
    let ledger = bench.spool.writer.ledger();
    assert!(ledger.balances());
    assert_eq!((ledger.lost, ledger.spooled), (32 - 20, rest.len() as u64));
    let to = bench.spool.reader.position();
    bench.spool.reader.advance_watermark(to);
    until("it is set aside", || dir.join("quarantine").join(name).exists());
}

/// Fails when `SpoolReader::next_block` or `Patience::scan` takes the first word of a disk
/// that cannot be read: what stands there would be lost.
#[test]
fn a_read_that_fails_for_a_while_at_any_step_costs_nothing() {
    let Some(scenario) = Scenario::new() else { return };
    scenario.sweep(Fault::FailedReadOnce);
    scenario.sweep(Fault::FailedReads);
}

/// Fails when `rewrite` goes on though `dir::adopt` failed.
#[test]
fn whatever_fails_at_any_step_of_a_repacking_costs_the_copy_and_nothing_else() {
    let Some(scenario) = Scenario::repacking() else { return };
    for fault in [
        Fault::NoSpaceOnce,
        Fault::FailedWriteOnce,
        Fault::FailedWrites,
        Fault::FailedSyncOnce,
        Fault::FailedSyncs,
        Fault::FailedReadOnce,
    ] {
        scenario.sweep(fault);
    }
}

/// Fails without `Trouble::note` where `SpoolReader` cannot open a file: what is in it would be lost.
#[test]
fn a_file_that_cannot_be_opened_for_a_while_at_any_step_costs_nothing() {
    let Some(scenario) = Scenario::new() else { return };
    scenario.sweep(Fault::FailedOpenOnce);
    scenario.sweep(Fault::FailedOpens);
}

/// Fails when `Patience::scan` in a start, or `SpoolReader`, searches a segment to its end whatever that
/// takes: on real media a page can cost half a minute, and the watchdog kills what hangs.
#[test]
fn a_tail_of_pages_that_cost_time_and_fail_holds_up_neither_a_start_nor_the_reader() {
    let Some(mount) = Mount::new() else { return };
    let disk = mount.insert(Layers::new());
    let mut known = Outside::default();
    let dir = disk.path().join(PLACE);
    let commit_delay = Duration::from_millis(200);
    let bench = Bench::open_with(Config { commit_delay, ..Config::new(&dir) }).unwrap();
    assert!(bench.append(&mut known, 300, PATIENCE).iter().all(|one| matches!(one, Some(Ok(_)))));
    let left = disk.layers();
    drop(bench);

    let disk = mount.insert(left);
    let dir: PathBuf = disk.path().join(PLACE);
    let db = fs::metadata(dir.join("seg-00000000000000000000-0000").join("db")).unwrap();
    let bad = db.ino() & u64::from(u32::MAX);
    let failed = Arc::new(AtomicU64::new(0));
    let counted = failed.clone();
    disk.disk().guard(Box::new(move |access, inode, _| {
        if access != Access::Read || inode != bad {
            return Ok(());
        }
        counted.fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        Err(Errno::IO)
    }));
    let pages = db.len() / 4096;
    assert!(pages > 60, "{pages}");
    let mut bench = Bench::open(&dir).expect("it starts all the same");
    assert!(failed.swap(0, Relaxed) < pages / 2, "the start reads page after page");
    for _ in 0..2 {
        assert!(bench.read().1.is_err(), "nothing is skipped");
        assert!(failed.swap(0, Relaxed) < pages / 2, "the reader reads page after page");
    }
    assert!(matches!(bench.append(&mut known, 1, PATIENCE)[..], [Some(Ok(_))]));
    disk.disk().unguarded();
    let mut numbers = Vec::new();
    until("all of it is read", || {
        let (read, outcome) = bench.read();
        numbers.extend(read.records.iter().map(|(_, number)| *number));
        outcome.is_ok()
    });
    assert_eq!(numbers, (0..known.offered).collect::<Vec<_>>());
    let ledger = bench.spool.writer.ledger();
    assert_eq!((ledger.accepted, ledger.lost), (known.offered, 0));
}
