//! Which messages have been seen within the window, and is this one of them?
//!
//! A message is known by its mark, a strong hash of all that it says, so that two records are never
//! taken for one. Marks stand in the order in which they came; an index leads from the first half of
//! a mark to its newest place. Two marks with the same first half, which chance does not bring, share
//! one place of the index: the older one is forgotten. Whatever is forgotten (that, what is older than
//! the window, the oldest of too many) only lets a repeat pass.
//!
//! A message that is not durable yet stands here with its promise `P`. It deliberately has no clock
//! (times are since a beginning of the caller's), no disk, and knows no record.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

/// What a message says, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub [u64; 2]);

/// How a message was met before.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, P> {
    /// It is durable.
    Durable,
    /// It is on its way to the disk.
    Waiting(&'a P),
}

#[derive(Debug)]
struct Entry {
    mark: Mark,
    /// Milliseconds.
    at: u64,
}

/// The marks of the last messages.
#[derive(Debug)]
pub struct Table<P> {
    /// How long a mark is kept.
    window: Duration,
    /// How many are kept at most.
    most: usize,
    entries: VecDeque<Entry>,
    /// The place of the oldest entry; they are counted on from there.
    first: u64,
    /// From the first half of a mark to the place of the newest entry that has it.
    index: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// The entries that are not durable yet, oldest first.
    waiting: VecDeque<(u64, P)>,
}

impl<P> Table<P> {
    pub fn new(window: Duration, most: usize) -> Self {
        let (entries, index, waiting) = (VecDeque::new(), HashMap::default(), VecDeque::new());
        Self { window, most: most.max(1), entries, first: 0, index, waiting }
    }

    /// Whether a message of this mark came no longer than `within` ago.
    pub fn find(&mut self, mark: Mark, now: Duration, within: Duration) -> Option<Found<'_, P>> {
        self.forget_old(now);
        let place = *self.index.get(&mark.0[0])?;
        let entry = self.entry(place)?;
        if entry.mark != mark || millis(now).saturating_sub(entry.at) > millis(within) {
            return None;
        }
        let waiting = self.waiting.binary_search_by_key(&place, |(place, _)| *place).ok();
        Some(match waiting {
            Some(at) => Found::Waiting(&self.waiting[at].1),
            None => Found::Durable,
        })
    }

    /// A message came that is on its way to the disk.
    pub fn insert(&mut self, mark: Mark, now: Duration, promise: P) {
        let place = self.push(mark, now);
        self.waiting.push_back((place, promise));
    }

    /// A message came at that time, and is durable. Nothing came later yet.
    pub fn restore(&mut self, mark: Mark, at: Duration) {
        self.push(mark, at);
    }

    fn push(&mut self, mark: Mark, at: Duration) -> u64 {
        self.forget_old(at);
        while self.entries.len() >= self.most {
            self.forget_oldest();
        }
        let place = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry { mark, at: millis(at) });
        self.index.insert(mark.0[0], place);
        place
    }

    /// Looks at those that wait, oldest first, as far as `outcome` is known: what was kept is given to
    /// `durable`, what was not is forgotten.
    pub fn settle(
        &mut self,
        mut outcome: impl FnMut(&P) -> Option<bool>,
        mut durable: impl FnMut(Mark, P),
    ) {
        while let Some(kept) = self.waiting.front().and_then(|(_, promise)| outcome(promise)) {
            let Some((place, promise)) = self.waiting.pop_front() else { return };
            let Some(mark) = self.entry(place).map(|entry| entry.mark) else { continue };
            if kept {
                durable(mark, promise);
            } else {
                self.drop_from_index(mark, place);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.window, self.most);
    }

    fn entry(&self, place: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(place.checked_sub(self.first)?).ok()?)
    }

    fn forget_old(&mut self, now: Duration) {
        let (now, window) = (millis(now), millis(self.window));
        while self.entries.front().is_some_and(|entry| now.saturating_sub(entry.at) > window) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(Entry { mark, .. }) = self.entries.pop_front() else { return };
        let place = self.first;
        self.first += 1;
        self.drop_from_index(mark, place);
        self.waiting.pop_front_if(|(waiting, _)| *waiting == place);
    }

    /// Unless a newer one has taken its place.
    fn drop_from_index(&mut self, mark: Mark, place: u64) {
        if self.index.get(&mark.0[0]) == Some(&place) {
            self.index.remove(&mark.0[0]);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number that is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: u64 = 100;
    const MOST: usize = 6;

    #[derive(Debug, Clone)]
    enum Operation {
        /// A message comes; where it is no repeat it is inserted.
        Come(Mark),
        /// The oldest that waits becomes durable, or fails.
        Settle(bool),
        Wait(u64),
    }

    /// Marks whose first halves are as different as they are, or not.
    fn operations(halves: u64) -> impl Strategy<Value = Vec<Operation>> {
        let mark = (0..8_u64).prop_map(move |n| Mark([n % halves, n]));
        let operation = prop_oneof![
            6 => mark.prop_map(Operation::Come),
            3 => any::<bool>().prop_map(Operation::Settle),
            1 => (0..WINDOW).prop_map(Operation::Wait),
        ];
        prop::collection::vec(operation, 0..200)
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum State {
        Waiting,
        Durable,
        Failed,
    }

    /// All that ever came, and nothing clever.
    #[derive(Default)]
    struct Model(Vec<(Mark, u64, State)>);

    impl Model {
        fn find(&self, mark: Mark, now: u64) -> Option<State> {
            let kept = self.0.iter().rev().take(MOST);
            let young = kept.filter(|(_, at, _)| now - at <= WINDOW);
            let mut same = young.filter(|(known, _, _)| *known == mark);
            same.next().map(|(_, _, state)| *state).filter(|state| *state != State::Failed)
        }
    }

    /// Runs both; `exact`: nothing may be forgotten that the model knows.
    fn run(operations: Vec<Operation>, exact: bool) -> Result<(), TestCaseError> {
        let window = Duration::from_millis(WINDOW);
        let (mut table, mut model, mut now) =
            (Table::<usize>::new(window, MOST), Model::default(), 0_u64);
        for operation in operations {
            let time = Duration::from_millis(now);
            match operation {
                Operation::Come(mark) => {
                    let expected = model.find(mark, now);
                    let found = match table.find(mark, time, window) {
                        Some(Found::Durable) => Some(State::Durable),
                        Some(Found::Waiting(place)) => {
                            prop_assert_eq!(model.0[*place].0, mark, "somebody else's promise");
                            Some(State::Waiting)
                        }
                        None => None,
                    };
                    prop_assert!(found == expected || (found.is_none() && !exact));
                    if found.is_none() {
                        table.insert(mark, time, model.0.len());
                        model.0.push((mark, now, State::Waiting));
                    }
                }
                Operation::Settle(kept) => {
                    let (mut oldest, mut durable) = (None, None);
                    let outcome = |place: &usize| match oldest {
                        None => {
                            oldest = Some(*place);
                            Some(kept)
                        }
                        Some(_) => None,
                    };
                    table.settle(outcome, |mark, place| durable = Some((mark, place)));
                    prop_assert!(durable.is_none_or(|(mark, at)| kept && model.0[at].0 == mark));
                    if let Some(place) = oldest {
                        model.0[place].2 = if kept { State::Durable } else { State::Failed };
                    }
                }
                Operation::Wait(some) => {
                    now += some;
                    // As the next message of any kind would.
                    table.forget_old(Duration::from_millis(now));
                }
            }
            prop_assert!(table.entries.len() <= MOST && table.index.len() <= table.entries.len());
            prop_assert!(table.waiting.len() <= table.entries.len());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_repeat_is_what_a_list_of_all_messages_says_it_is(operations in operations(8)) {
            run(operations, true)?;
        }

        #[test]
        fn marks_that_share_a_half_let_a_repeat_pass_and_never_take_one_for_the_other(
            operations in operations(2)
        ) {
            run(operations, false)?;
        }
    }

    #[test]
    fn a_route_may_look_back_less_far_than_marks_are_kept() {
        let second = Duration::from_secs(1);
        let mut table = Table::<()>::new(10 * second, 10);
        table.restore(Mark([1, 1]), Duration::ZERO);
        assert_eq!(table.find(Mark([1, 1]), 5 * second, 5 * second), Some(Found::Durable));
        assert_eq!(table.find(Mark([1, 1]), 6 * second, 5 * second), None);
        assert_eq!(table.find(Mark([1, 2]), 5 * second, 5 * second), None);
        table.clear();
        assert_eq!(table.find(Mark([1, 1]), 5 * second, 10 * second), None);
    }
}
