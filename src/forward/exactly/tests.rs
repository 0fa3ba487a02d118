//! The transactions against a model of a broker that keeps what was committed, and of a spool whose
//! sequences may be given anew.

use super::*;
use crate::forward::verdict::Failure;
use proptest::prelude::*;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn exactly(committed: u64, most: usize) -> Exactly {
    let delivery = Delivery::ExactlyOnce {
        progress_topic: "waystation-progress".to_owned(),
        in_doubt: InDoubt::Pause,
    };
    Exactly::new(&delivery, ID, Sequence(committed), most).unwrap()
}

fn ready(committed: u64, most: usize) -> Exactly {
    let mut exactly = exactly(committed, most);
    exactly.opening();
    let offset = Offset { next: Sequence(committed), sent: Sent::default() };
    let found = Found { offset: Some(offset), done: Sequence(committed), pending: None };
    assert_eq!(exactly.opened(&found), Begin::Send);
    assert_eq!(exactly.first_mark(&found, false), None);
    exactly
}

fn alone(at: u64, failure: Failure) -> Setback {
    Setback { at: Some(Sequence(at)), alone: true, ..Setback::general(failure) }
}

#[test]
fn without_transactions_there_is_nothing_to_do() {
    assert!(Exactly::new(&Delivery::AtLeastOnce, ID, Sequence(0), 1).is_none());
}

#[test]
fn nothing_is_done_before_its_commit_and_nothing_of_a_lost_transaction_ever() {
    let now = Instant::now();
    let mut exactly = ready(10, 100);
    for sequence in 10..15 {
        exactly.sent(Sequence(sequence), Epoch(1), now);
    }
    assert_eq!(exactly.done(Sequence(15)), Sequence(10));
    assert_eq!(exactly.lost(Instant::now()), Sequence(10));

    let mut exactly = ready(10, 100);
    exactly.sent(Sequence(10), Epoch(1), now);
    let mark = exactly.close(now, true).unwrap();
    assert_eq!((mark.next, mark.metadata.as_str()), (Sequence(11), "w1 0000000000000001@10"));
    assert_eq!(exactly.close(now, true), None);
    assert_eq!(exactly.commit(now), Some(Sequence(11)));
    assert_eq!(exactly.done(Sequence(11)), Sequence(10));
    exactly.committed();
    assert_eq!(exactly.lost(Instant::now()), Sequence(11));
    // What does not exist any more is done, but not while records before it are not.
    assert_eq!(exactly.done(Sequence(20)), Sequence(20));
}

#[test]
fn a_transaction_ends_by_its_age_and_takes_nothing_until_it_is_committed() {
    let now = Instant::now();
    let mut exactly = ready(0, 100);
    assert_eq!((exactly.deadline(), exactly.is_full(Sequence(0), now + LONG)), (None, false));
    exactly.sent(Sequence(0), Epoch(1), now);
    assert_eq!(exactly.deadline(), Some(now + AGE));
    assert_eq!(exactly.close(now, false), None);
    assert!(exactly.is_full(Sequence(1), now + AGE));
    assert!(exactly.close(now + AGE, false).is_some());
    assert!(exactly.is_full(Sequence(1), now) && exactly.deadline().is_none());
    assert!(exactly.commit(now).is_some() && exactly.is_busy());
    exactly.committed();
    assert!(!exactly.is_full(Sequence(1), now) && !exactly.is_busy());
}

#[test]
fn a_slow_link_gets_smaller_transactions_and_a_fast_one_larger_ones() {
    let mut size = Size::new(20_000);
    size.took(FIRST, SHORT / 2);
    assert_eq!(size.records, 2 * FIRST);
    // One that was not full says nothing of how long a larger one would take.
    size.took(3, SHORT / 2);
    assert_eq!(size.records, 2 * FIRST);
    size.took(4_000, 2 * LONG);
    assert_eq!(size.records, 2_000);
    for _ in 0..20 {
        size.took(size.records, SHORT / 2);
    }
    assert_eq!(size.records, 20_000);
    for _ in 0..20 {
        size.took(size.records, 2 * LONG);
    }
    assert_eq!(size.records, 1);
}

/// Fails without `cut`: the record's neighbours would pass for delivered with the dead letter, though
/// their transaction was aborted.
#[test]
fn what_lies_before_a_record_that_can_never_be_taken_is_committed_without_it() {
    let now = Instant::now();
    let mut exactly = ready(0, 100);
    for sequence in 0..=3 {
        exactly.sent(Sequence(sequence), Epoch(1), now);
    }
    assert_eq!(exactly.lost(Instant::now()), Sequence(0));
    assert_eq!(exactly.cut(&alone(3, Failure::TooLarge)), Some(Sequence(3)));
    let mut exactly = Exactly { step: Step::Ready, ..exactly };
    for sequence in 0..3 {
        assert!(!exactly.is_full(Sequence(sequence), now), "{sequence}");
        exactly.sent(Sequence(sequence), Epoch(1), now);
    }
    assert!(exactly.is_full(Sequence(3), now));
    assert_eq!(exactly.close(now, true).unwrap().next, Sequence(3));
    exactly.commit(now).unwrap();
    exactly.committed();
    assert!(!exactly.is_full(Sequence(3), now));
    assert_eq!(exactly.cut(&alone(3, Failure::TooLarge)), None);
}

#[test]
fn what_is_not_a_records_own_fault_cuts_nothing() {
    for failure in [Failure::TopicDenied, Failure::Purged, Failure::Fenced] {
        assert_eq!(ready(0, 100).cut(&alone(3, failure)), None);
    }
    let not_alone = Setback { alone: false, ..alone(3, Failure::TooLarge) };
    assert_eq!(ready(0, 100).cut(&not_alone), None);
}

#[test]
fn a_producer_is_fenced_now_and_then_by_a_broker_and_again_and_again_by_another_box() {
    let now = Instant::now();
    let mut exactly = ready(0, 100);
    assert_eq!(
        [0, 1, 2].map(|s| exactly.fenced(now + Duration::from_secs(s))),
        [false, false, true]
    );
    let mut exactly = ready(0, 100);
    for minutes in 0..9 {
        assert!(!exactly.fenced(now + Duration::from_mins(2 * minutes)), "{minutes}");
    }
}

/// Each line is a way in which the offset and the spool's own word can stand to each other.
#[test]
fn only_an_offset_that_is_missing_or_of_another_history_leaves_a_doubt() {
    let pending = Some((Sequence(10), Sequence(20)));
    let pause = Begin::Pause(Sequence(10), Sequence(20));
    let decide = |offset: Option<u64>, done, pending| {
        let offset = offset.map(|next| Offset { next: Sequence(next), sent: Sent::default() });
        Found { offset, done: Sequence(done), pending }.decide(InDoubt::Pause)
    };
    assert_eq!(decide(None, 10, None), Begin::Send, "never used, or forgotten when all was done");
    assert_eq!(decide(None, 10, pending), pause, "forgotten in the middle");
    assert_eq!(decide(Some(10), 10, pending), Begin::Send, "not committed");
    assert_eq!(decide(Some(20), 20, pending), Begin::Send, "committed");
    assert_eq!(decide(Some(20), 10, pending), pause, "another one's");
    assert_eq!(decide(Some(99), 10, None), Begin::Send, "another one's, and nothing is in doubt");
    let found = Found { offset: None, done: Sequence(10), pending };
    let repeat = Begin::Repeat(Sequence(10), Sequence(20));
    assert_eq!(found.decide(InDoubt::Repeat), repeat);
}

#[test]
fn an_offset_is_there_before_any_transaction_is_in_doubt() {
    let mut new = exactly(7, 100);
    let found = |offset| Found { offset, done: Sequence(7), pending: None };
    let nothing = found(None);
    new.opened(&nothing);
    let mark = new.first_mark(&nothing, false).unwrap();
    assert_eq!(mark, Mark { next: Sequence(7), metadata: "w1".to_owned() });
    assert!(new.is_full(Sequence(7), Instant::now()) && new.is_busy());
    new.committed();
    assert!(!new.is_full(Sequence(7), Instant::now()));
    let elsewhere = found(Some(Offset { next: Sequence(3), sent: Sent::default() }));
    new.opened(&elsewhere);
    assert!(new.first_mark(&elsewhere, false).is_some());
}

#[test]
fn of_metadata_that_somebody_else_wrote_nothing_is_believed() {
    for text in ["", "x", "w2 0000000000000001@3", "w1 1", "w1 1@x", "w1 g@1", "w1 1@5 2@3"] {
        assert_eq!(Sent::parse(text), Sent::default(), "{text}");
    }
}

#[test]
fn many_starts_fit_into_what_a_broker_takes() {
    let mut sent = Sent::default();
    for start in 0..1_000 {
        sent.extend(Sequence(u64::MAX - 1_000 + start), Epoch(u64::MAX - start));
    }
    assert!(sent.metadata().len() < 4_096);
    assert_eq!(Sent::parse(&sent.metadata()), sent);
}

proptest! {
    /// The model: one epoch for each sequence.
    #[test]
    fn what_is_said_to_be_sent_is_what_was_sent(
        epochs in prop::collection::vec(0_u64..4, 1..60),
        first in 0_usize..60, len in 1_usize..10, epoch in 0_u64..4,
    ) {
        let mut sent = Sent::default();
        for (sequence, epoch) in (100..).zip(&epochs) {
            sent.extend(Sequence(sequence), Epoch(*epoch));
        }
        let read = Sent::parse(&sent.metadata());
        prop_assert_eq!(&read, &sent);
        let first = first.min(epochs.len() - 1);
        let end = (first + len).min(epochs.len());
        let covered = epochs[first..end].iter().all(|sent| *sent == epoch);
        let at = |index: usize| Sequence(100 + index as u64);
        prop_assert_eq!(read.covers(at(first), at(end), Epoch(epoch)), covered);
        prop_assert!(!read.covers(Sequence(99), at(end), Epoch(epochs[0])));
    }

    /// Records are sent, committed, lost on the way to the commit or on the way back from it, in any
    /// order; the broker keeps what was committed. In the end each is there once.
    #[test]
    fn whatever_is_lost_on_the_way_every_record_is_committed_once(
        steps in prop::collection::vec((1_usize..5, 0_u8..4), 1..40)
    ) {
        let now = Instant::now();
        let mut exactly = exactly(0, 100);
        let (mut broker, mut offset) = (Vec::new(), None);
        // The spool's own word.
        let (mut local, mut pending) = (Sequence(0), None);
        let mut epoch = 0;
        for (records, fate) in steps {
            epoch += 1;
            exactly.lost(Instant::now());
            exactly.opening();
            let committed: Option<&Offset> = offset.as_ref();
            let done = committed.map_or(local, |offset| local.max(offset.next));
            let found = Found { offset: offset.clone(), done, pending };
            prop_assert_eq!(exactly.opened(&found), Begin::Send);
            local = done;
            pending = None;
            if let Some(mark) = exactly.first_mark(&found, false) {
                if fate == 3 {
                    continue;
                }
                offset = Some(Offset { next: mark.next, sent: Sent::parse(&mark.metadata) });
                exactly.committed();
            }
            let first = exactly.done(local);
            for sequence in 0..records as u64 {
                exactly.sent(first.plus(sequence), Epoch(epoch), now);
            }
            let mark = exactly.close(now, true).unwrap();
            let end = exactly.commit(now).unwrap();
            pending = Some((first, end));
            if fate == 0 {
                continue; // lost before it was committed
            }
            broker.extend(first.0..end.0);
            offset = Some(Offset { next: mark.next, sent: Sent::parse(&mark.metadata) });
            if fate == 1 {
                continue; // the answer was lost
            }
            exactly.committed();
            local = exactly.done(end);
            pending = None;
        }
        prop_assert!(broker.iter().copied().eq(0..broker.len() as u64), "{:?}", broker);
    }
}
