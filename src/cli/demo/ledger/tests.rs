//! Does the ledger find each way in which a collector can break its promise, and no other?

use super::*;
use crate::record::{Epoch, Sequence};
use proptest::prelude::*;
use std::time::Duration;

const ACKNOWLEDGED: Step = Step::Acknowledged { waited: Duration::ZERO };

fn ledger() -> Ledger {
    Ledger::new(["a", "b"].into_iter())
}

fn id(number: u64) -> RecordId {
    RecordId { epoch: Epoch(7), sequence: Sequence(number) }
}

impl Ledger {
    fn send(&mut self, device_id: &str, sequence: u64, attempt: u32) {
        self.saw(Posting { device_id, sequence }, Step::Sending { attempt });
    }

    fn acknowledge(&mut self, device_id: &str, sequence: u64) {
        self.saw(Posting { device_id, sequence }, ACKNOWLEDGED);
    }

    /// `count` messages of `a`, sent and acknowledged.
    fn acknowledge_all(&mut self, count: u64) {
        for sequence in 1..=count {
            self.send("a", sequence, 1);
            self.acknowledge("a", sequence);
        }
    }

    fn arrive(&mut self, device_id: &str, sequence: u64, number: u64) {
        self.arrived(Arrival { device_id, sequence, id: id(number) });
    }

    fn now(&self) -> Verdict {
        self.verdict(&self.mark())
    }
}

#[test]
fn what_was_acknowledged_and_read_is_well() {
    let mut ledger = ledger();
    ledger.acknowledge_all(3);
    for sequence in 1..=3 {
        assert!(!ledger.has_all(&ledger.mark()));
        ledger.arrive("a", sequence, sequence);
    }
    assert!(ledger.has_all(&ledger.mark()));
    let verdict = ledger.now();
    assert!(verdict.is_good());
    assert_eq!((verdict.acknowledged, verdict.distinct, verdict.repeated), (3, 3, 0));
}

#[test]
fn what_was_acknowledged_and_not_read_is_missing_by_name() {
    let mut ledger = ledger();
    ledger.acknowledge_all(4);
    ledger.arrive("a", 1, 1);
    ledger.arrive("a", 3, 3);
    let verdict = ledger.now();
    assert_eq!((verdict.missing(), verdict.is_good()), (2, false));
    assert_eq!(verdict.missing_names, ["device a, message 2 and 1 more"]);
}

#[test]
fn what_was_acknowledged_after_the_mark_does_not_count() {
    let mut ledger = ledger();
    ledger.acknowledge_all(1);
    ledger.arrive("a", 1, 1);
    let mark = ledger.mark();
    ledger.send("a", 2, 1);
    ledger.acknowledge("a", 2);
    assert!(ledger.has_all(&mark));
    assert_eq!(ledger.verdict(&mark).acknowledged, 1);
    assert_eq!(ledger.now().missing(), 1);
}

#[test]
fn a_repeat_under_the_same_id_is_counted_and_no_more() {
    let mut ledger = ledger();
    ledger.acknowledge_all(2);
    for sequence in [1, 2, 1, 2] {
        ledger.arrive("a", sequence, sequence);
    }
    let verdict = ledger.now();
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!((verdict.repeated, verdict.sent_twice), (2, 0));
}

#[test]
fn a_repeat_under_another_id_breaks_a_rule() {
    let mut ledger = ledger();
    ledger.acknowledge_all(1);
    ledger.arrive("a", 1, 1);
    ledger.arrive("a", 1, 2);
    let verdict = ledger.now();
    assert!(!verdict.is_good());
    assert!(verdict.violations[0].contains("another id"), "{verdict:?}");
}

#[test]
fn a_message_that_its_vehicle_sent_again_may_have_as_many_ids_as_it_was_sent() {
    // The first copy is read before the vehicle sends again, or after.
    for early in [true, false] {
        let mut ledger = ledger();
        ledger.send("a", 1, 1);
        if early {
            ledger.arrive("a", 1, 1);
        }
        ledger.saw(Posting { device_id: "a", sequence: 1 }, Step::Unanswered);
        ledger.send("a", 1, 2);
        ledger.acknowledge("a", 1);
        if !early {
            ledger.arrive("a", 1, 1);
        }
        ledger.arrive("a", 1, 2);
        ledger.arrive("a", 1, 2);
        let verdict = ledger.now();
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.repeated, verdict.sent_twice), (2, 1));
        ledger.arrive("a", 1, 3);
        assert!(!ledger.now().is_good());
    }
}

#[test]
fn one_id_for_two_records_breaks_a_rule() {
    let mut ledger = ledger();
    ledger.acknowledge_all(2);
    ledger.arrive("a", 1, 1);
    ledger.arrive("a", 2, 1);
    let verdict = ledger.now();
    assert_eq!(verdict.missing(), 0);
    assert!(verdict.violations[0].contains("names two records"), "{verdict:?}");
}

#[test]
fn a_record_behind_a_later_one_breaks_a_rule() {
    let mut ledger = ledger();
    ledger.acknowledge_all(2);
    ledger.arrive("a", 2, 2);
    ledger.arrive("a", 1, 1);
    let verdict = ledger.now();
    assert_eq!(verdict.missing(), 0);
    assert!(verdict.violations[0].contains("out of order"), "{verdict:?}");
}

#[test]
fn a_record_that_nobody_sent_breaks_a_rule() {
    for (device_id, sequence) in [("a", 2), ("a", 0), ("c", 1)] {
        let mut ledger = ledger();
        ledger.acknowledge_all(1);
        ledger.arrive("a", 1, 1);
        ledger.arrive(device_id, sequence, 2);
        let verdict = ledger.now();
        assert!(verdict.violations[0].contains("nobody sent it"), "{verdict:?}");
    }
}

#[test]
fn a_refusal_of_a_sound_message_breaks_a_rule_but_it_is_not_missing() {
    let mut ledger = ledger();
    ledger.send("a", 1, 1);
    for step in [Step::Refused { status: 422 }, Step::GivenUp] {
        ledger.saw(Posting { device_id: "a", sequence: 1 }, step);
    }
    ledger.send("a", 2, 1);
    ledger.acknowledge("a", 2);
    ledger.arrive("a", 2, 1);
    let verdict = ledger.now();
    assert_eq!((verdict.missing(), verdict.violated), (0, 1));
    assert!(verdict.violations[0].contains("refused with 422"), "{verdict:?}");
}

#[test]
fn of_many_violations_a_few_are_told_and_all_are_counted() {
    let mut ledger = ledger();
    ledger.acknowledge_all(1);
    for number in 0..100 {
        ledger.arrive("a", 1, number);
    }
    let verdict = ledger.now();
    assert_eq!((verdict.violations.len(), verdict.violated), (TOLD, 99));
}

#[test]
fn memory_does_not_grow_with_the_records() {
    let mut ledger = ledger();
    ledger.remember = 10;
    ledger.acknowledge_all(1_000);
    for sequence in 1..=1_000 {
        ledger.arrive("a", sequence, sequence);
    }
    assert_eq!((ledger.ids.len(), ledger.ages.len()), (10, 10));
    // Too old to be compared, and still no first arrival.
    ledger.arrive("a", 5, 5);
    let verdict = ledger.now();
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!(verdict.repeated, 1);
}

proptest! {
    /// A collector that resends from any earlier point, as after a crash.
    #[test]
    fn resending_any_tail_any_time_is_well(
        count in 1_u64..50, rewinds in prop::collection::vec((1_u64..50, 1_u64..50), 0..5),
    ) {
        let mut ledger = ledger();
        ledger.acknowledge_all(count);
        let mut next = 1;
        for (until, back) in rewinds.into_iter().chain([(count, 1), (count, 1)]) {
            let until = until.min(count);
            for sequence in next..=until {
                ledger.arrive("a", sequence, sequence);
            }
            next = next.max(until + 1).saturating_sub(back).max(1);
        }
        prop_assert!(ledger.now().is_good(), "{:?}", ledger.now());
    }
}
