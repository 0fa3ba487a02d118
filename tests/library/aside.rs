//! What becomes of a segment that cannot be used now: is it kept, bounded, and in nobody's way?

use crate::support::{append_all, config, crash, read_all, segments, values, wait_until};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use waystation::record::Sequence;
use waystation::spool::{self, Config, Spool};

const IN_A_SEGMENT: u64 = 4;

/// A segment is one block of four records of 20 kB.
fn small(dir: &Path) -> Config {
    let commit_delay = std::time::Duration::from_millis(50);
    Config { segment_bytes: 50_000, commit_delay, ..config(dir) }
}

fn fill(spool: &Spool, segments: u64) {
    for seed in 0..segments {
        append_all(spool, &values(4, 20_000, seed)).unwrap();
    }
}

fn close(spool: Spool) {
    spool.writer.close().unwrap();
    drop(spool); // and with it the lock
}

fn sequences(spool: &mut Spool) -> Vec<u64> {
    read_all(spool).into_iter().map(|(sequence, _)| sequence).collect()
}

fn kept(dir: &Path) -> Vec<u64> {
    let mut kept: Vec<u64> = fs::read_dir(dir.join("quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap()[4..24].parse().unwrap())
        .collect();
    kept.sort_unstable();
    kept
}

/// As `du` counts: with the directory itself.
fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = fs::symlink_metadata(path).unwrap().blocks() * 512;
    own + if path.is_dir() { disk_bytes_in(path) } else { 0 }
}

fn disk_bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| disk_bytes(&entry.unwrap().path())).sum()
}

/// Cuts the only block of each of these segments short.
fn damage(segments: &[PathBuf]) {
    for segment in segments {
        let db = fs::File::options().write(true).open(segment.join("db")).unwrap();
        let len = db.metadata().unwrap().len();
        db.set_len(len / 2).unwrap();
    }
}

/// Fails when `aside::quarantine` does not discard older ones, and when it does not take them in the
/// order of their names.
#[test]
fn a_quarantine_is_bounded_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool::open(small(dir.path())).unwrap();
    fill(&spool, 6);
    close(spool);
    let all = segments(dir.path());
    assert_eq!(all.len(), 6);
    damage(&all);
    let one = all.iter().map(|segment| disk_bytes(segment)).max().unwrap();
    let limit = 3 * one + one / 2;

    let limited = Config { max_quarantine: limit, ..small(dir.path()) };
    let mut spool = spool::open(limited.clone()).unwrap();
    assert_eq!(sequences(&mut spool), [0; 0]);
    spool.reader.advance_watermark(Sequence(6 * IN_A_SEGMENT));
    close(spool);
    assert_eq!(kept(dir.path()), [12, 16, 20], "the three newest");
    assert!(disk_bytes_in(&dir.path().join("quarantine")) <= limit);

    let again = spool::open(limited).unwrap();
    let ledger = again.writer.ledger();
    assert_eq!((ledger.accepted, ledger.lost), (24, 24), "all of them are lost by name");
    let shown = again.writer.depth().quarantine_bytes;
    assert_eq!(shown, disk_bytes_in(&dir.path().join("quarantine")), "and what is kept is shown");
}

/// Fails when `Config::quarantine` does not look at `max_size`.
#[test]
fn a_quarantine_never_fills_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool::open(small(dir.path())).unwrap();
    fill(&spool, 4);
    close(spool);
    damage(&segments(dir.path()));
    let tiny = Config { max_size: 8 << 10, max_quarantine: 1 << 30, ..small(dir.path()) };
    let mut spool = spool::open(tiny).unwrap();
    assert_eq!(sequences(&mut spool), [0; 0]);
    spool.reader.advance_watermark(Sequence(16));
    close(spool);
    assert_eq!(kept(dir.path()), [0; 0]);
}

/// Makes a file that every look at fails (`ENAMETOOLONG`), for root as well; gives what undoes it.
fn unreadable(file: PathBuf) -> impl FnOnce() {
    let moved = file.with_extension("moved");
    fs::rename(&file, &moved).unwrap();
    symlink("x".repeat(300), &file).unwrap();
    move || fs::rename(moved, file).unwrap()
}

/// Fails when `Survey::take` gives the error up, and when it calls missing what it cannot read.
#[test]
fn a_segment_that_cannot_be_read_stops_neither_a_start_nor_new_records_and_is_not_skipped() {
    for place in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool::open(small(dir.path())).unwrap();
        fill(&spool, 3);
        close(spool);
        let segment = segments(dir.path())[place].clone();
        let undo = ["seal", "db"].map(|file| unreadable(segment.join(file)));

        let mut spool = spool::open(small(dir.path())).unwrap();
        assert_eq!(spool.report.lost, [], "segment {place}");
        let new = append_all(&spool, &values(1, 100, 9)).unwrap();
        assert_eq!(new[0].sequence, Sequence(12), "segment {place}");
        let before = place as u64 * IN_A_SEGMENT;
        let mut read = 0;
        let error = loop {
            match spool.reader.next_block() {
                Ok(block) => read = block.expect("it is not skipped").end().0,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("db"), "{error}");
        assert_eq!(read, before, "what stands before it is read");
        assert!(spool.reader.next_block().is_err(), "it is tried again");
        for undo in undo {
            undo();
        }
        let rest = sequences(&mut spool);
        assert_eq!(rest, (before..13).collect::<Vec<_>>(), "segment {place}, readable again");
        spool.reader.advance_watermark(Sequence(13));
        close(spool);
        let ledger = spool::open(small(dir.path())).unwrap().writer.ledger();
        assert_eq!((ledger.delivered, ledger.lost, ledger.balances()), (13, 0, true));
    }
}

/// Starts on a tail that cannot be read, `starts` times, with a kill or a close after each. The second
/// one takes a record. Gives the last one's spool, and what makes the segment readable.
fn start_on_unreadable(
    dir: &mut TempDir,
    starts: u64,
    all: &mut Vec<Vec<u8>>,
) -> (Spool, impl FnOnce() + use<>) {
    let tail = segments(dir.path()).pop().unwrap();
    let tail = Path::new(tail.file_name().unwrap()).join("db");
    let mut start = 0;
    loop {
        let undo = unreadable(dir.path().join(&tail));
        let spool = spool::open(config(dir.path())).unwrap();
        let ledger = spool.writer.ledger();
        assert!(ledger.lost == 0 && ledger.balances(), "{ledger:?}");
        assert!(ledger.accepted <= all.len() as u64, "what is left free is no record: {ledger:?}");
        start += 1;
        if start == 2 {
            let new = values(1, 100, 100 + start);
            append_all(&spool, &new).unwrap();
            all.extend(new);
        }
        if start == starts {
            return (spool, undo);
        }
        undo();
        if start == 3 {
            close(spool);
        } else {
            let killed = tempfile::tempdir().unwrap();
            crash(dir.path(), killed.path());
            *dir = killed;
        }
    }
}

/// Fails without `end_of_unread` in `start/survey.rs` (new records then get the sequences of those that stand
/// behind the mark, or the segment is put away, since the mark says that nothing is in it), and
/// without `left_free` in it or `promised` in `left_over`.
#[test]
fn what_was_acknowledged_in_a_tail_that_no_start_can_read_is_sent_once_it_can_be_read() {
    for (noted, starts, read_at_start) in
        [(0, 1, false), (3, 1, false), (0, 4, false), (3, 4, true), (0, 1, true), (3, 3, true)]
    {
        let here = tempfile::tempdir().unwrap();
        let spool = spool::open(config(here.path())).unwrap();
        let file = here.path().join("progress");
        let mut all = Vec::new();
        let mut told = fs::read(&file).unwrap();
        for (count, seed) in [(noted, 1), (4, 2)] {
            let new = values(count, 100, seed);
            append_all(&spool, &new).unwrap();
            all.extend(new);
            if seed == 1 && noted > 0 {
                wait_until("the mark is written", || {
                    told = fs::read(&file).unwrap();
                    let marks = told.chunks(64 * 1024).map(|slot| u64::from(slot[56]));
                    marks.max() == Some(noted as u64)
                });
            }
        }
        let mut there = tempfile::tempdir().unwrap();
        crash(here.path(), there.path());
        // As it was when the process was killed, before its next round.
        fs::write(there.path().join("progress"), told).unwrap();

        let what = format!("{noted} below the mark, {starts} starts");
        let (mut spool, undo) = start_on_unreadable(&mut there, starts, &mut all);
        assert!(spool.reader.next_block().is_err(), "{what}: it is not skipped");
        let new = values(1, 100, 3);
        let id = append_all(&spool, &new).unwrap()[0];
        assert!(id.sequence < Sequence(2 << 24), "{what}: sequences are left free at each start");
        all.extend(new);
        undo();
        if read_at_start {
            close(spool);
            spool = spool::open(config(there.path())).unwrap();
            assert_eq!(spool.report.lost, [], "{what}");
        }
        let read = read_all(&mut spool);
        let values: Vec<_> = read.iter().map(|(_, value)| value.clone()).collect();
        assert!(values == all, "{what}: {:?}", read.iter().map(|(at, _)| at).collect::<Vec<_>>());
        let to = spool.reader.position();
        spool.reader.advance_watermark(to);
        close(spool);
        let ledger = spool::open(config(there.path())).unwrap().writer.ledger();
        let count = all.len() as u64;
        assert_eq!((ledger.accepted, ledger.delivered), (count, count), "{what}: {ledger:?}");
        assert!(ledger.balances(), "{what}");
        // One that was found whole at a start needs no inspection.
        assert_eq!(kept(there.path()).is_empty(), read_at_start, "{what}");
    }
}

/// Fails when `start` does not see that the progress is older than a segment.
#[test]
fn a_progress_file_from_an_older_backup_repeats_and_calls_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open(small(dir.path())).unwrap();
    fill(&spool, 3);
    sequences(&mut spool);
    spool.reader.advance_watermark(Sequence(2));
    close(spool);
    let old = fs::read(dir.path().join("progress")).unwrap();

    let mut spool = spool::open(small(dir.path())).unwrap();
    fill(&spool, 3);
    sequences(&mut spool);
    spool.reader.advance_watermark(Sequence(18)); // four segments are freed
    close(spool);
    assert_eq!(segments(dir.path()).len(), 2);
    fs::write(dir.path().join("progress"), old).unwrap();

    let mut spool = spool::open(small(dir.path())).unwrap();
    assert_eq!(spool.report.lost, []);
    assert_eq!(sequences(&mut spool), (16..24).collect::<Vec<_>>(), "all that is there");
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.accepted, ledger.lost, ledger.balances()), (24, 0, true));
    let new = append_all(&spool, &values(1, 100, 9)).unwrap();
    assert_eq!(new[0].sequence, Sequence(24));
}
