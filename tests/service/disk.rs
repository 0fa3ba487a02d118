//! What does the service do when its disk fails to sync, or never answers?
//!
//! The real program with a small library preloaded that makes the syncs of the segments fail or
//! hang (`support/disk.c`, built here by the C compiler that the build needs anyway).

use crate::preload;
use crate::support::client::{Body, ask, post, request};
use crate::support::service::Site;
use crate::support::{PATIENCE, fleet, until};
use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use prost::Message as _;
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use waystation::status::LastStop;

fn message() -> Request<Body> {
    post(fleet::message(1, 1).encode_to_vec().into())
}

/// A place whose disk can be made to fail.
struct Faulty {
    site: Site,
    faults: PathBuf,
}

impl Faulty {
    fn new() -> Self {
        let mut site = Site::new(None);
        let faults = site.root().join("faults");
        fs::create_dir(&faults).unwrap();
        let library = preload::library("disk", site.root());
        site.environment("LD_PRELOAD", library);
        site.environment("DISK_FAULTS", faults.clone());
        Self { site, faults }
    }

    fn begin(&self, fault: &str) {
        File::create(self.faults.join(fault)).unwrap();
    }

    fn end(&self, fault: &str) {
        fs::remove_file(self.faults.join(fault)).unwrap();
    }

    /// Posts one message; the status of the answer.
    fn post(&self) -> StatusCode {
        ask(self.site.ingest, message()).unwrap().status
    }

    fn admin(&self, path: &str) -> StatusCode {
        ask(self.site.admin, request(Method::GET, path, Bytes::new())).unwrap().status
    }
}

/// Fails when the second attempt in `Committer::commit` reuses the failed segment, when `Store`
/// is dropped without its `catch_unwind` (sled panics then), or when the refusal is not lifted.
#[test]
fn a_failed_sync_is_never_acknowledged_and_the_service_goes_on_by_itself() {
    let faulty = Faulty::new();
    let service = faulty.site.start();
    assert_eq!(faulty.post(), StatusCode::OK);
    faulty.begin("FAIL");
    for _ in 0..3 {
        assert_eq!(faulty.post(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(faulty.admin("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(service.status().ledger.accepted, 1);
    faulty.end("FAIL");
    until("records are taken again", || faulty.post() == StatusCode::OK);
    assert_eq!(faulty.post(), StatusCode::OK);
    assert_eq!(faulty.admin("/readyz"), StatusCode::OK);
    // The keeper lives: a stop in order needs it.
    service.stop();

    let service = faulty.site.start();
    let ledger = service.status().ledger;
    assert!(ledger.balances());
    assert_eq!((ledger.accepted, ledger.spooled, ledger.lost), (3, 3, 0));
    service.stop();
}

/// Fails without `Trouble` in the keeper: an error each second, for as long as it lasts.
#[test]
fn a_failure_that_goes_on_is_a_line_of_log_at_its_beginning_and_one_at_its_end() {
    let faulty = Faulty::new();
    let service = faulty.site.start();
    assert_eq!(faulty.post(), StatusCode::OK);
    faulty.begin("FAIL_PROGRESS");
    // What it costs is a mark that is written later: records are taken.
    assert_eq!(faulty.post(), StatusCode::OK);
    until("it has failed again and again", || {
        fs::metadata(faulty.faults.join("FAIL_PROGRESS")).unwrap().len() > 3
    });
    faulty.end("FAIL_PROGRESS");
    until("it is told that it is over", || {
        faulty.site.log().contains("can write the progress again")
    });
    assert_eq!(faulty.site.log().matches("cannot write the progress").count(), 1);
    service.stop();
}

/// Nothing is answered while the fault is there, and the service says that it is stuck.
fn is_noticed(fault: &str) {
    let faulty = Faulty::new();
    let service = faulty.site.start();
    assert_eq!(faulty.post(), StatusCode::OK);
    faulty.begin(fault);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| faulty.post());
        until("it is told that the service is stuck", || {
            let live = faulty.admin("/livez");
            assert!(!posting.is_finished(), "answered without a sync");
            live == StatusCode::SERVICE_UNAVAILABLE
        });
        // Its limit is 20 s; the rest is for a slow machine.
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        // The keeper may have been stuck a moment longer, and be told of first.
        until("it is told that it is a commit that is stuck", || {
            let ready = request(Method::GET, "/readyz", Bytes::new());
            let ready = ask(faulty.site.admin, ready).unwrap();
            assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
            let reason = String::from_utf8_lossy(&ready.body);
            reason.contains("a commit of the spool has been under way")
        });
        // Nor does the status wait for the disk.
        assert_eq!(service.status().ledger.accepted, 1);
        faulty.end(fault);
        assert_eq!(posting.join().unwrap(), StatusCode::OK);
    });
    until("it is alive again", || faulty.admin("/livez") == StatusCode::OK);
    assert_eq!(service.status().ledger.accepted, 2);
    service.stop();
}

/// Fails when `Facts::live` does not ask the spool whether a commit is stuck, and when
/// `Shared::save_progress` has the books locked while it syncs: nothing would be answered at all.
#[test]
fn a_sync_that_never_returns_is_noticed_and_nothing_is_acknowledged_meanwhile() {
    is_noticed("HANG");
}

/// The same: `flush()` waits for it.
#[test]
fn a_write_of_sled_that_never_returns_is_noticed_and_nothing_is_acknowledged_meanwhile() {
    is_noticed("HANG_WRITE");
}

/// What systemd does with the unit, as far as its watchdog goes.
struct Systemd {
    socket: UnixDatagram,
    state: PathBuf,
}

impl Systemd {
    /// Around what is started at this site from now on.
    fn around(site: &mut Site) -> Self {
        let (path, state) = (site.root().join("notify"), site.root().join("state"));
        fs::create_dir(&state).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        // Of a watchdog that waits for three of the service's beats.
        socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        site.environment("NOTIFY_SOCKET", path);
        site.environment("WATCHDOG_USEC", PathBuf::from("3000000"));
        site.environment("STATE_DIRECTORY", state.clone());
        Self { socket, state }
    }

    /// Waits for the next message with this line in it; `None` when there was silence.
    fn hears(&self, line: &str) -> Option<()> {
        let mut message = [0; 4096];
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let length = self.socket.recv(&mut message).ok()?;
            let text = std::str::from_utf8(&message[..length]).unwrap();
            if text.lines().any(|heard| heard == line) {
                return Some(());
            }
        }
        None
    }

    /// What the unit wants done when the service has ended.
    fn after_the_end(&self, result: &str) {
        let unit = fs::read_to_string("packaging/waystation.service").unwrap();
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStopPost=-/bin/sh -c "));
        // systemd takes away the quotes and turns `$$` into `$`.
        let script = line.unwrap().trim_matches('\'').replace("$$", "$");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).env("SERVICE_RESULT", result);
        let done = shell.env("STATE_DIRECTORY", &self.state).status().unwrap();
        assert!(done.success());
    }
}

/// Fails when `watch_over` feeds the watchdog without asking `Facts::live`, and when the start does
/// not look for the result that the unit's `ExecStopPost=` left (`app/last_result.rs`).
#[test]
fn a_flush_that_never_returns_ends_in_a_restart_by_the_watchdog_without_a_loss() {
    let mut faulty = Faulty::new();
    let systemd = Systemd::around(&mut faulty.site);
    let service = faulty.site.start();
    until("the watchdog is fed", || systemd.hears("WATCHDOG=1").is_some());
    for _ in 0..5 {
        assert_eq!(faulty.post(), StatusCode::OK);
    }
    faulty.begin("HANG_FLUSH");
    std::thread::scope(|scope| {
        // Its connection breaks when the process ends: no answer.
        let posting = scope.spawn(|| ask(faulty.site.ingest, message()));
        until("the watchdog is not fed", || systemd.hears("WATCHDOG=1").is_none());
        assert!(!posting.is_finished(), "answered without a flush");
        service.signal(Signal::ABORT);
        assert_eq!(service.ended(PATIENCE).signal(), Some(Signal::ABORT.as_raw()));
        assert!(posting.join().unwrap().is_none(), "answered without a flush");
    });
    systemd.after_the_end("watchdog");
    faulty.end("HANG_FLUSH");

    let service = faulty.site.start();
    let status = service.status();
    assert_eq!(status.last_stop, LastStop::Watchdog);
    // The sixth was written and never answered: it may be there or not.
    assert!(matches!(status.ledger.accepted, 5 | 6), "{:?}", status.ledger);
    assert!(status.ledger.balances() && status.ledger.lost == 0);
    assert_eq!(status.ledger.spooled, status.ledger.accepted);
    assert_eq!(faulty.post(), StatusCode::OK);

    // Each result tells of one end only, and only of one without a stop.
    service.kill();
    let service = faulty.site.start();
    assert_eq!(service.status().last_stop, LastStop::Crash);
    service.kill();
    systemd.after_the_end("signal");
    let service = faulty.site.start();
    assert_eq!(service.status().last_stop, LastStop::Crash);
    service.stop();
    systemd.after_the_end("watchdog");
    let service = faulty.site.start();
    assert_eq!(service.status().last_stop, LastStop::Clean);
    service.stop();
}
