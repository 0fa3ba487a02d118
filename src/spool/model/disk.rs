//! A spool's directory from outside: what is in it, and what a crash or the medium does to it.

use crate::spool::Config;
use crate::spool::dir;
use crate::spool::progress::SLOT_LEN;
use crate::spool::scan::{self, Scanned};
use crate::spool::segment::{SEAL_LEN, Seal, SegmentId};
use crate::spool::start;
use crate::spool::store::DATA_FILE;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SEAL_FILE: &str = "seal";

/// The segments, in order.
pub fn segments(dir: &Path) -> Vec<SegmentId> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut ids: Vec<_> = names.filter_map(|name| SegmentId::parse(name.to_str()?)).collect();
    ids.sort_unstable();
    ids
}

/// The segments that are sealed.
pub fn sealed(dir: &Path) -> Vec<SegmentId> {
    let is_sealed = |id: &SegmentId| seal(dir, *id).is_some();
    segments(dir).into_iter().filter(is_sealed).collect()
}

/// Where each of the sealed segments begins and ends.
pub fn extents(dir: &Path) -> Vec<(u64, u64)> {
    let extent = |id| seal(dir, id).map(|seal| (id.first.0, seal.end.0));
    segments(dir).into_iter().filter_map(extent).collect()
}

fn seal(dir: &Path, id: SegmentId) -> Option<Seal> {
    Seal::read(&dir.join(id.to_string())).unwrap()
}

/// Takes a segment's seal back.
pub fn unseal(segment: &Path) {
    fs::write(segment.join(SEAL_FILE), [0; SEAL_LEN]).unwrap();
}

/// Turns a byte of a part in a sealed segment; gives the sequences (first, end) of its block.
pub fn damage(segment: &Path, seed: usize) -> Option<(u64, u64)> {
    let path = segment.join(DATA_FILE);
    let end = Seal::read(segment).unwrap()?.end;
    let mut blocks = Scanned::open(&path).unwrap().blocks;
    // What a commit that failed has left behind the end is nobody's.
    blocks.retain(|block| block.header.end() <= end);
    let header = blocks.get(seed.checked_rem(blocks.len())?)?.header;
    let mut bytes = fs::read(&path).unwrap();
    let mut parts = scan::parts(&mut &bytes[..]).unwrap();
    parts.retain(|part| (part.header.first, part.header.epoch) == (header.first, header.epoch));
    let part = parts[seed / 7 % parts.len()];
    let at = usize::try_from(part.offset).unwrap() + seed / 11 % part.len;
    bytes[at] ^= 1 << (seed % 8);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(&bytes[at..=at], at as u64)
        .unwrap();
    Some((header.first.0, header.end().0))
}

/// The slot whose turn it was is half written.
pub fn tear_progress(dir: &Path) {
    let file = File::options().read(true).write(true).open(dir.join(dir::PROGRESS)).unwrap();
    let turn = |slot: u64| {
        let mut turn = [0; 8];
        file.read_exact_at(&mut turn, slot * SLOT_LEN as u64 + 8).unwrap();
        u64::from_le_bytes(turn)
    };
    let older = u64::from(turn(0) > turn(1));
    file.write_all_at(&[0x5A; 100], older * SLOT_LEN as u64).unwrap();
}

pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A start that ends after so many of a hundred of the segments; only one that has come through
/// all of them writes the progress.
pub fn interrupted_start(dir: &Path, percent: usize) {
    let before = dir.with_extension("before");
    copy(dir, &before).unwrap();
    start::start(&Config::new(dir)).unwrap();
    let ids = segments(&before);
    for id in &ids[ids.len() * percent / 100..] {
        let (was, is) = (before.join(id.to_string()), dir.join(id.to_string()));
        if is.exists() {
            fs::remove_dir_all(&is).unwrap();
        }
        fs::rename(was, is).unwrap();
    }
    if percent < 100 {
        fs::rename(before.join(dir::PROGRESS), dir.join(dir::PROGRESS)).unwrap();
    }
    fs::remove_dir_all(before).unwrap();
}
