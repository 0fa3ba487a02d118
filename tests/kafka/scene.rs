//! One failure, from its cause to its end: what must hold is the same for all of them.
//!
//! A fleet posts all along. The status names the cause; once the cause is gone, what is acknowledged
//! from then on arrives soon; nothing is missing, and the order of each key is kept, by the word of
//! consumers that ask nobody; memory and log stay small. What was seen becomes a row of the table.

use crate::support::fleet::{Fate, Fleet};
use crate::support::reader::Reader;
use crate::support::service::{Service, Site};
use crate::support::witness::Witness;
use crate::support::{PATIENCE, mb, until_some};
use crate::table::{Row, without_time};
use std::time::{Duration, Instant};
use waystation::status::Snapshot;

/// How many devices of the fleet post.
pub const DEVICES: usize = 8;
/// Between two messages of a device.
const PAUSE: Duration = Duration::from_millis(60);
/// How soon what is acknowledged after the cause's end must arrive. The goal is 15 s, which a machine that is busy misses:
/// what it took is printed.
const SOON: Duration = Duration::from_mins(1);
/// The most memory that the service may ever have had.
const MEMORY: u64 = 64_000_000;
/// What each start logs.
const STARTED: [&str; 3] = ["the spool is new", "taking records at", "the status page is at"];
/// The most lines that it may log from the scene's start to its end.
const LINES: usize = 12;

/// See the module.
#[derive(Debug)]
pub struct Scene {
    failure: &'static str,
    provoked: &'static str,
    site: Site,
    pub service: Service,
    pub fleet: Fleet,
    /// Who reads, one after the other in time.
    readers: Vec<Reader>,
    /// What earlier ones had read.
    read: Witness,
    status: Vec<String>,
    back_after: Option<Duration>,
    /// Messages that were posted and acknowledged beside the fleet's, which nobody is to read.
    pub dead: u64,
}

impl Scene {
    /// The service starts, and the fleet begins to post.
    pub fn start(failure: &'static str, provoked: &'static str, site: Site) -> Self {
        let service = site.start();
        let fleet = Fleet::start_slow(site.ingest, DEVICES, PAUSE);
        Self {
            failure,
            provoked,
            site,
            service,
            fleet,
            readers: Vec::new(),
            read: Witness::default(),
            status: Vec::new(),
            back_after: None,
            dead: 0,
        }
    }

    /// From here on this one reads as well.
    pub fn reads(&mut self, reader: Reader) {
        self.readers.push(reader);
    }

    /// Those that read so far read no more.
    pub fn reads_no_more(&mut self) {
        for reader in self.readers.drain(..) {
            self.read.then(&reader.end());
        }
    }

    fn distinct(&self) -> u64 {
        let now = self.readers.iter().map(|reader| reader.witness().distinct());
        self.read.distinct() + now.sum::<u64>()
    }

    /// Waits until something that is posted from now on was read.
    pub fn arrives(&self, within: Duration) {
        let goal = self.fleet.posted();
        let what = format!("{}: what is posted arrives", self.failure);
        until_some(&what, within, || (self.distinct() > goal).then_some(()));
    }

    /// All is well, before anything is provoked.
    pub fn is_well(&self) {
        self.arrives(PATIENCE);
    }

    /// Nothing is under way: all that was acknowledged so far was read.
    pub fn is_at_rest(&self) {
        self.fleet.hold();
        let goal = self.fleet.acknowledged();
        until_some("all was read", PATIENCE, || (self.distinct() >= goal).then_some(()));
    }

    /// Waits until the status says all of this, and remembers its sentence.
    pub fn says(&mut self, parts: &[&str]) -> Snapshot {
        let what = format!("{}: the status says {parts:?}", self.failure);
        let says = |status: &Snapshot| parts.iter().all(|part| status.sentence.contains(part));
        let status = self.service.until_status(&what, says);
        println!("{}: {}", self.failure, status.sentence);
        self.status.push(status.sentence.clone());
        status
    }

    /// Waits until it has been an outage for so long; what is said by then is remembered instead.
    pub fn lasts(&mut self, seconds: f64) {
        let lasts = |status: &Snapshot| status.kafka.outage_seconds.is_some_and(|s| s >= seconds);
        let within = PATIENCE + Duration::from_secs_f64(seconds);
        let status =
            until_some("the outage lasts", within, || Some(self.service.status()).filter(lasts));
        self.status.pop();
        self.status.push(status.sentence);
    }

    /// What the service logged so far.
    pub fn log(&self) -> String {
        self.site.log()
    }

    /// The cause ended just now.
    pub fn is_over(&mut self) {
        let start = Instant::now();
        self.arrives(SOON);
        let took = start.elapsed();
        println!("{}: back after {:.1} s", self.failure, took.as_secs_f64());
        self.back_after = Some(self.back_after.map_or(took, |other| other.max(took)));
    }

    /// Nothing is missing, in order; the row.
    pub fn end(mut self) {
        let sent = self.fleet.stop();
        let acknowledged = sent.count(Fate::Acknowledged);
        let failure = self.failure;
        assert_eq!(sent.count(Fate::Unanswered) + sent.refusals().len() as u64, 0, "{failure}");
        until_some("all was read", PATIENCE, || {
            let now = self.readers.iter().map(|reader| reader.witness().distinct());
            let wrong = self.readers.iter().any(|reader| reader.witness().has_wrongs());
            let enough = self.read.distinct() + now.sum::<u64>() >= acknowledged;
            (enough || wrong).then_some(())
        });
        for reader in self.readers.drain(..) {
            self.read.then(&reader.end());
        }
        let compared = self.read.compare(&sent);
        println!("{failure}: {compared}");
        let ledger =
            self.service.until_status("all is delivered", |s| s.ledger.spooled == 0).ledger;
        let found = (ledger.delivered, ledger.dead, ledger.lost);
        assert_eq!(found, (acknowledged, self.dead, 0), "{failure}");
        let memory = self.service.memory().highest;
        assert!(memory < MEMORY, "{failure}: {}", mb(memory));
        let log = self.site.log();
        let of_a_start = |line: &&str| STARTED.iter().any(|words| line.contains(words));
        let log: Vec<_> = log.lines().filter(|line| !of_a_start(line)).map(without_time).collect();
        assert!(log.len() <= LINES, "{failure}: {log:#?}");
        self.service.stop();
        Row {
            failure,
            provoked: self.provoked,
            status: self.status,
            log,
            compared: vec![compared],
            memory,
            back_after: self.back_after.expect("the cause ended"),
        }
        .add();
    }
}
