//! What came of each failure, in one table: made by the tests that provoke them.
//!
//! Every row is printed as it is added, and `target/kafka/failures.md` holds all rows of this run.

use crate::support::witness::Comparison;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// One failure.
#[derive(Debug)]
pub struct Row {
    pub failure: &'static str,
    pub provoked: &'static str,
    /// The sentences of the status, in order.
    pub status: Vec<String>,
    /// What the service logged from the start of the scene to its end, without the times.
    pub log: Vec<String>,
    /// What was acknowledged and read, by each consumer.
    pub compared: Vec<Comparison>,
    /// The most memory that the service ever had.
    pub memory: u64,
    /// From the end of the cause until something acknowledged after it was read.
    pub back_after: Duration,
}

/// A line of the log: what was said, and how loudly.
pub fn without_time(line: &str) -> String {
    line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start()).to_owned()
}

/// The rows, by the failures' names.
static ROWS: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());

impl Row {
    pub fn add(&self) {
        let Self { failure, provoked, compared, .. } = self;
        let sum = |of: fn(&Comparison) -> u64| compared.iter().map(of).sum::<u64>();
        let (sent, delivered) = (sum(|c| c.acknowledged), sum(|c| c.distinct));
        let repeated = sum(|c| c.read) - delivered;
        // What was never answered may have been read as well.
        let lost = sent.saturating_sub(delivered);
        let (status, log) = (self.status.join("<br>"), self.log.join("<br>"));
        let (memory, back) = (crate::support::mb(self.memory), self.back_after.as_secs_f64());
        let line = format!(
            "| {failure} | {provoked} | {status} | {log} | {sent} | {delivered} | {repeated} | \
             {lost} | {memory} | {back:.1} s |"
        );
        println!("{line}");
        let mut rows = ROWS.lock().unwrap();
        rows.insert(failure, line);
        let mut table = String::from(
            "| failure | provoked by | status | log | sent | delivered | repeated | lost | \
             highest memory | back after |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for line in rows.values() {
            writeln!(table, "{line}").unwrap();
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        fs::write(target.join("kafka/failures.md"), table).unwrap();
    }
}
