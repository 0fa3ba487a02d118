//! Does the spool go on by itself after `kill -9` at any of its calls, and after a second one during
//! the start that follows?
//!
//! A scenario runs in a child of this program: appends, rotation, seals, reading, delivery, freed
//! segments, an export, a close; or small segments, which are repacked. `support/kill.c` kills it at one of its calls that change the spool's
//! directory; what it began, had acknowledged and delivered stands in a log beside the spool. A second
//! child starts on what is left and is killed as well; the third start is this program's own.
//!
//! The gate takes each kind of call once, and of the others a sample; `WAYSTATION_KILL_POINTS` says
//! how many, or `all`.

use crate::child;
use crate::preload;
use crate::support::{self, append_all, segments, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use waystation::record::{RecordId, Sequence};
use waystation::spool::{self, Config, Spool};

/// Where the child finds its place.
const PLACE: &str = "WAYSTATION_KILL_PLACE";
/// From this number on the values are lines, which compress.
const LINES: u64 = 1 << 32;
/// A segment takes three of the scenario's records.
const SEGMENT: u64 = 1_500;
/// Noise, which does not compress.
const VALUE: usize = 600;
/// The second kill is at one of so many first calls.
const SECOND: usize = 45;

/// What a child does.
#[derive(Clone, Copy)]
struct Scenario {
    /// Its name as a test, by which the child is started.
    name: &'static str,
    run: fn(&Path),
    /// The calls that must have been struck, as `kind` names them.
    phases: &'static [&'static str],
    /// How many of the others the gate takes.
    sample: usize,
}

const LIFE: Scenario = Scenario {
    name: "without_a_kill_the_scenario_runs_through_and_its_books_balance",
    run: life,
    phases: &PHASES,
    sample: 100,
};

const REPACKING: Scenario = Scenario {
    name: "without_a_kill_small_segments_are_repacked_and_the_books_balance",
    run: repacking,
    phases: &REPACKING_PHASES,
    sample: 40,
};

/// Of the repacking, from the beginning of a copy to the end of what it was made of.
const REPACKING_PHASES: [&str; 12] = [
    "mkdir /tmp/seg-#-#",
    "pwrite /tmp/seg-#-#/db",
    "fdatasync /tmp/seg-#-#/db",
    "fsync /tmp/seg-#-#/db",
    "pwrite /tmp/seg-#-#/seal",
    "fsync /tmp/seg-#-#/seal",
    "fsync /tmp/seg-#-#",
    "rename /seg-#-#",
    "fsync /tmp",
    "rename /.trash/seg-#-#",
    "unlink /.trash/seg-#-#/seal",
    "rmdir /.trash/seg-#-#",
];

const PHASES: [&str; 25] = [
    "create /lock",
    "write /lock",
    "mkdir /.trash",
    "mkdir /quarantine",
    "create /progress",
    "pwrite /progress",
    "fdatasync /progress",
    "mkdir /seg-#-#",
    "create /seg-#-#/db",
    "pwrite /seg-#-#/db",
    "sync_file_range /seg-#-#/db",
    "fsync /seg-#-#/db",
    "fdatasync /seg-#-#/db",
    "create /seg-#-#/conf",
    "write /seg-#-#/conf",
    "mkdir /seg-#-#/blobs",
    "create /seg-#-#/seal",
    "pwrite /seg-#-#/seal",
    "fsync /seg-#-#/seal",
    "fsync /seg-#-#",
    // Of the spool's directory itself.
    "fsync ",
    "rename /.trash/seg-#-#",
    "unlink /.trash/seg-#-#/db",
    "unlink /.trash/seg-#-#/seal",
    "rmdir /.trash/seg-#-#",
];

fn config(dir: &Path) -> Config {
    Config { segment_bytes: SEGMENT, min_free: 0, ..Config::new(dir) }
}

/// A spool, and beside it what the processes on it wrote down.
struct Place {
    root: TempDir,
    scenario: Scenario,
}

impl Place {
    /// In memory where there is such a place: a kill takes nothing from a page cache.
    fn new(scenario: Scenario) -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { root: root.unwrap(), scenario }
    }

    fn spool(&self) -> PathBuf {
        self.root.path().join("spool")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs the scenario in a child that is killed at call `at`; gives the kind of that call.
    /// `None` when it came through.
    fn run(&self, library: &Path, at: usize, torn: bool) -> Option<String> {
        let hit = self.file("hit");
        let mut command = child::of(module_path!(), self.scenario.name);
        command.env(PLACE, self.root.path());
        command.env("LD_PRELOAD", library).env("KILL_UNDER", self.spool());
        command.env("KILL_AT", at.to_string()).env("KILL_HIT", &hit);
        command.env("KILL_TRACE", self.file("trace"));
        if torn {
            command.env("KILL_TORN", "1");
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        if output.status.success() {
            return None;
        }
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.signal(), Some(9), "at call {at} it failed:\n{said}");
        Some(kind(fs::read_to_string(&hit).unwrap().trim_end_matches('\n')))
    }
}

/// A call with its path, without what differs from one segment to the next.
fn kind(call: &str) -> String {
    let mut kind = String::new();
    for letter in call.chars() {
        match letter {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            other => kind.push(other),
        }
    }
    kind
}

/// What the processes wrote down. It is no part of the spool, so it is only killed in between.
struct Log(File);

impl Log {
    fn append(place: &Path) -> Self {
        Self(File::options().create(true).append(true).open(place.join("log")).unwrap())
    }

    fn line(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// What the log says, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A process opened the spool.
    Opened,
    /// It began a segment.
    Rotated,
    /// A record of this number is about to be appended.
    Begun(u64),
    Acknowledged(u64, RecordId),
    /// The watermark is about to be moved there, and was.
    Delivering(u64),
    Delivered(u64),
    /// These sequences are about to be taken out, and were.
    Exporting(u64, u64),
    Exported(u64, u64),
}

fn events(place: &Path) -> Vec<Event> {
    let text = fs::read_to_string(place.join("log")).unwrap_or_default();
    let event = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        let number = |at: usize| rest[at].parse().unwrap();
        match name {
            "opened" => Event::Opened,
            "rotated" => Event::Rotated,
            "begun" => Event::Begun(number(0)),
            "acknowledged" => Event::Acknowledged(number(0), rest[1].parse().unwrap()),
            "delivering" => Event::Delivering(number(0)),
            "delivered" => Event::Delivered(number(0)),
            "exporting" => Event::Exporting(number(0), number(1)),
            "exported" => Event::Exported(number(0), number(1)),
            other => panic!("{other}"),
        }
    };
    text.lines().map(event).collect()
}

/// The value of the record with this number.
fn value(number: u64) -> Vec<u8> {
    if number >= LINES {
        let line = r#"{"vehicleId":"bus-1","fixType":"FIX_3D","event":"POSITION"}"#;
        return [&number.to_le_bytes()[..], line.as_bytes()].concat();
    }
    let mut noise = fastrand::Rng::with_seed(number);
    let mut value = number.to_le_bytes().to_vec();
    value.extend(std::iter::repeat_with(|| noise.u8(..)).take(VALUE));
    value
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    assert!(bytes == value(number), "another value than was appended");
    number
}

/// The process that is killed, on whatever an earlier one left.
struct Victim {
    spool: Spool,
    log: Log,
    next: u64,
}

impl Victim {
    /// Its records have numbers from `first` on.
    fn open(place: &Path, first: u64, repack_after: Duration) -> Self {
        let begun = |event: &Event| if let Event::Begun(n) = event { Some(*n) } else { None };
        let next = events(place).iter().filter_map(begun).max().map_or(first, |last| last + 1);
        let mut log = Log::append(place);
        let config = Config { repack_after, repack_pause: 1, ..config(&place.join("spool")) };
        let spool = spool::open(config).unwrap();
        log.line("opened");
        Self { spool, log, next }
    }

    /// One after the other, so that each is a block.
    fn append(&mut self, dir: &Path, records: u64) {
        for number in self.next..self.next + records {
            let before = segments(dir).last().cloned();
            self.log.line(&format!("begun {number}"));
            let id = append_all(&self.spool, &[value(number)]).unwrap()[0];
            self.log.line(&format!("acknowledged {number} {id}"));
            if segments(dir).last() > before.as_ref() {
                self.log.line("rotated");
            }
        }
        self.next += records;
    }

    fn read(&mut self) {
        support::read_all(&mut self.spool);
    }

    /// Delivers what was read but the last `but` records, and waits until what it frees is gone.
    fn deliver(&mut self, dir: &Path, but: u64) {
        let to = self.spool.reader.position().0.saturating_sub(but);
        let to = to.max(self.spool.reader.watermark().0);
        self.log.line(&format!("delivering {to}"));
        self.spool.reader.advance_watermark(Sequence(to));
        self.log.line(&format!("delivered {to}"));
        // What is left: of two records and a tail of three, two segments at most, and the next.
        wait_until("what is delivered is freed", || segments(dir).len() <= 3);
    }

    fn export(&mut self, records: u64) {
        let end = self.spool.writer.ledger().accepted;
        let hold = self.spool.writer.hold(Sequence(end - records), Sequence(end)).unwrap();
        let (first, end) = (hold.first(), hold.end());
        self.log.line(&format!("exporting {first} {end}"));
        hold.remove(&[(first, end)]).unwrap();
        self.log.line(&format!("exported {first} {end}"));
    }
}

/// Whether one of the segments was repacked, going by the seals (byte 5, bit 2).
fn is_repacked(dir: &Path) -> bool {
    let seals = segments(dir).into_iter().filter_map(|path| fs::read(path.join("seal")).ok());
    seals.into_iter().any(|seal| seal.len() > 5 && seal[5] & 2 != 0)
}

/// Several short lives leave small segments, which the last one repacks before it does anything else:
/// its calls come in the same order each time, or nearly.
fn repacking(place: &Path) {
    let dir = place.join("spool");
    for _ in 0..5 {
        let mut victim = Victim::open(place, LINES, Duration::from_hours(1));
        victim.append(&dir, 4);
        victim.spool.writer.close().unwrap();
    }
    let mut victim = Victim::open(place, LINES, Duration::from_millis(1));
    wait_until("they are repacked", || is_repacked(&dir));
    wait_until("what it was made of is gone", || {
        fs::read_dir(dir.join(".trash")).unwrap().count() == 0
    });
    victim.read();
    victim.deliver(&dir, 2);
    victim.append(&dir, 2);
    victim.spool.writer.close().unwrap();
}

fn life(place: &Path) {
    let dir = place.join("spool");
    let mut victim = Victim::open(place, 0, Duration::from_secs(30));
    victim.append(&dir, 5);
    victim.read();
    victim.append(&dir, 4);
    victim.deliver(&dir, 2);
    // Frees nothing, so that no progress is written before the next segment.
    victim.deliver(&dir, 1);
    victim.append(&dir, 3);
    victim.export(2);
    victim.append(&dir, 2);
    victim.read();
    victim.deliver(&dir, 2);
    victim.append(&dir, 2);
    victim.spool.writer.close().unwrap();
}

/// What of the deliveries every later start must know: those that a process had made when it began a
/// segment. (What one made since, and told nobody before it was killed, is repeated.)
fn known_delivered(events: &[Event]) -> u64 {
    let (mut delivered, mut known) = (0, 0);
    for event in events {
        match *event {
            Event::Opened => delivered = 0,
            Event::Delivered(to) => delivered = delivered.max(to),
            Event::Rotated => known = known.max(delivered),
            _ => {}
        }
    }
    known
}

/// What the last start must find, whatever was killed where. Starts, checks, takes records, drains.
fn check(place: &Place, what: &str) {
    let dir = place.spool();
    let events = events(place.root.path());
    let mut spool = spool::open(config(&dir)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let before = spool.writer.ledger();
    let watermark = spool.reader.watermark();
    assert_eq!(spool.report.lost, [], "{what}");
    assert!(before.balances(), "{what}: {before:?}");
    assert_eq!((before.lost, before.dropped, before.dead), (0, 0, 0), "{what}");

    // The watermark may lag behind what was delivered (then it is repeated), and never leads.
    let newest = spool.writer.ledger().accepted;
    let ahead = |event: &Event| if let Event::Delivering(to) = event { Some(*to) } else { None };
    let highest = events.iter().filter_map(ahead).max().unwrap_or(0);
    let exporting: BTreeSet<u64> = events
        .iter()
        .filter_map(|event| if let Event::Exporting(a, b) = event { Some(*a..*b) } else { None })
        .flatten()
        .collect();
    // Behind what was delivered it may pass over what was taken out.
    let reach = exporting.range(highest..).fold(highest, |at, out| at + u64::from(*out == at));
    assert!(watermark.0 <= reach, "{what}: {watermark} leads {highest}");

    let known = known_delivered(&events);
    assert!(known <= watermark.0, "{what}: {watermark} lags behind {known}");

    let mut read = BTreeMap::new();
    let (mut last, mut last_number) = (None, None);
    while let Some(block) = spool.reader.next_block().unwrap() {
        for record in block.records() {
            let (sequence, number) = (record.id.sequence.0, number_of(record.value));
            assert!(last < Some(sequence), "{what}: {sequence} after {last:?}");
            assert!(last_number < Some(number), "{what}: {number} after {last_number:?}");
            (last, last_number) = (Some(sequence), Some(number));
            read.insert(sequence, (number, record.id));
        }
    }
    assert_eq!(read.len() as u64, before.spooled, "{what}");
    assert!(read.keys().all(|sequence| (watermark.0..newest).contains(sequence)), "{what}");
    for event in &events {
        match *event {
            Event::Acknowledged(number, id) if id.sequence >= watermark => {
                let found = read.get(&id.sequence.0);
                let gone = found.is_none() && exporting.contains(&id.sequence.0);
                assert!(found == Some(&(number, id)) || gone, "{what}: {number} is {found:?}");
            }
            Event::Exported(first, end) => {
                assert!(read.range(first..end).next().is_none(), "{what}: exported and read");
            }
            _ => {}
        }
    }
    let missing: Vec<_> = (watermark.0..newest).filter(|at| !read.contains_key(at)).collect();
    assert!(missing.iter().all(|sequence| exporting.contains(sequence)), "{what}: {missing:?}");
    let through = |event: &&Event| matches!(event, Event::Exported(..));
    let known = 2 * events.iter().filter(through).count();
    let known = known.max(missing.len()) as u64;
    assert!((known..=exporting.len() as u64).contains(&before.exported), "{what}: {before:?}");

    // It goes on as ever.
    append_all(&spool, &[value(1 << 40)]).unwrap();
    assert_eq!(support::read_all(&mut spool).len(), 1, "{what}");
    spool.reader.advance_watermark(spool.reader.position());
    spool.writer.close().unwrap();
    let after = spool.writer.ledger();
    assert!(after.balances() && after.spooled == 0, "{what}: {after:?}");
    assert_eq!(after.accepted, before.accepted + 1, "{what}");
    for place in ["quarantine", ".trash", "tmp"] {
        let left: Vec<_> = fs::read_dir(dir.join(place)).unwrap().collect();
        assert!(left.is_empty(), "{what}: {place} holds {left:?}");
    }
    assert_eq!(segments(&dir), [] as [PathBuf; 0], "{what}");
}

/// Also the children's way in.
fn without_a_kill(scenario: Scenario) {
    if let Some(place) = std::env::var_os(PLACE) {
        return (scenario.run)(Path::new(&place));
    }
    let place = Place::new(scenario);
    (scenario.run)(place.root.path());
    check(&place, "without a kill");
}

#[test]
fn without_a_kill_the_scenario_runs_through_and_its_books_balance() {
    without_a_kill(LIFE);
}

#[test]
fn without_a_kill_small_segments_are_repacked_and_the_books_balance() {
    without_a_kill(REPACKING);
}

/// Fails without the `dir::empty_trash` of `start`, without the `settle_progress` of `free` (its
/// segments are then taken for lost), and without that of `begin_segment` (what was delivered before
/// a segment was begun is then repeated).
#[test]
fn after_a_kill_at_any_call_and_another_during_the_next_start_the_third_needs_no_hand() {
    strike_everywhere(LIFE);
}

/// Fails when `dir::empty_trash` leaves what is in `tmp/`.
#[test]
fn after_a_kill_at_any_step_of_a_repacking_everything_is_there_once() {
    strike_everywhere(REPACKING);
}

fn strike_everywhere(scenario: Scenario) {
    let tools = tempfile::tempdir().unwrap();
    let library = preload::library("kill", tools.path());
    let place = Place::new(scenario);
    assert_eq!(place.run(&library, 0, false), None);
    check(&place, "nothing was killed");
    let trace = fs::read_to_string(place.file("trace")).unwrap();
    let trace: Vec<String> = trace.lines().map(kind).collect();

    let mut struck: BTreeMap<String, u32> = BTreeMap::new();
    let mut turn = 0;
    // Kills at this call, and at one of the next start.
    let mut strike = |at: usize| {
        let place = Place::new(scenario);
        let first = place.run(&library, at, turn % 2 == 1);
        let second = place.run(&library, 1 + turn * 7 % SECOND, turn % 4 > 1);
        check(&place, &format!("killed at {at}: {first:?}, then at {second:?}"));
        for kind in first.iter().chain(&second) {
            *struck.entry(kind.clone()).or_default() += 1;
        }
        turn += 1;
        first
    };
    let wanted = match std::env::var("WAYSTATION_KILL_POINTS").as_deref() {
        Ok("all") => 2 * trace.len(),
        Ok(wanted) => wanted.parse().unwrap(),
        Err(_) => scenario.sample,
    };
    let offset = fastrand::usize(..trace.len());
    for at in 0..wanted {
        // Evenly; with `all` each of them twice, whole and torn.
        let step = at * trace.len() / wanted.min(trace.len());
        strike(1 + (offset + step + at / trace.len()) % trace.len());
    }
    // Threads take turns as they like, so a call need not be at its place of the last time.
    for kind in scenario.phases {
        let places = (1..).zip(&trace).filter(|(_, known)| *known == kind);
        let places: Vec<usize> = places.map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "the scenario has no {kind:?}: {trace:#?}");
        let mut tries = places.iter().cycle().take(300);
        let hit = tries.any(|at| strike(*at).as_deref() == Some(*kind));
        assert!(hit, "no kill at {kind:?}");
    }
    println!("the scenario has {} calls; killed at: {struck:#?}", trace.len());
}
