//! Is a repeat known, and nothing else, over commits, losses and restarts?

use super::*;
use crate::record::{NewRecord, Reception};
use crate::spool::{self, Config, Spool, WhenFull};
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

const WINDOW: Duration = Duration::from_mins(10);

fn open(dir: &Path) -> Spool {
    spool::open(Config { min_free: 0, ..Config::new(dir.to_owned()) }).unwrap()
}

/// A spool, and what is asked of it.
struct Rig {
    repeats: Repeats,
    spool: Spool,
}

impl Rig {
    fn new(dir: &Path) -> Self {
        let spool = open(dir);
        Self { repeats: Repeats::open(&spool.writer, WINDOW), spool }
    }

    fn append(&self, json: &str) -> Taken {
        self.append_at(json, Millis::now())
    }

    fn append_at(&self, json: &str, at: Millis) -> Taken {
        let route = Arc::new(Route { path: "/a".into(), topic: "t".into() });
        let put = || {
            self.spool.writer.append(&NewRecord {
                route: &route,
                key: None,
                timestamp: at,
                received: Reception { at, clock_synchronised: true },
                headers: &[],
                value: json.as_bytes(),
                origin: None,
            })
        };
        self.repeats.append(&route, json.as_bytes(), WINDOW, put).unwrap()
    }

    /// Makes it durable; `false`: it was so already.
    fn kept(&self, json: &str) -> bool {
        match self.append(json) {
            Taken::New(append) => {
                settled(&append).unwrap();
                self.repeats.note();
                true
            }
            Taken::Waiting(_) => panic!("nothing waits"),
            Taken::Repeat => false,
        }
    }

    /// All that is there is delivered.
    fn deliver(&mut self) {
        while self.spool.reader.next_block().unwrap().is_some() {}
        self.spool.reader.advance_watermark(self.spool.reader.end());
    }

    fn stop(self) {
        let Self { repeats, spool } = self;
        drop(repeats);
        spool.writer.close().unwrap();
    }
}

/// What became of it, once that is known.
fn settled(append: &Append) -> Result<RecordId, AppendError> {
    let started = Instant::now();
    loop {
        if let Some(outcome) = append.outcome() {
            return outcome;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "it is never committed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn new_dir() -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    (dir, spool)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_same_content_on_the_same_route_is_kept_once() {
    let (_dir, spool) = new_dir();
    let rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}") && !rig.kept("{\"n\":1}"));
    // Other content of the same fields, and back.
    assert!(rig.kept("{\"n\":2}") && !rig.kept("{\"n\":1}") && !rig.kept("{\"n\":2}"));
    let other = Route { path: "/at".into(), topic: String::new() };
    let put = || Err(AppendError::Busy);
    let taken = rig.repeats.append(&other, b"{\"n\":1}", WINDOW, put);
    assert!(matches!(taken, Err(AppendError::Busy)), "of another route it is another one");
    assert_eq!(rig.spool.writer.ledger().accepted, 2);
    rig.stop();
}

/// Fails where what could not be appended is remembered all the same.
#[test]
fn what_could_not_be_appended_is_no_repeat() {
    let (_dir, spool) = new_dir();
    let rig = Rig::new(&spool);
    let route = Route { path: "/a".into(), topic: "t".into() };
    for _ in 0..2 {
        let taken = rig.repeats.append(&route, b"{}", WINDOW, || Err(AppendError::Busy));
        assert!(matches!(taken, Err(AppendError::Busy)));
    }
    assert!(rig.kept("{}"));
    rig.stop();
}

#[test]
fn a_repeat_of_one_that_is_not_durable_yet_gets_the_same_promise() {
    let (_dir, spool) = new_dir();
    let config = Config { min_free: 0, commit_delay: Duration::from_secs(1), ..Config::new(spool) };
    let spool = spool::open(config).unwrap();
    let rig = Rig { repeats: Repeats::open(&spool.writer, WINDOW), spool };
    let Taken::New(first) = rig.append("{}") else { panic!("it is the first") };
    let Taken::Waiting(second) = rig.append("{}") else { panic!("it should wait with it") };
    assert_eq!(settled(&first).unwrap(), settled(&second).unwrap());
    assert_eq!(rig.spool.writer.ledger().accepted, 1);
    assert!(!rig.kept("{}"));
    rig.stop();
}

/// Fails without the look at the spool (what waits there), and without the journal (what has left it).
#[test]
fn a_restart_knows_what_waits_and_what_was_delivered() {
    let (_dir, spool) = new_dir();
    let mut rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}"));
    rig.deliver();
    rig.stop();
    let rig = Rig::new(&spool);
    assert!(
        !fs::read_dir(&spool)
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_str().unwrap().starts_with("seg-") })
    );
    assert!(!rig.kept("{\"n\":1}"), "it was delivered");
    assert!(rig.kept("{\"n\":2}"));
    rig.stop();
    // As a kill leaves it that came before the line was written.
    forget(&spool);
    let rig = Rig::new(&spool);
    assert!(!rig.kept("{\"n\":2}"), "it waits");
    assert!(rig.kept("{\"n\":1}"), "nothing tells of it any more");
    rig.stop();
}

/// Fails where a line above the watermark is believed: the record was lost with what the disk had
/// after the backup, and its device's resend would be thrown away.
#[test]
fn a_journal_that_is_newer_than_the_spool_makes_nothing_a_repeat() {
    let (dir, spool) = new_dir();
    let rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}"));
    rig.stop();
    let restored = dir.path().join("restored");
    copy(&spool, &restored);
    let rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":2}"));
    rig.stop();
    fs::copy(spool.join("repeats"), restored.join("repeats")).unwrap();
    let mut rig = Rig::new(&restored);
    assert!(!rig.kept("{\"n\":1}"));
    assert!(rig.kept("{\"n\":2}"), "it is nowhere");
    // The sequence that it had is another's now, and passes the watermark.
    assert!(!rig.kept("{\"n\":2}") && rig.kept("{\"n\":3}"));
    rig.deliver();
    rig.stop();
    let rig = Rig::new(&restored);
    assert!(!rig.kept("{\"n\":2}") && !rig.kept("{\"n\":3}"));
    rig.stop();
}

/// Fails without the look at the spool's id, and at what is lost.
#[test]
fn the_journal_of_another_spool_or_of_before_a_loss_is_not_believed() {
    let (dir, spool) = new_dir();
    let mut rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}"));
    rig.deliver();
    rig.stop();
    let other = dir.path().join("other");
    let mut rig = Rig::new(&other);
    assert!(rig.kept("{\"n\":2}"));
    rig.deliver();
    rig.stop();
    fs::copy(spool.join("repeats"), other.join("repeats")).unwrap();
    let rig = Rig::new(&other);
    assert!(rig.kept("{\"n\":1}"), "it is another spool's");
    rig.stop();

    let (head, lines) = journal::read(&spool, MOST).unwrap().unwrap();
    assert_eq!((head.gone, lines.len()), (0, 1));
    let head = Head { gone: 1, ..head };
    drop(Journal::begin(&spool, head, &lines, WINDOW, MOST).unwrap());
    let rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}"), "it may be the one that is lost");
    rig.stop();
}

/// Fails without the look at the age, on either side.
#[test]
fn what_is_older_than_the_window_or_comes_from_the_future_is_forgotten_at_a_start() {
    let (_dir, spool) = new_dir();
    let rig = Rig::new(&spool);
    let now = Millis::now().0;
    for (n, at) in [(1, now - 601_000), (2, now + 3_600_000), (3, now - 300_000)] {
        let Taken::New(append) = rig.append_at(&format!("{{\"n\":{n}}}"), Millis(at)) else {
            panic!("it is new")
        };
        settled(&append).unwrap();
    }
    rig.stop();
    forget(&spool);
    let rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}") && rig.kept("{\"n\":2}") && !rig.kept("{\"n\":3}"));
    rig.stop();
}

/// The oldest segment goes bad.
fn damage_oldest(spool: &Path) {
    let mut segments: Vec<_> = fs::read_dir(spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("seg-"))
        .collect();
    segments.sort();
    let data = segments[0].join("db");
    let len = usize::try_from(fs::metadata(&data).unwrap().len()).unwrap();
    fs::write(&data, vec![0; len]).unwrap();
}

/// Fails where only losses are asked for: the oldest of a full spool are gone as well.
#[test]
fn once_records_are_dropped_everything_is_forgotten() {
    let (_dir, dir) = new_dir();
    let rig = Rig::new(&dir);
    assert!(rig.kept("{\"n\":1}"));
    rig.stop();
    let full = Config { min_free: 0, max_size: 16 << 20, ..Config::new(dir.clone()) };
    let spool = spool::open(Config { when_full: WhenFull::DropOldest, ..full }).unwrap();
    let rig = Rig { repeats: Repeats::open(&spool.writer, WINDOW), spool };
    assert!(!rig.kept("{\"n\":1}"));
    let mut large = 0;
    while rig.spool.writer.ledger().dropped == 0 {
        large += 1;
        assert!(large < 100, "nothing is dropped");
        let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(900_000).collect();
        assert!(rig.kept(&text));
    }
    assert!(rig.kept("{\"n\":1}"), "its resend is all that is left of it");
    rig.stop();
}

/// Fails where only the books of the spool itself are asked: a record that was moved is no longer in them.
#[test]
fn once_a_held_topic_has_a_loss_everything_is_forgotten() {
    let (_dir, dir) = new_dir();
    let rig = Rig::new(&dir);
    assert!(rig.kept("{\"n\":1}"));
    let held = || rig.spool.reader.open_held("t").unwrap();
    let moved = held();
    let route = Arc::new(Route { path: "/a".into(), topic: "t".into() });
    let received = Reception { at: Millis::now(), clock_synchronised: true };
    let append = moved.writer.append(&NewRecord {
        route: &route,
        key: None,
        timestamp: received.at,
        received,
        headers: &[],
        value: b"{\"n\":1}",
        origin: None,
    });
    settled(&append.unwrap()).unwrap();
    moved.writer.close().unwrap();
    drop(moved);
    assert!(!rig.kept("{\"n\":1}"));
    damage_oldest(&dir.join("held/t"));
    let mut moved = held();
    while moved.reader.next_block().unwrap().is_some() {}
    assert_eq!(moved.writer.ledger().lost, 1);
    assert!(rig.kept("{\"n\":1}"), "its resend is all that is left of it");
    moved.writer.close().unwrap();
    rig.stop();
}

/// Fails where a loss that shows while the process runs leaves the marks as they are.
#[test]
fn once_the_books_learn_of_a_loss_everything_is_forgotten() {
    let (_dir, spool) = new_dir();
    let mut rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":1}"));
    rig.stop();
    rig = Rig::new(&spool);
    assert!(rig.kept("{\"n\":2}") && !rig.kept("{\"n\":1}"));
    damage_oldest(&spool);
    while rig.spool.reader.next_block().unwrap().is_some() {}
    assert_eq!(rig.spool.writer.ledger().lost, 1);
    assert!(rig.kept("{\"n\":1}"), "its resend is all that is left of it");
    assert!(!rig.kept("{\"n\":1}"));
    rig.stop();
}

/// Fails where the oldest stay instead.
#[test]
fn where_there_are_too_many_the_oldest_pass() {
    let (_dir, dir) = new_dir();
    let spool = open(&dir);
    let rig = Rig { repeats: Repeats::bounded(&spool.writer, WINDOW, 2), spool };
    assert!(rig.kept("1") && rig.kept("2") && rig.kept("3"));
    assert!(!rig.kept("3") && !rig.kept("2") && rig.kept("1"));
    rig.stop();
    let spool = open(&dir);
    let rig = Rig { repeats: Repeats::bounded(&spool.writer, WINDOW, 2), spool };
    assert!(!rig.kept("1") && !rig.kept("3") && rig.kept("2"));
    rig.stop();
}
