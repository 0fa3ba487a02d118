//! What of the dead letters survives a power cut, and a disk that fails?
//!
//! The store lies on a medium (`medium/`) that knows what was synced. It is cut before every sync,
//! and any part of what was not synced may be left; and every access fails once.
//!
//! `WAYSTATION_SEED` repeats a run, `WAYSTATION_POWER_CUTS` makes it longer.

use crate::medium::crash::Keep;
use crate::medium::disk::{Access, Layers};
use crate::medium::mount::Mount;
use crate::medium::{cuts, random};
use crate::support as spool;
use fastrand::Rng;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use waystation::dead::{self, Config, Letter, Store};
use waystation::record::{Millis, Sequence};
use waystation::spool::Block;

/// Where the spool lies on a disk.
const PLACE: &str = "lib/spool";
const RECORDS: u64 = 5;

fn block() -> Block {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = spool::open_one_block_a_batch(dir.path());
    spool::append_all(&spool, &spool::values(5, 9_000, 1)).unwrap();
    let block = spool.reader.next_block().unwrap().unwrap();
    assert_eq!(block.records().count() as u64, RECORDS);
    block
}

fn letter(block: &Block, place: u64, reason: u64) -> Letter {
    let reason = reason.to_string();
    Letter::new(block, Sequence(place), &reason, Millis(1)).unwrap().unwrap()
}

/// The reasons of the letters that are there, by place.
type Letters = BTreeMap<u64, String>;

/// Every letter that has its name is whole.
fn letters(spool: &Path, block: &Block) -> Letters {
    let read = |found: &dead::Found| {
        let letter = dead::read(found).unwrap().unwrap();
        let place = letter.name().place;
        assert_eq!(letter.record().value, block.record(place).unwrap().value);
        (place.0, letter.reason)
    };
    dead::list(spool).unwrap().iter().map(read).collect()
}

/// What was promised, and what is being done.
#[derive(Debug, Clone, Default)]
struct Known {
    before: Letters,
    after: Letters,
}

impl Known {
    /// Each letter is as it was before what was under way, or as it would have been after.
    fn check(&self, found: &Letters) {
        for place in 0..RECORDS {
            let found = found.get(&place);
            let may_be = [self.before.get(&place), self.after.get(&place)];
            assert!(may_be.contains(&found), "{place}: {found:?}, {self:?}");
        }
    }
}

/// A disk with an empty spool's directory, which is durable.
fn empty(mount: &Mount) -> Layers {
    let disk = mount.insert(Layers::new());
    let dir = disk.path().join(PLACE);
    fs::create_dir_all(&dir).unwrap();
    for dir in dir.ancestors().take(3) {
        File::open(dir).unwrap().sync_all().unwrap();
    }
    disk.layers()
}

/// Something happens: letters are kept together, some of them anew, or one is taken back.
fn step(store: &Store, block: &Block, known: &Mutex<Known>, n: u64, random: &mut Rng) -> bool {
    let mut places: Vec<_> = (0..RECORDS).collect();
    random.shuffle(&mut places);
    places.truncate(random.usize(1..=3));
    let keep = random.u8(..3) > 0;
    if !keep {
        places.truncate(1);
    }
    let after = {
        let mut known = known.lock().unwrap();
        for place in &places {
            if keep {
                known.after.insert(*place, n.to_string())
            } else {
                known.after.remove(place)
            };
        }
        known.after.clone()
    };
    let letters: Vec<_> = places.iter().map(|place| letter(block, *place, n)).collect();
    let done = if keep {
        store.keep(&letters).is_ok_and(|kept| kept == letters.len())
    } else {
        store.take_back(&letters[0].name()).is_ok()
    };
    if done {
        known.lock().unwrap().before = after;
    }
    done
}

/// Fails without any sync of the store, and where a letter is written under its own name.
#[test]
fn whatever_a_power_cut_leaves_has_every_letter_that_was_kept_whole() {
    let Some(mount) = Mount::new() else { return };
    let (mut random, block) = (random(), block());
    let mut left = empty(&mount);
    let mut before = Letters::new();
    let (mut made, mut states, mut n) = (0, 0, 0);
    while made < cuts(60) {
        let disk = mount.insert(left.clone());
        let spool = disk.path().join(PLACE);
        let known = Arc::new(Mutex::new(Known { before: before.clone(), after: before.clone() }));
        let seen: Arc<Mutex<Vec<(Layers, Known)>>> = Arc::default();
        let (told, cut) = (Arc::clone(&known), Arc::clone(&seen));
        disk.disk().guard(Box::new(move |access, _, layers| {
            if access == Access::Sync {
                cut.lock().unwrap().push((layers.clone(), told.lock().unwrap().clone()));
            }
            Ok(())
        }));
        let store = Store::open(&spool, Config::default());
        for _ in 0..6 {
            n += 1;
            assert!(step(&store, &block, &known, n, &mut random));
        }
        disk.disk().unguarded();
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.push((disk.layers(), known.lock().unwrap().clone()));
        made += seen.len() as u64;
        let goes_on = random.usize(..seen.len());
        for (at, (layers, known)) in seen.iter().enumerate() {
            for keep in Keep::ALL {
                let layers = layers.crash(keep, &mut random);
                let disk = mount.insert(layers.clone());
                let spool = disk.path().join(PLACE);
                let found = letters(&spool, &block);
                known.check(&found);
                // It goes on by itself.
                let store = Store::open(&spool, Config::default());
                assert_eq!(letters(&spool, &block), found);
                store.keep(&[letter(&block, 0, n)]).unwrap();
                states += 1;
                if at == goes_on && random.u8(..3) == 0 {
                    (left, before) = (layers, found);
                }
            }
        }
    }
    println!("{made} cuts, {states} states of the disk");
}

/// Fails where an error is taken for a success, and where what a failed write left is renamed.
#[test]
fn whichever_access_fails_no_letter_is_lost_and_the_next_one_is_kept() {
    let Some(mount) = Mount::new() else { return };
    let block = block();
    let start = empty(&mount);
    for error in [Errno::IO, Errno::NOSPC] {
        let mut at = 0;
        loop {
            let disk = mount.insert(start.clone());
            let spool = disk.path().join(PLACE);
            let store = Store::open(&spool, Config::default());
            store.keep(&[letter(&block, 0, 1)]).unwrap();
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            disk.disk().guard(Box::new(move |_, _, _| {
                if counted.fetch_add(1, Relaxed) == at { Err(error) } else { Ok(()) }
            }));
            // A new one, and two together, one of them in the place of another.
            let (one, two) = ([letter(&block, 1, 2)], [letter(&block, 0, 3), letter(&block, 2, 3)]);
            let kept = [&one[..], &two[..]].map(|letters| store.keep(letters).is_ok());
            disk.disk().unguarded();
            let found = letters(&spool, &block);
            let expected = |kept: bool, new: &str, old: Option<&str>, found: Option<&String>| {
                let found = found.map(String::as_str);
                assert!(found == Some(new) || (!kept && found == old), "{at}: {found:?}");
            };
            expected(kept[0], "2", None, found.get(&1));
            expected(kept[1], "3", Some("1"), found.get(&0));
            expected(kept[1], "3", None, found.get(&2));
            store.keep(&[letter(&block, 1, 4)]).unwrap();
            store.keep(&[letter(&block, 0, 5), letter(&block, 2, 5)]).unwrap();
            assert_eq!(letters(&spool, &block).into_values().collect::<Vec<_>>(), ["5", "4", "5"]);
            if count.load(Relaxed) <= at {
                assert_eq!(kept, [true, true]);
                println!("{error}: {at} accesses failed, one after the other");
                assert!(at > 10);
                break;
            }
            at += 1;
        }
    }
}
