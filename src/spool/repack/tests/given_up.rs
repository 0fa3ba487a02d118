//! What of a copy that was given up, and whose removal fails?

use super::{Step, Stopped, check_crashed, filled, plan, rewrite, shared};
use std::path::Path;
use std::process::Command;

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
