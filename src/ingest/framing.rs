//! Where does one message of a batch end and the next begin?
//!
//! A batch is its messages one after the other, each behind its length as a varint: what protobuf's
//! libraries write by `writeDelimitedTo` and its likes. The pieces come as the network cuts them. What is held is never more than one
//! message and one piece; a message beyond the limit is passed over by its length, and those behind
//! it are found. It does not know what a message says.

use bytes::{Buf, BytesMut};

/// Bytes of the longest varint: seven bits each of 64.
const LONGEST: usize = 10;

/// What was found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Message(BytesMut),
    /// One of so many bytes, which is more than a message may have.
    TooLarge(u64),
}

/// A length that is none: more than ten bytes, or more than 64 bits. Nothing behind it can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoLength;

/// Finds the messages of a batch in its pieces.
pub(super) trait Framing {
    /// Where the next piece is to be put, at the end.
    fn buffer(&mut self) -> &mut BytesMut;

    /// The next message, if it has come whole.
    fn next(&mut self) -> Result<Option<Frame>, NoLength>;

    /// What the end of the batch makes whole, behind the last of [`next`](Self::next).
    fn end(&mut self) -> Option<Frame>;

    /// Whether nothing of a further message has come: here a batch may end.
    fn is_between(&self) -> bool;
}

/// Messages behind their lengths; see the module.
#[derive(Debug)]
pub(super) struct Delimited {
    /// Bytes of a message, at most.
    limit: usize,
    /// What came and was not given out.
    buffer: BytesMut,
    /// Bytes still to come of a message that is passed over.
    skip: u64,
}

impl Delimited {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), skip: 0 }
    }
}

impl Framing for Delimited {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn is_between(&self) -> bool {
        self.buffer.is_empty() && self.skip == 0
    }

    fn end(&mut self) -> Option<Frame> {
        None
    }

    fn next(&mut self) -> Result<Option<Frame>, NoLength> {
        let skipped = self.skip.min(self.buffer.len() as u64);
        // No more than the buffer has.
        self.buffer.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some((length, taken)) = varint(&self.buffer)? else { return Ok(None) };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= self.limit)
        else {
            self.buffer.advance(taken);
            self.skip = length;
            return Ok(Some(Frame::TooLarge(length)));
        };
        if self.buffer.len() - taken < length {
            return Ok(None);
        }
        self.buffer.advance(taken);
        Ok(Some(Frame::Message(self.buffer.split_to(length))))
    }
}

/// The number at the beginning, and how many bytes it has; `None` where it has not come whole.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, NoLength> {
    let mut number = 0;
    for (place, byte) in bytes.iter().take(LONGEST).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte only one bit has room.
        if place == LONGEST - 1 && *byte > 1 {
            return Err(NoLength);
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((number, place + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    /// All that is found in these pieces, and whether a batch may end there.
    fn found(limit: usize, pieces: &[&[u8]]) -> (Vec<Result<Frame, NoLength>>, bool) {
        let mut framing = Delimited::new(limit);
        let mut all = Vec::new();
        for piece in pieces {
            framing.buffer().extend_from_slice(piece);
            loop {
                match framing.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => all.push(Ok(frame)),
                    Err(NoLength) => {
                        all.push(Err(NoLength));
                        return (all, false);
                    }
                }
            }
            assert!(framing.buffer.len() <= limit + LONGEST, "{}", framing.buffer.len());
        }
        (all, framing.is_between())
    }

    fn message(bytes: &[u8]) -> Frame {
        Frame::Message(bytes.into())
    }

    #[test]
    fn messages_are_found_one_after_the_other() {
        assert_eq!(found(10, &[]), (vec![], true));
        assert_eq!(found(10, &[b"\x00"]), (vec![Ok(message(b""))], true));
        let two = (vec![Ok(message(b"abc")), Ok(message(b"de"))], true);
        assert_eq!(found(10, &[b"\x03abc\x02de"]), two);
        // As others may write a length: with more bytes than it needs.
        assert_eq!(found(10, &[b"\x83\x80\x00abc\x02de"]), two);
    }

    #[test]
    fn a_batch_that_breaks_off_does_so_in_the_middle_of_a_message() {
        assert_eq!(found(10, &[b"\x03abc\x02d"]), (vec![Ok(message(b"abc"))], false));
        assert_eq!(found(200, &[b"\x03abc\x80"]), (vec![Ok(message(b"abc"))], false));
    }

    #[test]
    fn one_that_is_too_large_is_passed_over_and_the_next_is_found() {
        let frames = vec![Ok(Frame::TooLarge(11)), Ok(message(b"abc"))];
        assert_eq!(found(10, &[b"\x0b0123456789a\x03abc"]), (frames.clone(), true));
        assert_eq!(found(10, &[b"\x0b01234", b"56", b"789a\x03a", b"bc"]), (frames, true));
        let (frames, between) = found(10, &[b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01abc"]);
        assert_eq!((frames, between), (vec![Ok(Frame::TooLarge(u64::MAX))], false));
    }

    #[test]
    fn a_length_that_is_none_is_told_from_one_that_has_not_come() {
        let (frames, _) = found(10, &[&[0x80; 9]]);
        assert_eq!(frames, []);
        for tenth in [0x02, 0x80, 0xff] {
            let (frames, _) = found(10, &[&[0x80; 9], &[tenth]]);
            assert_eq!(frames, [Err(NoLength)]);
        }
    }

    proptest! {
        #[test]
        fn however_the_pieces_are_cut_the_messages_are_the_same(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            const LIMIT: usize = 200;
            let mut all = Vec::new();
            for message in &messages {
                prost::encoding::encode_varint(message.len() as u64, &mut all);
                all.put_slice(message);
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(all.len() + 1)).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            // As the network would, none is larger than a buffer.
            let pieces: Vec<_> =
                cuts.windows(2).flat_map(|cut| all[cut[0]..cut[1]].chunks(LIMIT / 2)).collect();
            let expected: Vec<_> = messages
                .iter()
                .map(|message| match message.len() {
                    0..=LIMIT => Ok(Frame::Message(message[..].into())),
                    length => Ok(Frame::TooLarge(length as u64)),
                })
                .collect();
            prop_assert_eq!(found(LIMIT, &pieces), (expected, true));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let pieces: Vec<_> = bytes.chunks(50).collect();
            found(100, &pieces);
        }
    }
}
