//! One request: from its headers to its answer.
//!
//! A 200 is decided only after the spool has said that the record, or each record of a batch that
//! is not listed as refused, is durable. Everything that can be refused from the headers is refused
//! before the body is read, and the conversion takes no lock. It does not know connections.

use super::admit::{Admitted, Form, Headers, Limits};
use super::batch;
use super::body;
use super::framing::Delimited;
use super::lines::Lines;
use super::problem::{Problem, Reason};
use super::stats::Stats;
use super::{BindError, RouteConfig};
use crate::convert::{Converter, Fields, Timestamp};
use crate::record::{Millis, NewRecord, Reception, Route};
use crate::spool::{Append, SpoolWriter};
use bytes::Buf;
use futures_util::Stream;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::io::StreamReader;
use warp::http::Method;
use warp::reply::{Reply, Response};

/// When this program was built, in milliseconds since 1970. A clock that reads earlier is wrong.
const BUILT: Millis = match i64::from_str_radix(env!("WAYSTATION_BUILD_SECONDS"), 10) {
    Ok(seconds) => Millis(seconds * 1000),
    Err(_) => panic!("the build script gives a number of seconds"),
};

/// The buffer of a conversion is kept from one request to the next up to this many bytes.
const KEPT_BUFFER: usize = 256 * 1024;

thread_local! {
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A path, and what becomes of the messages posted there.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub route: Arc<Route>,
    converter: Converter,
}

impl Endpoint {
    pub(super) fn new(config: RouteConfig) -> Result<Self, BindError> {
        let RouteConfig { path, topic, source, message, key, timestamp } = config;
        let fields = Fields { key: key.as_deref(), time: timestamp.as_deref() };
        match Converter::new(&source, &message, fields) {
            Ok(converter) => Ok(Self { route: Arc::new(Route { path, topic }), converter }),
            Err(source) => Err(BindError::Route { path, source }),
        }
    }
}

/// What every request is answered with the help of.
pub(super) struct Handler {
    /// A handful at most: looking through them is faster than hashing the path.
    pub endpoints: Vec<Endpoint>,
    pub limits: Limits,
    /// Turns of the batches that are read at once.
    pub batches: Semaphore,
    /// Bytes of JSON that may wait to be durable, of one batch.
    pub waiting: usize,
    pub writer: SpoolWriter,
    pub stats: Arc<Stats>,
}

impl Handler {
    /// Answers one request.
    pub(super) async fn answer<B: Buf, E: Display>(
        &self,
        method: Method,
        path: &str,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Response {
        let started = Instant::now();
        let paths = self.endpoints.iter().map(|endpoint| &*endpoint.route.path);
        let admitted = self.limits.admit(&paths, &method, path, headers);
        // A batch takes as long as its client's link.
        let timed = !matches!(admitted, Ok(Admitted { form: Form::Batch, .. }));
        let response = match admitted {
            Ok(Admitted { place, form: Form::Message }) => {
                self.message(place, headers, body, started).await
            }
            Ok(Admitted { place, form: Form::Batch }) => self.batch(place, headers, body).await,
            Err(problem) => Err(problem),
        };
        if timed {
            self.stats.observe_request(started.elapsed());
        }
        response.unwrap_or_else(|problem| self.refuse(problem))
    }

    /// Counts and answers a refusal.
    pub(super) fn refuse(&self, problem: Problem) -> Response {
        self.stats.count_rejected(problem.reason);
        problem.into_response()
    }

    /// Makes the message in the body durable.
    async fn message<B: Buf, E: Display>(
        &self,
        place: usize,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
        started: Instant,
    ) -> Result<Response, Problem> {
        let message = body::read(body, headers.encoding(), self.limits.message, started).await?;
        let (append, _) = self.append(&self.endpoints[place], headers, &message)?;
        // The body's buffer belongs to the connection again while the disk works.
        drop(message);
        append.await?;
        self.stats.count_accepted(place, 1);
        Ok(warp::reply().into_response())
    }

    /// Makes the messages in the body durable, as far as each can be.
    async fn batch<B: Buf, E: Display>(
        &self,
        place: usize,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Result<Response, Problem> {
        let Limits { message, batch } = self.limits;
        let turn = timeout(message.time, self.batches.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Problem::new(Reason::Busy, "too many batches are under way"));
        };
        let body = pin!(body::stream(body, batch));
        let body = headers.encoding().undo(StreamReader::new(body));
        let limits = batch::Limits {
            message: message.size,
            batch: batch.size,
            waiting: self.waiting,
            time: message.time,
        };
        let endpoint = &self.endpoints[place];
        let append = |message: &[u8]| {
            let (append, bytes) = self.append(endpoint, headers, message)?;
            // As it becomes durable: a batch may take long, and its client go away.
            let counted = async move {
                let kept = append.await;
                self.stats.count_accepted(place, kept.is_ok().into());
                kept
            };
            Ok((counted, bytes))
        };
        let report = if headers.is_json() {
            batch::keep(body, Lines::new(message.size), limits, append).await
        } else {
            batch::keep(body, Delimited::new(message.size), limits, append).await
        };
        for (_, problem) in &report.rejected {
            self.stats.count_rejected(problem.reason);
        }
        report.answer().map(|answer| warp::reply::json(&answer).into_response())
    }

    /// Converts the message and hands it to the spool; gives how long its JSON is.
    fn append(
        &self,
        endpoint: &Endpoint,
        headers: Headers,
        message: &[u8],
    ) -> Result<(Append, usize), Problem> {
        // By way of its bytes: one message is one line, however it came.
        let message = if headers.is_json() {
            Cow::Owned(endpoint.converter.read_json(message)?)
        } else {
            Cow::Borrowed(message)
        };
        JSON.with_borrow_mut(|json| {
            json.clear();
            json.shrink_to(KEPT_BUFFER);
            let converted = endpoint.converter.convert(&message, json)?;
            self.stats.count_unknown_fields(converted.unknown_fields);
            let received = reception(Millis::now());
            let record = NewRecord {
                route: &endpoint.route,
                key: converted.key.as_deref(),
                timestamp: converted.time.map_or(received.at, millis),
                received,
                headers: &[],
                value: json,
                origin: None,
            };
            Ok((self.writer.append(&record)?, json.len()))
        })
    }
}

/// An event's time as Kafka counts it.
fn millis(time: Timestamp) -> Millis {
    Millis(time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos / 1_000_000)))
}

/// A reception now. A box without a battery starts in the past until it learns the time;
/// then the clock reads earlier than this very program was made.
fn reception(now: Millis) -> Reception {
    Reception { at: now, clock_synchronised: now >= BUILT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_build_is_not_believed() {
        assert!(!reception(Millis(0)).clock_synchronised);
        assert!(!reception(Millis(BUILT.0 - 1)).clock_synchronised);
        assert!(reception(BUILT).clock_synchronised);
    }
}
