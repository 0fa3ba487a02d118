//! What does the service do on a disk on which nothing is left, neither bytes nor inodes?
//!
//! The real program with its spool on a small disk of its own, which somebody else fills to the
//! last page, or the last inode, while devices post. `faults.rs` fails every single access for want
//! of room; here it is the kernel that has none.

use crate::support::fleet::{Fate, Fleet, Sent, large_message};
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use crate::support::{
    self,
    client::{Answer, ask, post},
};
use crate::support::{PATIENCE, mb, until, until_some};
use crate::tmpfs::{Junk, Tmpfs};
use hyper::StatusCode;
use prost::Message as _;
use std::net::SocketAddr;
use waystation::status::IngestState;

const DEVICES: usize = 64;
/// Of a message: few of them fill a segment.
const BYTES: usize = 4_000;

/// How often the disk is filled, a start on the full one counted as well.
const TIMES_FULL: usize = 4;

/// One device more, which looks at each answer it gets.
struct Probe {
    ingest: SocketAddr,
    fates: Vec<Fate>,
}

impl Probe {
    fn new(ingest: SocketAddr) -> Self {
        Self { ingest, fates: Vec::new() }
    }

    fn post(&mut self) -> Answer {
        let number = self.fates.len() as u64 + 1;
        let message = large_message(DEVICES, number, BYTES).encode_to_vec();
        let answer = ask(self.ingest, post(message.into())).unwrap();
        self.fates.push(match answer.status {
            StatusCode::OK => Fate::Acknowledged,
            other => Fate::Refused(other),
        });
        answer
    }

    /// Posts until it is refused, and told when to come again.
    fn until_refused(&mut self) {
        let refusal = until_some("records are refused", PATIENCE, || {
            Some(self.post()).filter(|answer| answer.status != StatusCode::OK)
        });
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE, "{refusal:?}");
        let again: u64 = refusal.header("retry-after").parse().unwrap();
        assert!(again > 0, "{refusal:?}");
    }

    fn until_taken(&mut self) {
        until("records are taken again", || self.post().status == StatusCode::OK);
    }

    fn join(self, mut sent: Sent) -> Sent {
        sent.fates.push(self.fates);
        sent
    }
}

/// Waits until a service that may refuse everything answers.
fn start_full(site: &Site) -> Service {
    let service = site.launch();
    let livez = || support::client::request(hyper::Method::GET, "/livez", bytes::Bytes::new());
    until("the service is there", || ask(site.admin, livez()).is_some());
    service
}

/// What is there after a start on a full disk: everything, and nothing is taken.
fn check_full_start(service: &Service, fleet: &Fleet, probe: &mut Probe) {
    // One that posts without pause: what is asked first is the lower bound.
    let acknowledged = |fleet: &Fleet, probe: &Probe| {
        let probed = probe.fates.iter().filter(|fate| **fate == Fate::Acknowledged).count();
        fleet.acknowledged() + probed as u64
    };
    let before = acknowledged(fleet, probe);
    probe.until_refused();
    let status = service.status();
    let ledger = &status.ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert!(ledger.accepted >= before, "{before} acknowledged, {ledger:?}");
    assert_eq!((ledger.lost, ledger.dropped, ledger.dead), (0, 0, 0), "{ledger:?}");
}

/// Lines of its log about what it could not write.
fn complaints(site: &Site) -> usize {
    site.log().matches("cannot write").count()
}

/// While nothing changes it does not try at each of its rounds, and say that it takes records again. What it
/// tidied up itself after it was refused may be enough for one segment more: that is taken from it, too.
fn stays_refusing(site: &Site, service: &Service, probe: &mut Probe, take_rest: impl Fn()) {
    let stays = (0..3).any(|_| {
        take_rest();
        probe.until_refused();
        let (from, before) = (service.status().uptime_seconds, complaints(site));
        until("a few rounds have passed", || service.status().uptime_seconds > from + 3.5);
        complaints(site) == before && service.status().ingest.state == IngestState::Refusing
    });
    assert!(stays, "it tries again and again");
}

/// A disk of which `take` takes what is left: under load, over restarts, and until Kafka is back.
/// With `first` the devices fill it before that, as far as they are let. `set_aside` is somebody
/// else's from the beginning, and what is free again in between.
fn fill_and_drain(disk: &Tmpfs, take: impl Fn(&Junk), first: bool, set_aside: Junk) {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set("spool.dir", disk.path().join("spool").to_str().unwrap());
    let service = site.start();
    let mut probe = Probe::new(site.ingest);
    let fleet = Fleet::start_large(site.ingest, DEVICES, BYTES);
    until("the consumer has read some of it", || reader.witness().distinct() > 0);
    kafka.take_away();
    service.until_status("Kafka is away", |status| status.kafka.outage_seconds.is_some());

    println!("somebody else takes all that is left");
    let junk = disk.junk();
    if first {
        probe.until_refused();
    }
    take(&junk);
    probe.until_refused();

    println!("stopped, started, killed and started, with nothing left");
    service.stop();
    let service = start_full(&site);
    check_full_start(&service, &fleet, &mut probe);
    service.kill();
    let service = start_full(&site);
    check_full_start(&service, &fleet, &mut probe);

    println!("there is room again");
    // Counted from before: the devices fill it quicker than anybody looks.
    let goal = fleet.acknowledged() + 1_000;
    drop((junk, set_aside));
    until("records are taken again", || fleet.acknowledged() >= goal);

    println!("and again there is none, until Kafka is back");
    let junk = disk.junk();
    if first {
        probe.until_refused();
    }
    stays_refusing(&site, &service, &mut probe, || take(&junk));
    kafka.give_back();
    probe.until_taken();
    fleet.until_more(1_000);

    let sent = probe.join(fleet.stop());
    let status = service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    println!("{}; {} refused", reader.compared(&sent, PATIENCE), sent.refusals().len());
    assert!(sent.refusals().iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
    // What was cut off by the kill may have been kept as well.
    let acknowledged = sent.count(Fate::Acknowledged);
    let unanswered = sent.count(Fate::Unanswered);
    let accepted = status.ledger.accepted;
    assert!((acknowledged..=acknowledged + unanswered).contains(&accepted), "{accepted}");
    assert_eq!(status.ingest.state, IngestState::Accepting);
    until("what was delivered is freed", || service.status().spool.segments <= 1);
    service.stop();
    let lines = complaints(&site);
    // A batch or two may fail before it refuses, and again where it had room for one segment more.
    assert!(lines <= 5 * TIMES_FULL, "{lines} lines about {TIMES_FULL} times");
    drop(junk); // until here nothing of it was needed
}

/// Fails when `look_for_room` takes no records any more
/// once it has refused some.
#[test]
fn a_disk_without_a_byte_left_costs_no_acknowledged_record_and_the_service_goes_on_by_itself() {
    let Some(disk) = Tmpfs::new("size=40m") else { return };
    fill_and_drain(&disk, Junk::take_bytes, true, disk.take(16 << 20));
    assert!(disk.free() > 36 << 20, "{} are free", mb(disk.free()));
}

/// Fails without `dir::try_room`: it would try each second, and say that it takes records.
#[test]
fn a_disk_without_an_inode_left_costs_no_acknowledged_record_and_the_service_goes_on_by_itself() {
    let Some(disk) = Tmpfs::new("size=200m,nr_inodes=100") else { return };
    fill_and_drain(&disk, Junk::take_inodes, false, disk.take(0));
}
