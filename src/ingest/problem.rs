//! Why a request was refused, and how that is said (RFC 9457, `application/problem+json`).
//!
//! Every refusal that this program decides on goes out through [`Problem`], so a device or
//! its maker always finds a stable `type`, which `docs/problems.md` explains, and a sentence
//! about the case at hand. A 4xx names what the device must change; a 503 says when to come
//! back. It does not know who decides.

use crate::convert::ConvertError;
use crate::spool::AppendError;
use std::borrow::Cow;
use std::io;
use std::ops::RangeInclusive;
use warp::http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use warp::http::{HeaderMap, HeaderValue, StatusCode};
use warp::reply::{Reply, Response};

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    TooManyRequests,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    UnsupportedType,
    UnsupportedEncoding,
    TooLarge,
    TooSlow,
    Incomplete,
    Malformed,
    Invalid,
    NoneKept,
    Full,
    Busy,
    Failed,
    Stopping,
}

/// What never changes about a [`Reason`].
struct Kind {
    /// The end of the `type` URI.
    slug: &'static str,
    /// The short name in the status and the metrics.
    label: &'static str,
    title: &'static str,
    status: StatusCode,
}

impl Reason {
    pub const ALL: [Self; 17] = [
        Self::TooManyRequests,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedType,
        Self::UnsupportedEncoding,
        Self::TooLarge,
        Self::TooSlow,
        Self::Incomplete,
        Self::Malformed,
        Self::Invalid,
        Self::NoneKept,
        Self::Full,
        Self::Busy,
        Self::Failed,
        Self::Stopping,
    ];

    const fn kind(self) -> Kind {
        let (slug, label, title, status) = match self {
            Self::TooManyRequests => (
                "too-many-requests",
                "too_many_requests",
                "This client asks too often",
                StatusCode::TOO_MANY_REQUESTS,
            ),
            Self::Unauthorized => (
                "unauthorized",
                "unauthorized",
                "A token is needed, or this one is not known",
                StatusCode::UNAUTHORIZED,
            ),
            Self::Forbidden => {
                ("forbidden", "forbidden", "The token is not for this path", StatusCode::FORBIDDEN)
            }
            Self::NotFound => (
                "not-found",
                "not_found",
                "Nothing is received at this path",
                StatusCode::NOT_FOUND,
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                "method_not_allowed",
                "Messages are received by POST only",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::UnsupportedType => (
                "unsupported-type",
                "unsupported_type",
                "The body is announced as something that is not taken here",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::UnsupportedEncoding => (
                "unsupported-encoding",
                "unsupported_encoding",
                "The body is compressed in a way that is not taken",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::TooLarge => (
                "too-large",
                "too_large",
                "The message is too large",
                StatusCode::PAYLOAD_TOO_LARGE,
            ),
            Self::TooSlow => {
                ("too-slow", "too_slow", "The body took too long", StatusCode::REQUEST_TIMEOUT)
            }
            Self::Incomplete => {
                ("incomplete", "incomplete", "The body broke off", StatusCode::BAD_REQUEST)
            }
            Self::Malformed => {
                ("malformed", "malformed", "The body is not the message", StatusCode::BAD_REQUEST)
            }
            Self::Invalid => (
                "invalid",
                "invalid",
                "The message says something impossible",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::NoneKept => (
                "none-kept",
                "none_kept",
                "Every message of the batch, or too many, are refused",
                StatusCode::BAD_REQUEST,
            ),
            Self::Full => ("full", "full", "The spool is full", StatusCode::SERVICE_UNAVAILABLE),
            Self::Busy => {
                ("busy", "busy", "Too much waits for the disk", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Failed => {
                ("failed", "failed", "The disk cannot be written", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Stopping => {
                ("stopping", "stopping", "The service is stopping", StatusCode::SERVICE_UNAVAILABLE)
            }
        };
        Kind { slug, label, title, status }
    }

    /// The short name in the status and the metrics, such as `too_large`.
    pub const fn label(self) -> &'static str {
        self.kind().label
    }

    /// The problem's `type`: a name, not an address.
    pub(super) fn uri(self) -> String {
        format!("urn:waystation:problem:{}", self.kind().slug)
    }

    /// After how many seconds a client may try again. A range, from which each answer draws,
    /// so that a thousand devices that were refused together do not come back together.
    fn retry_after(self) -> Option<RangeInclusive<u64>> {
        match self {
            Self::Busy | Self::TooManyRequests => Some(1..=3),
            Self::Stopping => Some(3..=10),
            Self::Failed => Some(10..=30),
            Self::Full => Some(30..=90),
            _ => None,
        }
    }

    /// Whether the same would be taken later.
    pub(super) fn is_for_now(self) -> bool {
        self.retry_after().is_some()
    }

    /// The header that tells the client what would be taken.
    fn hint(self, headers: &mut HeaderMap) {
        let (name, value) = match self {
            Self::Unauthorized => (WWW_AUTHENTICATE, "Bearer"),
            Self::MethodNotAllowed => (ALLOW, "POST"),
            Self::UnsupportedType => {
                (ACCEPT, "application/x-protobuf, application/protobuf, application/octet-stream")
            }
            Self::UnsupportedEncoding => (ACCEPT_ENCODING, "gzip, zstd, identity"),
            _ => return,
        };
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct Problem {
    pub reason: Reason,
    /// A sentence about this case.
    pub detail: String,
    /// The field of the message that is wrong, where one is.
    pub field: Option<Cow<'static, str>>,
    /// What would be taken, where that depends on the path.
    pub taken: Option<String>,
    /// Further members of the answer.
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// For those who read a body as it comes; see [`body::problem`](super::body::problem).
impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        Self::other(problem)
    }
}

impl Problem {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let more = serde_json::Map::new();
        Self { reason, detail: detail.into(), field: None, taken: None, more }
    }

    /// The answer; `jitter` gives a number from a range.
    fn respond(&self, jitter: impl FnOnce(RangeInclusive<u64>) -> u64) -> Response {
        let kind = self.reason.kind();
        let mut body = serde_json::json!({
            "type": self.reason.uri(),
            "title": kind.title,
            "status": kind.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = &self.field {
            body["field"] = field.as_ref().into();
        }
        for (member, value) in &self.more {
            body[member] = value.clone();
        }
        let mut response = body.to_string().into_response();
        *response.status_mut() = kind.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.reason.hint(headers);
        let taken = self.taken.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(taken)) = taken {
            headers.insert(ACCEPT, taken);
        }
        if let Some(range) = self.reason.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(jitter(range)));
        }
        response
    }
}

impl Reply for Problem {
    fn into_response(self) -> Response {
        self.respond(fastrand::u64)
    }
}

impl From<ConvertError> for Problem {
    fn from(error: ConvertError) -> Self {
        let detail = error.to_string();
        match error {
            ConvertError::Malformed { .. } => Self::new(Reason::Malformed, detail),
            ConvertError::Invalid { field, .. } => {
                Self { field: Some(field), ..Self::new(Reason::Invalid, detail) }
            }
            ConvertError::TooLong { .. } => Self::new(Reason::TooLarge, detail),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let reason = match error {
            AppendError::Full(_) => Reason::Full,
            AppendError::Busy => Reason::Busy,
            AppendError::Failed(_) => Reason::Failed,
            AppendError::Closing => Reason::Stopping,
            AppendError::TooLarge => Reason::TooLarge,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::collections::HashSet;

    const EXPLAINED: &str = include_str!("../../docs/problems.md");

    fn answer(problem: &Problem) -> Response {
        problem.respond(|range| *range.start())
    }

    #[test]
    fn every_type_of_problem_is_explained_in_the_documentation() {
        for reason in Reason::ALL {
            let heading = format!("## `{}`", reason.uri());
            let (_, text) = EXPLAINED.split_once(&heading).unwrap_or_else(|| panic!("{heading}"));
            let status = reason.kind().status.as_u16().to_string();
            let section = text.split("\n## ").next().unwrap();
            assert!(section.contains(&status), "{heading} does not name its status {status}");
        }
        let headings = EXPLAINED.lines().filter(|line| line.starts_with("## `urn:"));
        assert_eq!(headings.count(), Reason::ALL.len(), "a problem is explained that is none");
    }

    #[test]
    fn no_two_reasons_share_a_name() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.uri()).collect();
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!((names.len(), labels.len()), (Reason::ALL.len(), Reason::ALL.len()));
    }

    #[tokio::test]
    async fn an_invalid_message_is_a_422_that_names_the_field() {
        let error = ConvertError::Invalid {
            field: "latitude".into(),
            found: "91".into(),
            expected: "-90 to 90 degrees",
        };
        let response = answer(&error.into());
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = serde_json::json!({
            "type": "urn:waystation:problem:invalid",
            "title": "The message says something impossible",
            "status": 422,
            "detail": "latitude is 91; it must be -90 to 90 degrees",
            "field": "latitude",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_the_spool_cannot_take_now_may_be_sent_again_later() {
        for (error, seconds) in [
            (AppendError::Full("2 GiB".into()), "30"),
            (AppendError::Busy, "1"),
            (AppendError::Failed("Input/output error".into()), "10"),
            (AppendError::Closing, "3"),
        ] {
            let response = answer(&error.into());
            assert_eq!(response.status(), 503);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
        let response = answer(&AppendError::TooLarge.into());
        assert_eq!(response.status(), 413);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn devices_that_were_refused_together_do_not_come_back_together() {
        let problem = Problem::new(Reason::Full, "");
        let mut seconds = HashSet::new();
        for _ in 0..200 {
            let response = problem.clone().into_response();
            let value = response.headers()[RETRY_AFTER].to_str().unwrap();
            let value: u64 = value.parse().unwrap();
            assert!((30..=90).contains(&value));
            seconds.insert(value);
        }
        assert!(seconds.len() > 20, "{seconds:?}");
    }

    #[test]
    fn a_refusal_says_what_would_be_taken() {
        let header = |reason, name| answer(&Problem::new(reason, "")).headers().get(name).cloned();
        assert_eq!(header(Reason::MethodNotAllowed, ALLOW).unwrap(), "POST");
        assert_eq!(header(Reason::Unauthorized, WWW_AUTHENTICATE).unwrap(), "Bearer");
        let codings = header(Reason::UnsupportedEncoding, ACCEPT_ENCODING).unwrap();
        assert_eq!(codings, "gzip, zstd, identity");
        let accept = header(Reason::UnsupportedType, ACCEPT).unwrap();
        assert!(accept.to_str().unwrap().contains("application/x-protobuf"));
    }
}
