//! What may happen to a spool: the operations that the model test draws, and what each one means.
//!
//! Plain data, so that a failing sequence is printed as it is and shrinks: numbers to fewer and
//! smaller records, sequences to fewer operations.

use super::memory::Call;
use proptest::prelude::*;
use std::fmt;

/// One step of a case.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Records of these lengths, all of them waited for.
    Append {
        lens: Vec<usize>,
    },
    /// The same, while a call to the store fails: once, or this one and all after it.
    AppendFailing {
        lens: Vec<usize>,
        call: Call,
        from_then_on: bool,
    },
    /// The same; at this call the power goes.
    AppendCut {
        lens: Vec<usize>,
        call: Call,
        crash: Crash,
    },
    /// Hands out some blocks.
    Read {
        blocks: usize,
    },
    /// Acknowledges so many of a hundred of the records in flight, in any order.
    Deliver {
        percent: u64,
        seed: u64,
    },
    /// Goes back to one of the records in flight, to send again from there.
    Rewind {
        seed: usize,
    },
    /// Waits until everything that is done with is off the disk.
    Free,
    /// The keeper's round: the marks are written down.
    Save,
    Reopen,
    Crash(Crash),
    DropOldest,
    /// Holds what waits between these percents of it.
    Hold {
        from: u64,
        to: u64,
    },
    /// Takes out what is held between these percents of it, and gives back the rest.
    Export {
        from: u64,
        to: u64,
    },
    Release,
    /// Turns a byte of one part of a closed segment.
    Damage {
        seed: usize,
    },
}

/// How the process ends, and what of its last moments reached the disk.
#[derive(Debug, Clone, Default)]
pub struct Crash {
    /// While the keeper is still at work.
    pub racing: bool,
    /// What becomes of the unsynced parts.
    pub seed: u64,
    /// The keeper had not come to sealing so many of the last segments.
    pub unsealed: usize,
    /// The next progress was being written.
    pub torn_progress: bool,
    /// The disk had lied: so many of the last segments are not there.
    pub vanished: usize,
    /// The starts before the one that succeeds: each had come so many segments far, in percent.
    pub starts: Vec<usize>,
}

/// A case. Each operation may be left out when it shrinks, which a list that must not be short
/// would not allow.
#[derive(Clone)]
pub struct Case {
    /// A segment is left at so many bytes.
    pub segment_bytes: u64,
    operations: Vec<Option<Operation>>,
}

impl Case {
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().flatten()
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segments of {} bytes", self.segment_bytes)?;
        self.operations().try_for_each(|operation| write!(f, "\n  {operation:?}"))
    }
}

/// Cases of at least so many operations.
pub fn case(
    segment_bytes: impl Strategy<Value = u64>,
    count: usize,
) -> impl Strategy<Value = Case> {
    // A few are left out from the beginning.
    let some = prop::option::weighted(0.999, operation());
    let operations = prop::collection::vec(some, count + 2..count + 10);
    (segment_bytes, operations)
        .prop_map(|(segment_bytes, operations)| Case { segment_bytes, operations })
}

fn operation() -> impl Strategy<Value = Operation> {
    let percents = || (0_u64..=100, 0_u64..=100);
    prop_oneof![
        16 => lens().prop_map(|lens| Operation::Append { lens }),
        3 => (lens(), call(), any::<bool>()).prop_map(|(lens, call, from_then_on)| {
            Operation::AppendFailing { lens, call, from_then_on }
        }),
        2 => (lens(), call(), crash())
            .prop_map(|(lens, call, crash)| Operation::AppendCut { lens, call, crash }),
        8 => (1_usize..6).prop_map(|blocks| Operation::Read { blocks }),
        8 => (prop_oneof![Just(100), 0_u64..=100], any::<u64>())
            .prop_map(|(percent, seed)| Operation::Deliver { percent, seed }),
        2 => any::<usize>().prop_map(|seed| Operation::Rewind { seed }),
        2 => Just(Operation::Free),
        1 => Just(Operation::Save),
        1 => Just(Operation::Reopen),
        1 => crash().prop_map(Operation::Crash),
        2 => Just(Operation::DropOldest),
        2 => percents().prop_map(|(from, to)| Operation::Hold { from, to }),
        2 => percents().prop_map(|(from, to)| Operation::Export { from, to }),
        1 => Just(Operation::Release),
        2 => any::<usize>().prop_map(|seed| Operation::Damage { seed }),
    ]
}

/// Mostly small records; some blocks take several parts.
fn lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![12 => 0_usize..200, 1 => 10_000_usize..40_000];
    prop::collection::vec(len, 1..5)
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        1 => Just(Call::Create),
        2 => (0_u8..4).prop_map(Call::Put),
        3 => Just(Call::Sync),
        1 => Just(Call::Synced),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    (
        any::<bool>(),
        any::<u64>(),
        prop_oneof![2 => Just(0), 1 => 1_usize..4],
        any::<bool>(),
        prop_oneof![9 => Just(0), 1 => 1_usize..3],
        prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(0_usize..=100, 1..3)],
    )
        .prop_map(|(racing, seed, unsealed, torn_progress, vanished, starts)| {
            // What is not sealed and then the last one holds may be what a failed commit has left.
            let all_sealed = vanished > 0;
            let (racing, unsealed) = if all_sealed { (false, 0) } else { (racing, unsealed) };
            Crash { racing, seed, unsealed, torn_progress, vanished, starts }
        })
}
