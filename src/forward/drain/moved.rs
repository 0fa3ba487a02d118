//! How does a record get into its topic's own spool, and which are there already?
//!
//! It deliberately does not know when a topic is held.

use crate::record::{RecordId, Sequence};
use crate::spool::{Append, AppendError, Block, OpenReport, SpoolReader, SpoolWriter};
use std::collections::HashSet;

/// How many of the newest records of a topic's spool are looked at for those that were moved just
/// before a crash: a second's worth, and no more memory than that of a block.
const KNOWN_AT_LEAST: u64 = 20_000;
const KNOWN_AT_MOST: u64 = 1_280_000;

/// The ids of the records that were moved there and that the main watermark, which lags, may not have
/// passed when the process before this one ended: as many from the end as reach below it. What
/// cannot be read is moved again; the drain makes of the damage what it is.
pub(super) fn moved_before(
    reader: &mut SpoolReader,
    report: &OpenReport,
    watermark: Sequence,
) -> HashSet<RecordId> {
    let (from, end) = (reader.watermark(), report.ledger.accepted);
    let mut count = KNOWN_AT_LEAST;
    let known = loop {
        reader.rewind(Sequence(end.saturating_sub(count)));
        let (mut known, first) = (HashSet::new(), reader.position());
        while let Ok(Some(block)) = reader.next_block() {
            known.extend(block.records().map(|record| record.id));
        }
        let all_above = known.iter().all(|id| id.sequence >= watermark);
        if !all_above || first <= from || count >= KNOWN_AT_MOST {
            break known;
        }
        count *= 4;
    };
    reader.rewind(from);
    known
}

/// Appends the first of these records, as many as become durable together: how many, the promise for
/// all of them, and why there are no more.
pub(super) fn append(
    writer: &SpoolWriter,
    block: &Block,
    sequences: &[Sequence],
) -> (usize, Option<Append>, Option<AppendError>) {
    let (mut count, mut last) = (0, None);
    let mut together = writer.together();
    for record in sequences.iter().filter_map(|sequence| block.record(*sequence)) {
        match together.append(&record.copy(&record.owned_headers())) {
            Ok(append) => (count, last) = (count + 1, Some(append)),
            Err(error) => return (count, last, Some(error)),
        }
        if together.is_full() {
            break;
        }
    }
    (count, last, None)
}
