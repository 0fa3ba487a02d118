//! Records as a spool gives them out, for the tests of this folder.

use crate::record::{Epoch, Millis, NewRecord, Reception, RecordId, Route, Sequence};
use crate::spool::{self, Block};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

/// One block of three records from the spool in `dir`: an ordinary one, one with everything that a
/// record may have, and one whose value is of `large` bytes that cannot be compressed.
pub fn block(dir: &Path, large: usize) -> Block {
    // Long enough for all of them to be one commit.
    let commit_delay = Duration::from_millis(200);
    let config = spool::Config { min_free: 0, commit_delay, ..spool::Config::new(dir) };
    let mut spool = spool::open(config).unwrap();
    let route = Arc::new(Route { path: "/endpoint".into(), topic: "test".into() });
    let plain = NewRecord {
        route: &route,
        key: None,
        timestamp: Millis(7),
        received: Reception { at: Millis(7), clock_synchronised: true },
        headers: &[],
        value: b"{}",
        origin: None,
    };
    let headers = [("trace".to_owned(), vec![0, 255]), (String::new(), Vec::new())];
    let full = NewRecord {
        key: Some(b"tracker-1"),
        timestamp: Millis(-5),
        received: Reception { at: Millis(9), clock_synchronised: false },
        headers: &headers,
        value: br#"{"deviceId":"1"}"#,
        origin: Some(RecordId { epoch: Epoch(0x00c0_ffee), sequence: Sequence(42) }),
        ..plain
    };
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..large).map(|_| random.u8(..)).collect();
    let records = [plain, full, NewRecord { value: &noise, ..plain }];
    let appends: Vec<_> = records.iter().map(|r| spool.writer.append(r).unwrap()).collect();
    for append in appends {
        let mut append = pin!(append);
        let mut context = Context::from_waker(Waker::noop());
        while append.as_mut().poll(&mut context).is_pending() {
            std::thread::yield_now();
        }
    }
    spool.reader.next_block().unwrap().unwrap()
}
