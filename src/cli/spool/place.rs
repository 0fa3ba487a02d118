//! Which spool a command is about, and what to say of one that cannot be read.

use crate::cli::{exit, terminal};
use crate::config;
use crate::spool::OpenError;
use crate::spool::outside::LookError;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
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

/// Whether the spool is this user's to change: what another one makes in it the service could
/// neither write nor remove. The exit code when it is not.
pub fn owned(dir: &Path) -> Result<(), u8> {
    let (Ok(data), user) = (fs::metadata(dir), rustix::process::geteuid().as_raw()) else {
        return Ok(()); // it is made, or opening it says what is wrong
    };
    if data.uid() == user {
        return Ok(());
    }
    let owner = name_of(data.uid());
    terminal::complain(&format!(
        "the spool belongs to {owner}, and no service runs that could be asked; run this as that \
         user: sudo -u {owner} waystation ... (a file that only you can read goes in by \
         standard input: import - < FILE; an export goes where {owner} may write, as in /var/tmp)"
    ));
    Err(exit::NO_PERMISSION)
}

/// The user's name; `#` and the number, as sudo takes it, where it has none.
fn name_of(user: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let known = users.find(|user_line| user_line.get(2) == Some(&&*user.to_string()));
    known.map_or_else(|| format!("'#{user}'"), |line| line[0].to_owned())
}

/// Says why a spool could not be opened.
pub fn unopened(error: &OpenError) -> u8 {
    terminal::complain(error);
    match error {
        OpenError::InUse { .. } => exit::SPOOL_IN_USE,
        _ => exit::CANNOT_CREATE,
    }
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
