//! A small disk of a known size, in memory: mounted by the test, which needs root.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Unmounted when it is dropped.
#[derive(Debug)]
pub struct Tmpfs(TempDir);

impl Tmpfs {
    /// With these options of `mount` (`size=`, `nr_inodes=`). Nothing without root: the test then
    /// says so and ends.
    pub fn new(options: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a small disk is mounted, which needs root");
            return None;
        }
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "waystation-test"]).arg(dir.path());
        assert!(mount.status().unwrap().success(), "{mount:?}");
        Some(Self(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes so many bytes.
    pub fn take(&self, bytes: usize) -> Junk {
        let junk = self.junk();
        std::fs::write(junk.0.path().join("bytes"), vec![1; bytes]).unwrap();
        junk
    }

    /// Somebody else's place on it, with nothing in it yet.
    pub fn junk(&self) -> Junk {
        Junk(tempfile::tempdir_in(self.path()).unwrap())
    }
}

impl Drop for Tmpfs {
    /// Lazily: where a test failed, something may still be open.
    fn drop(&mut self) {
        let done = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !done.as_ref().is_ok_and(std::process::ExitStatus::success) {
            println!("cannot unmount {}: {done:?}", self.path().display());
        }
    }
}

fn until_full(mut step: impl FnMut() -> io::Result<()>) {
    loop {
        match step() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What somebody else put on the disk; gone when it is dropped.
#[derive(Debug)]
pub struct Junk(TempDir);

impl Junk {
    /// Takes all bytes that are left.
    pub fn take_bytes(&self) {
        let bytes = self.0.path().join("bytes");
        let mut file = match File::options().create(true).append(true).open(bytes) {
            // Not even an inode, which takes bytes as well.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            other => other.unwrap(),
        };
        // The last pages one by one.
        for chunk in [1 << 16, 1 << 12] {
            until_full(|| file.write(&vec![1; chunk]).map(drop));
        }
    }

    /// Takes all inodes that are left.
    pub fn take_inodes(&self) {
        let mut number = std::fs::read_dir(self.0.path()).unwrap().count();
        until_full(|| {
            number += 1;
            File::create(self.0.path().join(number.to_string())).map(drop)
        });
    }
}
