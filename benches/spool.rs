//! How fast is the spool, how much disk and memory does it take, how soon is it back?
//!
//!     cargo bench --bench spool
//!     WAYSTATION_BENCH_GB=10 cargo bench --bench spool     (the restart; 1 by default)
//!
//! Prints a table: what was measured, what the disk or the processor gives by itself in the same
//! run, the goal, and whether it is met. Only what stands in one run can be compared: a shared
//! machine's speed moves by half from hour to hour. Each measurement is a process of its own
//! (`spool/child.rs`), so that its memory is its own. As root the page cache is dropped before a
//! restart; otherwise the table says that it was warm. A goal that is missed is exit code 1.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52, for people to read")]

#[path = "spool/child.rs"]
mod child;
#[path = "spool/load.rs"]
mod load;
#[path = "spool/repacking.rs"]
mod repacking;
#[path = "spool/restart.rs"]
mod restart;
#[path = "spool/table.rs"]
mod table;

use child::{Child, Report};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::{Goal, Table, count, ms};

/// Records a commit.
const COMMITS: [u64; 4] = [1, 20, 128, 500];
const MEMORY: Goal = Goal::AtMost(64.0);

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // What cargo itself passes.
    arguments.retain(|argument| argument != "--bench");
    if arguments.is_empty() {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut table = Table::default();
        measure(root.path(), &mut table);
        return if table.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    child::main(&arguments);
    ExitCode::SUCCESS
}

fn measure(root: &Path, table: &mut Table) {
    let idle = Child::run("idle", root, &[]);
    table.row("memory of the measuring process alone", &format!("{} MB", idle.peak()), "", None);
    for records in COMMITS {
        commits(root, table, records);
    }
    repacking::beside(root, table);
    let backlog = root.join("backlog");
    drain(&backlog, table);
    fs::remove_dir_all(&backlog).expect("the backlog is removed");
    restart::thousand_segments(root, table);
    restart::large(root, table);
}

/// Commits of so many records: speed, disk, memory.
fn commits(root: &Path, table: &mut Table, records: u64) {
    let dir = root.join("backlog");
    let _ = fs::remove_dir_all(&dir); // of the size before; not there at first
    let before = bare_syncs(root);
    let done = Child::run("append", &dir, &[&records.to_string()]);
    let syncs = f64::midpoint(before, bare_syncs(root));
    let (commits, rate) = (done.number("commits_a_second"), done.number("records_a_second"));
    let size = done.number("records") / done.number("commits");
    // What is committed together by chance would be measured as if it were meant to be.
    assert!((0.9..1.1).contains(&(size / records as f64)), "commits of {size} records");
    let bare = done.number("bare_records_a_second");
    let goal = if records == 500 { Goal::AtLeast(400_000.0) } else { Goal::None };
    table.row(
        &format!("appended, commits of {records}"),
        &format!("{} records/s", count(rate)),
        &format!(
            "{:.2} of the disk's {} syncs/s; {:.2} of {} records/s, only packed",
            commits / syncs,
            count(syncs),
            rate / bare,
            count(bare)
        ),
        goal.met(rate),
    );
    table.row("  memory meanwhile", &done.memory(), "", MEMORY.met(done.peak()));
    let before = disk_bytes(&dir) as f64 / done.number("json_bytes");
    let goal = if records < 128 { Goal::None } else { Goal::AtMost(0.2) };
    table.row("  disk a JSON byte", &format!("{before:.3}"), "before repacking", goal.met(before));
    repacking::size(&dir, table, done.number("json_bytes"));
}

/// What the last size left, read to its end.
fn drain(dir: &Path, table: &mut Table) {
    let reopened = Child::run("reopen", dir, &[]);
    table.row(
        "memory with that backlog, reopened",
        &reopened.memory(),
        "",
        MEMORY.met(reopened.peak()),
    );
    let drained = Child::run("drain", dir, &[]);
    let rate = drained.number("records_a_second");
    table.row(
        "drained, commits of 500",
        &format!("{} records/s", count(rate)),
        "a bare producer sends 717 k/s",
        Goal::AtLeast(717_000.0).met(rate),
    );
    table.row("  memory meanwhile", &drained.memory(), "", MEMORY.met(drained.peak()));
}

/// `fdatasync`s a second, each of 4 KiB appended to a file: what a commit cannot beat.
fn bare_syncs(root: &Path) -> f64 {
    let path = root.join("bare");
    let mut file = File::create(&path).expect("a file");
    let (start, mut syncs) = (Instant::now(), 0.0);
    while start.elapsed() < Duration::from_millis(500) {
        file.write_all(&[0x5a; 4096]).and_then(|()| file.sync_data()).expect("a sync");
        syncs += 1.0;
    }
    let rate = syncs / start.elapsed().as_secs_f64();
    fs::remove_file(path).expect("the file is removed");
    rate
}

/// Copies a closed spool.
fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// What everything under `path` takes on the disk.
fn disk_bytes(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).expect("a file").blocks() * 512;
    if !path.is_dir() {
        return own;
    }
    let entries = fs::read_dir(path).expect("a directory");
    own + entries.map(|entry| disk_bytes(&entry.expect("an entry").path())).sum::<u64>()
}

/// A time that must stay below a second, as the goals for a restart are.
fn soon(table: &mut Table, what: &str, report: &Report, key: &str, beside: &str) {
    let taken = report.number(key);
    table.row(what, &ms(taken), beside, Goal::AtMost(1000.0).met(taken));
}
