//! One request: from its headers to its answer.
//!
//! A 200 is decided only after the spool has said that the record, or each record of a batch that
//! is not listed as refused, is durable. Everything that can be refused from the headers is refused
//! before the body is read, and the conversion takes no lock. It does not know connections.

use super::admit::{Admitted, Form, Headers, Limits};
use super::batch;
use super::body;
use super::door::{Client, Door};
use super::framing::Delimited;
use super::keeping::Keeping;
use super::lines::Lines;
use super::problem::{Problem, Reason};
use super::room::Guest;
use super::stats::{Closed, Kind, Stats};
use super::turns::Turns;
use super::{BindError, OnInvalid, RouteConfig};
use crate::convert::{ConvertError, Converter, Fields, Timestamp};
use crate::record::{INVALID, Millis, NewRecord, Reception, Route};
use crate::repeats::{self, Repeats};
use crate::spool::{Append, AppendError, SpoolWriter};
use bytes::Buf;
use futures_util::Stream;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
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

/// Characters of the reason that is kept with what is no message.
const LONGEST_REASON: usize = 500;

thread_local! {
    static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A path, and what becomes of the messages posted there.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub route: Arc<Route>,
    converter: Converter,
    on_invalid: OnInvalid,
    /// For how long a repeat is known, where that is wanted.
    pub window: Option<Duration>,
}

impl Endpoint {
    pub(super) fn new(config: RouteConfig) -> Result<Self, BindError> {
        let RouteConfig { path, topic, source, message, key, timestamp, on_invalid, dedupe } =
            config;
        let fields = Fields { key: key.as_deref(), time: timestamp.as_deref() };
        let (apart, window) = dedupe.map(|it| (it.fields, it.window)).unzip();
        let converter = Converter::new(&source, &message, fields);
        match converter.and_then(|it| it.telling_apart(&apart.unwrap_or_default())) {
            Ok(converter) => {
                let route = Arc::new(Route { path, topic });
                Ok(Self { route, converter, on_invalid, window })
            }
            Err(source) => Err(BindError::Route { path, source }),
        }
    }

    /// Whether what is no message is kept.
    pub(super) fn keeps_invalid(&self) -> bool {
        self.on_invalid == OnInvalid::Keep
    }
}

/// What every request is answered with the help of.
pub(super) struct Handler {
    pub door: Door,
    /// A handful at most: looking through them is faster than hashing the path.
    pub endpoints: Vec<Endpoint>,
    pub limits: Limits,
    /// Of the batches that are read at once.
    pub turns: Turns,
    /// Set when the service is to stop: a batch does not hold it up.
    pub stopping: watch::Sender<bool>,
    /// Bytes of JSON that may wait to be durable, of one batch.
    pub waiting: usize,
    pub keeping: Arc<Keeping>,
    /// Where a route wants it.
    pub repeats: Option<Repeats>,
    pub writer: SpoolWriter,
    pub stats: Arc<Stats>,
}

impl Handler {
    /// Answers one request.
    pub(super) async fn answer<B: Buf, E: Display>(
        &self,
        guest: &Guest,
        client: Option<Client>,
        method: Method,
        path: &str,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Response {
        let started = Instant::now();
        let paths = self.endpoints.iter().map(|endpoint| &*endpoint.route.path);
        let admitted = self
            .door
            .enter(client)
            .and_then(|pass| self.limits.admit(&paths, &method, path, &pass, headers));
        // A batch takes as long as its client's link.
        let timed = !matches!(admitted, Ok(Admitted { form: Form::Batch, .. }));
        let response = match admitted {
            Ok(Admitted { place, form: Form::Message }) => {
                self.message(guest, place, headers, body, started).await
            }
            Ok(Admitted { place, form: Form::Batch }) => {
                self.batch(guest, place, headers, body).await
            }
            Err(problem) => Err(problem),
        };
        if timed {
            self.stats.observe_request(started.elapsed());
        }
        match response {
            Ok(response) => response,
            Err(problem) => {
                // What is refused at once waits for nothing: many requests that came together would be one
                // piece of work.
                tokio::task::yield_now().await;
                self.refuse(problem)
            }
        }
    }

    /// Counts and answers a refusal.
    pub(super) fn refuse(&self, problem: Problem) -> Response {
        self.stats.count_rejected(problem.reason);
        problem.into_response()
    }

    /// Makes the message in the body durable.
    async fn message<B: Buf, E: Display>(
        &self,
        guest: &Guest,
        place: usize,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
        started: Instant,
    ) -> Result<Response, Problem> {
        let ended = |connections| {
            for _ in 0..connections {
                self.stats.count_closed(Closed::MadeRoom);
            }
        };
        let holds = |bytes| guest.holds(bytes, ended);
        let (length, encoding, limits) = (headers.length, headers.encoding(), self.limits.message);
        let message = body::read(body, length, encoding, limits, started, holds).await?;
        guest.is_here();
        let (taken, _) = self.append(&self.endpoints[place], headers, &message)?;
        // The body's buffer belongs to the connection again while the disk works.
        drop(message);
        self.settle(place, taken).await?;
        Ok(warp::reply().into_response())
    }

    /// Makes the messages in the body durable, as far as each can be.
    async fn batch<B: Buf, E: Display>(
        &self,
        guest: &Guest,
        place: usize,
        headers: Headers,
        body: impl Stream<Item = Result<B, E>>,
    ) -> Result<Response, Problem> {
        let Limits { message, batch } = self.limits;
        let mut stopping = pin!(self.stopping());
        let turn = tokio::select! {
            problem = stopping.as_mut() => return Err(problem),
            turn = self.turns.next() => turn,
        };
        let Some(turn) = turn else {
            return Err(Problem::new(Reason::Busy, "too many batches are under way"));
        };
        guest.is_here();
        let given_up = async {
            tokio::select! {
                problem = stopping => problem,
                () = turn.is_over() => {
                    Problem::new(Reason::Busy, "the batch takes long, and others wait for their turn")
                }
            }
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
            let (taken, bytes) = self.append(endpoint, headers, message)?;
            // Counted as it becomes durable: a batch may take long, and its client go away.
            Ok((self.settle(place, taken), bytes))
        };
        let report = if headers.is_json() {
            batch::keep(body, Lines::new(message.size), limits, given_up, append).await
        } else {
            batch::keep(body, Delimited::new(message.size), limits, given_up, append).await
        };
        for (_, problem) in &report.rejected {
            self.stats.count_rejected(problem.reason);
        }
        report.answer().map(|answer| warp::reply::json(&answer).into_response())
    }

    /// Resolves when the service is to stop.
    async fn stopping(&self) -> Problem {
        // The sender lives as long as this.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
        Problem::new(Reason::Stopping, "the service is stopping")
    }

    /// Converts the message and hands it to the spool; gives how many bytes wait.
    fn append(
        &self,
        endpoint: &Endpoint,
        headers: Headers,
        message: &[u8],
    ) -> Result<(Taken, usize), Problem> {
        let convert = |json: &mut Vec<u8>| {
            // By way of its bytes: one message is one line, however it came.
            let bytes = if headers.is_json() {
                Cow::Owned(endpoint.converter.read_json(message)?)
            } else {
                Cow::Borrowed(message)
            };
            endpoint.converter.convert(&bytes, json)
        };
        JSON.with_borrow_mut(|json| {
            json.clear();
            json.shrink_to(KEPT_BUFFER);
            let converted = match convert(json) {
                Ok(converted) => converted,
                Err(error @ (ConvertError::Malformed { .. } | ConvertError::Invalid { .. }))
                    if endpoint.keeps_invalid() =>
                {
                    return self.append_invalid(endpoint, message, error);
                }
                Err(error) => return Err(error.into()),
            };
            let (key, time) = (converted.key.as_deref(), converted.time.and_then(millis));
            let put = || self.put(endpoint, key, time, &[], json);
            let taken = match (&self.repeats, endpoint.window) {
                (Some(repeats), Some(window)) if converted.apart => {
                    match repeats.append(&endpoint.route, json, window, put)? {
                        repeats::Taken::New(append) => Taken::new(append, Kind::Message),
                        repeats::Taken::Waiting(append) => Taken::new(append, Kind::Repeat),
                        repeats::Taken::Repeat => Taken { append: None, kind: Kind::Repeat },
                    }
                }
                _ => Taken::new(put()?, Kind::Message),
            };
            // Not before: what is refused for now comes again.
            self.stats.count_unknown_fields(converted.unknown_fields);
            Ok((taken, json.len()))
        })
    }

    /// Hands what is no message to the spool as it came, marked, so that it becomes a dead letter. Where
    /// there is no room for one it is refused.
    fn append_invalid(
        &self,
        endpoint: &Endpoint,
        message: &[u8],
        why: ConvertError,
    ) -> Result<(Taken, usize), Problem> {
        let mark = [(INVALID.to_owned(), one_line(&why.to_string()).into_bytes())];
        let put = || self.put(endpoint, None, None, &mark, message);
        match self.keeping.append(message.len(), put)? {
            Some(append) => Ok((Taken::new(append, Kind::Invalid), message.len())),
            None => Err(why.into()),
        }
    }

    fn put(
        &self,
        endpoint: &Endpoint,
        key: Option<&[u8]>,
        time: Option<Millis>,
        headers: &[(String, Vec<u8>)],
        value: &[u8],
    ) -> Result<Append, AppendError> {
        let received = reception(Millis::now());
        let (route, timestamp) = (&endpoint.route, time.unwrap_or(received.at));
        self.writer.append(&NewRecord {
            route,
            key,
            timestamp,
            received,
            headers,
            value,
            origin: None,
        })
    }

    /// Waits until it is durable, and counts it.
    async fn settle(&self, place: usize, taken: Taken) -> Result<(), AppendError> {
        if let Some(append) = taken.append {
            append.await?;
        }
        self.stats.count(place, taken.kind);
        if let Some(repeats) = &self.repeats {
            repeats.note();
        }
        Ok(())
    }
}

/// A message that was taken.
struct Taken {
    /// What to wait for; `None`: it is durable.
    append: Option<Append>,
    kind: Kind,
}

impl Taken {
    fn new(append: Append, kind: Kind) -> Self {
        Self { append: Some(append), kind }
    }
}

/// The reason as a header has it: on one line, and not for ever.
fn one_line(why: &str) -> String {
    why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_REASON).collect()
}

/// 1980-01-07, the day after that from which GPS counts, in seconds since 1970.
const FIRST_DAY: i64 = 315_964_800 + 86_400;

/// An event's time as Kafka counts it. One before there was GPS is that of a tracker that does not know
/// the time yet, and brokers would delete the record at once.
fn millis(time: Timestamp) -> Option<Millis> {
    let millis = Millis(time.seconds.saturating_mul(1_000) + i64::from(time.nanos / 1_000_000));
    (time.seconds >= FIRST_DAY).then_some(millis)
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
    fn an_event_time_of_a_tracker_that_does_not_know_the_time_is_none() {
        let at = |seconds| millis(Timestamp { seconds, nanos: 999_999_999 });
        for seconds in [i64::MIN, -62_135_596_800, 0, FIRST_DAY - 1] {
            assert_eq!(at(seconds), None, "{seconds}");
        }
        assert_eq!(at(FIRST_DAY), Some(Millis(FIRST_DAY * 1_000 + 999)));
    }

    #[test]
    fn a_clock_before_the_build_is_not_believed() {
        assert!(!reception(Millis(0)).clock_synchronised);
        assert!(!reception(Millis(BUILT.0 - 1)).clock_synchronised);
        assert!(reception(BUILT).clock_synchronised);
    }
}
