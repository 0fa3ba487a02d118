//! `waystation dead drop` and `waystation dead retry`: letters leave.
//!
//! They are named to the service in small numbers, so that each request is a short one; whatever comes
//! between, those that left have left, and the others stay.

use super::letters::{Letters, Place, Which};
use crate::cli::spool::door::{Door, DoorError};
use crate::cli::spool::place;
use crate::cli::{exit, terminal};
use crate::dead::{Left, Name};
use crate::record::Sequence;
use crate::spool::Config;
use crate::status::words;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which ones: each a record's sequence in this spool, or its id
    #[arg(value_name = "SEQUENCE|ID", required_unless_present = "all")]
    which: Vec<Which>,
    /// All of them; asks first, where somebody can answer
    #[arg(long, conflicts_with = "which")]
    all: bool,
}

/// How they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Drop,
    Retry,
}

/// Letters of one request.
const AT_ONCE: usize = 100;

pub fn run(way: Way, args: &Args, config: &Path) -> u8 {
    let settings = match place::settings(config) {
        Ok(settings) => settings.spool,
        Err(code) => return code,
    };
    let letters = match Letters::find(&Place::default(), config, &args.which) {
        Ok(letters) => letters,
        Err(code) => return code,
    };
    let of_spools = letters.names();
    let count = of_spools.iter().map(|(_, names)| names.len() as u64).sum();
    // Records may be dead in the books whose letters somebody has taken out.
    if count == 0 && !(args.all && way == Way::Drop) {
        return if args.all {
            terminal::answer("There are no dead letters.\n")
        } else {
            exit::FAILURE
        };
    }
    if args.all && count > 0 && !terminal::agreed(&way.question(count)) {
        terminal::note("Nothing was changed.");
        return exit::FAILURE;
    }
    let mut door = match Door::find(&settings) {
        Ok(door) => door,
        Err(code) => return code,
    };
    let mut all = Left::default();
    let own = of_spools.iter().find(|(dir, _)| *dir == settings.dir);
    let own = own.map_or(&[][..], |(_, names)| names);
    if args.all || !own.is_empty() {
        way.leave_all(&mut door, own, &mut all);
    }
    for (dir, names) in of_spools.iter().filter(|(dir, _)| *dir != settings.dir) {
        if matches!(door, Door::Service(_)) {
            all.complaints.push(format!(
                "{} stay: they are of a topic that was held, in {}; that takes a stopped service",
                words::count(names.len() as u64, "dead letter"),
                dir.display()
            ));
            continue;
        }
        // Nobody else has it open: the door is the whole spool's.
        match Door::find(&Config { dir: dir.clone(), ..settings.clone() }) {
            Ok(mut inside) => {
                way.leave_all(&mut inside, names, &mut all);
                if let Err(error) = inside.close() {
                    terminal::complain(&error);
                }
            }
            Err(code) => return code,
        }
    }
    for complaint in &all.complaints {
        terminal::complain(complaint);
    }
    if let Err(error) = door.close() {
        terminal::complain(&error);
    }
    let told = terminal::answer(&terminal::wrapped(&way.told(&all), terminal::COLUMNS));
    let all_done = all.complaints.is_empty() && letters.failed == 0;
    if all_done { told } else { exit::FAILURE }
}

impl Way {
    fn question(self, letters: u64) -> String {
        match (self, letters) {
            (Self::Drop, 1) => "Drop the only dead letter for good?".to_owned(),
            (Self::Retry, 1) => "Send the record of the only dead letter again?".to_owned(),
            (Self::Drop, _) => {
                format!("Drop all {} for good?", words::count(letters, "dead letter"))
            }
            (Self::Retry, _) => {
                format!("Send the records of all {} again?", words::count(letters, "dead letter"))
            }
        }
    }

    /// Those of one spool, in small numbers.
    fn leave_all(self, door: &mut Door, names: &[Name], all: &mut Left) {
        let parts = names.chunks(AT_ONCE).chain(names.is_empty().then_some(names));
        for part in parts {
            match self.leave(door, part) {
                Ok(left) => {
                    all.gone.extend(left.gone);
                    all.without += left.without;
                    all.complaints.extend(left.complaints);
                    all.stopped = left.stopped;
                }
                Err(error) => {
                    all.complaints.push(error.to_string());
                    all.stopped = true;
                }
            }
            if all.stopped {
                break;
            }
        }
    }

    fn leave(self, door: &mut Door, names: &[Name]) -> Result<Left, DoorError> {
        match self {
            Self::Drop => door.drop_letters(names),
            Self::Retry => door.send_again(names),
        }
    }

    fn told(self, left: &Left) -> String {
        let letters = words::count(left.gone.len() as u64, "dead letter");
        let places = places(&left.gone);
        let said = match (self, left.gone.len()) {
            (Self::Drop, 0) if left.without > 0 => String::new(),
            (Self::Drop, 0) if left.complaints.is_empty() => {
                "There are no dead letters.".to_owned()
            }
            (Self::Drop, 0) => "Nothing was dropped.".to_owned(),
            (Self::Drop, _) => format!("Dropped {letters}: {places}."),
            (Self::Retry, 0) => "Nothing is sent again.".to_owned(),
            (Self::Retry, 1) => format!(
                "One dead letter is sent again, under the id that it has: {places}. It waits behind \
                 what is in the spool."
            ),
            (Self::Retry, _) => format!(
                "{} are sent again, under the ids that they have: {places}. They wait behind what is \
                 in the spool.",
                words::capitalised(&letters)
            ),
        };
        let without = match left.without {
            0 => String::new(),
            1 => " One dead record was without a letter, as when somebody takes the file out, and \
                  counts as dropped now."
                .to_owned(),
            some => format!(
                " {} dead records were without a letter, as when somebody takes the files out, and \
                 count as dropped now.",
                words::thousands(some)
            ),
        };
        format!("{said}{without}")
    }
}

/// `sequence 7`, `sequences 3 to 5, 9`.
fn places(gone: &[Name]) -> String {
    let mut places: Vec<Sequence> = gone.iter().map(|name| name.place).collect();
    places.sort_unstable();
    let mut runs: Vec<(Sequence, Sequence)> = Vec::new();
    for place in places {
        match runs.last_mut() {
            Some((_, last)) if place.since(*last) <= 1 => *last = place,
            _ => runs.push((place, place)),
        }
    }
    let run = |(first, last): &(Sequence, Sequence)| match last.since(*first) {
        0 => words::thousands(first.0),
        _ => format!("{} to {}", words::thousands(first.0), words::thousands(last.0)),
    };
    let noun = if gone.len() == 1 { "sequence" } else { "sequences" };
    format!("{noun} {}", runs.iter().map(run).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, RecordId};

    #[test]
    fn what_left_is_named_in_runs() {
        let name = |place| {
            let id = RecordId { epoch: Epoch(1), sequence: Sequence(0) };
            Name { place: Sequence(place), id }
        };
        let said = |at: &[u64]| places(&at.iter().copied().map(name).collect::<Vec<_>>());
        assert_eq!(said(&[7]), "sequence 7");
        assert_eq!(said(&[9, 3, 4, 5, 1_000]), "sequences 3 to 5, 9, 1,000");
    }
}
