//! Disks mounted over FUSE: the thin shell between the kernel and `disk.rs`.
//!
//! One mount holds any number of disks side by side, each a directory at its top, so that a test
//! that looks at a thousand crash states mounts once. An inode's number is the disk's number and
//! the inode's number on its disk, and neither is ever used twice: a thread that an earlier
//! spool left behind meets its own disk, or none.

use super::disk::{Disk, Layers};
use super::tree::{Inode, Kind, Node, Place, ROOT};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Nothing is remembered by the kernel.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// Blocks that every disk says are free: a full one says so by `ENOSPC`.
const FREE: u64 = 1 << 24;

type Disks = Arc<Mutex<BTreeMap<u32, Arc<Mutex<Disk>>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where disks are mounted; unmounted when it is dropped.
#[derive(Debug)]
pub struct Mount {
    disks: Disks,
    used: AtomicU32,
    /// Answers the kernel for as long as it is kept.
    _session: BackgroundSession,
    dir: TempDir,
}

impl Mount {
    /// Nothing without root, which mounting needs: the test then says so and ends.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a test file system over FUSE is mounted, which needs root");
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: a test file system over FUSE is mounted, and there is no /dev/fuse");
            return None;
        }
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disks = Disks::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("medium".to_owned())];
        let shell = Shell { disks: Arc::clone(&disks) };
        let session = fuser::spawn_mount(shell, dir.path(), &config);
        let session = session.expect("a FUSE file system can be mounted");
        Some(Self { disks, used: AtomicU32::new(0), _session: session, dir })
    }

    /// Puts a disk under the mount.
    pub fn insert(&self, layers: Layers) -> Inserted {
        let number = self.used.fetch_add(1, Relaxed) + 1;
        let disk = Arc::new(Mutex::new(Disk::new(layers)));
        lock(&self.disks).insert(number, Arc::clone(&disk));
        let path = self.dir.path().join(number.to_string());
        Inserted { number, path, disk, disks: Arc::clone(&self.disks) }
    }
}

impl Drop for Mount {
    /// Lazily: where a test failed, threads of its spool may still have files open.
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
        if !done.as_ref().is_ok_and(std::process::ExitStatus::success) {
            println!("cannot unmount {}: {done:?}", self.dir.path().display());
        }
    }
}

/// A disk under the mount; gone from there when this is dropped.
#[derive(Debug)]
pub struct Inserted {
    number: u32,
    path: PathBuf,
    disk: Arc<Mutex<Disk>>,
    disks: Disks,
}

impl Inserted {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// As it is now.
    pub fn layers(&self) -> Layers {
        self.disk().layers().clone()
    }
}

impl Drop for Inserted {
    fn drop(&mut self) {
        lock(&self.disks).remove(&self.number);
    }
}

struct Shell {
    disks: Disks,
}

/// A number as the kernel knows it, from a disk's and that of an inode on it.
fn global(number: u32, inode: Inode) -> INodeNo {
    INodeNo(u64::from(number) << 32 | inode)
}

impl Shell {
    /// Does something with the disk that an inode is on.
    fn on<T>(
        &self,
        ino: INodeNo,
        act: impl FnOnce(&mut Disk, Inode) -> Result<T, rustix::io::Errno>,
    ) -> Result<T, Errno> {
        let number = u32::try_from(ino.0 >> 32).unwrap_or(0);
        let disk = lock(&self.disks).get(&number).cloned().ok_or(Errno::ESTALE)?;
        let mut disk = lock(&disk);
        act(&mut disk, ino.0 & u64::from(u32::MAX))
            .map_err(|error| Errno::from_i32(error.raw_os_error()))
    }

    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        if ino == INodeNo::ROOT {
            return Ok(attr(ino, None));
        }
        self.on(ino, |disk, inode| Ok(attr(ino, Some(disk.node(inode)?))))
    }

    fn create_at(&self, parent: INodeNo, name: &OsStr, kind: Kind) -> Result<FileAttr, Errno> {
        let inode = self.on(parent, |disk, dir| disk.create(place(dir, name), kind))?;
        self.attr(INodeNo(parent.0 & !u64::from(u32::MAX) | inode))
    }

    fn remove_at(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        self.on(parent, |disk, dir| disk.remove(place(dir, name)))
    }
}

fn place(dir: Inode, name: &OsStr) -> Place {
    (dir, name.to_owned())
}

/// Without a node that of the directory of disks.
fn attr(ino: INodeNo, node: Option<&Node>) -> FileAttr {
    let (kind, size, allocated) = match node {
        Some(Node::File(content)) => (FileType::RegularFile, content.len(), content.allocated()),
        Some(Node::Dir(_)) | None => (FileType::Directory, 0, u64::from(BLOCK)),
    };
    FileAttr {
        ino,
        size,
        blocks: allocated / 512,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn settle(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn settle_entry(reply: ReplyEntry, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

#[rustfmt::skip]
impl Filesystem for Shell {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = if parent == INodeNo::ROOT {
            let number = name.to_str().and_then(|name| name.parse().ok());
            number.map(|number| global(number, ROOT)).ok_or(Errno::ENOENT)
        } else {
            let found = self.on(parent, |disk, dir| disk.find(dir, name));
            found.map(|inode| INodeNo(parent.0 & !u64::from(u32::MAX) | inode))
        };
        settle_entry(reply, found.and_then(|ino| self.attr(ino)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self, _: &Request, ino: INodeNo, _: Option<u32>, _: Option<u32>, _: Option<u32>,
        size: Option<u64>, _: Option<TimeOrNow>, _: Option<TimeOrNow>, _: Option<SystemTime>,
        _: Option<FileHandle>, _: Option<SystemTime>, _: Option<SystemTime>,
        _: Option<SystemTime>, _: Option<BsdFileFlags>, reply: ReplyAttr,
    ) {
        let cut = size.map_or(Ok(()), |len| self.on(ino, |disk, file| disk.set_len(file, len)));
        match cut.and_then(|()| self.attr(ino)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        settle_entry(reply, self.create_at(parent, name, Kind::Dir));
    }

    fn create(
        &self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32,
        reply: ReplyCreate,
    ) {
        match self.create_at(parent, name, Kind::File) {
            Ok(attr) => {
                let direct = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), direct);
            }
            Err(error) => reply.error(error),
        }
    }

    fn link(
        &self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry,
    ) {
        let to = place(newparent.0 & u64::from(u32::MAX), newname);
        let same = ino.0 >> 32 == newparent.0 >> 32;
        let link = || self.on(ino, |disk, inode| disk.link(inode, to));
        let linked = if same { link() } else { Err(Errno::EXDEV) };
        settle_entry(reply, linked.and_then(|()| self.attr(ino)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        settle(reply, self.remove_at(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        settle(reply, self.remove_at(parent, name));
    }

    fn rename(
        &self, _: &Request, parent: INodeNo, name: &OsStr, newparent: INodeNo, newname: &OsStr,
        _: RenameFlags, reply: ReplyEmpty,
    ) {
        let to = place(newparent.0 & u64::from(u32::MAX), newname);
        let same = parent.0 >> 32 == newparent.0 >> 32;
        let rename = || self.on(parent, |disk, dir| disk.rename(place(dir, name), to));
        settle(reply, if same { rename() } else { Err(Errno::EXDEV) });
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.on(ino, Disk::open) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, size: u32, _: OpenFlags,
        _: Option<LockOwner>, reply: ReplyData,
    ) {
        match self.on(ino, |disk, file| disk.read(file, offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, data: &[u8], _: WriteFlags,
        _: OpenFlags, _: Option<LockOwner>, reply: ReplyWrite,
    ) {
        match self.on(ino, |disk, file| disk.write(file, offset, data)) {
            // The kernel's own length of one request fits.
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        settle(reply, self.on(ino, Disk::sync));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // The directory of disks is nobody's.
        let sync = || self.on(ino, Disk::sync);
        settle(reply, if ino == INodeNo::ROOT { Ok(()) } else { sync() });
    }

    fn readdir(
        &self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory,
    ) {
        let listed = self.on(ino, |disk, dir| {
            let names = disk.layers().now.names(dir).ok_or(rustix::io::Errno::NOTDIR)?;
            let entry = |(name, inode): (&std::ffi::OsString, &Inode)| {
                let kind = match disk.node(*inode)?.kind() {
                    Kind::File => FileType::RegularFile,
                    Kind::Dir => FileType::Directory,
                };
                Ok((*inode, kind, name.clone()))
            };
            names.iter().map(entry).collect::<Result<Vec<_>, _>>()
        });
        match listed {
            Ok(entries) => {
                // An entry's offset is its inode, so that removing while reading skips none.
                let mut entries = entries;
                entries.sort_by_key(|(inode, ..)| *inode);
                for (inode, kind, name) in entries.into_iter().filter(|e| e.0 > offset) {
                    if reply.add(INodeNo(inode), inode, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(2 * FREE, FREE, FREE, FREE, FREE, BLOCK, 255, BLOCK);
    }
}
