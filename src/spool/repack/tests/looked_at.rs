//! Does one who looks from outside see everything once, at each step of a rewriting?

use super::{filled, plan, rewrite_with};
use crate::record::RecordId;
use crate::spool::outside::{self, Selection, Selector};
use std::path::Path;

/// Everything is there once.
pub fn check(dir: &Path, all: &[(RecordId, Vec<u8>)]) {
    let verified = outside::verify(dir, |_| {}).unwrap();
    assert_eq!(verified.damage, [], "{}", dir.display());
    assert_eq!(verified.records, all.len() as u64, "{}", dir.display());
    let mut selector = Selector::new(dir, Selection::default()).unwrap();
    let mut seen = Vec::new();
    while let Some(block) = selector.next_block().unwrap() {
        seen.extend(selector.selected(&block).map(|r| (r.id, r.value.to_vec())));
    }
    assert!(seen == all, "{}: {} were exported", dir.display(), seen.len());
    assert_eq!(selector.missing(), [], "{}", dir.display());
}

/// Fails without `between` in `Selector::next_block`: what was read is exported again.
#[test]
fn who_looks_goes_on_in_the_copy_in_the_midst_of_it_as_well() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, all) = filled(&path);
    let plan = plan(&spool).unwrap();
    let mut selector = Selector::new(&path, Selection::default()).unwrap();
    let mut seen = Vec::new();
    let mut rewritten = false;
    while let Some(block) = selector.next_block().unwrap() {
        assert_eq!(seen.len() as u64, block.first().0, "the block begins where reading was");
        seen.extend(selector.selected(&block).map(|r| (r.id, r.value.to_vec())));
        if !std::mem::replace(&mut rewritten, true) {
            rewrite_with(&spool, &plan, |_| Ok(())).unwrap();
        }
    }
    assert!(seen == all, "{} were exported", seen.len());
    assert_eq!(selector.missing(), []);
}

/// Fails when `verify` counts all records of a block of which some were read before.
#[test]
fn what_is_merged_while_it_is_verified_is_counted_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("spool");
    let (spool, all) = filled(&path);
    let plan = plan(&spool).unwrap();
    let mut rewritten = false;
    let verified = outside::verify(&path, |_| {
        if !std::mem::replace(&mut rewritten, true) {
            rewrite_with(&spool, &plan, |_| Ok(())).unwrap();
        }
    });
    let verified = verified.unwrap();
    assert_eq!((verified.damage, verified.records), (vec![], all.len() as u64));
}
