//! HTTP in, one answer out: a 200 once the record is durable, or a problem that says why not.
//!
//! [`Server`] is the front door. It is built (socket bound, routes and their schemas checked)
//! before it runs, and running cannot fail. A request's body is read under limits, converted
//! outside any lock, handed to the spool's writer, and answered when the spool says that the
//! record is on the disk.
//!
//! This folder knows nothing of Kafka, nor of how the spool keeps its word.
//!
//! - `listener.rs`: connections, their limits and their end; `acceptor.rs`: which comes in next; `room.rs`:
//!   which makes room for it
//! - `linger.rs`: closing so that the last answer is read; `watched.rs`: an answer that is not read
//! - `tls.rs`: the certificates of encrypted ones
//! - `door.rs`: which clients may ask at all; `tokens.rs`: by their token; `rate.rs`: how often
//! - `handler.rs`: one request; `admit.rs`: whether its body is worth reading
//! - `batch.rs`: many messages in one body; `framing.rs` and `lines.rs`: where each of them ends;
//!   `turns.rs`: whose is read
//! - `fuzzing.rs`: what must hold for any batch, for the fuzzer
//! - `body.rs`: reading a body under limits
//! - `encoding.rs`: undoing its compression, under the same
//! - `keeping.rs`: whether what is no message can be kept
//! - `problem.rs`: the refusals
//! - `files.rs`: files that the configuration names; `reload.rs`: those that are read again;
//!   `rehearse.rs`: what is wrong with them before the start
//! - `stats.rs`: the counters

mod acceptor;
mod admit;
mod batch;
mod body;
mod door;
mod encoding;
mod files;
mod framing;
pub mod fuzzing;
mod handler;
mod keeping;
mod lines;
mod linger;
mod listener;
mod problem;
mod rate;
mod rehearse;
mod reload;
mod room;
mod stats;
#[cfg(test)]
mod test_client;
#[cfg(test)]
mod test_pki;
#[cfg(test)]
mod tests;
pub mod tls;
mod tokens;
mod turns;
mod watched;

pub use files::Fault;
pub use problem::Reason;
pub use stats::{Stats, Taken};
pub use tokens::{NewToken, new_token};

use crate::convert::{SchemaError, Source};
use crate::dead;
use crate::repeats::{self, Repeats};
use crate::spool::SpoolWriter;
use admit::{ContentType, Headers};
use door::{Client, Door, Introduced};
use encoding::Encoding;
use handler::{Endpoint, Handler};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::service::TowerToHyperService;
use keeping::Keeping;
use problem::Problem;
use reload::{Current, Look};
use room::Guest;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use turns::Turns;
use warp::Filter;
use warp::path::FullPath;
use warp::reject::Rejection;
use warp::reply::Response;

/// How long the requests at hand may take to finish after the signal to stop.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes that bodies which are not whole may hold together; where a message may be large, four of them.
const UNFINISHED: usize = 4 << 20;
/// How often it is looked whether certificates and tokens have changed, and what else waits for a disk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted, at most, and as far as the kernel allows.
const QUEUE: u32 = 4_096;

/// What the operator sets under `[ingest]` and `[[route]]`.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    /// Bytes of one message, at most, before and after decompression.
    pub max_message: usize,
    /// Bytes of a batch, at most, before and after decompression.
    pub max_batch: usize,
    /// Open connections, at most; for a further one that which has been idle for longest is closed.
    pub max_connections: usize,
    /// How long the headers of a request may take; also how long a connection may idle between two.
    pub header_timeout: Duration,
    /// How long a body may take (of a batch, each message), and how long an answer may wait to be read.
    pub body_timeout: Duration,
    /// Without it connections are not encrypted.
    pub tls: Option<tls::Config>,
    /// The file of the tokens of which each request must present one.
    pub tokens: Option<PathBuf>,
    pub max_requests_per_address: Option<NonZeroU32>,
    pub max_requests_per_token: Option<NonZeroU32>,
    pub routes: Vec<RouteConfig>,
    /// The bounds of the dead letters, for routes that keep what is no message.
    pub letters: dead::Config,
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
    pub on_invalid: OnInvalid,
    /// What a device sends twice is kept once.
    pub dedupe: Option<Dedupe>,
}

/// Which messages may be repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// Of a message that lacks one of these nobody knows whether it is a repeat.
    pub fields: Vec<String>,
    /// For how long.
    pub window: Duration,
}

/// What becomes of a body that is not the message, or says something impossible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnInvalid {
    /// It is answered 400 or 422.
    #[default]
    Reject,
    /// It is answered 200 once it is durable, and becomes a dead letter.
    Keep,
}

/// Why ingest could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the route {path} cannot be used: {source}")]
    Route { path: String, source: SchemaError },
    #[error(transparent)]
    File(#[from] Fault),
}

/// Ingest, listening and ready to run.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: listener::Limits,
    tls: Option<Arc<Current<tls::Tls>>>,
    handler: Arc<Handler>,
    stats: Arc<Stats>,
    looks: Vec<Look>,
    look_every: Duration,
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
        let Doors { tls, tokens, mut looks } = Doors::open(&config)?;
        let (per_address, per_token) =
            (config.max_requests_per_address, config.max_requests_per_token);
        let door = Door::new(per_address, tokens, per_token);
        let endpoints: Vec<_> =
            config.routes.into_iter().map(Endpoint::new).collect::<Result<_, _>>()?;
        let stats = Arc::new(Stats::new(endpoints.iter().map(|e| Arc::clone(&e.route))));
        let window = endpoints.iter().filter_map(|endpoint| endpoint.window).max();
        let repeats = window.map(|window| Repeats::open(&writer, window));
        if repeats.is_none() {
            repeats::forget(writer.dir());
        }

        let failed = |source| BindError::Listen { address: config.listen, source };
        let listener = listen(config.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = listener::Limits {
            connections: config.max_connections,
            headers: config.header_timeout,
            unread: config.body_timeout,
            unfinished: UNFINISHED.max(4 * config.max_message),
            grace: GRACE,
        };
        let time = config.body_timeout;
        let bodies = admit::Limits {
            message: body::Limits { size: config.max_message, what: "a message", time },
            batch: body::Limits { size: config.max_batch, what: "a batch", time },
        };
        let keeping = Arc::new(Keeping::new(writer.clone(), config.letters));
        if endpoints.iter().any(Endpoint::keeps_invalid) {
            looks.push(keeping.keep_up());
        }
        let handler = Handler {
            door,
            endpoints,
            limits: bodies,
            turns: Turns::new(batch::AT_ONCE, time),
            stopping: watch::Sender::new(false),
            // So that there is room for single messages, however many batches there are.
            waiting: writer.max_pending() / 4 / batch::AT_ONCE as usize,
            keeping,
            repeats,
            writer,
            stats: Arc::clone(&stats),
        };
        let handler = Arc::new(handler);
        let look_every = LOOK_EVERY;
        Ok(Self { listener, address, limits, tls, handler, stats, looks, look_every })
    }

    /// Where it listens: the port that was given when the configuration asked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How its address begins: `https` where connections are encrypted.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The counters, for the status and the metrics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `shutdown`. Then it accepts no more connections, breaks batches off where they
    /// are, finishes the other requests at hand (for 10 s at the most) and returns; the spool's writer
    /// is no longer used.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, tls, limits, handler, stats, looks, look_every, .. } = self;
        let asks = !handler.door.is_open();
        let stopping = handler.stopping.clone();
        let shutdown = async move {
            shutdown.await;
            stopping.send_replace(true);
        };
        let answer = TowerToHyperService::new(warp::service(filter(handler)));
        let service = |peer| {
            let answer = Introduced { service: answer.clone(), peer: asks.then_some(peer) };
            service_fn(move |mut request: Request<Incoming>| {
                encoding::join(request.headers_mut());
                admit::make_readable(request.headers_mut());
                answer.call(request)
            })
        };
        tokio::select! {
            () = listener::run(listener, tls, limits, service, stats, shutdown) => {}
            never = reload::keep_up(looks, look_every) => match never {},
        }
    }
}

/// What stands in the files that the configuration names, and how it is kept up.
struct Doors {
    tls: Option<Arc<Current<tls::Tls>>>,
    tokens: Option<Arc<Current<tokens::Tokens>>>,
    looks: Vec<Look>,
}

impl Doors {
    fn open(config: &Config) -> Result<Self, Fault> {
        let mut doors = Self { tls: None, tokens: None, looks: Vec::new() };
        if let Some(tls) = &config.tls {
            let (current, mut look) = tls.source().open()?;
            let (in_use, mut reminder) = (Arc::clone(&current), tls::Reminder::default());
            doors.looks.push(Box::new(move || {
                look();
                if let Some(says) = reminder.due(&in_use.get(), SystemTime::now()) {
                    tracing::warn!("{says}");
                }
            }));
            doors.tls = Some(current);
        }
        if let Some(file) = &config.tokens {
            let (current, look) = tokens::Tokens::source(file, config.paths()).open()?;
            doors.looks.push(look);
            doors.tokens = Some(current);
        }
        if let Some(says) = config.readable_tokens() {
            tracing::warn!("{says}");
        }
        Ok(doors)
    }
}

/// Binds as the standard library does, with a longer queue: what comes while it is full tries again a
/// second later.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

/// The one chain that every request goes through: its parts are taken apart here, and
/// everything is decided in the handler.
fn filter(
    handler: Arc<Handler>,
) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static {
    let refusing = Arc::clone(&handler);
    warp::method()
        .and(warp::ext::get::<Guest>())
        .and(warp::ext::optional::<Client>())
        .and(warp::path::full())
        .and(warp::header::optional::<ContentType>("content-type"))
        .and(warp::header::optional::<Encoding>("content-encoding"))
        .and(warp::header::optional::<u64>("content-length"))
        .and(warp::body::stream())
        .then(move |method, guest: Guest, client, path: FullPath, kind, encoding, length, body| {
            let handler = Arc::clone(&handler);
            let headers = Headers { kind, encoding, length };
            async move {
                handler.answer(&guest, client, method, path.as_str(), headers, body).await
            }
        })
        .recover(move |rejection: Rejection| {
            let response = refusing.refuse(unreadable(&rejection));
            async move { Ok::<_, Infallible>(response) }
        })
        .unify()
}

/// The chain itself refuses nothing: its headers can be read (`admit::make_readable`; hyper has looked at
/// the length).
fn unreadable(rejection: &Rejection) -> Problem {
    Problem::new(Reason::NotFound, format!("{rejection:?}"))
}
