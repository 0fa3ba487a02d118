//! What a power cut brings back beside a copy that does not say what it holds.

use super::{check_crashed, config, copy_dir, filled, plan, rewrite_with};
use crate::record::RecordId;
use crate::spool;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A closed spool that was repacked, what was in it, the copy, and the old ones.
struct Repacked {
    root: TempDir,
    all: Vec<(RecordId, Vec<u8>)>,
    copy: PathBuf,
    old: Vec<PathBuf>,
}

fn repacked() -> Repacked {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, all) = filled(&path);
    let plan = plan(&spool).unwrap();
    let before = root.path().join("before");
    copy_dir(&path, &before);
    let rewritten = rewrite_with(&spool, &plan, |_| Ok(())).unwrap();
    spool.writer.close().unwrap();
    let old = plan.ids().map(|id| before.join(id.to_string())).collect();
    Repacked { copy: path.join(rewritten.id.to_string()), root, all, old }
}

impl Repacked {
    fn bring_back(&self, old: &Path) {
        copy_dir(old, &self.copy.with_file_name(old.file_name().unwrap()));
    }
}

/// Fails without rule 3 of `generations.rs`, with its half for a copy beside a lower generation and
/// with the one for a block across the beginning of the next; and when `Survey::believe` calls
/// the copy no segment.
#[test]
fn a_copy_whose_seal_is_gone_counts_before_what_comes_back() {
    for subset in 1..8 {
        let repacked = repacked();
        for (place, old) in repacked.old.iter().take(3).enumerate() {
            if subset >> place & 1 == 1 {
                repacked.bring_back(old);
            }
        }
        println!("{subset:b}");
        fs::write(repacked.copy.join("seal"), [0; 52]).unwrap();
        check_crashed(&repacked.root.path().join("spool"), &repacked.all);
    }
}

/// Fails without rule 4 of `generations.rs`.
#[test]
fn a_copy_that_cannot_be_read_for_now_is_not_thrown_away_for_what_comes_back() {
    for seal_is_gone in [false, true] {
        let repacked = repacked();
        repacked.bring_back(&repacked.old[0]);
        fs::write(repacked.copy.join("seal"), [0; 52]).unwrap();
        let unreadable = if seal_is_gone { &["db"][..] } else { &["seal", "db"] };
        for file in unreadable.iter().map(|file| repacked.copy.join(file)) {
            fs::rename(&file, file.with_extension("moved")).unwrap();
            // Every look at it fails.
            symlink("x".repeat(300), &file).unwrap();
        }
        let mut spool = spool::open(config(&repacked.root.path().join("spool"))).unwrap();
        assert_eq!(spool.report.lost, []);
        let mut read = Vec::new();
        while let Ok(block) = spool.reader.next_block() {
            let block = block.expect("the copy is waited for");
            read.extend(block.records().map(|r| r.id));
        }
        assert!(!read.is_empty(), "what came back is read");
        for file in unreadable.iter().map(|file| repacked.copy.join(file)) {
            fs::rename(file.with_extension("moved"), file).unwrap();
        }
        while let Some(block) = spool.reader.next_block().unwrap() {
            read.extend(block.records().map(|r| r.id));
        }
        assert!(read == repacked.all.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        assert_eq!(spool.writer.ledger().lost, 0);
    }
}
