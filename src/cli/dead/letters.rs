//! Which letters a command is about, and what to say of those that cannot be read.

use crate::cli::spool::place;
use crate::cli::{exit, terminal};
use crate::dead::{self, Letter};
use crate::record::{RecordId, Sequence};
use crate::spool::outside::LookError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the letters are.
#[derive(Debug, Default, clap::Args)]
pub struct Place {
    /// Look in this spool's directory instead of the configured one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What names a letter on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The record's place in this spool.
    Place(Sequence),
    Id(RecordId),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u64>() {
            Ok(place) => Ok(Self::Place(Sequence(place))),
            Err(_) => {
                text.parse().map(Self::Id).map_err(|error| format!("{error}, nor a sequence"))
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl Which {
    /// Whether it is this letter; of a topic that is held only by its id, since its place is one in
    /// a spool of its own.
    fn is(self, name: &dead::Name, of_topic: bool) -> bool {
        match self {
            Self::Place(place) => name.place == place && !of_topic,
            Self::Id(id) => name.id == id,
        }
    }
}

/// What a letter is: a record that Kafka refused, or bytes that were posted and are no message.
pub fn kind(letter: &Letter) -> &'static str {
    if letter.record().invalid().is_some() { "invalid" } else { "refused" }
}

/// The letters that a command is about, in the order of the spool.
#[derive(Debug)]
pub struct Letters {
    found: Vec<dead::Found>,
    /// How many of those that were named are not there, or could not be read; each was complained of.
    pub failed: u64,
}

impl Letters {
    /// Those that one of `which` names; all of them when there is none. One that is not there is
    /// complained of. The exit code where they cannot be listed.
    pub fn find(at: &Place, config: &Path, which: &[Which]) -> Result<Self, u8> {
        let dir = place::dir(at.dir.as_deref(), config)?;
        if dir.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(place::unreadable(&LookError::NoSpool(dir)));
        }
        let mut found = dead::list_all(&dir).map_err(|error| {
            let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
            let hint = if forbidden { "; use sudo, or become a member of its group" } else { "" };
            let letters = dead::place(&dir);
            terminal::complain(&format!("cannot read {}: {error}{hint}", letters.display()));
            exit::IO
        })?;
        let mut failed = 0;
        let is = |which: &Which, found: &dead::Found| which.is(&found.name, found.spool() != dir);
        for which in which {
            if !found.iter().any(|found| is(which, found)) {
                let says = "there is no such dead letter; `waystation dead ls` lists them";
                terminal::complain(&format!("{which}: {says}"));
                failed += 1;
            }
        }
        found.retain(|found| which.is_empty() || which.iter().any(|which| is(which, found)));
        Ok(Self { found, failed })
    }

    /// The names of their files, by the spools that they are of.
    pub fn names(&self) -> Vec<(PathBuf, Vec<dead::Name>)> {
        let same = |a: &dead::Found, b: &dead::Found| a.spool() == b.spool();
        let of = |found: &[dead::Found]| {
            (found[0].spool().to_owned(), found.iter().map(|found| found.name).collect())
        };
        self.found.chunk_by(same).map(of).collect()
    }

    /// Bytes that they count of the store's size.
    pub fn bytes(&self) -> u64 {
        self.found.iter().map(|found| found.bytes).sum()
    }

    /// Reads one after the other; what cannot be read is complained of.
    pub fn each(&mut self, mut tell: impl FnMut(&Letter) -> io::Result<()>) -> io::Result<()> {
        for found in &self.found {
            match dead::read(found) {
                Ok(Some(letter)) => tell(&letter)?,
                // Taken out meanwhile.
                Ok(None) => {}
                Err(error) => {
                    terminal::complain(&error);
                    self.failed += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Epoch;

    #[test]
    fn a_letter_is_named_by_its_sequence_or_by_its_records_id() {
        let id = RecordId { epoch: Epoch(0x00c0_ffee), sequence: Sequence(7) };
        let name = dead::Name { place: Sequence(42), id };
        for (text, is) in [("42", true), ("7", false), ("0000000000c0ffee:7", true)] {
            assert_eq!(text.parse::<Which>().unwrap().is(&name, false), is, "{text}");
        }
        assert!(!Which::Place(name.place).is(&name, true) && Which::Id(id).is(&name, true));
        let says = "x".parse::<Which>().unwrap_err();
        assert!(says.contains("looks like") && says.ends_with("nor a sequence"), "{says}");
    }
}
