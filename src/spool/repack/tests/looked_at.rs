//! Does one who looks from outside see everything once, at each step of a rewriting?

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
