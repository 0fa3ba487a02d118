//! What does the service do when its disk fails to sync, or never answers?
//!
//! The real program with a small library preloaded that makes the syncs of the segments fail or
//! hang (`support/disk.c`, built here by the C compiler that the build needs anyway).

mod support;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use prost::Message as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use support::client::{ask, post, request};
use support::service::Site;
use support::{fleet, until};

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
        let library = site.root().join("disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status()
            .unwrap();
        assert!(built.success());
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
        let message = fleet::message(1, 1).encode_to_vec();
        ask(self.site.ingest, post(message.into())).unwrap().status
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

/// Fails when `Facts::live` does not ask the spool whether a commit is stuck.
#[test]
fn a_sync_that_never_returns_is_noticed_and_nothing_is_acknowledged_meanwhile() {
    let faulty = Faulty::new();
    let service = faulty.site.start();
    assert_eq!(faulty.post(), StatusCode::OK);
    faulty.begin("HANG");
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| faulty.post());
        until("it is told that the service is stuck", || {
            let live = faulty.admin("/livez");
            assert!(!posting.is_finished(), "answered without a sync");
            live == StatusCode::SERVICE_UNAVAILABLE
        });
        assert_eq!(faulty.admin("/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        faulty.end("HANG");
        assert_eq!(posting.join().unwrap(), StatusCode::OK);
    });
    until("it is alive again", || faulty.admin("/livez") == StatusCode::OK);
    assert_eq!(service.status().ledger.accepted, 2);
    service.stop();
}
