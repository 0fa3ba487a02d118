//! What tells one spool, one start and one life of the machine from another.

use super::SpoolWriter;
use super::mutex::lock;
use crate::record::Millis;
use std::fs;
use std::path::Path;

impl SpoolWriter {
    /// The spool's directory.
    pub fn dir(&self) -> &Path {
        &self.owner.shared.config.dir
    }

    /// The spool's id, for as long as it exists.
    pub fn spool_id(&self) -> [u8; 16] {
        lock(&self.owner.shared.books).progress.spool_id
    }
}

/// Fills `bytes` from the kernel's random source.
pub fn random(bytes: &mut [u8]) {
    if getrandom::fill(bytes).is_err() {
        // Without a random source (no kernel since 3.17 lacks one) a clock and a pid still tell
        // two starts apart.
        let seed = Millis::now().0.cast_unsigned() ^ u64::from(std::process::id()) << 40;
        fastrand::Rng::with_seed(seed).fill(bytes);
    }
}

/// The kernel's boot id, which tells a crash from a power cut; zeros where there is none.
pub fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&hex, 16).unwrap_or(0).to_be_bytes()
}

/// A random 128-bit id.
pub fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    random(&mut id);
    id
}
