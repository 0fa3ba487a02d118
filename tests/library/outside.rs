//! Does one who looks at a spool from outside see it as it is, while another one uses it?

use crate::support::{append_all, config, read_all, segments, values, wait_until};
use std::path::Path;
use std::time::Duration;
use waystation::record::Sequence;
use waystation::spool::outside::{self, Selection, Selector};
use waystation::spool::{self, Config, Spool};

/// A spool of five segments or more, and how many records are in it.
fn filled(dir: &Path) -> (Spool, u64) {
    let spool = spool::open(Config { segment_bytes: 100_000, ..config(dir) }).unwrap();
    for seed in 0..20 {
        append_all(&spool, &values(10, 5_000, seed)).unwrap();
    }
    assert!(segments(dir).len() >= 5);
    (spool, 200)
}

/// Everything is delivered, and the segments but the tail are gone.
fn deliver(spool: &mut Spool, dir: &Path) {
    read_all(spool);
    let all = spool.reader.position();
    spool.reader.advance_watermark(all);
    wait_until("all but the tail is freed", || segments(dir).len() == 1);
}

/// Holds that `verify` takes the acknowledged-through mark before it reads anything.
#[test]
fn what_is_acknowledged_while_it_is_verified_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, records) = filled(dir.path());
    let mut left = segments(dir.path()).len();
    let verified = outside::verify(dir.path(), |_| {
        left -= 1;
        if left == 0 {
            append_all(&spool, &values(10, 5_000, 99)).unwrap();
            wait_until("the mark is written", || {
                let mark = outside::look(dir.path()).unwrap().acknowledged();
                mark == Some(Sequence(records + 10))
            });
        }
    });
    let verified = verified.unwrap();
    assert_eq!((verified.damage, verified.records), (vec![], records));
}

#[test]
fn what_is_delivered_and_freed_while_it_is_verified_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = filled(dir.path());
    let mut first = true;
    let verified = outside::verify(dir.path(), |_| {
        if std::mem::take(&mut first) {
            deliver(&mut spool, dir.path());
        }
    });
    assert_eq!(verified.unwrap().damage, []);
}

/// Held twice: `Walk::next` looks anew when a segment is gone, `Selector::miss` when there is a gap.
/// It fails when both are taken away.
#[test]
fn what_is_delivered_and_freed_while_it_is_exported_is_not_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, records) = filled(dir.path());
    let mut selector = Selector::new(dir.path(), Selection::default()).unwrap();
    let first = selector.next_block().unwrap().unwrap();
    assert_eq!(first.first(), Sequence(0));
    deliver(&mut spool, dir.path());
    let mut last = first;
    while let Some(block) = selector.next_block().unwrap() {
        assert!(block.first() >= last.end());
        last = block;
    }
    assert_eq!((last.end(), selector.missing()), (Sequence(records), &[][..]));
}

/// Whether a segment of a higher generation, a copy, is among them.
fn has_copy(dir: &Path) -> bool {
    segments(dir).iter().any(|path| !path.to_str().unwrap().ends_with("-0000"))
}

/// Fails when `judged` lets a copy end where the next old one begins. (What is merged in the midst
/// of a look is in `src/spool/repack/tests/`, step by step.)
#[test]
fn beside_the_repacker_every_record_is_there_once_and_nothing_is_called_damaged() {
    const RECORDS: u64 = 1_200;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let repack_after = Duration::from_millis(1);
    let config = Config { segment_bytes: 10_000, repack_after, repack_pause: 1, ..config(dir) };
    let spool = spool::open(config).unwrap();
    append_all(&spool, &[b"{}".to_vec()]).unwrap();
    let (mut looks, mut beside_copies) = (0, 0);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for number in 1..RECORDS {
                let value = format!("{{\"number\":{number},\"filling\":\"as it comes\"}}");
                append_all(&spool, &[value.into_bytes()]).unwrap();
            }
        });
        let mut last = false;
        while !last || beside_copies == 0 {
            last = appending.is_finished();
            let before = spool.writer.ledger().accepted;
            let verified = outside::verify(dir, |_| {}).unwrap();
            assert_eq!(verified.damage, []);
            // One more may stand in the file before it is published.
            let all = before..=spool.writer.ledger().accepted + 1;
            assert!(all.contains(&verified.records), "{} of {all:?}", verified.records);
            let mut selector = Selector::new(dir, Selection::default()).unwrap();
            let mut next = 0;
            while let Some(block) = selector.next_block().unwrap() {
                for record in selector.selected(&block) {
                    assert_eq!(record.sequence, Sequence(next));
                    next += 1;
                }
            }
            assert_eq!(selector.missing(), []);
            assert!(next >= before, "{next} of {before}");
            looks += 1;
            beside_copies += u64::from(has_copy(dir));
        }
    });
    println!("{looks} looks, {beside_copies} of them beside copies");
}
