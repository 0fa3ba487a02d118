//! Is a request's body worth reading, by its path, its method and its headers?
//!
//! Everything that can be refused without the body is refused here, in the order in which a device would
//! have to mend it. It does not know what the body says.

use super::body;
use super::door::Pass;
use super::encoding::Encoding;
use super::problem::{Problem, Reason};
use std::convert::Infallible;
use std::str::FromStr;
use warp::http::Method;

/// Behind the path of a route, of which no other route may have it: where its batches are posted.
const BATCH: &str = "/batch";

/// What a request's headers say, as far as it matters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Headers {
    pub kind: Option<ContentType>,
    pub encoding: Option<Encoding>,
    /// Bytes of the body, where it is not sent in chunks.
    pub length: Option<u64>,
}

impl Headers {
    pub(super) fn encoding(self) -> Encoding {
        self.encoding.unwrap_or(Encoding::Identity)
    }
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

/// How many messages a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The one that it is.
    Message,
    /// Any number, each behind its length.
    Batch,
}

/// A request whose body is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The place of its path among the endpoints.
    pub place: usize,
    pub form: Form,
}

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub message: body::Limits,
    pub batch: body::Limits,
}

impl Limits {
    pub(super) fn admit<'a>(
        &self,
        paths: &(impl Iterator<Item = &'a str> + Clone),
        method: &Method,
        path: &str,
        pass: &Pass,
        headers: Headers,
    ) -> Result<Admitted, Problem> {
        let of = |path: &str, form| {
            let place = paths.clone().position(|known| known == path)?;
            Some(Admitted { place, form })
        };
        let batch = || of(path.strip_suffix(BATCH)?, Form::Batch);
        let Some(admitted) = of(path, Form::Message).or_else(batch) else {
            let detail = format!("nothing is received at {path:?}");
            return Err(Problem::new(Reason::NotFound, detail));
        };
        if method != Method::POST {
            let detail = format!("{path} receives messages by POST, not {method}");
            return Err(Problem::new(Reason::MethodNotAllowed, detail));
        }
        // A batch's path counts as its route.
        paths.clone().nth(admitted.place).map_or(Ok(()), |route| pass.check(route))?;
        if headers.kind == Some(ContentType::Other) {
            let detail = "the content type must be one of those in the header Accept";
            return Err(Problem::new(Reason::UnsupportedType, detail));
        }
        if headers.encoding == Some(Encoding::Other) {
            let detail = "the content encoding must be one of those in the header Accept-Encoding";
            return Err(Problem::new(Reason::UnsupportedEncoding, detail));
        }
        let limits = match admitted.form {
            Form::Message => self.message,
            Form::Batch => self.batch,
        };
        limits.check(headers.length)?;
        Ok(admitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn admitted(method: &Method, path: &str, headers: Headers) -> Result<Admitted, Reason> {
        let time = Duration::from_secs(1);
        let limits = Limits {
            message: body::Limits { size: 100, what: "a message", time },
            batch: body::Limits { size: 1_000, what: "a batch", time },
        };
        let paths = ["/a", "/a/b"].into_iter();
        limits
            .admit(&paths, method, path, &Pass::default(), headers)
            .map_err(|problem| problem.reason)
    }

    fn message(place: usize) -> Admitted {
        Admitted { place, form: Form::Message }
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
        assert_eq!((post("/a"), post("/a/b")), (Ok(message(0)), Ok(message(1))));
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
            assert_eq!(post(content_type(text)), Ok(message(0)), "{text}");
        }
        assert_eq!(post(Headers::default()), Ok(message(0)));
        for text in ["application/json", "text/plain", "", "application/x-protobuf2"] {
            assert_eq!(post(content_type(text)), Err(Reason::UnsupportedType), "{text}");
        }
    }

    #[test]
    fn a_compression_that_is_not_known_is_refused_before_the_body_is_read() {
        let post = |headers| admitted(&Method::POST, "/a", headers);
        for text in ["identity", "", "gzip", "zstd"] {
            assert_eq!(post(content_encoding(text)), Ok(message(0)), "{text}");
        }
        for text in ["gzip, gzip", "br", "deflate"] {
            assert_eq!(post(content_encoding(text)), Err(Reason::UnsupportedEncoding), "{text}");
        }
    }

    #[test]
    fn batches_come_to_a_path_of_their_own_and_may_be_larger() {
        let batch = |place| Ok(Admitted { place, form: Form::Batch });
        let none = Headers::default();
        assert_eq!(admitted(&Method::POST, "/a/batch", none), batch(0));
        assert_eq!(admitted(&Method::POST, "/a/b/batch", none), batch(1));
        for path in ["/batch", "/a/batch/", "/a/batch/batch", "/abatch"] {
            assert_eq!(admitted(&Method::POST, path, none), Err(Reason::NotFound), "{path}");
        }
        let length = |length| Headers { length: Some(length), ..Headers::default() };
        assert_eq!(admitted(&Method::POST, "/a/batch", length(1_000)), batch(0));
        assert_eq!(admitted(&Method::POST, "/a/batch", length(1_001)), Err(Reason::TooLarge));
    }

    #[test]
    fn an_announced_length_is_checked_before_the_body() {
        let length = |length| Headers { length: Some(length), ..Headers::default() };
        assert_eq!(admitted(&Method::POST, "/a", length(100)), Ok(message(0)));
        assert_eq!(admitted(&Method::POST, "/a", length(101)), Err(Reason::TooLarge));
    }
}
