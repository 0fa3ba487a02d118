//! What does the whole service keep when the power is cut under load?
//!
//! The real program with its spool on a medium (`medium/`) whose power can be cut. From the cut
//! on the medium answers nothing any more, then the process is killed. What the cut may leave is
//! read by a spool in this process, against what the devices know and what Kafka's consumer read;
//! on some of it the program itself starts again, and the power is cut once more before it is
//! ready.
//!
//! The power is cut at random, and before syncs that a run of the program was seen to make while it
//! rotates, seals and frees: those of commits, which are nearly all, and the others each by themselves.
//!
//! `power.rs` looks at every sync one by one, with small segments. `WAYSTATION_SEED` repeats a
//! run's choices, `WAYSTATION_POWER_CUTS` makes it longer; as many as there are syncs cut before
//! each of them.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::{Inserted, Mount};
use crate::medium::tree::{ROOT, Tree};
use crate::medium::{cuts, random};
use crate::support::fleet::{Fleet, Sent, device_of};
use crate::support::kafka::Kafka;
use crate::support::reader::Reader;
use crate::support::service::{Service, Site};
use crate::support::witness::Witness;
use crate::support::{PATIENCE, until};
use fastrand::Rng;
use rustix::io::Errno;
use rustix::process::Signal;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use waystation::record::Sequence;
use waystation::spool::{self, Config};

const DEVICES: usize = 16;
/// Bytes of noise in a message.
const NOISE: usize = 32;
/// The same, of messages that soon fill a segment.
const LARGE: usize = 16_000;
/// Where the spool lies on a disk.
const PLACE: &str = "spool";

/// The power of one disk.
#[derive(Clone, Default)]
struct Power(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// So many more of these are answered.
    left: Option<(u64, Which)>,
    syncs: Syncs,
    segments: Segments,
    off: bool,
    /// The process is dead: what still waits for an answer may go.
    over: bool,
}

/// Some of the accesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Any but reading.
    Changes,
    Only(Access),
    /// A sync of a segment's data file.
    DataSyncs,
    /// A sync of anything else.
    OtherSyncs,
}

impl Which {
    fn is(self, access: Access, of_data: bool) -> bool {
        match self {
            Self::Changes => !matches!(access, Access::Read | Access::Open),
            Self::Only(kind) => access == kind,
            Self::DataSyncs => access == Access::Sync && of_data,
            Self::OtherSyncs => access == Access::Sync && !of_data,
        }
    }
}

/// How many syncs there were.
#[derive(Debug, Clone, Copy, Default)]
struct Syncs {
    data: u64,
    other: u64,
}

/// The segments on the disk. Who asks the mount for them may wait for a disk that is off.
#[derive(Debug, Default)]
struct Segments {
    seen: BTreeSet<OsString>,
    there: BTreeSet<OsString>,
}

impl Segments {
    fn look(&mut self, now: &Tree) {
        let spool = now.names(ROOT).and_then(|names| now.names(*names.get(OsStr::new(PLACE))?));
        let names = spool.into_iter().flat_map(BTreeMap::keys);
        self.there = names.filter(|name| name.as_bytes().starts_with(b"seg-")).cloned().collect();
        self.seen.extend(self.there.iter().cloned());
    }
}

impl Power {
    fn of(disk: &Inserted) -> Self {
        let power = Self::default();
        let seen = power.clone();
        disk.disk().guard(Box::new(move |access, inode, layers| {
            let of_data = access == Access::Sync && layers.now.is_called(inode, "db");
            if Which::OtherSyncs.is(access, of_data) {
                seen.0.0.lock().unwrap().segments.look(&layers.now);
            }
            seen.ask(access, of_data)
        }));
        power
    }

    fn ask(&self, access: Access, of_data: bool) -> Result<(), Errno> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.syncs.data += u64::from(Which::DataSyncs.is(access, of_data));
        state.syncs.other += u64::from(Which::OtherSyncs.is(access, of_data));
        if let Some((left, which)) = &mut state.left
            && which.is(access, of_data)
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

    /// The power is cut after so many more of these accesses.
    fn cut_after(&self, accesses: u64, which: Which) {
        self.0.0.lock().unwrap().left = Some((accesses, which));
    }

    fn syncs(&self) -> Syncs {
        self.0.0.lock().unwrap().syncs
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

    /// Reads what is left; all that was acknowledged is there once and in order, or Kafka's. Gives
    /// how many of the acknowledged ones are Kafka's alone.
    fn check(&self, mount: &Mount, left: Layers) -> usize {
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
                let value: Value<'_> = serde_json::from_slice(record.value).unwrap();
                let device = device_of(value.device_id).unwrap();
                kept.see(device, value.sequence.parse().unwrap(), record.id);
                records += 1;
            }
        }
        assert_eq!(kept.distinct(), records, "a record is there twice");
        assert_eq!(ledger.spooled, records);
        let Some((_, reader)) = &self.kafka else {
            kept.compare(&self.sent);
            return 0;
        };
        assert!(!kept.has_wrongs(), "{kept:?}");
        until("what is not in the spool is Kafka's", || {
            let delivered = reader.witness();
            assert!(!delivered.has_wrongs(), "{delivered:?}");
            kept.missing(&self.sent).all(|(device, number)| delivered.has(device, number - 1))
        });
        kept.missing(&self.sent).count()
    }

    /// Checks what each kind of cut may leave. Gives the most that was Kafka's alone.
    fn check_each(&self, mount: &Mount, random: &mut Rng) -> usize {
        let each = Keep::ALL.into_iter().map(|keep| self.check(mount, self.crash(keep, random)));
        each.max().unwrap_or(0)
    }

    fn crash(&self, keep: Keep, random: &mut Rng) -> Layers {
        self.left.crash(keep, random)
    }
}

/// The part of a record's value that names the message; a 64-bit number is a string in its JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    device_id: &'a str,
    sequence: &'a str,
}

fn site(disk: &Inserted, servers: Option<&str>) -> Site {
    let mut site = Site::new(servers);
    site.set("spool.dir", disk.path().join(PLACE).to_str().unwrap());
    site
}

/// The program on a disk with devices that post to it.
struct Load {
    kafka: Option<(Kafka, Reader)>,
    disk: Inserted,
    power: Power,
    service: Service,
    fleet: Fleet,
    // Its files go with it.
    _site: Site,
}

impl Load {
    /// `cut`: after how many of which accesses the power is cut, from before the program's start on.
    fn begin(mount: &Mount, with_kafka: bool, noise: usize, cut: Option<(u64, Which)>) -> Self {
        let kafka = with_kafka.then(|| {
            let kafka = Kafka::start();
            let reader = kafka.read_along();
            (kafka, reader)
        });
        let disk = mount.insert(Layers::new());
        let power = Power::of(&disk);
        let site = site(&disk, kafka.as_ref().map(|(kafka, _)| kafka.servers()).as_deref());
        let service = match cut {
            Some((accesses, which)) => {
                power.cut_after(accesses, which);
                site.launch()
            }
            None => site.start(),
        };
        let fleet = Fleet::start_large(site.ingest, DEVICES, noise);
        Self { kafka, disk, power, service, fleet, _site: site }
    }

    /// Until two segments were filled and sealed, and freed where Kafka takes them; or until the power
    /// is off.
    fn until_rotated(&self) {
        until("two segments are done with", || {
            let state = self.power.0.0.lock().unwrap();
            let Segments { seen, there } = &state.segments;
            let freed = || seen.iter().take(2).all(|old| !there.contains(old));
            state.off || seen.len() > 2 && (self.kafka.is_none() || freed())
        });
    }

    /// The power goes off, or is off already.
    fn end(self) -> Blackout {
        self.power.kill(self.service);
        let fleet = self.fleet;
        until("every device has noticed", || fleet.waiting() == 0);
        let sent = fleet.stop();
        assert!(sent.refusals().is_empty(), "{:?}", sent.refusals());
        Blackout { left: self.disk.layers(), sent, kafka: self.kafka }
    }
}

/// What there is of Kafka when the power is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Never,
    There,
    /// It was there, and records came since it is not.
    Gone,
}

/// Devices post, and then the power is cut.
fn black_out(mount: &Mount, link: Link, random: &mut Rng) -> Blackout {
    let load = Load::begin(mount, link != Link::Never, NOISE, None);
    load.fleet.until_more(random.u64(1..2_000));
    let look = || spool::outside::look(&load.disk.path().join(PLACE)).ok();
    let mark = || look().and_then(|view| view.acknowledged()).unwrap_or_default();
    if let Some((kafka, _)) = &load.kafka {
        // Otherwise all of it would still be there, and nothing be Kafka's alone.
        until("the disk knows of deliveries", || {
            look().is_some_and(|view| view.watermark() > Sequence(0))
        });
        if link == Link::Gone {
            kafka.take_away();
            let before = mark();
            until("the disk knows of records that wait", || mark() > before.plus(200));
        }
    }
    let which = [Which::Changes, Which::Only(Access::Sync), Which::Only(Access::Grow)];
    load.power.cut_after(random.u64(..40), which[random.usize(..3)]);
    until("the power is off", || load.power.is_off());
    let blackout = load.end();
    if let Some((kafka, _)) = &blackout.kafka {
        kafka.give_back();
    }
    blackout
}

/// Fails without `sync_data` in `SledStore::sync`, when an acknowledgement is given before it, and when
/// the watermark that is written down leads what Kafka has.
#[test]
fn every_acknowledged_record_survives_power_cuts_under_load() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    for cut in 0..cuts(6) {
        let link = [Link::Never, Link::There, Link::Gone][usize::try_from(cut % 3).unwrap()];
        let blackout = black_out(&mount, link, &mut random);
        let kafkas = blackout.check_each(&mount, &mut random);
        assert_eq!(kafkas > 0, blackout.kafka.is_some(), "acknowledged, and Kafka's alone");

        // The program itself, and a second cut before or right after it is ready.
        let disk = mount.insert(blackout.crash(Keep::Some, &mut random));
        let power = Power::of(&disk);
        power.cut_after(random.u64(..20), Which::Changes);
        let service = blackout.site(&disk).launch();
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        until("the power is off again", || power.is_off() || begun.elapsed() > second);
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

/// Fails without the sync of the parent in `LiveSegment::create`, at any segment but the first.
#[test]
fn a_cut_before_any_sync_of_a_program_that_rotates_costs_nothing() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let mut at_the_end = 0;
    for with_kafka in [false, true] {
        let load = Load::begin(&mount, with_kafka, LARGE, None);
        load.until_rotated();
        let syncs = load.power.syncs();
        load.end().check_each(&mount, &mut random);
        println!("with Kafka: {with_kafka}; {syncs:?}");
        for (which, all, usual) in
            [(Which::DataSyncs, syncs.data, 2), (Which::OtherSyncs, syncs.other, 4)]
        {
            let cuts = cuts(usual).min(all);
            for cut in 0..cuts {
                // One in each of as many parts of the run.
                let spared = random.u64(cut * all / cuts..(cut + 1) * all / cuts);
                let load = Load::begin(&mount, with_kafka, LARGE, Some((spared, which)));
                load.until_rotated();
                at_the_end += u64::from(!load.power.is_off());
                load.end().check_each(&mount, &mut random);
            }
        }
    }
    println!("{at_the_end} runs made fewer syncs, and were cut at their end");
}
