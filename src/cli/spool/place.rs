//! Which spool a command is about, and what to say of one that cannot be read.

use crate::cli::{exit, terminal};
use crate::config;
use crate::spool::outside::LookError;
use std::io;
use std::path::{Path, PathBuf};

/// The spool's directory: the one that was named, or else the configuration's. The exit code when
/// there is none.
pub fn dir(named: Option<&Path>, config: &Path) -> Result<PathBuf, u8> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None => settings(config).map(|config| config.spool.dir),
    }
}

/// The configuration; the exit code when it is wrong.
pub fn settings(path: &Path) -> Result<config::Config, u8> {
    config::load(path).map(|loaded| loaded.config).map_err(|problems| {
        terminal::complain(&problems);
        exit::CONFIG
    })
}

/// Says why a spool could not be looked at.
pub fn unreadable(error: &LookError) -> u8 {
    let forbidden = match error {
        LookError::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    };
    let hint = "; use sudo, or become a member of the group that the directory belongs to";
    terminal::complain(&format!("{error}{}", if forbidden { hint } else { "" }));
    exit::IO
}
