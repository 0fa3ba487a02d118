//! The spool's directory: what lies where, and how something leaves it.
//!
//! ```text
//! lock        held by the process that has the spool open; holds its pid
//! progress    see progress.rs
//! seg-*/      see segment.rs
//! dead/       records that Kafka can never take: not the spool's, see src/dead/
//! repeats     which messages were seen, and repeats.old: not the spool's, see src/repeats/
//! held/       records of topics that Kafka refuses, a spool each: see held.rs
//! .trash/     on its way out: emptied at the next start if a crash comes between
//! quarantine/ damaged segments, kept for inspection: see aside.rs
//! set-aside/  spools of a newer program: see aside.rs
//! tmp/        segments that are not finished: emptied at the next start
//! ```
//!
//! What leaves is renamed first, and what comes is renamed last, so that no segment is ever half
//! there. (The live tail alone is written where it stands; see `start.rs` for what that takes.)
//! What somebody else put there is left alone, and moved out of the way only where its name is
//! needed.

use super::segment::SegmentId;
use super::store::DATA_FILE;
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The lock's name.
pub const LOCK: &str = "lock";
/// How long a lock that only looks ([`held`]) may be in the way of one that stays.
const LOOKED_AT: Duration = Duration::from_millis(100);
const TRASH: &str = ".trash";
/// Where damaged segments are kept.
pub const QUARANTINE: &str = "quarantine";
/// Where copies of segments are made.
pub const TMP: &str = "tmp";
/// Where spools of a newer program are kept.
pub const SET_ASIDE: &str = "set-aside";
/// Files and directories in a segment, sled's own among them.
const FILES: usize = 4;
/// Where the spools of topics are that are held.
pub const HELD: &str = "held";
/// The progress file's name.
pub const PROGRESS: &str = "progress";

/// Why the lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// By the process with this pid, or an empty text when it could not be read.
    Held(String),
    Io(io::Error),
}

/// Takes the spool's lock. It is held until the file is dropped, and gone with the process.
pub fn lock(dir: &Path) -> Result<File, LockError> {
    let path = dir.join(LOCK);
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = open.map_err(LockError::Io)?;
    let deadline = Instant::now() + LOOKED_AT;
    let locked = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            other => break other,
        }
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(LockError::Io)?;
            return Err(LockError::Held(pid.trim().to_owned()));
        }
        Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
    }
    let mut write_pid = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    match write_pid() {
        // The pid is only for the other's error message: a full disk must not stop a start.
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(LockError::Io(error)),
        _ => Ok(file),
    }
}

/// Which process has the spool open, if any (an empty text when its pid cannot be read). Changes
/// nothing: the lock is shared for a moment, for which [`lock`] waits.
pub fn held(dir: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(dir.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            Ok(Some(pid.trim().to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the directory's entries survive a power cut.
pub fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates the spool's directory and those above it. On `Ok` their entries survive a power cut.
///
/// For as long as there is no progress file, an earlier start may have been killed between
/// creating one of them and syncing the one above it: then all of them are synced, as far as they
/// are on the same file system (nothing was created above).
pub fn create(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if dir.join(PROGRESS).try_exists()? {
        return Ok(());
    }
    let device = fs::metadata(dir)?.dev();
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        match sync(parent) {
            // Nothing was created in it by a user who may not even list it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes the directories that later removals and copies need, while there is room for them.
pub fn prepare(dir: &Path) -> io::Result<()> {
    [TRASH, QUARANTINE, TMP].into_iter().try_for_each(|place| make(&dir.join(place)))
}

/// Makes a directory, unless it is there. What has its name and is none goes out of the way.
pub fn make(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_dir()) {
        out_of_the_way(path)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Gives what stands there the first free name beside it.
pub fn out_of_the_way(path: &Path) -> io::Result<()> {
    let target = free_name(path.to_owned());
    tracing::warn!("{} is in the way; it is {} now", path.display(), target.display());
    fs::rename(path, target)
}

/// Whether anything has that name: also a link that leads nowhere, also what cannot be looked at.
pub fn is_there(path: &Path) -> bool {
    let meta = fs::symlink_metadata(path);
    !meta.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes a segment: out of the way in one step, then for good.
///
/// One that is gone already (by somebody's hand) is removed. What cannot be deleted once it is
/// out of the way is left to the next start.
pub fn discard(dir: &Path, segment: &Path) -> io::Result<()> {
    let Some(aside) = move_under(dir, TRASH, segment)? else { return Ok(()) };
    if let Err(error) = fs::remove_dir_all(&aside) {
        tracing::warn!("cannot delete {}: {error}", aside.display());
    }
    Ok(())
}

/// Whether nothing forbids [`discard`]: a directory that somebody else made, as root does, can be
/// read and not be moved.
pub fn may_go(dir: &Path, segment: &Path) -> bool {
    let may_change = |path| {
        let asked = rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
        !matches!(asked, Err(Errno::ACCESS | Errno::PERM | Errno::ROFS))
    };
    may_change(dir) && may_change(segment)
}

/// Finishes what a crash left of earlier removals, and of copies that it kept from being finished.
/// What cannot be deleted is left to the next start: it is no reason not to take records.
pub fn empty_trash(dir: &Path) -> io::Result<()> {
    for place in [TRASH, TMP] {
        let entries = match fs::read_dir(dir.join(place)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = entry.path();
            let deleted = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = deleted {
                tracing::warn!("cannot delete {}: {error}", path.display());
            }
        }
    }
    Ok(())
}

/// Whether a segment could be begun: as many files as it has are made, and removed again. Not one
/// more: what a single segment has left must be room for the next one.
pub fn try_room(dir: &Path) -> io::Result<()> {
    let place = dir.join(TMP).join("room");
    make(&dir.join(TMP))?; // somebody may have tidied up
    make(&place)?;
    let made = (0..FILES).try_for_each(|n| fs::write(place.join(n.to_string()), [0]));
    made.and(fs::remove_dir_all(place))
}

/// Puts a finished, synced segment among the others. On `Ok` it stays there at a power cut.
pub fn adopt(dir: &Path, name: &str) -> io::Result<()> {
    fs::rename(dir.join(TMP).join(name), dir.join(name))?;
    sync(dir)?;
    sync(&dir.join(TMP))
}

/// Where it went; `None` when it was not there.
pub fn move_under(dir: &Path, place: &str, segment: &Path) -> io::Result<Option<PathBuf>> {
    if !is_there(segment) {
        return Ok(None);
    }
    let place = dir.join(place);
    make(&place)?; // somebody may have tidied up
    let target = free_name(place.join(segment.file_name().unwrap_or_default()));
    fs::rename(segment, &target)?;
    Ok(Some(target))
}

/// The path, or the first `<path>.<n>` that nothing has.
pub fn free_name(path: PathBuf) -> PathBuf {
    let numbered = (1_u64..).map(|n| {
        let mut name = path.clone().into_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    });
    let free = std::iter::once(path.clone()).chain(numbered).find(|name| !is_there(name));
    free.unwrap_or(path)
}

/// Bytes on the disk of everything under `path`. What vanishes meanwhile, and what may not be
/// listed, counts as nothing.
pub fn disk_bytes(path: &Path) -> io::Result<u64> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let mut total = meta.blocks() * 512;
    if meta.is_dir() {
        let entries = match fs::read_dir(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                return Ok(total);
            }
            other => other?,
        };
        for entry in entries {
            total += disk_bytes(&entry?.path())?;
        }
    }
    Ok(total)
}

/// Bytes on the disk of everything in the spool's directory that is neither a segment nor on the
/// way to be one, nor of a spool that was set aside: that one is not this spool's to make room
/// from.
///
/// A segment that is being removed lies in the trash, and is forgotten when it is gone: until then
/// it is `counted` as a segment. Of the spools in `held/` those that are open count themselves.
pub fn other_bytes(
    dir: &Path,
    counted: impl Fn(SegmentId) -> bool,
    open: impl Fn(&OsStr) -> bool,
) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let beside = [TMP, SET_ASIDE].iter().any(|name| entry.file_name() == *name);
        if entry.file_name() == TRASH {
            total += bytes_but(&entry.path(), |name| {
                // As `free_name` gives them.
                let name = name.to_str().and_then(|name| name.split('.').next());
                name.and_then(SegmentId::parse).is_some_and(&counted)
            })?;
        } else if entry.file_name() == HELD {
            total += bytes_but(&entry.path(), &open)?;
        } else if segment(&entry)?.is_none() && !beside {
            total += disk_bytes(&entry.path())?;
        }
    }
    Ok(total)
}

/// Bytes on the disk of a directory and of what is in it, less what counts elsewhere.
fn bytes_but(dir: &Path, elsewhere: impl Fn(&OsStr) -> bool) -> io::Result<u64> {
    let Some(meta) = fs::symlink_metadata(dir).ok().filter(fs::Metadata::is_dir) else {
        return disk_bytes(dir);
    };
    let mut total = meta.blocks() * 512;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Asked before it is measured: of one that was forgotten in between nothing is left.
        if !elsewhere(&entry.file_name()) {
            total += disk_bytes(&entry.path())?;
        }
    }
    Ok(total)
}

/// The names in a directory, sorted; those that are no text are nobody's that is asked for here.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<_> = names.into_iter().flatten().collect();
    names.sort();
    Ok(names)
}

/// The segment that this is, going by its name; a file or a link of such a name is none.
pub fn segment(entry: &fs::DirEntry) -> io::Result<Option<SegmentId>> {
    let id = entry.file_name().to_str().and_then(SegmentId::parse);
    match entry.file_type() {
        Ok(kind) => Ok(id.filter(|_| kind.is_dir())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether nothing is in a directory but what a new segment begins with.
pub fn is_new(path: &Path) -> bool {
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        [DATA_FILE, "conf", "blobs", "seal"].contains(&&*name) || name.starts_with("snap.")
    };
    let mut entries = fs::read_dir(path).into_iter().flatten();
    entries.all(|entry| entry.is_ok_and(|entry| ours(&entry.file_name())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::segment::LiveSegment;
    use crate::spool::store::Sled;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// Holds [`FILES`]: with more, a drained spool could go on refusing for ever.
    #[test]
    fn as_many_files_are_tried_as_a_segment_has() {
        let dir = tempfile::tempdir().unwrap();
        let id = SegmentId::parse("seg-00000000000000000000-0000").unwrap();
        let made = LiveSegment::create(dir.path(), id, &Sled).unwrap();
        let place = dir.path().join(id.to_string());
        assert_eq!(fs::read_dir(&place).unwrap().count(), FILES);
        drop(made);
        assert_eq!(fs::read_dir(place).unwrap().count(), FILES);
        try_room(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join(TMP)).unwrap().count(), 0);
    }

    /// Holds the wait in [`lock`].
    #[test]
    fn whoever_only_looks_who_holds_the_lock_never_keeps_it_from_one_that_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        drop(lock(dir.path()).unwrap());
        thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Relaxed) {
                    held(dir.path()).unwrap();
                }
            });
            let taken = (0..2_000).find_map(|_| lock(dir.path()).map(drop).err());
            stop.store(true, Relaxed);
            assert!(taken.is_none(), "{taken:?}");
        });
        let kept = lock(dir.path()).unwrap();
        assert_eq!(held(dir.path()).unwrap(), Some(std::process::id().to_string()));
        drop(kept);
        assert_eq!(held(dir.path()).unwrap(), None);
    }
}
