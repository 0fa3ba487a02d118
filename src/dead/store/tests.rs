//! Tests of the store on a directory.

use super::*;
use crate::dead::{LookError, Unreadable, read, sample};
use crate::record::{Millis, Sequence};
use std::slice::from_ref;
use tempfile::TempDir;

/// A spool's directory, and letters of its first two records and a large one.
fn letters() -> (TempDir, [Letter; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let block = sample::block(dir.path(), 10_000);
    let letter = |place| Letter::new(&block, Sequence(place), "why", Millis(1)).unwrap().unwrap();
    let letters = [0, 1, 2].map(letter);
    (dir, letters)
}

fn store(dir: &TempDir) -> Store {
    Store::open(dir.path(), Config::default())
}

fn again(dir: &TempDir, reason: &str) -> Letter {
    let path = list(dir.path()).unwrap().remove(0);
    let old = read(&path).unwrap().unwrap();
    Letter::decode(&crate::dead::letter::with_reason(&old, reason)).unwrap()
}

#[test]
fn what_is_kept_is_read_in_the_order_of_the_spool_and_what_is_taken_back_is_gone() {
    let (dir, [first, second, large]) = letters();
    let store = store(&dir);
    assert!(list(dir.path()).unwrap().is_empty());
    for letter in [&large, &first, &second] {
        store.keep(from_ref(letter)).unwrap();
    }
    let found = list(dir.path()).unwrap();
    assert_eq!(store.names().unwrap(), [first.name(), second.name(), large.name()]);
    assert_eq!(found.iter().map(|found| found.bytes).collect::<Vec<_>>(), [4096, 4096, 12_288]);
    let read = read(&found[2]).unwrap().unwrap();
    assert_eq!(read.record().value, large.record().value);
    store.take_back(&second.name()).unwrap();
    store.take_back(&second.name()).unwrap();
    assert_eq!(store.names().unwrap(), [first.name(), large.name()]);
    assert!(crate::dead::read(&found[1]).unwrap().is_none());
}

#[test]
fn a_second_letter_of_a_record_takes_the_place_of_the_first_also_in_a_full_store() {
    let (dir, [first, second, _]) = letters();
    let store = Store::open(dir.path(), Config { max_size: 4096 });
    store.keep(from_ref(&first)).unwrap();
    let newer = again(&dir, "another reason");
    store.keep(from_ref(&newer)).unwrap();
    let found = list(dir.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(read(&found[0]).unwrap().unwrap().reason, "another reason");
    assert!(matches!(
        store.keep(from_ref(&second)),
        Err(KeepError::Full { letters: 1, bytes: 4096, .. })
    ));
}

/// Fails without either bound.
#[test]
fn a_full_store_refuses_keeps_what_it_has_and_says_what_to_do() {
    let (dir, [first, second, large]) = letters();
    let mut store = Store::open(dir.path(), Config { max_size: 16_384 });
    store.keep(from_ref(&large)).unwrap();
    store.keep(from_ref(&first)).unwrap();
    let said = store.keep(from_ref(&second)).unwrap_err().to_string();
    for part in ["2 letters", "16 KiB of 16 KiB", "max_size under [dead]", "dead"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(store.names().unwrap(), [first.name(), large.name()]);
    // Room that a hand has made is found.
    fs::remove_file(place(dir.path()).join(large.name().to_string())).unwrap();
    store.keep(from_ref(&second)).unwrap();
    store.most = 2;
    store.max_size = 1 << 20;
    assert!(matches!(store.keep(from_ref(&large)), Err(KeepError::Full { letters: 2, .. })));
    store.most = 3;
    store.max_size = 4096 * 4;
    assert!(matches!(store.keep(from_ref(&large)), Err(KeepError::Full { .. })));
    store.max_size = 4096 * 5;
    store.keep(from_ref(&large)).unwrap();
}

/// Fails where letters that are kept together do not count for one another, and where one that takes
/// the place of an earlier one counts twice.
#[test]
fn of_several_as_many_of_the_first_are_kept_as_there_is_room_for() {
    let (dir, letters) = letters();
    let mut store = Store::open(dir.path(), Config { max_size: 8192 });
    assert_eq!(store.keep(&letters).unwrap(), 2);
    assert_eq!(store.names().unwrap(), [letters[0].name(), letters[1].name()]);
    assert!(matches!(store.keep(&letters[2..]), Err(KeepError::Full { letters: 2, .. })));
    store.max_size = 4096 * 5;
    assert_eq!(store.keep(&letters).unwrap(), 3);
    store.most = 3;
    assert_eq!(store.keep(&letters).unwrap(), 3);
    assert_eq!(list(dir.path()).unwrap().len(), 3);
    // Nor more than the disk has the time for.
    store.syncing = Duration::ZERO;
    assert_eq!(store.keep(&letters).unwrap(), 1);
    assert!(
        !fs::read_dir(place(dir.path()))
            .unwrap()
            .any(|entry| is_unfinished(&entry.unwrap().path()))
    );
}

#[test]
fn what_is_damaged_or_not_ours_is_named_counted_where_it_has_a_name_and_left() {
    let (dir, [first, second, large]) = letters();
    let store = store(&dir);
    let at = |name: &str| place(dir.path()).join(name);
    store.keep(from_ref(&first)).unwrap();
    store.keep(from_ref(&large)).unwrap();
    let path = at(&first.name().to_string());
    fs::write(&path, &first.bytes()[..50]).unwrap();
    // A copy under the name of another one.
    fs::copy(&path, at(&second.name().to_string())).unwrap();
    fs::write(at(&second.name().to_string()), first.bytes()).unwrap();
    fs::write(at("notes.txt"), "mine").unwrap();
    let newer = [b"WSDL\x02".as_slice(), &[0; 60]].concat();
    fs::write(at(&large.name().to_string()), newer).unwrap();
    let found = list(dir.path()).unwrap();
    assert_eq!(found.len(), 3);
    let whys = found.iter().map(|found| match read(found) {
        Err(LookError::Unreadable { why, .. }) => why,
        other => panic!("{other:?}"),
    });
    let whys: Vec<_> = whys.collect();
    assert_eq!(whys, [Unreadable::Damaged, Unreadable::Damaged, Unreadable::Newer(2)]);
    assert!(read(&found[0]).unwrap_err().to_string().contains(&path.display().to_string()));
    Store::open(dir.path(), Config::default());
    assert!(path.exists() && at("notes.txt").exists());
}

/// Fails without `tidy`, and where it takes more than what is unfinished.
#[test]
fn what_a_crash_kept_from_being_finished_is_no_letter_and_goes_at_the_next_start() {
    let (dir, [first, second, _]) = letters();
    store(&dir).keep(from_ref(&first)).unwrap();
    let unfinished = place(dir.path()).join(format!("{}.new", second.name()));
    fs::write(&unfinished, &second.bytes()[..10]).unwrap();
    let foreign = place(dir.path()).join("mine.new");
    fs::write(&foreign, "x").unwrap();
    assert_eq!(list(dir.path()).unwrap().len(), 1);
    // It is in nobody's way either.
    store(&dir).keep(from_ref(&second)).unwrap();
    fs::write(&unfinished, "").unwrap();
    let store = store(&dir);
    assert!(!unfinished.exists() && foreign.exists());
    assert_eq!(store.names().unwrap(), [first.name(), second.name()]);
}

#[test]
fn a_store_that_cannot_be_written_says_where_and_keeps_what_it_has() {
    let (dir, [first, second, _]) = letters();
    let store = store(&dir);
    // Where the directory should be lies a file.
    fs::write(place(dir.path()), "").unwrap();
    let said = store.keep(from_ref(&first)).unwrap_err().to_string();
    assert!(said.contains("dead") && said.contains("look at the disk"), "{said}");
    fs::remove_file(place(dir.path())).unwrap();
    store.keep(from_ref(&first)).unwrap();
    // What is in the way of the new one is a directory.
    fs::create_dir(place(dir.path()).join(format!("{}.new", second.name()))).unwrap();
    assert!(matches!(store.keep(from_ref(&second)), Err(KeepError::Io { .. })));
    assert_eq!(store.names().unwrap(), [first.name()]);
}
