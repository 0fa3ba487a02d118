//! One measurement, in a process of its own, so that its memory is its own: both ends of it.

use crate::load::{self, Load};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use waystation::spool::Spool;

/// The shortest time that a speed is measured over, and the fewest commits that say what they
/// take on the disk.
const TIME: Duration = Duration::from_secs(3);
const FEWEST_COMMITS: u64 = 6000;
/// Nothing is repacked for so long: there is nothing left.
const QUIET: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(15);

/// What a child told: numbers by their names.
#[derive(Debug, Default)]
pub struct Report(BTreeMap<String, f64>);

impl Report {
    pub fn number(&self, key: &str) -> f64 {
        *self.0.get(key).unwrap_or_else(|| panic!("the child did not tell {key}"))
    }

    /// The most memory it had, MB.
    pub fn peak(&self) -> f64 {
        self.number("peak_mb")
    }

    pub fn memory(&self) -> String {
        format!("{} MB, {} at the end", self.peak(), self.number("mb"))
    }
}

/// A child under way.
#[derive(Debug)]
pub struct Child(std::process::Child);

impl Child {
    /// Runs a measurement to its end.
    pub fn run(name: &str, dir: &Path, arguments: &[&str]) -> Report {
        let mut child = Self::start(name, dir, arguments);
        let report = child.report();
        assert!(child.0.wait().expect("a child").success(), "{name} failed");
        report
    }

    pub fn start(name: &str, dir: &Path, arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut command = Command::new(program);
        command.arg(name).arg(dir).args(arguments).stdout(Stdio::piped());
        Self(as_the_service(&mut command).spawn().expect("a child"))
    }

    /// What it tells, up to an empty line.
    pub fn report(&mut self) -> Report {
        let out = self.0.stdout.as_mut().expect("its output");
        let mut report = Report::default();
        for line in BufReader::new(out).lines() {
            let line = line.expect("its output");
            let Some((key, number)) = line.split_once(' ') else { break };
            report.0.insert(key.to_owned(), number.parse().expect("a number"));
        }
        report
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("a child that ran");
    }
}

/// The allocator's thresholds as the service sets them for itself (`src/app/memory.rs`).
fn as_the_service(command: &mut Command) -> &mut Command {
    command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072")
}

fn tell(key: &str, number: f64) {
    println!("{key} {number}");
}

/// A field of a process's status, MB.
pub fn status(pid: &str, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    let kilobytes: f64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("a number");
    (kilobytes / 102.4).round() / 10.0
}

fn tell_memory() {
    tell("mb", status("self", "VmRSS"));
    tell("peak_mb", status("self", "VmHWM"));
}

/// The child's side: its name, the directory, its own arguments.
pub fn main(arguments: &[String]) {
    let start = Instant::now();
    let [name, dir, rest @ ..] = arguments else { panic!("no directory") };
    let dir = Path::new(dir);
    let number = |place: usize| rest[place].parse::<u64>().expect("a number");
    match name.as_str() {
        "idle" => drop(Load::new()),
        "append" => load::run(append(dir, number(0))),
        "segments" => load::run(segments(dir, number(0))),
        "fill" => return load::run(fill(dir, number(0))),
        "reopen" => load::run(reopen(dir, start)),
        "drain" => drain(dir),
        "repack" => repack(dir),
        "beside" => load::run(beside(dir, number(0), u32::try_from(number(1)).expect("a pause"))),
        other => panic!("no measurement is called {other}"),
    }
    tell_memory();
}

async fn append(dir: &Path, size: u64) {
    let mut load = Load::new();
    let bare = load.bare(size);
    (load.records, load.json_bytes) = (0, 0);
    let Spool { writer, acks, reader: _reader, .. } = load::open(dir, None);
    tokio::spawn(acks.run());
    let start = Instant::now();
    let more = |load: &Load| {
        let so_far = start.elapsed();
        so_far < TIME || (load.records < FEWEST_COMMITS * size.min(20) && so_far < LONGEST)
    };
    load.batches(&writer, size, more).await;
    let seconds = start.elapsed().as_secs_f64();
    let commits = writer.depth().commits.count() as f64;
    writer.close().expect("a close");
    let records = load.records as f64;
    tell("bare_records_a_second", bare);
    tell("records", records);
    tell("commits", commits);
    tell("records_a_second", records / seconds);
    tell("commits_a_second", commits / seconds);
    tell("json_bytes", load.json_bytes as f64);
}

/// A segment for each commit.
async fn segments(dir: &Path, count: u64) {
    let mut load = Load::new();
    let Spool { writer, acks, reader: _reader, .. } = load::open(dir, Some(1));
    tokio::spawn(acks.run());
    while writer.depth().segments < count {
        let until = load.records + 1;
        load.batches(&writer, 1, |load| load.records < until).await;
    }
    tell("segments", writer.depth().segments as f64);
    writer.close().expect("a close");
}

/// Fills the disk with so many bytes, tells so, and goes on until it is killed.
async fn fill(dir: &Path, bytes: u64) {
    let mut load = Load::incompressible(4096);
    let Spool { writer, acks, reader: _reader, .. } = load::open(dir, None);
    tokio::spawn(acks.run());
    let mut told = false;
    load.batches(&writer, 200, |_| {
        if !told && writer.depth().disk_bytes >= bytes {
            tell("segments", writer.depth().segments as f64);
            println!();
            std::io::stdout().flush().expect("an output");
            told = true;
        }
        true
    })
    .await;
}

/// Opens what is there, makes one more record durable, and waits for the forwarder's first block.
async fn reopen(dir: &Path, start: Instant) {
    let Spool { writer, acks, mut reader, report } = load::open(dir, None);
    tokio::spawn(acks.run());
    let since = || start.elapsed().as_secs_f64() * 1e3;
    tell("open_ms", since());
    let mut load = Load::incompressible(300);
    load.batches(&writer, 1, |load| load.records < 1).await;
    tell("durable_ms", since());
    reader.next_block().expect("a block").expect("a backlog");
    tell("block_ms", since());
    assert_eq!(report.ledger.lost, 0, "{report:?}");
}

/// Waits until the repacker has nothing more to do.
fn repack(dir: &Path) {
    let spool = load::open_repacking(dir, 1);
    let start = Instant::now();
    let (mut written, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        let now = spool.writer.depth().bytes_written;
        if now > written {
            (written, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    tell("bytes_written", written as f64);
    tell("seconds", (since - start).as_secs_f64());
    spool.writer.close().expect("a close");
}

/// Commits of so many records, with the repacker at work on what is there with such pauses; with
/// 0 it is not.
async fn beside(dir: &Path, size: u64, pause: u32) {
    let mut load = Load::new();
    let spool = if pause == 0 { load::open(dir, None) } else { load::open_repacking(dir, pause) };
    let Spool { writer, acks, reader: _reader, .. } = spool;
    tokio::spawn(acks.run());
    let start = Instant::now();
    load.batches(&writer, size, |_| start.elapsed() < TIME).await;
    tell("records_a_second", load.records as f64 / start.elapsed().as_secs_f64());
    load.waits.sort_by(f64::total_cmp);
    tell("p50_ms", load.waits[load.waits.len() / 2] * 1e3);
    tell("p99_ms", load.waits[load.waits.len() * 99 / 100] * 1e3);
    writer.close().expect("a close");
}

fn drain(dir: &Path) {
    let mut spool = load::open(dir, None);
    let (mut records, mut bytes) = (0_u64, 0);
    let start = Instant::now();
    while let Some(block) = spool.reader.next_block().expect("a block") {
        for record in block.records() {
            records += 1;
            bytes += std::hint::black_box(record.value).len();
        }
        spool.reader.advance_watermark(block.end());
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!(bytes > 0, "nothing was there");
    tell("records_a_second", records as f64 / seconds);
    spool.writer.close().expect("a close");
}
