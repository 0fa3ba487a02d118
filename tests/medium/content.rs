//! The bytes of one file: sparse, and cheap to copy, since copies share their pages.

use std::collections::BTreeMap;
use std::sync::Arc;

pub const PAGE: usize = 4096;

#[derive(Debug, Clone, Default)]
pub struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that it takes on the disk: a hole takes none.
    pub fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    /// Whether writing there needs no room.
    pub fn has(&self, offset: u64, len: usize) -> bool {
        pieces(offset, len).all(|(_, page, ..)| self.pages.contains_key(&page))
    }

    pub fn read(&self, offset: u64, size: usize) -> Vec<u8> {
        let size = usize::try_from(self.len.saturating_sub(offset)).unwrap().min(size);
        let mut out = vec![0; size];
        for (at, page, within, len) in pieces(offset, size) {
            if let Some(bytes) = self.pages.get(&page) {
                out[at..at + len].copy_from_slice(&bytes[within..within + len]);
            }
        }
        out
    }

    /// Writing no bytes behind the end makes the file longer, and that is all.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (at, page, within, len) in pieces(offset, bytes.len()) {
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[within..within + len].copy_from_slice(&bytes[at..at + len]);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// What a shorter file lets go reads as zeros when it grows again.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.retain(|page, _| page * (PAGE as u64) < len);
            let within = usize::try_from(len % PAGE as u64).unwrap();
            if let Some(last) = self.pages.get_mut(&(len / PAGE as u64)) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }
}

/// A range cut at the borders of pages: where in the range, which page, where in it, how much.
pub fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = offset + at as u64;
        let within = usize::try_from(here % PAGE as u64).unwrap();
        let piece = (PAGE - within).min(len - at);
        let found = (at, here / PAGE as u64, within, piece);
        at += piece;
        (piece > 0).then_some(found)
    })
}
