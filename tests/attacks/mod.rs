//! What the tests and the benchmark of attacks share.
//!
//! - `attackers.rs`: clients that want too much, each as much as it can get
//! - `devices.rs`: well-behaved ones, and how they were answered meanwhile
//!
//! Everything happens on the loopback, against a service that the test started.

#![allow(dead_code, reason = "the tests and the benchmark each use their own part of this")]

mod attackers;
mod devices;

pub use attackers::Attack;
pub use devices::Answers;

use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Files that attackers and a service need open: the tests' own limit is passed on to what they start.
const FILES: u64 = 5_000;

/// Raises the limit of open files where it is lower. To be called before the service is started.
pub fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let enough = limit.current.is_none_or(|files| files >= FILES);
    if !enough {
        limit.current = limit.maximum.map_or(Some(FILES), |most| Some(most.min(FILES)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// What an attack has done so far.
#[derive(Debug, Default)]
pub struct Deeds {
    pub connections: AtomicU64,
    pub bytes: AtomicU64,
    /// Answers that it read.
    pub answers: AtomicU64,
    stop: AtomicBool,
}

impl Deeds {
    fn is_over(&self) -> bool {
        self.stop.load(SeqCst)
    }
}

/// Attacks for as long as `meanwhile` takes.
pub fn under<T>(attack: Attack, address: SocketAddr, meanwhile: impl FnOnce() -> T) -> (T, Deeds) {
    let deeds = Arc::new(Deeds::default());
    let attackers = {
        let deeds = Arc::clone(&deeds);
        std::thread::spawn(move || attack.run(address, &deeds))
    };
    // What needs many connections has them first.
    crate::support::until("the attack has begun", || {
        deeds.connections.load(SeqCst) >= attack.connections() as u64
    });
    let out = meanwhile();
    deeds.stop.store(true, SeqCst);
    attackers.join().unwrap();
    (out, Arc::into_inner(deeds).expect("the attackers are gone"))
}

/// Posts as well-behaved devices do, for so long.
pub fn post(address: SocketAddr, time: Duration) -> Answers {
    devices::post(address, time)
}
