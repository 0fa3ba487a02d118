//! Starts on what no crash of this program leaves, but a medium may.

use super::super::block::Encoder;
use super::super::{Config, ReadError, open, sample};
use super::*;
use crate::record::Millis;
use crate::spool::segment::Seal;
use crate::spool::store::DATA_FILE;

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
        let blocks = sequences.into_iter().flat_map(|first| sample::block(&mut encoder, first, 1));
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
