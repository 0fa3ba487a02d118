//! HTTP in, one answer out: a 200 once the record is durable, or a problem that says why not.
//!
//! [`Server`] is the front door. It is built (socket bound, routes and their schemas checked)
//! before it runs, and running cannot fail. A request's body is read under limits, converted
//! outside any lock, handed to the spool's writer, and answered when the spool says that the
//! record is on the disk.
//!
//! This folder knows nothing of Kafka, nor of how the spool keeps its word.
//!
//! - `listener.rs`: connections, their limits and their end
//! - `linger.rs`: closing so that the last answer is read
//! - `handler.rs`: one request; `admit.rs`: whether its body is worth reading
//! - `batch.rs`: many messages in one body; `framing.rs` and `lines.rs`: where each of them ends
//! - `fuzzing.rs`: what must hold for any batch, for the fuzzer
//! - `body.rs`: reading a body under limits
//! - `encoding.rs`: undoing its compression, under the same
//! - `problem.rs`: the refusals
//! - `stats.rs`: the counters

mod admit;
mod batch;
mod body;
mod encoding;
mod framing;
pub mod fuzzing;
mod handler;
mod lines;
mod linger;
mod listener;
mod problem;
mod stats;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod tests;

pub use problem::Reason;
pub use stats::Stats;

use crate::convert::{SchemaError, Source};
use crate::spool::SpoolWriter;
use admit::{ContentType, Headers};
use encoding::Encoding;
use handler::{Endpoint, Handler};
use hyper_util::service::TowerToHyperService;
use problem::Problem;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use warp::Filter;
use warp::path::FullPath;
use warp::reject::{InvalidHeader, Rejection};
use warp::reply::Response;

/// How long the requests at hand may take to finish after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What the operator sets under `[ingest]` and `[[route]]`.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Bytes of one message, at most, before and after decompression.
    pub max_message: usize,
    /// Bytes of a batch, at most, before and after decompression.
    pub max_batch: usize,
    /// Open connections, at most; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long the headers of a request may take; also how long a connection may idle between two.
    pub header_timeout: Duration,
    /// How long a body may take; of a batch, each message.
    pub body_timeout: Duration,
    pub routes: Vec<RouteConfig>,
}

/// One `[[route]]`.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    pub path: String,
    pub topic: String,
    /// The schema.
    pub source: Source,
    /// The message's full name in it; `tutorial.REALTIMEGPS` is built in.
    pub message: String,
    /// The path of the field whose value is the Kafka key.
    pub key: Option<String>,
    /// The path of the field whose value is the Kafka timestamp; `None`: the time of reception.
    pub timestamp: Option<String>,
}

/// Why ingest could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the route {path} cannot be used: {source}")]
    Route { path: String, source: SchemaError },
}

/// Ingest, listening and ready to run.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: listener::Limits,
    handler: Arc<Handler>,
    stats: Arc<Stats>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Builds the routes and listens. From here on clients can connect; they are answered
    /// once [`run`](Self::run) runs. Must be called inside the runtime that will run it.
    pub fn bind(config: Config, writer: SpoolWriter) -> Result<Self, BindError> {
        let endpoints: Vec<_> =
            config.routes.into_iter().map(Endpoint::new).collect::<Result<_, _>>()?;
        let stats = Arc::new(Stats::new(endpoints.iter().map(|e| Arc::clone(&e.route))));

        let failed = |source| BindError::Listen { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = listener::Limits {
            connections: config.max_connections,
            headers: config.header_timeout,
            grace: GRACE,
        };
        let time = config.body_timeout;
        let bodies = admit::Limits {
            message: body::Limits { size: config.max_message, what: "a message", time },
            batch: body::Limits { size: config.max_batch, what: "a batch", time },
        };
        let handler = Handler {
            endpoints,
            limits: bodies,
            batches: Semaphore::new(batch::AT_ONCE),
            // So that there is room for single messages, however many batches there are.
            waiting: writer.max_pending() / 4 / batch::AT_ONCE,
            writer,
            stats: Arc::clone(&stats),
        };
        let handler = Arc::new(handler);
        Ok(Self { listener, address, limits, handler, stats })
    }

    /// Where it listens: the port that was given when the configuration asked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The counters, for the status and the metrics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `shutdown`. Then it accepts no more connections, finishes the requests
    /// at hand (for 10 s at the most) and returns; the spool's writer is no longer used.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, limits, handler, stats, .. } = self;
        let service = TowerToHyperService::new(warp::service(filter(handler)));
        listener::run(listener, limits, service, stats, shutdown).await;
    }
}

/// The one chain that every request goes through: its parts are taken apart here, and
/// everything is decided in the handler.
fn filter(
    handler: Arc<Handler>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let refusing = Arc::clone(&handler);
    warp::method()
        .and(warp::path::full())
        .and(warp::header::optional::<ContentType>("content-type"))
        .and(warp::header::optional::<Encoding>("content-encoding"))
        .and(warp::header::optional::<u64>("content-length"))
        .and(warp::body::stream())
        .then(move |method, path: FullPath, kind, encoding, length, body| {
            let handler = Arc::clone(&handler);
            let headers = Headers { kind, encoding, length };
            async move { handler.answer(method, path.as_str(), headers, body).await }
        })
        .recover(move |rejection: Rejection| {
            let response = refusing.refuse(unreadable(&rejection));
            async move { Ok::<_, Infallible>(response) }
        })
        .unify()
}

/// The only thing that the chain itself refuses: a header that is not readable text.
fn unreadable(rejection: &Rejection) -> Problem {
    match rejection.find::<InvalidHeader>() {
        Some(header) if header.name() == "content-encoding" => {
            Problem::new(Reason::UnsupportedEncoding, header.to_string())
        }
        Some(header) => Problem::new(Reason::UnsupportedType, header.to_string()),
        None => Problem::new(Reason::NotFound, format!("{rejection:?}")),
    }
}
