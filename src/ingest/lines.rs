//! Where does one line of a batch end and the next begin?
//!
//! Such a batch is text, one message a line, each but perhaps the last ended by a line feed; blank lines
//! are none. The pieces come as the network cuts them. What is held is never more than one message and
//! one piece, however long a line is: one beyond the limit is passed over, and those behind it are found.
//! It does not know what a line says.

use super::framing::{Frame, Framing, NoLength};
use bytes::{Buf, BytesMut};

/// See the module.
#[derive(Debug)]
pub(super) struct Lines {
    /// Bytes of a line without its line feed, at most.
    limit: usize,
    /// What came and was not given out.
    buffer: BytesMut,
    /// So many bytes at its beginning hold no line feed.
    searched: usize,
    /// Bytes of a line beyond the limit that were passed over.
    skipped: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), searched: 0, skipped: 0 }
    }

    /// What a whole line is; `None` where it is blank.
    fn frame(&mut self, line: BytesMut) -> Option<Frame> {
        let length = std::mem::take(&mut self.skipped) + line.len() as u64;
        let is_blank = || line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        if length > self.limit as u64 {
            Some(Frame::TooLarge(length))
        } else if is_blank() {
            None
        } else {
            Some(Frame::Message(line))
        }
    }
}

impl Framing for Lines {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    fn next(&mut self) -> Result<Option<Frame>, NoLength> {
        while let Some(place) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let line = self.buffer.split_to(self.searched + place);
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(frame) = self.frame(line) {
                return Ok(Some(frame));
            }
        }
        if self.buffer.len() > self.limit || self.skipped > 0 {
            self.skipped += self.buffer.len() as u64;
            self.buffer.clear();
        }
        self.searched = self.buffer.len();
        Ok(None)
    }

    fn end(&mut self) -> Option<Frame> {
        let line = std::mem::take(&mut self.buffer);
        self.searched = 0;
        self.frame(line)
    }

    fn is_between(&self) -> bool {
        self.buffer.is_empty() && self.skipped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 10;

    /// All that is found in these pieces.
    fn found(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut lines = Lines::new(LIMIT);
        let mut all = Vec::new();
        for piece in pieces {
            lines.buffer().extend_from_slice(piece);
            while let Ok(Some(frame)) = lines.next() {
                all.push(frame);
            }
            assert!(lines.buffer.len() <= LIMIT, "{}", lines.buffer.len());
        }
        all.extend(lines.end());
        assert!(lines.is_between());
        all
    }

    fn message(line: &str) -> Frame {
        Frame::Message(line.as_bytes().into())
    }

    #[test]
    fn each_line_is_a_message_and_so_is_a_last_one_without_its_line_feed() {
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[b"a\nb\n"]), [message("a"), message("b")]);
        assert_eq!(found(&[b"a\nb"]), [message("a"), message("b")]);
        assert_eq!(found(&[b"a", b"b", b"\n", b"c\r\n"]), [message("ab"), message("c\r")]);
    }

    #[test]
    fn blank_lines_are_none() {
        assert_eq!(found(&[b"\n\n \t\r\n", b"\n", b"a\n\n", b" "]), [message("a")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_with_its_length_and_the_next_is_found() {
        let frames = [Frame::TooLarge(11), message("0123456789")];
        assert_eq!(found(&[b"0123456789a\n0123456789\n"]), frames);
        assert_eq!(found(&[b"01234", b"567", b"89a", b"\n0123456789"]), frames);
        assert_eq!(found(&[b"0123456789a", b"", b"\n", b"0123456789"]), frames);
        assert_eq!(found(&[b"0123456789", b"abcdefghij", b"k"]), [Frame::TooLarge(21)]);
    }

    proptest! {
        #[test]
        fn however_the_pieces_are_cut_the_lines_are_the_same(
            text in "[ab \r\n\n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> =
                cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let lines = text.split('\n').filter_map(|line| match line.len() {
                0..=LIMIT if line.trim().is_empty() => None,
                0..=LIMIT => Some(message(line)),
                length => Some(Frame::TooLarge(length as u64)),
            });
            prop_assert_eq!(found(&pieces), lines.collect::<Vec<_>>());
        }
    }
}
