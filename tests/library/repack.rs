//! Does what waits for long take less room, with nothing changed in it?
//!
//! Through the public front door, on real directories, with `du`'s own figures.

use crate::support::{self, Stop, block_on, du, segments, wait_until};
use prost::Message as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use waystation::convert::{Converter, Event, FixType, RealtimeGps, Timestamp};
use waystation::record::{Millis, NewRecord, Reception, RecordId, Route, Sequence};
use waystation::spool::{self, AppendError, Config, Spool};

/// How old a segment must be in these tests.
const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_hours(10_000);
/// For the copies of some dozen small segments, many times over.
const TIME_ENOUGH: Duration = Duration::from_secs(5);

fn config(dir: &Path, repack_after: Duration) -> Config {
    Config { repack_after, repack_pause: 1, ..support::config(dir) }
}

/// The JSON of vehicles on their way, as the service makes it.
struct Vehicles {
    random: fastrand::Rng,
    converter: Converter,
    positions: Vec<(f64, f64)>,
    sequence: u64,
}

impl Vehicles {
    fn new() -> Self {
        let mut random = fastrand::Rng::with_seed(7);
        let positions = (0..50).map(|_| (48.0 + random.f64() / 10.0, 11.0 + random.f64() / 10.0));
        let positions = positions.collect();
        let converter = Converter::built_in(Some("device_id")).unwrap();
        Self { random, converter, positions, sequence: 0 }
    }

    fn next(&mut self) -> Vec<u8> {
        let vehicle = usize::try_from(self.sequence).unwrap() % self.positions.len();
        let random = &mut self.random;
        let rounded = |value: f64, to: f64| (value * to).round() / to;
        let (latitude, longitude) = &mut self.positions[vehicle];
        *latitude += (random.f64() - 0.5) / 5_000.0;
        *longitude += (random.f64() - 0.5) / 5_000.0;
        let fix_time = Timestamp {
            seconds: 1_767_225_600 + i64::try_from(self.sequence / 50).unwrap(),
            nanos: random.i32(0..1000) * 1_000_000,
        };
        #[expect(clippy::cast_possible_truncation, reason = "a few digits")]
        let message = RealtimeGps {
            device_id: format!("sim-{vehicle:05}"),
            fix_time: Some(fix_time),
            latitude: Some(rounded(*latitude, 1e7)),
            longitude: Some(rounded(*longitude, 1e7)),
            altitude: Some(rounded(500.0 + random.f64() * 20.0, 10.0)),
            speed: Some(rounded(random.f64() * 30.0, 100.0) as f32),
            heading: Some(rounded(random.f64() * 360.0, 10.0) as f32),
            hdop: Some(0.8),
            satellites: Some(random.u32(9..14)),
            fix_type: FixType::Fix3d.into(),
            ignition: Some(true),
            odometer: Some(123_456_000 + self.sequence * 3),
            event: Event::Position.into(),
            sequence: self.sequence / 50,
            vehicle_id: format!("bus-{vehicle}"),
            battery_voltage: Some(rounded(27.0 + random.f64() / 3.0, 100.0) as f32),
            ..RealtimeGps::default()
        };
        self.sequence += 1;
        let mut json = Vec::new();
        self.converter.convert(&message.encode_to_vec(), &mut json).unwrap();
        json
    }
}

/// A record and all that it carries.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    id: RecordId,
    route: Route,
    key: Option<Vec<u8>>,
    timestamp: Millis,
    received: Reception,
    headers: Vec<(String, Vec<u8>)>,
    value: Vec<u8>,
}

/// Commits the values, so many at a time; gives how many bytes they are.
fn commit(spool: &Spool, values: impl Iterator<Item = Vec<u8>>, at_a_time: usize) -> u64 {
    let routes = ["/endpoint", "/other"]
        .map(|path| Arc::new(Route { path: path.to_owned(), topic: format!("t{path}") }));
    let mut bytes = 0;
    let mut values = values.enumerate().peekable();
    while values.peek().is_some() {
        let appends: Vec<_> = values
            .by_ref()
            .take(at_a_time)
            .map(|(n, value)| {
                bytes += value.len() as u64;
                let at = Millis(1_767_225_600_000 + i64::try_from(n).unwrap());
                let headers = [("odd".to_owned(), vec![1, 2])];
                spool.writer.append(&NewRecord {
                    route: &routes[usize::from(n % 7 == 3)],
                    key: (n % 11 != 5).then_some(b"sim-00001"),
                    timestamp: if n % 13 == 4 { Millis(5) } else { at },
                    received: Reception { at, clock_synchronised: n % 5 != 0 },
                    headers: if n % 100 == 17 { &headers } else { &[] },
                    value: &value,
                    origin: None,
                })
            })
            .filter_map(Result::ok)
            .collect();
        for append in appends {
            // Refused when the spool is full, which is for the test to see.
            if let Err(error) = block_on(append) {
                assert!(matches!(error, AppendError::Full(_)), "{error}");
            }
        }
    }
    bytes
}

fn read_kept(spool: &mut Spool) -> Vec<Kept> {
    let mut records = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        records.extend(block.records().map(|r| Kept {
            id: r.id,
            route: (**r.route).clone(),
            key: r.key.map(<[u8]>::to_vec),
            timestamp: r.timestamp,
            received: r.received,
            headers: r.headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect(),
            value: r.value.to_vec(),
        }));
    }
    records
}

/// Segments whose seal says that they were repacked (byte 5, bit 2).
fn repacked(dir: &Path) -> usize {
    let is_repacked =
        |p: &PathBuf| fs::read(p.join("seal")).is_ok_and(|s| s.len() > 5 && s[5] & 2 != 0);
    segments(dir).iter().filter(|p| is_repacked(p)).count()
}

/// Everything that waits, from a copy of a closed spool.
fn contents(dir: &Path) -> Vec<Kept> {
    let copy = tempfile::tempdir().unwrap();
    support::copy_dir(dir, copy.path()).unwrap();
    read_kept(&mut spool::open(config(copy.path(), NEVER)).unwrap())
}

/// Waits until the repacker has nothing more to do. What was repacked goes by way of the trash, so
/// that is looked at last.
fn until_repacked(dir: &Path) {
    let in_trash = || fs::read_dir(dir.join(".trash")).unwrap().count();
    wait_until("all is repacked", || repacked(dir) == segments(dir).len() && in_trash() == 0);
}

/// Fails without the repacking, and when it changes anything in a record. The goal is 0.2; what
/// is beside the segments (the progress: 128 KiB, whatever waits) is not counted.
#[test]
fn at_any_commit_size_a_backlog_takes_less_than_a_sixth_of_its_json_and_is_what_it_was() {
    for (at_a_time, records) in [(1, 6_000), (20, 30_000), (128, 60_000)] {
        // Beside the build: in memory a file takes what it takes there.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let gather = Duration::from_millis(if at_a_time == 128 { 3 } else { 0 });
        let writing = Config { commit_delay: gather, ..config(dir.path(), NEVER) };
        let spool = spool::open(writing).unwrap();
        let mut vehicles = Vehicles::new();
        let json = commit(&spool, (0..records).map(|_| vehicles.next()), at_a_time);
        spool.writer.close().unwrap();
        let wrote = spool.writer.depth().bytes_written;
        drop(spool);
        let (before, size) = (contents(dir.path()), du(dir.path()));
        assert_eq!(before.len(), records);

        let mut spool = spool::open(config(dir.path(), SOON)).unwrap();
        // What is small already is left as it is.
        if at_a_time < 128 {
            until_repacked(dir.path());
        }
        let again = spool.writer.depth().bytes_written;
        // Not while a copy is made that is given up.
        wait_until("what it takes is known", || {
            let nothing_begun = fs::read_dir(dir.path().join("tmp")).unwrap().count() == 0;
            let known = spool.writer.depth().disk_bytes;
            nothing_begun && known.abs_diff(du(dir.path())) < 64 << 10
        });
        let real = du(dir.path());
        assert!(read_kept(&mut spool) == before, "{at_a_time} at a time: it is not what it was");
        assert_eq!(spool.writer.ledger().spooled, records as u64);
        let beside = du(&dir.path().join("progress"));
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let of_json = |bytes: u64| bytes as f64 / json as f64;
        let ratio = of_json(real - beside);
        println!(
            "{at_a_time} a commit: {:.3} bytes of disk a byte of JSON, {ratio:.3} repacked; \
             {:.3} bytes of blocks written a byte of JSON, {:.3} more to repack",
            of_json(size - beside),
            of_json(wrote),
            of_json(again),
        );
        assert!(ratio < 0.16, "{at_a_time} at a time: {ratio}");
        assert!(again < wrote, "to repack costs less than to keep at first");
    }
}

/// Fails when `plan.rs` looks at single segments only.
#[test]
fn twenty_ignition_cycles_leave_one_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut vehicles = Vehicles::new();
    for _ in 0..20 {
        let spool = spool::open(config(dir.path(), NEVER)).unwrap();
        commit(&spool, (0..40).map(|_| vehicles.next()), 4);
        spool.writer.close().unwrap();
    }
    let (before, size) = (contents(dir.path()), du(dir.path()));
    assert_eq!(segments(dir.path()).len(), 20);
    let mut spool = spool::open(config(dir.path(), SOON)).unwrap();
    wait_until("one is left", || segments(dir.path()).len() == 1);
    assert!(read_kept(&mut spool) == before, "an epoch for each cycle, as it was");
    spool.writer.close().unwrap();
    assert!(du(dir.path()) < size / 3);
}

/// Fails when the reader takes the absence of a file for a loss though the catalog has changed,
/// or when the change of the catalog is not one step.
#[test]
fn the_drain_and_the_repacking_at_once_lose_nothing_and_repeat_nothing() {
    const COMMITS: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 10_000, ..config(dir.path(), Duration::from_millis(1)) };
    let mut spool = spool::open(config).unwrap();
    let writer = spool.writer.clone();
    let appending = std::thread::spawn(move || {
        let route = Arc::new(Route { path: "/".to_owned(), topic: "t".to_owned() });
        for number in 0..COMMITS {
            let value = format!("{{\"number\":{number},\"filling\":\"as it comes\"}}");
            let record = NewRecord {
                route: &route,
                key: None,
                timestamp: Millis(1),
                received: Reception { at: Millis(1), clock_synchronised: true },
                headers: &[],
                value: value.as_bytes(),
                origin: None,
            };
            block_on(writer.append(&record).unwrap()).unwrap();
        }
    });
    let (mut next, mut seen, mut random) = (0, 0, fastrand::Rng::with_seed(3));
    while next < COMMITS {
        // Let some come and be repacked; then read from the midst of it.
        let done = || appending.is_finished();
        wait_until("some are repacked", || repacked(dir.path()) > 1 || done());
        seen += repacked(dir.path());
        for _ in 0..random.u64(1..200) {
            let Some(block) = spool.reader.next_block().unwrap() else { break };
            for record in block.records() {
                assert_eq!(record.sequence, Sequence(next));
                assert!(record.value.starts_with(format!("{{\"number\":{next},").as_bytes()));
                next += 1;
            }
        }
        if random.bool() {
            spool.reader.advance_watermark(Sequence(next - next % 7));
        }
        if random.u8(..4) == 0 {
            spool.reader.rewind(Sequence(0));
            next = spool.reader.position().0;
        }
    }
    appending.join().unwrap();
    spool.reader.advance_watermark(Sequence(next));
    let ledger = spool.writer.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.lost), (COMMITS, COMMITS, 0));
    assert!(ledger.balances());
    assert!(seen > 0, "no repacked one was seen");
}

/// Fails without `has_room_for_copy`. (That the copy is counted in `max_size` is asked step by step in
/// `src/spool/repack/tests.rs`.)
#[test]
fn the_limit_holds_while_it_repacks_and_what_had_no_room_is_done_when_there_is_some() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let limit = 20 << 20;
    // What others put there counts as well. A copy leaves 8 MiB free, a record 4: room for the
    // copies of a few segments, and after that for many segments without.
    let bulk = dir.path().join("bulk");
    fs::write(&bulk, vec![1; 10 << 20]).unwrap();
    let config = Config { max_size: limit, segment_bytes: 256 << 10, ..config(dir.path(), SOON) };
    let mut spool = spool::open(config).unwrap();
    let (filled, mut waited) = (AtomicBool::new(false), false);
    let mut random = fastrand::Rng::with_seed(5);
    let mut letters = |n| std::iter::repeat_with(|| random.alphanumeric()).take(n).collect();
    let the_same: String = letters(400);
    std::thread::scope(|scope| {
        let _stop = Stop(&filled);
        let watching = scope.spawn(|| {
            while !filled.load(Relaxed) {
                let taken = du(dir.path());
                assert!(taken <= limit, "{taken} on the disk");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while spool.writer.refusal().is_none() && !watching.is_finished() {
            let value = the_same.clone() + &letters(400);
            commit(&spool, std::iter::once(value.into_bytes()), 1);
            // At the first one that is sealed: later it depends on the machine whether there is
            // still room for a copy.
            if !waited && segments(dir.path()).len() > 1 {
                waited = true;
                wait_until("one is repacked while there is room", || repacked(dir.path()) > 0);
            }
        }
        // Time enough for all of them, if nothing held the repacker back.
        let end = Instant::now() + TIME_ENOUGH;
        while Instant::now() < end && segments(dir.path()).len() - repacked(dir.path()) > 1 {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let (all, done) = (segments(dir.path()).len(), repacked(dir.path()));
    let kept = spool.writer.ledger().accepted;
    println!("{kept} records in {all} segments, {done} of them repacked");
    assert!(done > 0 && all - done > 1, "the limit was not in the way, or always");
    fs::remove_file(bulk).unwrap();
    wait_until("those that had no room are done", || {
        segments(dir.path()).len() - repacked(dir.path()) <= 1
    });
    assert_eq!(support::read_all(&mut spool).len() as u64, kept);
}
