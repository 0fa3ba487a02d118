//! What a record is, and the plain types that name one.
//!
//! The lowest floor of the house: everything above speaks in these types. It deliberately
//! knows nothing of how a record came in, how it is stored, or where it goes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The position of a record in the spool: 0 for the first one ever accepted, then
/// one more for each. Never used twice within one [`Epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence `count` places further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// How many sequences lie from `earlier` (inclusive) to `self` (exclusive); 0 when
    /// `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A random number drawn at each start and written into every block accepted since.
///
/// A cloned image, a restored backup or a disk that lied may assign one sequence twice,
/// but never under the same epoch: so no two records share a [`RecordId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What names a record for good, whatever happens to it later (resent, repacked,
/// exported, imported): `<epoch, 16 hex digits>:<sequence, decimal>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId {
    pub epoch: Epoch,
    pub sequence: Sequence,
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.sequence)
    }
}

/// A text that is not a record's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a record id; it looks like 00c0ffee00c0ffee:123")]
pub struct ParseRecordIdError(String);

impl FromStr for RecordId {
    type Err = ParseRecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseRecordIdError(text.to_owned());
        let (epoch, sequence) = text.split_once(':').ok_or_else(wrong)?;
        if epoch.len() != 16 {
            return Err(wrong());
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| wrong())?;
        let sequence = sequence.parse().map_err(|_| wrong())?;
        Ok(Self { epoch: Epoch(epoch), sequence: Sequence(sequence) })
    }
}

/// Milliseconds since the Unix epoch, as Kafka counts them. Negative before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The wall clock's time. A clock before 1970 reads as 0.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The route a record came in by: where it was posted and which topic it goes to.
///
/// Stored by name with the record, so that a changed configuration orphans nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The HTTP path, such as `/endpoint`.
    pub path: String,
    /// The Kafka topic.
    pub topic: String,
}

impl Route {
    /// Whether Kafka can have a topic of this name: its own rule
    /// (`org.apache.kafka.common.internals.Topic`).
    pub fn legal_topic(topic: &str) -> Result<(), String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let named = topic != "." && topic != "..";
        if (1..=249).contains(&topic.len()) && named && topic.chars().all(legal) {
            return Ok(());
        }
        Err("Kafka takes 1 to 249 letters, digits, dots, underscores and hyphens, not \".\" or \"..\""
            .into())
    }
}

/// When a record was received, and whether the clock that says so can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    pub at: Millis,
    /// False when the box's clock was known to be wrong: it read earlier than the
    /// release of this program, as on a box without a battery before NTP answered.
    pub clock_synchronised: bool,
}

/// A record on its way in: it has no sequence yet.
#[derive(Debug, Clone, Copy)]
pub struct NewRecord<'a> {
    pub route: &'a Arc<Route>,
    /// The Kafka key, if the message has one.
    pub key: Option<&'a [u8]>,
    /// The Kafka timestamp.
    pub timestamp: Millis,
    pub received: Reception,
    /// Kafka headers beside those that the forwarder adds itself.
    pub headers: &'a [(String, Vec<u8>)],
    /// The Kafka value: one line of JSON, without a line end.
    pub value: &'a [u8],
    /// The id that it has already, from the spool that accepted it first.
    pub origin: Option<RecordId>,
}

/// The header that marks a record as no message: bytes that were posted, kept for somebody to look
/// at. Its value says why they are none. No device sets a header, so whatever a message says, it
/// does not get this one; an import may bring it, from the export of such a record.
pub const INVALID: &str = "waystation-invalid";

/// A record as it stands in the spool.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Its place in this spool.
    pub sequence: Sequence,
    /// Its name for good: that of the spool that accepted it first.
    pub id: RecordId,
    pub route: &'a Arc<Route>,
    pub key: Option<&'a [u8]>,
    pub timestamp: Millis,
    pub received: Reception,
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub value: &'a [u8],
}

impl Record<'_> {
    /// Why this is no message, if it is none: see [`INVALID`]. It is never sent to Kafka.
    #[must_use]
    pub fn invalid(&self) -> Option<Cow<'_, str>> {
        let mark = self.headers.iter().find(|(name, _)| *name == INVALID);
        mark.map(|(_, why)| String::from_utf8_lossy(why))
    }

    /// Its headers, as [`Record::copy`] wants them.
    #[must_use]
    pub fn owned_headers(&self) -> Vec<(String, Vec<u8>)> {
        let owned = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
        self.headers.iter().map(owned).collect()
    }

    /// The same record on its way into a spool, under the id that it has; `headers` are its own.
    #[must_use]
    pub fn copy<'a>(&'a self, headers: &'a [(String, Vec<u8>)]) -> NewRecord<'a> {
        NewRecord {
            route: self.route,
            key: self.key,
            timestamp: self.timestamp,
            received: self.received,
            headers,
            value: self.value,
            origin: Some(self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = RecordId { epoch: Epoch(0x00c0_ffee), sequence: Sequence(42) };
        assert_eq!(id.to_string(), "0000000000c0ffee:42");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_an_example() {
        for text in ["", "1:2", "0000000000c0ffee", "0000000000c0ffee:", "0000000000c0ffeg:1"] {
            let error = text.parse::<RecordId>().unwrap_err().to_string();
            assert!(error.contains("looks like"), "{error}");
        }
    }
}
