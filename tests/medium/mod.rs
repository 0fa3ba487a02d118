//! A medium whose power can be cut, and that can fail, at any operation: for the tests of what
//! the spool makes of it.
//!
//! - `content.rs`, `tree.rs`: files and directories, and what changes them
//! - `disk.rs`: what is synced, what is only written, and a guard asked before each access
//! - `crash.rs`: what a power cut may leave
//! - `mount.rs`: such disks mounted over FUSE
//! - `outside.rs`: a spool on one, and what the world outside knows of it
//!
//! The first four are plain data (`selftest.rs` tests them). Programs use the real system
//! calls. Files are opened for direct I/O, so that every write is seen at once, the kernel holds
//! none back, and `sync_file_range` does nothing. What is left out is what the spool does not use:
//! mmap, symbolic links, permissions, times.

#![allow(dead_code, reason = "each test program uses its own part of this")]

pub mod content;
pub mod crash;
pub mod disk;
pub mod mount;
pub mod outside;
pub mod tree;

/// What a run's choices follow from: printed, and repeated by `WAYSTATION_SEED`.
pub fn random() -> fastrand::Rng {
    let seed = std::env::var("WAYSTATION_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    println!("WAYSTATION_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// How many power cuts a test makes: as many as the gate does, or `WAYSTATION_POWER_CUTS`.
pub fn cuts(usual: u64) -> u64 {
    std::env::var("WAYSTATION_POWER_CUTS").map_or(usual, |text| text.parse().unwrap())
}
