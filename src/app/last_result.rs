//! How did systemd end the process before this one?
//!
//! The unit's `ExecStopPost=` leaves the service's result in the state directory; each start takes
//! it away, so that it tells of one end only. Where there is no systemd, or the disk was full, there
//! is none, and an end without a stop passes for a crash. It deliberately does not judge whether there
//! was a stop: the spool knows.

use std::io::ErrorKind;
use std::path::Path;
use std::{env, fs};

/// The name of the file in the state directory.
const FILE: &str = "last-result";

/// Takes the result away; true when it was the watchdog that ended the process.
pub fn was_watchdog() -> bool {
    // Several directories are separated by colons; the unit has one.
    let state = env::var_os("STATE_DIRECTORY");
    state.is_some_and(|state| take(Path::new(&state)))
}

fn take(state: &Path) -> bool {
    let file = state.join(FILE);
    let result = match fs::read_to_string(&file) {
        Ok(result) => result,
        Err(error) if error.kind() == ErrorKind::NotFound => return false,
        Err(error) => {
            tracing::warn!("cannot read {}: {error}", file.display());
            String::new()
        }
    };
    if let Err(error) = fs::remove_file(&file) {
        tracing::warn!("cannot remove {}: {error}", file.display());
    }
    result.trim() == "watchdog"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_tells_of_one_end_only() {
        let state = tempfile::tempdir().unwrap();
        assert!(!take(state.path()), "there is none");
        // The last one: as a full disk leaves it.
        for (left, watchdog) in [("watchdog\n", true), ("signal\n", false), ("", false)] {
            fs::write(state.path().join(FILE), left).unwrap();
            assert_eq!(take(state.path()), watchdog, "{left:?}");
            assert!(!take(state.path()), "it was taken");
        }
    }
}
