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
use warp::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use warp::http::{HeaderMap, HeaderValue, Method};

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

/// What no text can be read from is something else than all that is taken. So it is refused with everything
/// else, behind the door.
pub(super) fn make_readable(headers: &mut HeaderMap) {
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        if let Some(value) = headers.get_mut(&name)
            && value.to_str().is_err()
        {
            *value = HeaderValue::from_static("unreadable");
        }
    }
}

impl Headers {
    pub(super) fn encoding(self) -> Encoding {
        self.encoding.unwrap_or(Encoding::Identity)
    }

    /// Whether each message is JSON.
    pub(super) fn is_json(self) -> bool {
        matches!(self.kind, Some(ContentType::Json | ContentType::Lines))
    }
}

/// What `Content-Type` says that the body is. Its parameters do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentType {
    Protobuf,
    /// One message as JSON.
    Json,
    /// A message as JSON on each line.
    Lines,
    Other,
}

const PROTOBUF: [&str; 3] =
    ["application/x-protobuf", "application/protobuf", "application/octet-stream"];
const JSON: [&str; 1] = ["application/json"];
/// None is registered; these are in use.
const LINES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

impl FromStr for ContentType {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        let is = |known: &[&str]| known.iter().any(|known| essence.eq_ignore_ascii_case(known));
        Ok(match () {
            () if is(&PROTOBUF) => Self::Protobuf,
            () if is(&JSON) => Self::Json,
            () if is(&LINES) => Self::Lines,
            () => Self::Other,
        })
    }
}

/// How many messages a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The one that it is.
    Message,
    /// Any number, each behind its length or on a line of its own.
    Batch,
}

impl Form {
    /// Refuses what is not taken at `path`, which takes this form.
    fn check(self, kind: Option<ContentType>, path: &str) -> Result<(), Problem> {
        let detail = match (self, kind) {
            (_, None | Some(ContentType::Protobuf))
            | (Self::Message, Some(ContentType::Json))
            | (Self::Batch, Some(ContentType::Lines)) => return Ok(()),
            (Self::Message, Some(ContentType::Lines)) => {
                format!("{path} takes one message; lines of JSON belong to {path}{BATCH}")
            }
            (Self::Batch, Some(ContentType::Json)) => {
                let single = path.strip_suffix(BATCH).unwrap_or(path);
                format!(
                    "{path} takes lines of JSON ({}); one message belongs to {single}",
                    LINES[0]
                )
            }
            (_, Some(ContentType::Other)) => {
                "the content type must be one of those in the header Accept".to_owned()
            }
        };
        let text: &[&str] = if self == Self::Batch { &LINES } else { &JSON };
        let taken = [&PROTOBUF, text].concat().join(", ");
        Err(Problem { taken: Some(taken), ..Problem::new(Reason::UnsupportedType, detail) })
    }
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
        admitted.form.check(headers.kind, path)?;
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

    fn admit(method: &Method, path: &str, headers: Headers) -> Result<Admitted, Problem> {
        let time = Duration::from_secs(1);
        let limits = Limits {
            message: body::Limits { size: 100, what: "a message", time },
            batch: body::Limits { size: 1_000, what: "a batch", time },
        };
        let paths = ["/a", "/a/b"].into_iter();
        limits.admit(&paths, method, path, &Pass::default(), headers)
    }

    fn admitted(method: &Method, path: &str, headers: Headers) -> Result<Admitted, Reason> {
        admit(method, path, headers).map_err(|problem| problem.reason)
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
        for text in ["text/json", "text/plain", "", "application/x-protobuf2"] {
            assert_eq!(post(content_type(text)), Err(Reason::UnsupportedType), "{text}");
        }
    }

    #[test]
    fn json_is_taken_where_one_message_is_and_lines_of_it_where_a_batch_is() {
        let one = ["application/json", "Application/JSON; charset=utf-8"];
        let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl;x"];
        for (path, taken, belongs, elsewhere) in
            [("/a", &one[..], "/a/batch", &lines[..]), ("/a/batch", &lines, "/a", &one)]
        {
            for text in taken {
                assert!(admitted(&Method::POST, path, content_type(text)).is_ok(), "{path} {text}");
            }
            for text in elsewhere {
                let problem = admit(&Method::POST, path, content_type(text)).unwrap_err();
                assert_eq!(problem.reason, Reason::UnsupportedType);
                let belongs = format!("belong to {belongs}");
                assert!(problem.detail.replace("belongs", "belong").ends_with(&belongs));
                let accept = problem.taken.unwrap();
                assert!(accept.starts_with("application/x-protobuf, "), "{accept}");
                let accept: Vec<_> = accept.split(", ").collect();
                for taken in accept.iter().map(|text| content_type(text)) {
                    assert!(admitted(&Method::POST, path, taken).is_ok(), "{path} {taken:?}");
                }
                let listed = taken[0].parse::<ContentType>();
                assert!(accept.iter().any(|text| text.parse() == listed), "{accept:?}");
            }
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
