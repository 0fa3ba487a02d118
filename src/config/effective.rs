//! What the operator has decided: the configuration that the program runs by.
//!
//! Only `checked.rs` makes one, so that holding one means that every rule is kept. It does
//! not know where a value came from.

use crate::{admin, dead, forward, ingest, spool};

/// Everything an operator can set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tells boxes apart: 1 to 63 letters, digits, dots, hyphens and underscores.
    pub box_name: String,
    pub ingest: ingest::Config,
    pub spool: spool::Config,
    pub dead: dead::Config,
    pub forward: forward::Config,
    pub admin: admin::Config,
    pub log: LogConfig,
}

/// What the operator sets under `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Directives of `tracing_subscriber::filter::Targets`, known to be right.
    pub filter: String,
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One JSON object a line.
    Json,
}
