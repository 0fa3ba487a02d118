//! `waystation run`: the service, until SIGTERM or SIGINT.

use super::{exit, terminal};
use crate::app::{self, RunError};
use crate::config::{self, LogConfig, LogFormat};
use crate::ingest::BindError;
use crate::spool::OpenError;
use std::io::stderr;
use std::path::Path;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Loads the configuration and runs the service.
pub fn run(path: &Path) -> u8 {
    let config = match config::load(path) {
        Ok(loaded) => loaded.config,
        Err(problems) => {
            terminal::complain(&problems);
            return exit::CONFIG;
        }
    };
    if let Err(problem) = start_log(&config.log) {
        terminal::complain(&problem);
        return exit::CONFIG;
    }
    match app::run(config) {
        Ok(()) => exit::OK,
        Err(error) => {
            terminal::complain(&error);
            code(&error)
        }
    }
}

fn code(error: &RunError) -> u8 {
    match error {
        RunError::Spool(OpenError::InUse { .. }) => exit::SPOOL_IN_USE,
        RunError::Spool(OpenError::Io { .. }) => exit::CANNOT_CREATE,
        RunError::Ingest(BindError::Listen { .. }) => exit::UNAVAILABLE,
        RunError::Ingest(_) | RunError::Forward(_) => exit::CONFIG,
        _ => exit::SOFTWARE,
    }
}

/// Log lines go to standard error: systemd's journal, or a terminal.
fn start_log(config: &LogConfig) -> Result<(), String> {
    let filter: Targets = config.filter.parse().map_err(|error| {
        format!("log.filter is {:?}: {error}; \"info\" is the default", config.filter)
    })?;
    let lines = fmt::layer().with_writer(stderr);
    let lines = match config.format {
        LogFormat::Text => lines.with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(lines).try_init();
    started.map_err(|error| format!("cannot start the log: {error}"))
}
