//! The configuration: from TOML files to a [`Config`] in which nothing invalid can be written.
//!
//! `files.rs` reads `waystation.toml` and the `conf.d/*.toml` beside it; `raw.rs` merges them
//! (names known, values as written, each with its line); `checked.rs` and `routes.rs` turn
//! that (`doors.rs`: who may post) into the parts' own configs (`effective.rs`), by the means of `checking.rs`; `parts.rs` asks the parts what they think of it;
//! `print.rs` shows what is in effect. `schema.rs` lists the settings, `value.rs` reads single
//! values, `problem.rs` says what is wrong and where.
//!
//! Nothing here binds, connects, creates or changes anything.

mod checked;
mod checking;
mod doors;
mod effective;
mod files;
mod parts;
mod print;
mod problem;
mod raw;
mod routes;
mod schema;
#[cfg(test)]
mod tests;
mod value;

pub use effective::{Config, LogConfig, LogFormat};
pub use problem::{Origin, Place, Problem, Problems};

use crate::forward::Obstacle;
use std::path::Path;
use std::sync::Arc;

/// Where the configuration is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/waystation/waystation.toml";

/// A configuration together with where it came from.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    raw: raw::RawConfig,
    /// In the order of reading, the configuration file first.
    files: Vec<Arc<str>>,
    /// The configuration file, for what is in no line.
    main: Arc<str>,
}

impl Loaded {
    /// What is in effect, as TOML, each value with its file and line (or `default`) behind
    /// it; secrets are masked.
    pub fn to_toml(&self) -> String {
        print::to_toml(&self.raw, &self.config.box_name)
    }

    /// What a right configuration still lacks on this box: files and programs that Kafka needs, without
    /// which the service starts, keeps every record and sends none; and files that ingest needs, without
    /// which it does not start.
    pub fn rehearse(&self) -> Result<(), Problems> {
        let obstacles = parts::rehearse(&self.config.forward).into_iter();
        let faults = self.config.ingest.rehearse().into_iter().map(|fault| {
            let file = problem::shown(&fault.file);
            let place = match fault.line {
                Some(line) => Place::Line(Origin { file, line }),
                None => Place::File(file),
            };
            Problem { place, says: fault.says.replace(char::is_control, " ") }
        });
        let problems: Vec<_> = obstacles.map(|found| self.problem(found)).chain(faults).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problems::in_order(problems, &self.files)) }
    }

    fn problem(&self, obstacle: Obstacle) -> Problem {
        let says = obstacle.says.replace(char::is_control, " ");
        let found = obstacle.property.and_then(|name| self.raw.kafka.get(&name));
        if let Some(found) = found {
            Problem { place: Place::Line(found.origin.clone()), says: format!("kafka.{says}") }
        } else {
            // librdkafka named no property, or one that the operator has not written.
            let place = Place::File(Arc::clone(&self.main));
            Problem { place, says: format!("[kafka]: {says}") }
        }
    }
}

/// Reads and checks the file at `path` and the `conf.d/*.toml` beside it.
///
/// The error holds every problem of every file, in their order.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let (sources, problems) = files::read(path);
    // Only a default: where it cannot be read, box.name must be set, and `check` says so.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    assemble(&problem::shown(path), &sources, problems, host.as_deref().map(str::trim))
}

/// [`load`] without a disk.
fn assemble(
    main: &Arc<str>,
    sources: &[files::Source],
    mut problems: Vec<Problem>,
    host: Option<&str>,
) -> Result<Loaded, Problems> {
    let (raw, wrong_names) = raw::merge(sources);
    problems.extend(wrong_names);
    let files = std::iter::once(main).chain(sources.iter().map(|source| &source.file));
    let files: Vec<_> = files.cloned().collect();
    match checked::check(&raw, main, host) {
        Ok(config) if problems.is_empty() => {
            return Ok(Loaded { config, raw, files, main: Arc::clone(main) });
        }
        Ok(_) => {}
        Err(wrong_values) => {
            let told = |problem: &Problem| raw.broken.contains(&problem.place);
            problems.extend(wrong_values.into_iter().filter(|problem| !told(problem)));
        }
    }
    Err(Problems::in_order(problems, &files))
}
