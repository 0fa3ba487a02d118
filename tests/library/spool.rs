//! Does the spool keep what it acknowledged, in order, and do its books balance?
//!
//! Through the public front door, on real directories.

use crate::support::{
    append_all, block_on, config, copy_dir, crash, open, open_one_block_a_batch, read_all,
    segments, values, wait_until,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use waystation::ledger::Ledger;
use waystation::record::{Millis, NewRecord, Reception, RecordId, Route, Sequence};
use waystation::spool::{self, AppendError, Config, LastStop, OpenError, Spool, outside};

#[test]
fn what_is_acknowledged_is_read_in_order_and_freed_when_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    assert_eq!(spool.report.last_stop, LastStop::First);
    let values = values(3000, 10_000, 1);
    for some in values.chunks(500) {
        append_all(&spool, some).unwrap();
    }
    let read = read_all(&mut spool);
    let want: Vec<_> = (0..).zip(values).collect();
    assert!(read == want);
    assert!(segments(dir.path()).len() >= 3, "30 MB fill several segments");
    spool.reader.advance_watermark(Sequence(3000));
    wait_until("segments are freed", || segments(dir.path()).len() == 1);
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.spooled), (3000, 3000, 0));
    assert!(ledger.balances());
    wait_until("the disk is free", || spool.writer.depth().disk_bytes < 20 << 20);
}

/// Fails without `SpoolReader::let_go`: a file that is unlinked and open takes its room all the same,
/// and on a full disk nothing more would come that makes the reader close it.
#[test]
fn what_is_freed_is_not_kept_open_by_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    append_all(&spool, &values(10, 100, 1)).unwrap();
    spool.writer.close().unwrap();
    drop(spool);
    let mut spool = open(dir.path());
    assert_eq!(read_all(&mut spool).len(), 10);
    let open_files = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let files = links.filter_map(|link| fs::read_link(link).ok());
        files
            .filter(|file| file.starts_with(dir.path()) && file.to_str().unwrap().contains("seg-"))
            .count()
    };
    assert_eq!(open_files(), 1);
    spool.reader.advance_watermark(Sequence(9));
    assert_eq!(open_files(), 1, "the next block is read from it");
    spool.reader.advance_watermark(Sequence(10));
    assert_eq!(open_files(), 0);
    wait_until("it is freed", || segments(dir.path()).is_empty());
}

#[test]
fn a_clean_stop_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let first = append_all(&spool, &values(10, 100, 1)).unwrap();
    let id = spool.report.spool_id.clone();
    read_all(&mut spool);
    spool.reader.advance_watermark(Sequence(4));
    spool.writer.close().unwrap();
    assert_eq!(append_all(&spool, &values(1, 1, 1)), Err(AppendError::Closing));
    drop(spool);

    let mut spool = open(dir.path());
    assert_eq!((spool.report.last_stop, spool.report.spool_id.clone()), (LastStop::Clean, id));
    let read: Vec<_> = read_all(&mut spool).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(read, [4, 5, 6, 7, 8, 9]);
    let next = append_all(&spool, &values(1, 1, 1)).unwrap();
    assert_eq!(next[0].sequence, Sequence(10));
    assert_ne!(next[0].epoch, first[0].epoch, "each start has an epoch of its own");
    assert_eq!(spool.writer.ledger().spooled, 7);
}

#[test]
fn a_closed_spool_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append_all(&spool, &values(10, 100, 1)).unwrap();
    spool.writer.close().unwrap();
    assert_eq!(read_all(&mut spool).len(), 10);
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = open(dir.path());
    let values = values(1500, 10_000, 2);
    for some in values.chunks(100) {
        append_all(&spool, some).unwrap();
    }
    let crashed = copy.path().join("spool");
    crash(dir.path(), &crashed);
    let mut after = open(&crashed);
    assert_eq!(after.report.last_stop, LastStop::Crash);
    assert_eq!(after.report.lost, []);
    assert!(read_all(&mut after) == (0..).zip(values).collect::<Vec<_>>());
    assert!(after.writer.ledger().balances());
}

#[test]
fn a_torn_last_block_is_not_a_loss_and_its_sequences_are_assigned_anew() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spool = open_one_block_a_batch(dir.path());
    append_all(&spool, &values(10, 100, 3)).unwrap();
    append_all(&spool, &values(5, 30_000, 4)).unwrap();
    let crashed = copy.path().join("spool");
    crash(dir.path(), &crashed);
    // The second block has ten parts; the last of them did not reach the disk.
    damage_last_part(&segments(&crashed)[0].join("db"));
    let mut after = open(&crashed);
    assert_eq!(after.report.lost, []);
    assert_eq!(read_all(&mut after).len(), 10);
    assert_eq!(append_all(&after, &values(1, 1, 1)).unwrap()[0].sequence, Sequence(10));
}

#[test]
fn what_the_mark_promises_and_the_disk_lacks_is_lost_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_one_block_a_batch(dir.path());
    append_all(&spool, &values(10, 100, 3)).unwrap();
    append_all(&spool, &values(5, 30_000, 4)).unwrap();
    spool.writer.close().unwrap(); // the mark says 15
    drop(spool);
    let segment = segments(dir.path())[0].clone();
    fs::write(segment.join("seal"), [0; 52]).unwrap();
    damage_last_part(&segment.join("db"));

    let mut after = open(dir.path());
    assert_eq!(after.report.lost, [(Sequence(10), Sequence(15))]);
    assert_eq!(read_all(&mut after).len(), 10);
    let ledger = after.writer.ledger();
    assert_eq!((ledger.accepted, ledger.spooled, ledger.lost), (15, 10, 5));
    assert!(ledger.balances());
    // All of it is delivered: the damaged file is kept, and the watermark passes the loss.
    after.reader.advance_watermark(Sequence(10));
    assert_eq!(after.reader.watermark(), Sequence(15));
    wait_until("it is in quarantine", || {
        dir.path().join("quarantine").join(segment.file_name().unwrap()).exists()
    });
    after.writer.close().unwrap();
    drop(after);
    let again = open(dir.path());
    assert_eq!(again.report.lost, [], "a loss is found once");
    assert_eq!((again.writer.ledger().lost, again.writer.ledger().delivered), (5, 10));
}

#[test]
fn damage_in_a_sealed_segment_costs_the_damaged_block_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open_one_block_a_batch(dir.path());
    for seed in 0..3 {
        append_all(&spool, &values(10, 100, seed)).unwrap();
    }
    spool.writer.close().unwrap();
    drop(spool);
    let db = segments(dir.path())[0].join("db");
    let mut bytes = fs::read(&db).unwrap();
    let parts = find_parts(&bytes);
    bytes[parts[1] + 40] ^= 1;
    fs::write(&db, bytes).unwrap();

    let mut after = open(dir.path());
    let read: Vec<_> = read_all(&mut after).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(read, (0..10).chain(20..30).collect::<Vec<_>>());
    let ledger = after.writer.ledger();
    assert_eq!((ledger.lost, ledger.spooled), (10, 20));
    assert!(ledger.balances());
}

#[test]
fn of_several_generations_the_highest_that_holds_anything_counts() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let failed = open_one_block_a_batch(other.path());
    append_all(&failed, &values(3, 100, 1)).unwrap();
    failed.writer.close().unwrap();
    let acknowledged = open_one_block_a_batch(dir.path());
    let kept = values(5, 100, 2);
    append_all(&acknowledged, &kept).unwrap();
    acknowledged.writer.close().unwrap();
    drop((failed, acknowledged));
    // As a process leaves them that made a commit a third time and was killed: generation 0 and
    // 1 hold what failed, nothing, and 2 what was acknowledged.
    let name = |generation: u32| dir.path().join(format!("seg-{:020}-{generation:04}", 0));
    fs::rename(name(0), name(2)).unwrap();
    fs::create_dir(name(1)).unwrap();
    copy_dir(&segments(other.path())[0], &name(0)).unwrap();
    for generation in [0, 2] {
        fs::write(name(generation).join("seal"), [0; 52]).unwrap();
    }

    let mut after = open(dir.path());
    assert!(read_all(&mut after) == (0..).zip(kept).collect::<Vec<_>>());
    assert_eq!(segments(dir.path()), [name(2)]);
}

#[test]
fn segments_are_freed_though_somebody_has_tidied_up_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for seed in 0..6 {
        append_all(&spool, &values(500, 10_000, seed)).unwrap();
    }
    read_all(&mut spool);
    wait_until("the first is sealed", || {
        fs::read(segments(dir.path())[0].join("seal")).is_ok_and(|seal| seal[0] != 0)
    });
    fs::remove_dir(dir.path().join(".trash")).unwrap();
    fs::remove_dir_all(&segments(dir.path())[0]).unwrap();
    spool.reader.advance_watermark(Sequence(3000));
    wait_until("segments are freed", || segments(dir.path()).len() == 1);
    assert!(spool.writer.ledger().balances());
}

#[test]
fn a_lost_progress_file_repeats_and_skips_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    append_all(&spool, &values(10, 100, 3)).unwrap();
    read_all(&mut spool);
    spool.reader.advance_watermark(Sequence(7));
    spool.writer.close().unwrap();
    drop(spool);
    fs::remove_file(dir.path().join("progress")).unwrap();
    let mut after = open(dir.path());
    assert_eq!(read_all(&mut after).len(), 10);
    assert!(after.writer.ledger().balances());
}

/// A copy of a spool that is kept in `tests/fixtures/` for good.
fn fixture(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    copy_dir(&kept, dir.path()).unwrap();
    dir
}

/// Everything of every record that can be read, a line each.
fn whole_records(spool: &mut Spool) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        lines.extend(block.records().map(|record| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let Reception { at, clock_synchronised } = record.received;
            let headers = record.headers.iter().map(|(name, value)| format!("{name}={value:?}"));
            format!(
                "{} {} {} {} {} {} {} {clock_synchronised} [{}] {}",
                record.sequence,
                record.id,
                record.route.path,
                record.route.topic,
                record.key.map_or("-".to_owned(), text),
                record.timestamp.0,
                at.0,
                headers.collect::<Vec<_>>().join(" "),
                text(record.value)
            )
        }));
    }
    lines
}

/// One sealed segment and one that a kill left. Fails when `start` marks only one slot of the progress
/// (`write_both`): an older program would then believe the other.
#[test]
fn a_spool_of_the_first_format_is_read_and_marked_before_anything_new_is_written() {
    let dir = fixture("spool-format-1");
    let mut spool = open(dir.path());
    assert_eq!((&spool.report.lost[..], spool.report.uncertain_from), (&[][..], Some(Sequence(5))));
    assert_eq!(spool.report.spool_id, "e8ca4c53ddacb1c4f6f228a62b083ba0");
    let Ledger { accepted, delivered, spooled, .. } = spool.report.ledger;
    assert_eq!((accepted, delivered, spooled, spool.report.ledger.balances()), (5, 0, 5, true));
    let expected = [
        (0, "9946dd8dd1243991", "bus-1", 1_795_580_020_937_u64),
        (1, "9946dd8dd1243991", "bus-2", 1_795_580_020_951),
        (2, "9946dd8dd1243991", "bus-3", 1_795_580_020_959),
        (3, "0852070f346a73dc", "bus-4", 1_795_580_021_974),
        (4, "0852070f346a73dc", "bus-5", 1_795_580_021_986),
    ];
    let expected = expected.map(|(sequence, epoch, bus, at)| {
        let value = format!(r#"{{"deviceId":"{bus}"}}"#);
        format!("{sequence} {epoch}:{sequence} /endpoint test {bus} {at} {at} true [] {value}")
    });
    assert_eq!(whole_records(&mut spool), expected);
    let progress = fs::read(dir.path().join("progress")).unwrap();
    assert_eq!([progress[4], progress[progress.len() / 2 + 4]], [2, 2]);
}

/// Stopped in order; of its segments one is freed, one delivered in part and one damaged, which is
/// written down as lost. Fails when any field is read otherwise than that program wrote it (as after
/// a change of both halves of `block.rs` or `progress.rs` that forgets the version).
#[test]
fn what_was_delivered_and_lost_in_the_first_format_stays_so() {
    let dir = fixture("spool-format-1-drained");
    let mut spool = open(dir.path());
    let report = &spool.report;
    assert_eq!((report.last_stop, &report.lost[..]), (LastStop::Clean, &[][..]));
    let books = Ledger { accepted: 12, delivered: 5, spooled: 4, lost: 3, ..Ledger::default() };
    assert_eq!(report.ledger, books);
    let removed: Vec<_> = outside::look(dir.path()).unwrap().removed().collect();
    assert_eq!(removed, [("lost", Sequence(6), Sequence(9))]);
    let lines = [
        r#"5 2f7d0b282bd22b98:5 /other other bus-5 1767225599975 1767225605000 false [] {"deviceId":"bus-5","sequence":"5"}"#,
        r#"9 a506e013d718490a:9 /other other - 1767225599955 1767225609000 false [] {"deviceId":"bus-9","sequence":"9"}"#,
        r#"10 a506e013d718490a:10 /endpoint test bus-10 1767225599950 1767225610000 true [shift=[97, 10] empty=[]] {"deviceId":"bus-10","sequence":"10"}"#,
        r#"11 a506e013d718490a:11 /other other bus-11 1767225599945 1767225611000 false [] {"deviceId":"bus-11","sequence":"11"}"#,
    ];
    assert_eq!(whole_records(&mut spool), lines);
    let end = spool.reader.position();
    spool.reader.advance_watermark(end);
    wait_until("all of it is freed", || segments(dir.path()).is_empty());
    let books = Ledger { accepted: 12, delivered: 9, lost: 3, ..Ledger::default() };
    assert_eq!(spool.writer.ledger(), books);
    let kept = dir.path().join("quarantine").join("seg-00000000000000000006-0000");
    assert!(kept.exists(), "the damaged one is kept");
}

#[test]
fn a_record_of_another_spool_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
    let origin: RecordId = "00c0ffee00c0ffee:77".parse().unwrap();
    let received = Reception { at: Millis(5), clock_synchronised: true };
    let record = NewRecord {
        route: &route,
        key: None,
        timestamp: Millis(7),
        received,
        headers: &[],
        value: b"{}",
        origin: Some(origin),
    };
    block_on(spool.writer.append(&record).unwrap()).unwrap();
    spool.writer.close().unwrap();
    drop(spool);
    let mut spool = open(dir.path());
    let block = spool.reader.next_block().unwrap().unwrap();
    let read = block.records().next().unwrap();
    assert_eq!((read.sequence, read.id), (Sequence(0), origin));
}

#[test]
fn a_second_process_is_told_who_has_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let _spool = open(dir.path());
    let error = spool::open(config(dir.path())).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn a_full_spool_refuses_keeps_what_it_has_and_takes_records_again_after_the_drain() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 32 << 20;
    let mut spool = spool::open(Config { max_size: limit, ..config(dir.path()) }).unwrap();
    let mut kept = 0;
    let refusal = loop {
        match append_all(&spool, &values(20, 20_000, kept)) {
            Ok(ids) => kept += ids.len() as u64,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "never refused");
    };
    assert!(matches!(refusal, AppendError::Full(_)), "{refusal}");
    assert!(refusal.to_string().contains("max_size"), "{refusal}");
    assert!(spool.writer.depth().disk_bytes <= limit);
    // Of the batch that was refused, a first part may have been committed by itself.
    let read = read_all(&mut spool).len() as u64;
    assert!((kept..kept + 20).contains(&read), "{kept} were kept, {read} read");
    spool.reader.advance_watermark(Sequence(read));
    wait_until("records are taken again", || spool.writer.refusal().is_none());
    append_all(&spool, &values(1, 100, 1)).unwrap();
    assert!(spool.writer.ledger().balances());
}

#[test]
fn what_waits_for_its_commit_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let slow =
        Config { commit_delay: Duration::from_secs(1), max_pending: 10_000, ..config(dir.path()) };
    let spool = spool::open(slow).unwrap();
    assert_eq!(append_all(&spool, &values(30, 1000, 1)), Err(AppendError::Busy));
}

#[test]
fn a_commit_that_is_under_way_is_seen_and_one_that_is_done_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let under_way = || spool.writer.stalled(Duration::ZERO);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for seed in 0..200 {
                append_all(&spool, &values(20, 10_000, seed)).unwrap();
            }
        });
        wait_until("a commit is seen", || {
            assert!(!appending.is_finished(), "200 commits, and none was seen");
            under_way().is_some_and(|says| says.starts_with("a commit of the spool"))
        });
    });
    assert_eq!(spool.writer.stalled(Duration::from_mins(1)), None);
    wait_until("none is seen", || under_way().is_none());
}

#[test]
fn a_dropped_promise_does_not_take_the_record_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
    let received = Reception { at: Millis(5), clock_synchronised: false };
    let record = NewRecord {
        route: &route,
        key: None,
        timestamp: Millis(7),
        received,
        headers: &[],
        value: b"{}",
        origin: None,
    };
    drop(spool.writer.append(&record).unwrap());
    wait_until("it is committed", || spool.writer.ledger().accepted == 1);
    let block = spool.reader.next_block().unwrap().unwrap();
    let read = block.records().next().unwrap();
    assert_eq!(
        (read.key, read.timestamp, read.received, read.route),
        (None, Millis(7), received, &route)
    );
}

/// Where the parts stand in a segment's file, in its order.
fn find_parts(bytes: &[u8]) -> Vec<usize> {
    let magic = [0xF5, b'W', b'S', 0xFF];
    (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == magic).collect()
}

fn damage_last_part(db: &Path) {
    let mut bytes = fs::read(db).unwrap();
    let last = *find_parts(&bytes).last().unwrap();
    bytes[last + 100] ^= 1;
    fs::write(db, bytes).unwrap();
}

/// Holds `weight` in `block.rs` and the length of the table of routes in `Draft::raw_len`: without
/// them a block outgrows its format, and nothing is committed any more.
#[test]
fn an_import_may_bring_large_headers_and_many_routes_and_the_spool_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let record = |path: usize, header: usize| {
        let path = format!("/{path}/{}", "p".repeat(10_000));
        let route = Arc::new(Route { path, topic: "test".to_owned() });
        let headers = [("h".to_owned(), vec![b'x'; header])];
        spool.writer.append(&NewRecord {
            route: &route,
            key: None,
            timestamp: Millis(1),
            received: Reception { at: Millis(1), clock_synchronised: true },
            headers: &headers,
            value: b"{}",
            origin: None,
        })
    };
    for header in [3 << 20, 9 << 20] {
        assert_eq!(record(0, header).unwrap_err(), AppendError::TooLarge);
    }
    let mut waiting = Vec::new();
    for number in 0..2_000 {
        match record(number, 1) {
            Ok(append) => waiting.push(append),
            Err(AppendError::Busy) => {
                for append in waiting.drain(..) {
                    block_on(append).unwrap();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    let last = waiting.len();
    for append in waiting {
        block_on(append).unwrap();
    }
    assert!(last > 0);
    assert!(!read_all(&mut spool).is_empty());
}
