//! The progress: its books against a list of every sequence, and its two slots under damage.

use super::*;
use proptest::prelude::*;

fn range(kind: Removal, first: u64, end: u64) -> Range {
    Range { kind, first: Sequence(first), end: Sequence(end) }
}

fn index(sequence: u64) -> usize {
    usize::try_from(sequence).unwrap()
}

proptest! {
    /// The model: one letter a sequence.
    #[test]
    fn the_books_are_those_of_a_list_of_every_sequence(
        steps in prop::collection::vec((any::<bool>(), 0_usize..4, 0_u64..200, 0_u64..50), 0..30)
    ) {
        let accepted = 200;
        let mut model = [None; 200];
        let mut progress = Progress::new([1; 16], Sequence(0));
        for (advance, kind, at, len) in steps {
            if advance {
                progress.advance(Sequence(at));
            } else {
                let end = (at + len).min(accepted);
                progress.remove(range(REMOVALS[kind], at, end)).unwrap();
                for i in at.max(progress.watermark.0)..end {
                    model[index(i)].get_or_insert(REMOVALS[kind]);
                }
            }
            let ledger = progress.ledger(Sequence(accepted));
            prop_assert!(ledger.balances(), "{ledger:?}");
            let count = |kind| model.iter().filter(|m| **m == Some(kind)).count() as u64;
            prop_assert_eq!(
                [ledger.dead, ledger.dropped, ledger.exported, ledger.lost, 0],
                REMOVALS.map(count)
            );
            let waiting = model[index(progress.watermark.0)..].iter().filter(|m| m.is_none());
            prop_assert_eq!(ledger.spooled, waiting.count() as u64);
            prop_assert_eq!(Progress::decode(&progress.encode(5)), Some((5, progress.clone())));
        }
    }
}

/// Fails without the pieces in `Progress::remove`, and when an entry of the file is left out.
#[test]
fn what_is_in_doubt_is_no_record_until_it_is_found_and_what_is_not_found_was_none() {
    let written = |progress: &Progress| Progress::decode(&progress.encode(5)).unwrap().1;
    let mut progress = Progress::new([1; 16], Sequence(0));
    progress.doubt(Sequence(10), Sequence(1_000));
    progress = written(&progress);
    assert_eq!(progress.promised(Sequence(1_000)), Sequence(10));
    let books = |progress: &Progress, accepted| {
        let ledger = progress.ledger(Sequence(accepted));
        assert!(ledger.balances(), "{ledger:?}");
        (ledger.accepted, ledger.delivered, ledger.spooled, ledger.lost)
    };
    assert_eq!(books(&progress, 1_002), (12, 0, 12, 0));
    // Two more come to light, one of them is gone, and then there is nothing any more.
    progress.advance(Sequence(11));
    assert_eq!(books(&progress, 1_002), (13, 11, 2, 0));
    progress.remove(range(Removal::Lost, 11, 12)).unwrap();
    assert_eq!(books(&progress, 1_002), (14, 11, 2, 1));
    let mut none = progress.clone();
    progress.remove(range(Removal::Lost, 12, 1_000)).unwrap();
    assert_eq!(books(&progress, 1_002), (14, 11, 2, 1));
    assert_eq!(progress.past_removed(Sequence(11)), Sequence(1_000));
    // As much as nothing was found of: what was promised is lost, the rest was not there.
    none.remove(range(Removal::Dropped, 5, 1_001)).unwrap();
    assert_eq!(books(&none, 1_002), (14, 11, 1, 1));
    for mut progress in [progress, none] {
        progress.advance(Sequence(1_001));
        progress = written(&progress);
        let ledger = progress.ledger(Sequence(1_002));
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.accepted, ledger.spooled, ledger.lost), (14, 1, 1));
    }
}

#[test]
fn a_torn_write_leaves_the_progress_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress");
    let (mut file, nothing) = ProgressFile::open(&path).unwrap();
    assert_eq!(nothing, None);
    let mut progress = Progress::new([1; 16], Sequence(0));
    for watermark in 1..=5 {
        progress.advance(Sequence(watermark));
        file.write(&progress).unwrap();
    }
    let slot_of_turn_5 = SLOT_LEN;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[slot_of_turn_5 + 50] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (mut file, found) = ProgressFile::open(&path).unwrap();
    assert_eq!(found.unwrap().watermark(), Sequence(4));
    file.write(&progress).unwrap();
    let (_, found) = ProgressFile::open(&path).unwrap();
    assert_eq!(found.unwrap().watermark(), Sequence(5));
}

#[test]
fn the_progress_of_a_newer_program_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress");
    let mut bytes = vec![0; 2 * SLOT_LEN];
    for slot in bytes.chunks_mut(SLOT_LEN) {
        slot[..5].copy_from_slice(b"WSPR\x04");
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = ProgressFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("format 4"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_damaged_version_is_not_the_format_of_a_newer_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("progress");
    let (mut file, _) = ProgressFile::open(&path).unwrap();
    file.write_both(&Progress::new([1; 16], Sequence(3))).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    for (slot, version) in [(0, 4), (SLOT_LEN, 130)] {
        bytes[slot + 4] = version;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(ProgressFile::newer_format(&path).unwrap(), None, "version {version}");
    }
    bytes[30] ^= 1; // and now it may be anything
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(ProgressFile::newer_format(&path).unwrap(), Some(4));
}

#[test]
fn more_ranges_than_fit_are_refused_and_change_nothing() {
    let mut progress = Progress::new([1; 16], Sequence(0));
    let mut listed = 0;
    while progress.remove(range(Removal::Lost, 2 * listed, 2 * listed + 1)).is_ok() {
        listed += 1;
        assert!(listed < 10_000, "never refused");
    }
    assert_eq!(progress.ledger(Sequence(20_000)).lost, listed);
    assert!(progress.encode(1).len() <= SLOT_LEN);
}

/// Fails where the entry is left out of the file, and where passing it does not end it.
#[test]
fn an_outcome_that_is_not_known_is_written_down_until_the_watermark_has_passed_it() {
    let mut progress = Progress::new([1; 16], Sequence(10));
    progress.advance(Sequence(12));
    progress.set_pending(Some(Sequence(20)));
    let read = Progress::decode(&progress.encode(5)).unwrap().1;
    assert_eq!(read.pending(), Some((Sequence(12), Sequence(20))));
    assert_eq!(progress.encode(5)[4], VERSION);
    progress.advance(Sequence(19));
    assert_eq!(progress.pending(), Some((Sequence(12), Sequence(20))));
    progress.advance(Sequence(20));
    assert_eq!(progress.pending(), None);
    // What an older program can read, it is given.
    assert_eq!(progress.encode(5)[4], PLAIN);
    progress.set_pending(Some(Sequence(20)));
    assert_eq!(progress.pending(), None);
}
