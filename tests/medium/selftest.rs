//! Does the test medium lose what was not synced, and only that?

use crate::medium::crash::Keep;
use crate::medium::disk::{Disk, Layers};
use crate::medium::tree::{Inode, Kind, Node, ROOT, Tree};
use std::collections::BTreeMap;

fn create(disk: &mut Disk, dir: Inode, name: &str, kind: Kind) -> Inode {
    disk.create((dir, name.into()), kind).unwrap()
}

fn sync(disk: &mut Disk, inodes: &[Inode]) {
    for inode in inodes {
        disk.sync(*inode).unwrap();
    }
}

/// Every path with the file's bytes.
fn files(tree: &Tree, dir: Inode, path: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for (name, inode) in tree.names(dir).unwrap() {
        let path = format!("{path}/{}", name.to_str().unwrap());
        match tree.node(*inode).unwrap() {
            Node::File(content) => {
                found.insert(path, content.read(0, 1 << 20));
            }
            Node::Dir(_) => found.append(&mut files(tree, *inode, &path)),
        }
    }
    found
}

fn after(disk: &Disk, keep: Keep) -> BTreeMap<String, Vec<u8>> {
    let left = disk.layers().crash(keep, &mut fastrand::Rng::with_seed(1));
    files(&left.now, ROOT, "")
}

fn paths(disk: &Disk, keep: Keep) -> Vec<String> {
    after(disk, keep).into_keys().collect()
}

#[test]
fn a_synced_file_in_a_directory_that_was_not_synced_is_gone_with_its_name() {
    let mut disk = Disk::new(Layers::new());
    let dir = create(&mut disk, ROOT, "dir", Kind::Dir);
    let file = create(&mut disk, dir, "file", Kind::File);
    disk.write(file, 0, b"bytes").unwrap();
    disk.sync(file).unwrap();
    assert_eq!(paths(&disk, Keep::Nothing), [""; 0]);
    disk.sync(ROOT).unwrap();
    assert_eq!(paths(&disk, Keep::Nothing), [""; 0]);
    disk.sync(dir).unwrap();
    assert_eq!(after(&disk, Keep::Nothing)["/dir/file"], b"bytes");
}

#[test]
fn bytes_that_were_not_synced_are_gone_and_those_before_them_are_not() {
    let mut disk = Disk::new(Layers::new());
    let file = create(&mut disk, ROOT, "file", Kind::File);
    disk.sync(ROOT).unwrap();
    disk.write(file, 0, b"old").unwrap();
    disk.sync(file).unwrap();
    disk.write(file, 0, b"new and longer").unwrap();
    assert_eq!(after(&disk, Keep::Nothing)["/file"], b"old");
    assert_eq!(after(&disk, Keep::Entries)["/file"], b"old\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(after(&disk, Keep::Everything)["/file"], b"new and longer");
    disk.set_len(file, 1).unwrap();
    disk.set_len(file, 3).unwrap();
    assert_eq!(after(&disk, Keep::Everything)["/file"], b"n\0\0");
}

#[test]
fn a_rename_is_one_step_and_the_sync_of_either_directory_keeps_it() {
    for synced in 0..3 {
        let mut disk = Disk::new(Layers::new());
        let trash = create(&mut disk, ROOT, "trash", Kind::Dir);
        let dir = create(&mut disk, ROOT, "dir", Kind::Dir);
        let file = create(&mut disk, dir, "file", Kind::File);
        sync(&mut disk, &[ROOT, dir]);
        disk.rename((ROOT, "dir".into()), (trash, "dir".into())).unwrap();
        let there = match synced {
            0 => "/dir/file",
            1 => {
                disk.sync(ROOT).unwrap();
                "/trash/dir/file"
            }
            _ => {
                disk.sync(trash).unwrap();
                "/trash/dir/file"
            }
        };
        disk.sync(file).unwrap();
        assert_eq!(paths(&disk, Keep::Nothing), [there]);
        for seed in 0..20 {
            let left = disk.layers().crash(Keep::Some, &mut fastrand::Rng::with_seed(seed));
            assert_eq!(files(&left.now, ROOT, "").len(), 1, "it is in one of the two places");
        }
    }
}

#[test]
fn a_torn_page_is_part_old_part_new_at_the_borders_of_sectors() {
    let mut disk = Disk::new(Layers::new());
    let file = create(&mut disk, ROOT, "file", Kind::File);
    disk.write(file, 0, &[1; 8192]).unwrap();
    sync(&mut disk, &[ROOT, file]);
    disk.write(file, 100, &[2; 8000]).unwrap();
    let (mut whole, mut torn) = (0, 0);
    for seed in 0..200 {
        let left = disk.layers().crash(Keep::Some, &mut fastrand::Rng::with_seed(seed));
        let bytes = &files(&left.now, ROOT, "")["/file"];
        assert!(bytes[..100].iter().chain(&bytes[8100..]).all(|byte| *byte == 1));
        for sector in bytes.chunks(512) {
            let written: Vec<u8> = sector.iter().copied().filter(|byte| *byte == 2).collect();
            assert!([0, 412, 420, 512].contains(&written.len()), "a sector is torn");
        }
        for page in bytes.chunks(4096) {
            let new = page.chunks(512).filter(|sector| sector[256] == 2).count();
            if new == 0 || new == 8 { whole += 1 } else { torn += 1 }
        }
    }
    assert!(whole > 0 && torn > 0, "{whole} pages whole, {torn} torn");
}

#[test]
fn a_name_that_was_removed_may_come_back_and_its_bytes_with_it() {
    let mut disk = Disk::new(Layers::new());
    let file = create(&mut disk, ROOT, "file", Kind::File);
    disk.write(file, 0, b"bytes").unwrap();
    sync(&mut disk, &[ROOT, file]);
    disk.remove((ROOT, "file".into())).unwrap();
    assert_eq!(paths(&disk, Keep::Everything), [""; 0]);
    assert_eq!(after(&disk, Keep::Nothing)["/file"], b"bytes");
    disk.sync(ROOT).unwrap();
    assert_eq!(paths(&disk, Keep::Nothing), [""; 0]);
}

#[test]
fn what_a_failed_sync_did_not_make_durable_no_later_one_does() {
    let mut disk = Disk::new(Layers::new());
    let file = create(&mut disk, ROOT, "file", Kind::File);
    sync(&mut disk, &[ROOT]);
    disk.write(file, 0, b"bytes").unwrap();
    disk.guard(Box::new(|_, _, _| Err(rustix::io::Errno::IO)));
    assert!(disk.sync(file).is_err());
    disk.unguarded();
    sync(&mut disk, &[file]);
    assert_eq!(disk.read(file, 0, 10).unwrap(), b"bytes");
    assert_eq!(after(&disk, Keep::Everything)["/file"], b"");
}
