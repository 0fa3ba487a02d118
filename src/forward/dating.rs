//! Which Kafka timestamp does a record get?
//!
//! Its own, unless that comes from a clock that was known to be wrong. It deliberately does
//! not know what brokers make of it; a record whose timestamp is refused is sent again with
//! the time of sending (see [`setback`](super::setback)).

use crate::record::{Millis, Record};

/// The Kafka timestamp. A time of reception from a clock that was known to be wrong gives way
/// to the time of sending: brokers delete by timestamp, and 1970 is deleted at once.
pub fn timestamp(record: &Record<'_>, now: Millis) -> Millis {
    let of_reception = record.timestamp == record.received.at;
    if of_reception && !record.received.clock_synchronised {
        now.max(record.timestamp)
    } else {
        record.timestamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Reception, RecordId, Route, Sequence};
    use std::sync::Arc;

    #[test]
    fn a_clock_that_was_wrong_at_reception_does_not_date_the_record() {
        let route = Arc::new(Route { path: "/p".into(), topic: "t".into() });
        let record = |timestamp, clock_synchronised| Record {
            sequence: Sequence(1),
            id: RecordId { epoch: Epoch(1), sequence: Sequence(1) },
            route: &route,
            key: None,
            timestamp: Millis(timestamp),
            received: Reception { at: Millis(5), clock_synchronised },
            headers: Vec::new(),
            value: b"{}",
        };
        let now = Millis(1_000);
        assert_eq!(timestamp(&record(5, true), now), Millis(5));
        assert_eq!(timestamp(&record(5, false), now), now);
        // A field's time is the device's, whatever this box's clock was.
        assert_eq!(timestamp(&record(900, false), now), Millis(900));
    }
}
