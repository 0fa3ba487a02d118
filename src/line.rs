//! A record as one line of JSON, and back: what `spool export` writes and `spool import` reads.
//!
//! ```json
//! {"sequence":7,"id":"00c0ffee00c0ffee:7","received":"2026-01-01T00:00:00.000Z","timestamp":1767225600000,"path":"/endpoint","topic":"test","key":"bus-7","headers":{},"value":{"deviceId":"bus-7"}}
//! ```
//!
//! A line rebuilds the record exactly. The value is the record's own JSON, byte for byte; bytes
//! that are no text (a key, a header) or no JSON (a value) stand as `{"base64":"…"}`, and so does a
//! value that could be taken for that form, or that would break the line. `headers` is a list of
//! `[name, value]` when a name occurs twice. `"clock_synchronised":false` says that the time of
//! reception cannot be believed; a reception that RFC 3339 cannot express is a number of
//! milliseconds. `timestamp` is Kafka's, in milliseconds; `sequence` is the record's place in the
//! spool that it was exported from, which no import needs.
//!
//! It deliberately knows neither the spool nor a file.

use crate::record::{Millis, Reception, Record, RecordId, Route};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of a line, at most: what the largest record takes, whatever has to be escaped.
pub const MAX_LEN: usize = 8 << 20;

/// A record read from a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: RecordId,
    pub route: Route,
    pub key: Option<Vec<u8>>,
    pub timestamp: Millis,
    pub received: Reception,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LineError(String);

/// Appends the record's line to `out`, with its line end.
pub fn write(record: &Record<'_>, out: &mut Vec<u8>) {
    let value = verbatim(record.value);
    let written = Written {
        sequence: record.sequence.0,
        id: record.id.to_string(),
        received: When::of(record.received.at),
        clock_synchronised: record.received.clock_synchronised,
        timestamp: record.timestamp.0,
        path: &record.route.path,
        topic: &record.route.topic,
        key: record.key.map(Bytes::of),
        headers: WrittenHeaders(&record.headers),
        value: value
            .map_or_else(|| WrittenValue::Base64(Base64::of(record.value)), WrittenValue::Json),
    };
    // Writing into a `Vec` cannot fail, and no part of the line can refuse to be JSON.
    serde_json::to_writer(&mut *out, &written).expect("a record can be written as JSON");
    out.push(b'\n');
}

/// Reads a line, with or without its line end. What could never be sent is refused here: behind
/// it everything else would wait.
pub fn read(line: &[u8]) -> Result<Line, LineError> {
    let found: Found<'_> = serde_json::from_slice(line).map_err(|error| {
        // Its number is for whoever reads the file to tell; here it is always the first.
        LineError(error.to_string().replace(" at line 1 column ", ", at column "))
    })?;
    let wrong = |field: &str, why: &str| LineError(format!("{field}: {why}"));
    let id = found
        .id
        .parse()
        .map_err(|error: crate::record::ParseRecordIdError| wrong("id", &error.to_string()))?;
    let at = found.received.millis().map_err(|why| wrong("received", &why))?;
    let key = found.key.map(Bytes::decoded).transpose().map_err(|why| wrong("key", &why))?;
    let headers = found.headers.0.into_iter().map(|(name, value)| Ok((name, value.decoded()?)));
    let headers: Result<_, String> = headers.collect();
    Route::legal_topic(&found.topic).map_err(|why| wrong("topic", &why))?;
    // Only what was written as base64 has this form: `verbatim` leaves no other value with it.
    let value = match serde_json::from_str::<Base64<'_>>(found.value.get()) {
        Ok(base64) => base64.decoded().map_err(|why| wrong("value", &why))?,
        Err(_) => found.value.get().as_bytes().to_vec(),
    };
    Ok(Line {
        id,
        route: Route { path: found.path, topic: found.topic },
        key,
        timestamp: Millis(found.timestamp),
        received: Reception { at, clock_synchronised: found.clock_synchronised },
        headers: headers.map_err(|why| wrong("headers", &why))?,
        value,
    })
}

#[derive(Serialize)]
struct Written<'a> {
    sequence: u64,
    id: String,
    received: When,
    #[serde(skip_serializing_if = "is_true")]
    clock_synchronised: bool,
    timestamp: i64,
    path: &'a str,
    topic: &'a str,
    key: Option<Bytes<'a>>,
    headers: WrittenHeaders<'a>,
    value: WrittenValue<'a>,
}

/// What is not known to this program may carry meaning: it is refused, not dropped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found<'a> {
    #[serde(rename = "sequence")]
    _sequence: Option<u64>,
    id: String,
    received: When,
    #[serde(default = "yes")]
    clock_synchronised: bool,
    timestamp: i64,
    path: String,
    topic: String,
    key: Option<Bytes<'static>>,
    #[serde(default)]
    headers: FoundHeaders,
    #[serde(borrow)]
    value: &'a RawValue,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_true(flag: &bool) -> bool {
    *flag
}

fn yes() -> bool {
    true
}

/// A moment: in RFC 3339 where that can express it, else in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a time as 2026-01-01T00:00:00Z")]
enum When {
    Text(String),
    Millis(i64),
}

/// The first moment that RFC 3339 has no year for.
const YEAR_10000: i64 = 253_402_300_800_000;

impl When {
    fn of(at: Millis) -> Self {
        rfc3339(at).map_or(Self::Millis(at.0), Self::Text)
    }

    fn millis(self) -> Result<Millis, String> {
        match self {
            Self::Millis(millis) => Ok(Millis(millis)),
            Self::Text(text) => time(&text),
        }
    }
}

/// A moment as RFC 3339 in UTC writes it, to the millisecond; `None` before 1970, and where it has
/// no year for it.
pub fn rfc3339(at: Millis) -> Option<String> {
    let since = u64::try_from(at.0).ok().filter(|_| at.0 < YEAR_10000)?;
    let time = UNIX_EPOCH + Duration::from_millis(since);
    Some(humantime::format_rfc3339_millis(time).to_string())
}

/// Reads a moment as RFC 3339 in UTC writes it, to the millisecond; the `T` and the `Z` may be
/// missing.
pub fn time(text: &str) -> Result<Millis, String> {
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| format!("{text:?} is not a time in UTC as 2026-01-01T00:00:00Z"))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Bytes: as text where they are text.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a text, or {\"base64\":\"…\"}")]
enum Bytes<'a> {
    Text(Cow<'a, str>),
    Base64(Base64<'a>),
}

impl<'a> Bytes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(Cow::Borrowed(text)),
            Err(_) => Self::Base64(Base64::of(bytes)),
        }
    }

    fn decoded(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_owned().into_bytes()),
            Self::Base64(base64) => base64.decoded(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Base64<'a> {
    base64: Cow<'a, str>,
}

impl Base64<'_> {
    fn of(bytes: &[u8]) -> Self {
        Self { base64: Cow::Owned(STANDARD.encode(bytes)) }
    }

    fn decoded(&self) -> Result<Vec<u8>, String> {
        STANDARD.decode(&*self.base64).map_err(|error| format!("is not base64: {error}"))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenValue<'a> {
    Json(&'a RawValue),
    Base64(Base64<'a>),
}

/// The value as it is, if it is JSON that reads back the same, within a line.
fn verbatim(value: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(value).ok()?;
    let whole = raw.get().len() == value.len();
    let one_line = !value.contains(&b'\n') && !value.contains(&b'\r');
    let taken_for_base64 = || serde_json::from_str::<Base64<'_>>(raw.get()).is_ok();
    (whole && one_line && !taken_for_base64()).then_some(raw)
}

struct WrittenHeaders<'a>(&'a [(&'a str, &'a [u8])]);

impl Serialize for WrittenHeaders<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut names = HashSet::new();
        if !self.0.iter().all(|(name, _)| names.insert(name)) {
            return to.collect_seq(self.0.iter().map(|(name, value)| (name, Bytes::of(value))));
        }
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, &Bytes::of(value))?;
        }
        map.end()
    }
}

/// Names and values in their order, of either form.
#[derive(Default)]
struct FoundHeaders(Vec<(String, Bytes<'static>)>);

impl<'de> Deserialize<'de> for FoundHeaders {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FoundHeaders;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers as {\"name\":\"value\"}, or as [[\"name\",\"value\"]]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Bytes<'static>>()? {
                    headers.push((name, value));
                }
                Ok(FoundHeaders(headers))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = seq.next_element::<(String, Bytes<'static>)>()? {
                    headers.push((name, value));
                }
                Ok(FoundHeaders(headers))
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests;
