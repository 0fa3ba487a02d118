//! What of a copy that was given up, and whose removal fails?

use super::{
    Step, Stopped, check_crashed, config, copy_dir, filled, names, plan, read_all, rewrite,
    rewrite_with, shared,
};
use crate::spool;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A small disk in the place of the trash, to which nothing can be renamed; needs root.
fn trash_on_another_disk(dir: &Path) -> bool {
    let trash = dir.join(".trash");
    let mount = ["-t", "tmpfs", "-o", "size=64k", "waystation-test"];
    let root = rustix::process::geteuid().is_root();
    root && Command::new("mount").args(mount).arg(trash).status().unwrap().success()
}

/// Fails when `rewrite` only says that a removal failed.
#[test]
fn a_copy_that_cannot_be_removed_is_the_last_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (mut spool, all) = filled(&path);
    let plan = plan(&spool).unwrap();
    if !trash_on_another_disk(&path) {
        println!("skipped: a small disk is mounted, which needs root");
        return;
    }
    let shared = shared(&spool).clone();
    let stopped = rewrite(&shared, &plan, &mut |step| {
        if step == Step::Adopted {
            spool.reader.next_block().unwrap();
        }
        Ok(())
    });
    let umount = Command::new("umount").arg("--lazy").arg(path.join(".trash")).status();
    assert!(umount.unwrap().success());
    assert!(matches!(stopped, Err(Stopped::Stays(_))), "{stopped:?}");
    spool.writer.close().unwrap();
    drop((spool, shared));
    check_crashed(&path, &all);
}

/// Fails when what begins within a repacked one and reaches further is thrown away, and when a
/// start lets a repacked one end where the next one begins.
#[test]
fn a_copy_that_overlaps_one_that_was_left_behind_counts_from_there_on() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (mut spool, all) = filled(&path);
    let mut first = plan(&spool).unwrap();
    assert!(first.sources.len() > 2);
    first.sources.truncate(2);
    first.after = 0;
    let kept = root.path().join("kept");
    let shared = shared(&spool).clone();
    let stopped = rewrite(&shared, &first, &mut |step| {
        if step == Step::Adopted {
            copy_dir(&path.join(names(&path)[1].file_name().unwrap()), &kept);
            spool.reader.next_block().unwrap();
        }
        Ok(())
    });
    assert!(matches!(stopped, Err(Stopped::Wanted)), "{stopped:?}");
    let copy = path.join("seg-00000000000000000000-0001");
    assert!(!copy.exists());
    // All of the first one is delivered and freed.
    let end = first.sources[0].end.unwrap();
    while spool.reader.position() < end {
        spool.reader.next_block().unwrap().unwrap();
    }
    spool.reader.advance_watermark(end);
    let begun = Instant::now();
    while path.join(first.sources[0].id.to_string()).exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "it is not freed");
        std::thread::yield_now();
    }
    let second = plan(&spool).unwrap();
    assert_eq!(second.sources[0].id, first.sources[1].id);
    rewrite_with(&spool, &second, |_| Ok(())).unwrap();
    spool.writer.close().unwrap();
    drop((spool, shared));
    // As if it could not have been removed.
    copy_dir(&kept, &copy);
    let forgotten = root.path().join("forgotten");
    copy_dir(&path, &forgotten);
    std::fs::remove_file(forgotten.join("progress")).unwrap();
    for (path, from) in [(path, end.0), (forgotten, 0)] {
        let mut after = spool::open(config(&path)).unwrap();
        assert_eq!(after.report.lost, []);
        assert!(read_all(&mut after) == all[usize::try_from(from).unwrap()..]);
    }
}
