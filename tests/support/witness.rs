//! What the consumer read, and whether it is what was acknowledged.
//!
//! Kept as it arrives: for each message the record's id, the order of the first occurrences
//! for each key, and whether any id was used for two messages. It knows neither Kafka nor
//! HTTP.

use super::fleet::{Fate, Sent};
use std::collections::HashSet;
use std::fmt;
use waystation::record::RecordId;

/// How many wrongs are remembered in words; the rest is counted.
const TOLD: usize = 10;

/// One device's messages as they arrived.
#[derive(Debug, Default)]
struct Device {
    /// The id of message 1, 2, 3 ..., where it was read.
    ids: Vec<Option<RecordId>>,
    /// The highest message's number so far.
    highest: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Witness {
    devices: Vec<Device>,
    ids: HashSet<RecordId>,
    read: u64,
    wrongs: u64,
    told: Vec<String>,
}

impl Witness {
    /// A record of a device's message was read.
    pub fn see(&mut self, device: usize, number: usize, id: RecordId) {
        self.read += 1;
        if self.devices.len() <= device {
            self.devices.resize_with(device + 1, Device::default);
        }
        let known = &mut self.devices[device];
        if known.ids.len() < number {
            known.ids.resize(number, None);
        }
        let Some(place) = number.checked_sub(1) else {
            return self.wrong(format!("device {device}: a message without a number"));
        };
        if let Some(before) = known.ids[place] {
            if before != id {
                self.wrong(format!("device {device}, message {number}: {before}, then {id}"));
            }
            return;
        }
        known.ids[place] = Some(id);
        let highest = known.highest;
        known.highest = highest.max(number);
        if number < highest {
            self.wrong(format!("device {device}: message {number} after {highest}"));
        }
        if !self.ids.insert(id) {
            self.wrong(format!("device {device}, message {number}: {id} is another record's"));
        }
    }

    /// Another reader's witness, of what was sent later: none of it may be older, key by key.
    pub fn then(&mut self, later: &Self) {
        for (device, known) in later.devices.iter().enumerate() {
            for (place, id) in known.ids.iter().enumerate() {
                if let Some(id) = id {
                    self.see(device, place + 1, *id);
                }
            }
        }
        self.read += later.read - later.distinct();
        self.wrongs += later.wrongs;
        self.told.extend(later.told.iter().cloned());
    }

    /// Something is not as it should be.
    pub fn wrong(&mut self, what: String) {
        self.wrongs += 1;
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    pub fn has_wrongs(&self) -> bool {
        self.wrongs > 0
    }

    /// The ids of the records read so far.
    pub fn ids(&self) -> &HashSet<RecordId> {
        &self.ids
    }

    /// Different messages read so far.
    pub fn distinct(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Whether the message at this place of a device (from 0) was read.
    pub fn has(&self, device: usize, place: usize) -> bool {
        self.devices.get(device).and_then(|known| known.ids.get(place)?.as_ref()).is_some()
    }

    /// Whether every message that was acknowledged has been read.
    pub fn has_all(&self, sent: &Sent) -> bool {
        self.missing(sent).next().is_none()
    }

    /// The acknowledged messages that were not read: device, number.
    pub fn missing(&self, sent: &Sent) -> impl Iterator<Item = (usize, usize)> {
        sent.fates.iter().enumerate().flat_map(move |(device, fates)| {
            let kept = fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Acknowledged);
            let missing = kept.filter(move |(place, _)| !self.has(device, *place));
            missing.map(move |(place, _)| (device, place + 1))
        })
    }

    /// The comparison. Panics when an acknowledged message is missing, when a refused one or
    /// one that was never sent was read, or when anything else was wrong.
    pub fn compare(&self, sent: &Sent) -> Comparison {
        // First, since what is wrong may say why something is missing.
        assert!(self.wrongs == 0, "{} wrongs, among them {:#?}", self.wrongs, self.told);
        let missing: Vec<_> = self.missing(sent).collect();
        let acknowledged = sent.count(Fate::Acknowledged);
        assert!(
            missing.is_empty(),
            "{} of {acknowledged} acknowledged messages are missing; the first (device, \
             number): {:?}",
            missing.len(),
            &missing[..missing.len().min(TOLD)]
        );
        for (device, known) in self.devices.iter().enumerate() {
            let fates = sent.fates.get(device).map_or(&[][..], Vec::as_slice);
            for place in (0..known.ids.len()).filter(|place| known.ids[*place].is_some()) {
                let fate = fates.get(place);
                assert!(
                    matches!(fate, Some(Fate::Acknowledged | Fate::Unanswered)),
                    "device {device}, message {} was read but its fate was {fate:?}",
                    place + 1
                );
            }
        }
        let (read, distinct) = (self.read, self.distinct());
        Comparison { acknowledged, unanswered: sent.count(Fate::Unanswered), read, distinct }
    }
}

/// The figures of a comparison that held.
#[derive(Debug)]
pub struct Comparison {
    pub acknowledged: u64,
    pub unanswered: u64,
    pub read: u64,
    pub distinct: u64,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, unanswered, read, distinct } = self;
        let repeated = read - distinct;
        write!(
            f,
            "acknowledged {acknowledged}, unanswered {unanswered}, read from Kafka {read}, \
             distinct {distinct}, repeated {repeated}, missing 0"
        )
    }
}
