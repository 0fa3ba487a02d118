//! One request: from its headers to its answer.
//!
//! A 200 is decided in one place only, after the spool has said that the record is durable.
//! Everything that can be refused from the headers is refused before the body is read, and
//! the conversion takes no lock. It does not know connections.

use super::body;
use super::encoding::Encoding;
use super::problem::{Problem, Reason};
use super::stats::Stats;
use super::{BindError, RouteConfig};
use crate::convert::Converter;
use crate::record::{Millis, NewRecord, Reception, Route};
use crate::spool::{Append, SpoolWriter};
use bytes::Buf;
use futures_util::Stream;
use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use tokio::time::Instant;
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
        let RouteConfig { path, topic, message, key } = config;
        match Converter::new(&message, key.as_deref()) {
            Ok(converter) => Ok(Self { route: Arc::new(Route { path, topic }), converter }),
            Err(source) => Err(BindError::Route { path, source }),
        }
    }
}

/// What a request's headers say, as far as it matters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Headers {
    pub kind: Option<ContentType>,
    pub encoding: Option<Encoding>,
    /// Bytes of the body, where it is not sent in chunks.
    pub length: Option<u64>,
}

/// Whether `Content-Type` can stand before a protobuf message. Its parameters do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    Protobuf,
    Other,
}

impl FromStr for ContentType {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        const TAKEN: [&str; 3] =
            ["application/x-protobuf", "application/protobuf", "application/octet-stream"];
        let essence = text.split(';').next().unwrap_or_default().trim();
        let taken = TAKEN.iter().any(|taken| essence.eq_ignore_ascii_case(taken));
        Ok(if taken { Self::Protobuf } else { Self::Other })
    }
}

/// What every request is answered with the help of.
pub(super) struct Handler {
    /// A handful at most: looking through them is faster than hashing the path.
    pub endpoints: Vec<Endpoint>,
    pub body: body::Limits,
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
        let kept = match admit(&self.endpoints, self.body, &method, path, headers) {
            Ok(place) => {
                let encoding = headers.encoding.unwrap_or(Encoding::Identity);
                self.keep(place, encoding, body, started).await.map(|()| place)
            }
            Err(problem) => Err(problem),
        };
        self.stats.observe_request(started.elapsed());
        match kept {
            Ok(place) => {
                self.stats.count_accepted(place);
                warp::reply().into_response()
            }
            Err(problem) => self.refuse(problem),
        }
    }

    /// Counts and answers a refusal.
    pub(super) fn refuse(&self, problem: Problem) -> Response {
        self.stats.count_rejected(problem.reason);
        problem.into_response()
    }

    /// Makes the message in the body durable.
    async fn keep<B: Buf, E: Display>(
        &self,
        place: usize,
        encoding: Encoding,
        body: impl Stream<Item = Result<B, E>>,
        started: Instant,
    ) -> Result<(), Problem> {
        let message = body::read(body, self.body, started).await?;
        let message = encoding.undo(message, self.body.size)?;
        let append = self.append(&self.endpoints[place], &message)?;
        // The body's buffer belongs to the connection again while the disk works.
        drop(message);
        append.await?;
        Ok(())
    }

    /// Converts the message and hands it to the spool.
    fn append(&self, endpoint: &Endpoint, message: &[u8]) -> Result<Append, Problem> {
        JSON.with_borrow_mut(|json| {
            json.clear();
            json.shrink_to(KEPT_BUFFER);
            let key = endpoint.converter.convert(message, json)?;
            let received = reception(Millis::now());
            let record = NewRecord {
                route: &endpoint.route,
                key: key.as_deref(),
                timestamp: received.at,
                received,
                headers: &[],
                value: json,
                origin: None,
            };
            Ok(self.writer.append(&record)?)
        })
    }
}

/// Decides from path, method and headers whether the body is worth reading; gives the place
/// of the path among the endpoints.
fn admit(
    endpoints: &[Endpoint],
    limits: body::Limits,
    method: &Method,
    path: &str,
    headers: Headers,
) -> Result<usize, Problem> {
    let Some(place) = endpoints.iter().position(|endpoint| endpoint.route.path == path) else {
        let detail = format!("nothing is received at {path:?}");
        return Err(Problem::new(Reason::NotFound, detail));
    };
    if method != Method::POST {
        let detail = format!("{path} receives messages by POST, not {method}");
        return Err(Problem::new(Reason::MethodNotAllowed, detail));
    }
    if headers.kind == Some(ContentType::Other) {
        let detail = "the content type must be one of those in the header Accept";
        return Err(Problem::new(Reason::UnsupportedType, detail));
    }
    if headers.encoding == Some(Encoding::Other) {
        let detail = "the content encoding must be one of those in the header Accept-Encoding";
        return Err(Problem::new(Reason::UnsupportedEncoding, detail));
    }
    limits.check(headers.length)?;
    Ok(place)
}

/// A reception now. A box without a battery starts in the past until it learns the time;
/// then the clock reads earlier than this very program was made.
fn reception(now: Millis) -> Reception {
    Reception { at: now, clock_synchronised: now >= BUILT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admitted(method: &Method, path: &str, headers: Headers) -> Result<usize, Reason> {
        let endpoint = |path: &str| {
            let config = RouteConfig {
                path: path.into(),
                topic: "test".into(),
                message: crate::convert::MESSAGE.into(),
                key: None,
            };
            Endpoint::new(config).unwrap()
        };
        let endpoints = [endpoint("/a"), endpoint("/a/b")];
        let limits = body::Limits { size: 100, time: Duration::from_secs(1) };
        admit(&endpoints, limits, method, path, headers).map_err(|problem| problem.reason)
    }

    fn content_type(text: &str) -> Headers {
        Headers { kind: text.parse().ok(), ..Headers::default() }
    }

    fn content_encoding(text: &str) -> Headers {
        Headers { encoding: text.parse().ok(), ..Headers::default() }
    }

    #[test]
    fn a_path_is_compared_as_it_is_written() {
        let post = |path| admitted(&Method::POST, path, Headers::default());
        assert_eq!((post("/a"), post("/a/b")), (Ok(0), Ok(1)));
        for path in ["/", "/a/", "/A", "/b", "//a", "/%61", ""] {
            assert_eq!(post(path), Err(Reason::NotFound), "{path}");
        }
    }

    #[test]
    fn a_method_other_than_post_is_refused_where_something_is_received() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let refused = |path| admitted(&method, path, Headers::default());
            assert_eq!(refused("/a"), Err(Reason::MethodNotAllowed));
            assert_eq!(refused("/nowhere"), Err(Reason::NotFound));
        }
    }

    #[test]
    fn the_content_types_that_trackers_send_are_taken() {
        let post = |headers| admitted(&Method::POST, "/a", headers);
        for text in [
            "application/x-protobuf",
            "application/protobuf",
            "application/octet-stream",
            "Application/Protobuf; messageType=\"tutorial.REALTIMEGPS\"",
            " application/x-protobuf ;charset=x",
        ] {
            assert_eq!(post(content_type(text)), Ok(0), "{text}");
        }
        assert_eq!(post(Headers::default()), Ok(0));
        for text in ["application/json", "text/plain", "", "application/x-protobuf2"] {
            assert_eq!(post(content_type(text)), Err(Reason::UnsupportedType), "{text}");
        }
    }

    #[test]
    fn a_compression_that_is_not_known_is_refused_before_the_body_is_read() {
        let post = |headers| admitted(&Method::POST, "/a", headers);
        for text in ["identity", "", "gzip", "zstd"] {
            assert_eq!(post(content_encoding(text)), Ok(0), "{text}");
        }
        for text in ["gzip, gzip", "br", "deflate"] {
            assert_eq!(post(content_encoding(text)), Err(Reason::UnsupportedEncoding), "{text}");
        }
    }

    #[test]
    fn an_announced_length_is_checked_before_the_body() {
        let length = |length| Headers { length: Some(length), ..Headers::default() };
        assert_eq!(admitted(&Method::POST, "/a", length(100)), Ok(0));
        assert_eq!(admitted(&Method::POST, "/a", length(101)), Err(Reason::TooLarge));
    }

    #[test]
    fn a_clock_before_the_build_is_not_believed() {
        assert!(!reception(Millis(0)).clock_synchronised);
        assert!(!reception(Millis(BUILT.0 - 1)).clock_synchronised);
        assert!(reception(BUILT).clock_synchronised);
    }
}
