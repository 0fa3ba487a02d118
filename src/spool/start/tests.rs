//! Starts on what no crash of this program leaves, but a medium may.

use super::super::block::{Draft, Encoder};
use super::super::{Config, ReadError, open, part};
use super::*;
use crate::record::{Epoch, Millis, NewRecord, Reception, Route};
use crate::spool::segment::Seal;
use crate::spool::store::DATA_FILE;
use std::sync::Arc;

/// One record as one part.
fn block(encoder: &mut Encoder, first: u64) -> Vec<u8> {
    let mut draft = Draft::default();
    draft.push(&NewRecord {
        route: &Arc::new(Route { path: "/p".to_owned(), topic: "t".to_owned() }),
        key: None,
        timestamp: Millis(1),
        received: Reception { at: Millis(1), clock_synchronised: true },
        headers: &[],
        value: b"{}",
        origin: None,
    });
    let (epoch, first) = (Epoch(3), Sequence(first));
    let mut out = Vec::new();
    let header = part::Header { epoch, first, k: 0, n: 1 };
    part::encode(&header, encoder.encode(epoch, first, &mut draft).unwrap(), &mut out);
    out
}

/// Fails when a start gives up because the losses are too many to be listed, or lists those first that
/// the reader finds again.
#[test]
fn more_losses_than_can_be_listed_refuse_no_spool_and_all_of_them_are_counted() {
    const BLOCKS: u64 = 4_500;
    let dir = tempfile::tempdir().unwrap();
    let mut encoder = Encoder::new().unwrap();
    // Of two records one is missing; and between two that are sealed, ten.
    let (one, other) = (2 * BLOCKS, 2 * BLOCKS + 11);
    let segments =
        [(0, (0..BLOCKS).map(|n| 2 * n).collect()), (one, vec![one]), (other, vec![other])];
    for (first, sequences) in segments {
        let id = SegmentId { first: Sequence(first), generation: 0 };
        let path = dir.path().join(id.to_string());
        fs::create_dir(&path).unwrap();
        let blocks = sequences.into_iter().flat_map(|first| block(&mut encoder, first));
        fs::write(path.join(DATA_FILE), blocks.collect::<Vec<_>>()).unwrap();
        let seal = Seal {
            first: id.first,
            end: id.first.plus(1),
            records: 1,
            raw_bytes: 1,
            oldest: Millis(1),
            damaged: false,
            repacked: false,
            blocks: 1,
        };
        if first > 0 {
            seal.write(&path).unwrap();
        }
    }
    let mut spool = open(Config { min_free: 0, ..Config::new(dir.path()) }).unwrap();
    assert!(spool.report.ledger.balances());
    let between = (Sequence(one + 1), Sequence(other));
    assert_eq!(spool.report.lost[0], between, "the reader would not see it");
    let mut read = 0;
    loop {
        match spool.reader.next_block() {
            Ok(Some(_)) => read += 1,
            Ok(None) => break,
            // What is delivered makes room in the list.
            Err(ReadError::Loss(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let to = spool.reader.position();
        spool.reader.advance_watermark(to);
    }
    let ledger = spool.writer.ledger();
    assert_eq!((read, ledger.lost, ledger.spooled), (BLOCKS + 2, BLOCKS + 10, 0), "{ledger:?}");
    assert!(ledger.balances());
}
