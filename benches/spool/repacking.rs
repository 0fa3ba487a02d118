//! What does the repacking gain, and does ingest notice it?

use crate::child::{Child, Report};
use crate::table::{Goal, Table};
use crate::{copy_dir, disk_bytes};
use std::fs;
use std::path::Path;

/// Pairs of a run with the repacking and one without, in turn: an odd number, for the one in the
/// middle. The 99th percentile without it moves by a factor of two from run to run.
const PAIRS: usize = 11;
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
    let run = |repacking: &str| {
        copy_dir(&backlog, &dir);
        // What the copying left to be written would be in the way of the commits.
        rustix::fs::sync();
        let report = Child::run("beside", &dir, &[SIZE, repacking]);
        fs::remove_dir_all(&dir).expect("the copy is removed");
        report
    };
    let pairs: Vec<(Report, Report)> = (0..PAIRS).map(|_| (run("0"), run("1"))).collect();
    for (key, what) in [("p50_ms", "p50"), ("p99_ms", "p99")] {
        let mut ratios: Vec<f64> =
            pairs.iter().map(|(without, with)| with.number(key) / without.number(key)).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, middle, most) = (ratios[0], ratios[PAIRS / 2], ratios[PAIRS - 1]);
        let goal = if what == "p99" { Goal::AtMost(1.1) } else { Goal::None };
        table.row(
            &format!("{what} of commits while it repacks"),
            &format!("{middle:.2} of without"),
            &format!("{PAIRS} pairs: {least:.2} to {most:.2}"),
            goal.met(middle),
        );
    }
    let memory = pairs.iter().map(|(_, with)| with.peak()).fold(0.0, f64::max);
    table.row("  memory meanwhile", &format!("{memory} MB"), "", Goal::AtMost(64.0).met(memory));
    fs::remove_dir_all(&backlog).expect("the backlog is removed");
}
