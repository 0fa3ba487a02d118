//! From a draft to a block's bytes (the layout is in `block.rs`).

use super::{Block, Draft, HEADER_LEN, MAGIC, MAX_RAW, MAX_ROUTES, VERSION};
use crate::record::{Epoch, Sequence};
use crate::spool::wire;

/// Turns drafts into a block's bytes; owns the compressor.
pub struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// Errors only when zstd cannot allocate its context.
    pub fn new() -> std::io::Result<Self> {
        // Level 1: of all that was measured the best disk per byte at a cost that the commit
        // thread does not notice.
        Ok(Self { zstd: zstd::bulk::Compressor::new(1)?, out: Vec::new() })
    }

    /// The bytes of a block that begins at `first`. The draft is left as it was: a commit
    /// that fails is made again elsewhere. (It is borrowed mutably only so that the table
    /// of routes can stand behind its records while they are compressed.)
    pub fn encode(
        &mut self,
        epoch: Epoch,
        first: Sequence,
        draft: &mut Draft,
    ) -> std::io::Result<&[u8]> {
        let too_large = || std::io::Error::other("a block outgrew its format");
        let records_len = draft.raw.len();
        let routes_at = u32::try_from(records_len).map_err(|_| too_large())?;
        if draft.routes.len() > MAX_ROUTES {
            return Err(too_large());
        }
        wire::put_varint(&mut draft.raw, draft.routes.len() as u64);
        for route in &draft.routes {
            wire::put_bytes(&mut draft.raw, route.path.as_bytes());
            wire::put_bytes(&mut draft.raw, route.topic.as_bytes());
        }
        let packed = self.pack(epoch, first, draft, routes_at);
        draft.raw.truncate(records_len);
        packed?;
        Ok(&self.out)
    }

    fn pack(
        &mut self,
        epoch: Epoch,
        first: Sequence,
        draft: &Draft,
        routes_at: u32,
    ) -> std::io::Result<()> {
        let raw_len = u32::try_from(draft.raw.len()).ok().filter(|len| *len as usize <= MAX_RAW);
        let raw_len = raw_len.ok_or_else(|| std::io::Error::other("a block outgrew its format"))?;
        let out = &mut self.out;
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, 1, 0, 0]);
        out.extend_from_slice(&epoch.0.to_le_bytes());
        out.extend_from_slice(&first.0.to_le_bytes());
        out.extend_from_slice(&draft.count.to_le_bytes());
        out.extend_from_slice(&raw_len.to_le_bytes());
        out.extend_from_slice(&routes_at.to_le_bytes());
        out.extend_from_slice(&draft.base.map_or(0, |base| base.0).to_le_bytes());
        out.resize(HEADER_LEN + zstd::zstd_safe::compress_bound(draft.raw.len()), 0);
        let packed = self.zstd.compress_to_buffer(&draft.raw, &mut out[HEADER_LEN..])?;
        out.truncate(HEADER_LEN + packed);
        Ok(())
    }
}

impl Block {
    /// The bytes of a block of the records given out, each at its sequence and with its id.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut draft = Draft::default();
        (self.first().0..self.end().0).for_each(|sequence| draft.copy(self, Sequence(sequence)));
        Ok(Encoder::new()?.encode(self.epoch(), self.first(), &mut draft)?.to_vec())
    }
}
