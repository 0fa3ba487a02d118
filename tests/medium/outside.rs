//! What the world outside knows of a spool: what it was told to be durable, and how far Kafka
//! got; and a spool in this process that is used and examined against that.
//!
//! A record's value follows from its number, so that what is read tells which one it is, and
//! whether every byte of it is right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use waystation::ledger::Ledger;
use waystation::record::{Millis, NewRecord, Reception, RecordId, Route, Sequence};
use waystation::spool::{self, AppendError, Config, OpenError, Spool};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Numbers below this were offered to the spool.
    pub offered: u64,
    /// Acknowledged records and their numbers, in order.
    pub acknowledged: Vec<(RecordId, u64)>,
    /// Kafka has the sequences below this.
    pub delivered: u64,
    /// What was read of them.
    pub received: BTreeSet<u64>,
    /// Sequences that were taken out by policy or by hand, as the books named them.
    pub removed: BTreeSet<u64>,
}

/// How much of that was known at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    pub acknowledged: usize,
    pub delivered: u64,
}

impl Outside {
    /// Of records with these numbers.
    pub fn from(number: u64) -> Self {
        Self { offered: number, ..Self::default() }
    }

    pub fn mark(&self) -> Mark {
        Mark { acknowledged: self.acknowledged.len(), delivered: self.delivered }
    }

    /// Panics unless what was read is all that was acknowledged, each record once and under its
    /// id, beside it nothing but what was offered, and of what was removed nothing. (Fails when
    /// `Shared::hand_out` gives what is listed as removed, and when a start moves the watermark
    /// further than what is listed.)
    pub fn check(&self, mark: Mark, read: &Read) {
        let Read { watermark, removed, .. } = *read;
        let mut furthest = mark.delivered;
        while self.removed.contains(&furthest) {
            furthest += 1;
        }
        assert!(watermark <= furthest, "the watermark leads: {read:?}, {mark:?}");
        let acknowledged = &self.acknowledged[..mark.acknowledged];
        let is_missing = |record: &&(RecordId, u64)| {
            let delivered = record.0.sequence.0 < watermark;
            let known = delivered && self.received.contains(&record.1);
            !known && !read.records.contains(record)
        };
        let missing: Vec<_> = acknowledged.iter().filter(is_missing).collect();
        let by_intent = missing.iter().all(|(id, _)| self.removed.contains(&id.sequence.0));
        assert!(
            by_intent && missing.len() as u64 <= removed,
            "acknowledged and not there: {missing:?}; {removed} of {:?} were removed; {mark:?}",
            self.removed
        );
        let numbers: BTreeSet<u64> = read.records.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), read.records.len(), "a record is there twice");
        let count = read.records.len() as u64;
        assert_eq!(count, read.spooled, "the books count other than what is there: {read:?}");
        assert!(numbers.last().is_none_or(|last| *last < self.offered), "made up: {numbers:?}");
    }

    /// What was read is durable by that: known from now on, whoever was told.
    pub fn after(&self, read: &Read) -> Self {
        let delivered = self.acknowledged.iter().filter(|(id, _)| id.sequence.0 < read.watermark);
        let acknowledged = delivered.chain(&read.records).copied().collect();
        Self { acknowledged, ..self.clone() }
    }
}

/// What stands in a spool from its watermark on.
#[derive(Debug)]
pub struct Read {
    pub watermark: u64,
    pub records: Vec<(RecordId, u64)>,
    /// How many were ever taken out by policy or by hand, as the books say.
    pub removed: u64,
    /// How many wait from the watermark on, as the books say.
    pub spooled: u64,
}

/// The values of the numbers from here on are short and much the same, and are worth repacking.
pub const LINES: u64 = 1 << 40;

/// The value of the record with this number: noise, now and then more than a part holds.
pub fn value(number: u64) -> Vec<u8> {
    if number >= LINES {
        let line = format!(r#"{{"vehicleId":"bus-1","fixType":"FIX_3D","odometer":"{number}"}}"#);
        return [&number.to_le_bytes()[..], line.as_bytes()].concat();
    }
    let mut random = fastrand::Rng::with_seed(number);
    let len =
        if random.u8(..16) == 0 { random.usize(16_000..40_000) } else { random.usize(8..2_000) };
    let mut value = number.to_le_bytes().to_vec();
    value.extend(std::iter::repeat_with(|| random.u8(..)).take(len));
    value
}

/// The number of a value; panics unless it is that number's value.
fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*bytes.first_chunk().expect("a value begins with its number"));
    assert!(bytes == value(number), "the value of record {number} was changed");
    number
}

/// A spool of small segments in this process.
pub struct Bench {
    pub spool: Spool,
    dir: PathBuf,
    runtime: Runtime,
    route: Arc<Route>,
    /// Read and not delivered.
    in_flight: Vec<(RecordId, u64)>,
}

impl Bench {
    /// Opens it; nothing may be lost.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(Config::new(dir))
    }

    /// [`Bench::open`], with some of this.
    pub fn open_with(config: Config) -> Result<Self, OpenError> {
        let config = Config { min_free: 0, segment_bytes: 12_000, ..config };
        let dir = config.dir.clone();
        let spool = spool::open(config)?;
        let report = &spool.report;
        assert!(report.lost.is_empty(), "lost: {:?}", report.lost);
        assert!(report.ledger.balances() && report.ledger.lost == 0, "{:?}", report.ledger);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let route = Route { path: "/endpoint".to_owned(), topic: "test".to_owned() };
        Ok(Self { spool, dir, runtime, route: Arc::new(route), in_flight: Vec::new() })
    }

    /// Offers so many records at once and waits for what becomes of each; those that were not
    /// even taken included. Nothing comes of one whose commit is still under way after `patience`.
    pub fn append(
        &self,
        outside: &mut Outside,
        count: u64,
        patience: Duration,
    ) -> Vec<Option<Result<RecordId, AppendError>>> {
        let offer = |number| {
            self.spool.writer.append(&NewRecord {
                route: &self.route,
                key: None,
                timestamp: Millis(1),
                received: Reception { at: Millis::now(), clock_synchronised: true },
                headers: &[],
                value: &value(number),
                origin: None,
            })
        };
        let numbers = outside.offered..outside.offered + count;
        outside.offered += count;
        let offered: Vec<_> = numbers.map(|number| (number, offer(number))).collect();
        let settled = offered.into_iter().map(|(number, append)| {
            let outcome = match append {
                Ok(append) => self.settled(append, patience),
                Err(error) => Some(Err(error)),
            };
            if let Some(Ok(id)) = outcome {
                outside.acknowledged.push((id, number));
            }
            outcome
        });
        let outcomes = settled.collect();
        self.note_removed(outside);
        outcomes
    }

    /// Notes which records were taken out since the last time. What was taken out is written down
    /// before it is gone, above the watermark by name: so this comes before each delivery.
    fn note_removed(&self, outside: &mut Outside) {
        let Ledger { dropped, exported, .. } = self.spool.writer.ledger();
        if dropped + exported <= outside.removed.len() as u64 {
            return;
        }
        let view = spool::outside::look(&self.dir).unwrap();
        for (_, first, end) in view.removed().filter(|(how, ..)| *how != "lost") {
            outside.removed.extend(first.0..end.0);
        }
        assert_eq!(outside.removed.len() as u64, dropped + exported, "removed, and not by name");
    }

    /// Nobody wakes promises here: they are looked at again and again.
    fn settled<F: Future>(&self, promise: F, patience: Duration) -> Option<F::Output> {
        let mut promise = std::pin::pin!(promise);
        let look = async {
            loop {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                if let std::task::Poll::Ready(output) = promise.as_mut().poll(&mut context) {
                    return output;
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(patience, look).await.ok() })
    }

    /// Reads everything from the position on, or as far as it can be read.
    pub fn read(&mut self) -> (Read, Result<(), spool::ReadError>) {
        let watermark = self.spool.reader.watermark().0;
        let mut records = Vec::new();
        let outcome = loop {
            match self.spool.reader.next_block() {
                Ok(Some(block)) => {
                    let read = block.records().map(|record| (record.id, number_of(record.value)));
                    records.extend(read);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.in_flight.extend(&records);
        let Ledger { dropped, exported, spooled, .. } = self.spool.writer.ledger();
        (Read { watermark, records, removed: dropped + exported, spooled }, outcome)
    }

    /// Reads everything from the position on.
    pub fn read_all(&mut self) -> Read {
        let (read, outcome) = self.read();
        outcome.unwrap();
        read
    }

    /// Kafka takes everything below.
    pub fn deliver(&mut self, outside: &mut Outside, to: Sequence) {
        self.note_removed(outside);
        outside.delivered = outside.delivered.max(to.0);
        let delivered = self.in_flight.extract_if(.., |(id, _)| id.sequence < to);
        outside.received.extend(delivered.map(|(_, number)| number));
        self.spool.reader.advance_watermark(to);
    }

    /// Whether a segment in `dir` was repacked, going by the seals (byte 5, bit 2).
    pub fn is_repacked(dir: &Path) -> bool {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut seals = entries.filter_map(|path| std::fs::read(path.join("seal")).ok());
        seals.any(|seal| seal.len() > 5 && seal[5] & 2 != 0)
    }

    /// Nothing may be in quarantine, and the books must balance.
    pub fn check_house(&self, dir: &Path) {
        let ledger = self.spool.writer.ledger();
        assert!(ledger.balances() && ledger.lost == 0, "{ledger:?}");
        let quarantine = std::fs::read_dir(dir.join("quarantine")).unwrap();
        assert_eq!(quarantine.count(), 0, "there is something in quarantine");
    }
}
