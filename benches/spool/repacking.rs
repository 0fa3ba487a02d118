//! What does the repacking gain, and does ingest notice it?

use crate::child::{Child, Report};
use crate::table::{Goal, Table};
use crate::{copy_dir, disk_bytes};
use std::fs;
use std::path::Path;

/// Of runs without the repacking and with it, in turn: an odd number, for the ratio in the middle.
/// The 99th percentile without it moves by a factor of two from run to run.
const ROUNDS: usize = 15;
/// What the repacker pauses for each unit of work: it does not work; as shipped, while little
/// waits; as shipped, while much does.
const NONE: u32 = 0;
const USUAL: u32 = 49;
const HURRIED: u32 = 9;
/// Records a commit: small, so that there is much to do.
const SIZE: &str = "20";

/// Repacks what is in `dir`, which is so much JSON; shows what it takes then.
pub fn size(dir: &Path, table: &mut Table, json: f64) {
    let done = Child::run("repack", dir, &[]);
    let after = disk_bytes(dir) as f64 / json;
    table.row(
        "  disk a JSON byte, repacked",
        &format!("{after:.3}"),
        &format!(
            "{:.3} bytes of blocks written a JSON byte for it, in {:.1} s",
            done.number("bytes_written") / json,
            done.number("seconds")
        ),
        Goal::AtMost(0.2).met(after),
    );
    table.row("  memory meanwhile", &done.memory(), "", Goal::AtMost(64.0).met(done.peak()));
}

/// Commits while a backlog is repacked, against commits while it is not.
pub fn beside(root: &Path, table: &mut Table) {
    let (backlog, dir) = (root.join("before"), root.join("beside"));
    Child::run("append", &backlog, &[SIZE]);
    let run = |pause: &u32| {
        copy_dir(&backlog, &dir);
        // What the copying left to be written would be in the way of the commits.
        rustix::fs::sync();
        let report = Child::run("beside", &dir, &[SIZE, &pause.to_string()]);
        fs::remove_dir_all(&dir).expect("the copy is removed");
        report
    };
    let rounds: Vec<Vec<Report>> =
        (0..ROUNDS).map(|_| [NONE, USUAL, HURRIED].iter().map(run).collect()).collect();
    for (key, how, while_what, goal) in [
        ("p50_ms", 1, "p50 of commits while it repacks", Goal::None),
        ("p99_ms", 1, "p99 of commits while it repacks", Goal::AtMost(1.1)),
        ("p99_ms", 2, "  the same while much waits for it", Goal::None),
    ] {
        let mut ratios: Vec<f64> =
            rounds.iter().map(|round| round[how].number(key) / round[0].number(key)).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, middle, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        table.row(
            while_what,
            &format!("{middle:.2} of without"),
            &format!("{ROUNDS} rounds: {least:.2} to {most:.2}"),
            goal.met(middle),
        );
    }
    let memory = rounds.iter().flatten().map(Report::peak).fold(0.0, f64::max);
    table.row("  memory meanwhile", &format!("{memory} MB"), "", Goal::AtMost(64.0).met(memory));
    fs::remove_dir_all(&backlog).expect("the backlog is removed");
}
