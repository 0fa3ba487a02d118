//! Does a spool that is set aside survive a power cut whole?
//!
//! It lies on a medium (`medium/`) that knows what was synced. `elsewhere.rs` tells what is set aside
//! and why.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::Mount;
use crate::medium::outside::{Bench, Outside};
use crate::medium::random;
use crate::support::PATIENCE;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use waystation::spool::{self, Config};

const SLOT: usize = 64 * 1024;
const PLACE: &str = "spool";

/// The files of a spool that hold something, by their names from `dir` on.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        if name != "lock" {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

/// A start sets the spool of a newer program aside; the power is cut before each of its syncs and at
/// its end, and another start makes an end of it. Fails in `aside::set_newer_aside`
/// - without the syncs before anything is moved: the segments go with the directory that they were
///   moved to;
/// - without those before the progress is moved: it has its new place while a segment has not, and
///   nothing would ever move that after it;
/// - without the last ones: the fresh spool's progress takes the place of the old one.
#[test]
fn a_spool_of_a_newer_program_is_set_aside_whole_through_any_cut() {
    let Some(mount) = Mount::new() else { return };
    let mut random = random();
    let disk = mount.insert(Layers::new());
    let dir = disk.path().join(PLACE);
    let mut outside = Outside::default();
    let bench = Bench::open(&dir).unwrap();
    for _ in 0..4 {
        bench.append(&mut outside, 4, PATIENCE);
    }
    bench.spool.writer.close().unwrap();
    drop(bench);
    let mut progress = fs::read(dir.join("progress")).unwrap();
    for slot in progress.chunks_mut(SLOT) {
        slot.fill(7);
        slot[..5].copy_from_slice(b"WSPR\x7f");
    }
    fs::write(dir.join("progress"), progress).unwrap();
    let newer = contents(&dir);
    let disk = mount.insert(disk.layers().crash(Keep::Everything, &mut random));
    let dir = disk.path().join(PLACE);

    let config = |dir: &Path| Config { min_free: 0, ..Config::new(dir) };
    let cuts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&cuts);
    disk.disk().guard(Box::new(move |access, _, layers| {
        if access == Access::Sync {
            seen.lock().unwrap().push(layers.clone());
        }
        Ok(())
    }));
    let spool = spool::open(config(&dir)).unwrap();
    disk.disk().unguarded();
    cuts.lock().unwrap().push(disk.layers());
    drop(spool);
    let cuts = std::mem::take(&mut *cuts.lock().unwrap());
    assert!(cuts.len() > 4, "{}", cuts.len());
    for cut in &cuts {
        for keep in Keep::ALL.into_iter().chain([Keep::Some; 40]) {
            let disk = mount.insert(cut.crash(keep, &mut random));
            let spool = spool::open(config(&disk.path().join(PLACE))).unwrap();
            let [kept] = &spool.report.set_aside[..] else { panic!("{:?}", spool.report) };
            assert!(contents(kept) == newer, "{keep:?}: {:?}", contents(kept).keys());
        }
    }
}
