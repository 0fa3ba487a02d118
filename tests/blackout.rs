//! What does the whole service keep when the power is cut under load?
//!
//! The real program with its spool on a medium (`medium/`) whose power can be cut. From the cut
//! on the medium answers nothing any more, then the process is killed. What the cut may leave is
//! read by a spool in this process, against what the devices know and what Kafka's consumer read;
//! on some of it the program itself starts again, and the power is cut once more before it is
//! ready.
//!
//! `power.rs` looks at every sync one by one, with small segments. `WAYSTATION_SEED` repeats a
//! run's choices, `WAYSTATION_POWER_CUTS` makes it longer.

mod medium;
mod support;

use fastrand::Rng;
use medium::crash::Keep;
use medium::disk::{Access, Layers};
use medium::mount::{Inserted, Mount};
use medium::{cuts, random};
use rustix::io::Errno;
use rustix::process::Signal;
use std::sync::{Arc, Condvar, Mutex};
use support::fleet::{Fleet, Sent, device_of};
use support::kafka::{Kafka, Reader};
use support::service::{Service, Site};
use support::witness::Witness;
use support::{PATIENCE, until};
use waystation::spool::{self, Config};

const DEVICES: usize = 16;
/// Where the spool lies on a disk.
const PLACE: &str = "spool";

/// The power of one disk.
#[derive(Clone, Default)]
struct Power(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// So many more accesses of this kind are answered; of any kind but reading without one.
    left: Option<(u64, Option<Access>)>,
    off: bool,
    /// The process is dead: what still waits for an answer may go.
    over: bool,
}

impl Power {
    fn of(disk: &Inserted) -> Self {
        let power = Self::default();
        let seen = power.clone();
        disk.disk().guard(Box::new(move |access, _, _| seen.ask(access)));
        power
    }

    fn ask(&self, access: Access) -> Result<(), Errno> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        if let Some((left, kind)) = &mut state.left
            && kind.map_or(access != Access::Read, |kind| kind == access)
        {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => state.off = true,
            }
        }
        if !state.off {
            return Ok(());
        }
        drop(changed.wait_while(state, |state| !state.over).unwrap());
        Err(Errno::NODEV)
    }

    /// The power is cut after so many more accesses of this kind.
    fn cut_after(&self, accesses: u64, kind: Option<Access>) {
        self.0.0.lock().unwrap().left = Some((accesses, kind));
    }

    fn is_off(&self) -> bool {
        self.0.0.lock().unwrap().off
    }

    /// Kills a process that may be waiting for the medium.
    fn kill(&self, service: Service) {
        service.signal(Signal::KILL);
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        (state.off, state.over) = (true, true);
        drop(state);
        changed.notify_all();
        service.kill();
    }
}

/// What came of one cut under load.
struct Blackout {
    left: Layers,
    sent: Sent,
    kafka: Option<(Kafka, Reader)>,
}

impl Blackout {
    fn site(&self, disk: &Inserted) -> Site {
        let servers = self.kafka.as_ref().map(|(kafka, _)| kafka.servers());
        site(disk, servers.as_deref())
    }

    /// Reads what is left; all that was acknowledged is there once and in order, or Kafka's.
    fn check(&self, mount: &Mount, left: Layers) {
        let disk = mount.insert(left);
        let config = Config { min_free: 0, ..Config::new(disk.path().join(PLACE)) };
        let mut spool = spool::open(config).expect("the start needs no hand");
        assert!(spool.report.lost.is_empty(), "lost: {:?}", spool.report.lost);
        let ledger = &spool.report.ledger;
        assert!(ledger.balances() && ledger.lost == 0, "{ledger:?}");
        let mut kept = Witness::default();
        let mut records = 0;
        while let Some(block) = spool.reader.next_block().unwrap() {
            for record in block.records() {
                let value: serde_json::Value = serde_json::from_slice(record.value).unwrap();
                let device = value["deviceId"].as_str().and_then(device_of).unwrap();
                let number = value["sequence"].as_str().and_then(|n| n.parse().ok()).unwrap();
                kept.see(device, number, record.id);
                records += 1;
            }
        }
        assert_eq!(kept.distinct(), records, "a record is there twice");
        assert_eq!(ledger.spooled, records);
        if let Some((_, reader)) = &self.kafka {
            until("what is not in the spool is Kafka's", || {
                let delivered = reader.witness();
                kept.missing(&self.sent).all(|(device, place)| delivered.has(device, place))
            });
        } else {
            kept.compare(&self.sent);
        }
    }

    fn crash(&self, keep: Keep, random: &mut Rng) -> Layers {
        self.left.crash(keep, random)
    }
}

fn site(disk: &Inserted, servers: Option<&str>) -> Site {
    let mut site = Site::new(servers);
    site.set("spool.dir", disk.path().join(PLACE).to_str().unwrap());
    site
}

/// Devices post, and then the power is cut.
fn black_out(mount: &Mount, with_kafka: bool, random: &mut Rng) -> Blackout {
    let kafka = with_kafka.then(Kafka::start);
    let kafka = kafka.map(|kafka| {
        let reader = kafka.read_along();
        (kafka, reader)
    });
    let disk = mount.insert(Layers::new());
    let power = Power::of(&disk);
    let site = site(&disk, kafka.as_ref().map(|(kafka, _)| kafka.servers()).as_deref());
    let service = site.start();
    let fleet = Fleet::start(site.ingest, DEVICES);
    fleet.until_more(random.u64(1..2_000));
    let kind = [None, Some(Access::Sync), Some(Access::Grow)][random.usize(..3)];
    power.cut_after(random.u64(..40), kind);
    until("the power is off", || power.is_off());
    power.kill(service);
    until("every device has noticed", || fleet.waiting() == 0);
    let sent = fleet.stop();
    assert!(sent.refusals().is_empty(), "{:?}", sent.refusals());
    Blackout { left: disk.layers(), sent, kafka }
}

/// Fails without `sync_data` in `SledStore::sync`, and when an acknowledgement is given before it.
#[test]
fn every_acknowledged_record_survives_power_cuts_under_load() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    for cut in 0..cuts(6) {
        let blackout = black_out(&mount, cut % 2 == 1, &mut random);
        for keep in Keep::ALL {
            blackout.check(&mount, blackout.crash(keep, &mut random));
        }

        // The program itself, and a second cut before or right after it is ready.
        let disk = mount.insert(blackout.crash(Keep::Some, &mut random));
        let power = Power::of(&disk);
        power.cut_after(random.u64(..20), None);
        let service = blackout.site(&disk).launch();
        let begun = std::time::Instant::now();
        until("the power is off again", || power.is_off() || begun.elapsed() > PATIENCE / 60);
        power.kill(service);
        let left = disk.layers();
        for keep in Keep::ALL {
            blackout.check(&mount, left.crash(keep, &mut random));
        }

        let disk = mount.insert(left.crash(Keep::Some, &mut random));
        let site = blackout.site(&disk);
        let service = site.start();
        let ledger = service.status().ledger;
        assert!(ledger.balances() && ledger.lost == 0, "{ledger:?}");
        if let Some((_, reader)) = &blackout.kafka {
            service.until_status("all is delivered", |status| status.ledger.spooled == 0);
            println!("{}", reader.compared(&blackout.sent, PATIENCE));
        }
        service.stop();
    }
}
