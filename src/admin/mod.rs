//! The admin listener: who looks at this box sees the status page, the snapshot as JSON, the
//! metrics and the health checks.
//!
//! It only looks: no request changes anything. It never stops ingest: a port that is taken is
//! said once, tried again every few seconds, and offered to the status ([`AdminState`]). It
//! deliberately does not know where the facts come from; whoever builds it hands in a [`Source`].
//!
//! - `listener`: connections, their limits, the end
//! - `answer`: which path gets which reply
//! - [`metrics`]: the snapshot and the histograms as Prometheus reads them
//! - `page`: the snapshot inside `page.html`
//! - [`client`]: the other end, for the commands

mod answer;
pub mod client;
#[cfg(test)]
pub(crate) mod fake;
mod listener;
pub mod metrics;
mod page;

pub use listener::{AdminState, serve};

use crate::status::Snapshot;
use std::net::SocketAddr;

/// What the operator sets under `[admin]`.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
}

/// Where the facts come from. Every method answers at once: it is called on the runtime.
pub trait Source: Send + Sync + 'static {
    /// The snapshot of this moment, judged.
    fn status(&self) -> Snapshot;
    /// What the metrics need beside it.
    fn metrics(&self) -> metrics::Input;
    /// Whether the process makes progress; if not, the sentence says which part does not.
    fn live(&self) -> Result<(), String>;
    /// Whether a record posted now would become durable; if not, the sentence says why. Kafka
    /// away is still ready.
    fn ready(&self) -> Result<(), String>;
}
