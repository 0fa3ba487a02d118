//! What must hold for any bytes of a batch, one function a framing.
//!
//! The door for `fuzz/`, whose targets are these functions, and for `tests/corpus.rs`, which
//! replays in the gate what fuzzing found. Each panics when what was found in pieces is not what a
//! reader finds that has all of it at once, or when more is held than a message and a piece.
//!
//! It is no part of the service: nothing calls it there.

use super::framing::{Delimited, Frame, Framing, NoLength};
use super::lines::Lines;

/// What a batch was found to be: its messages, and how it ends.
type Found = (Vec<Frame>, End);

#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Between two messages.
    Between,
    /// In the middle of one.
    Inside,
    /// Where a length is none.
    NoLength,
}

/// A batch of messages behind their lengths.
pub fn delimited(data: &[u8]) {
    check(data, Delimited::new, at_once_delimited);
}

/// A batch of lines.
pub fn lines(data: &[u8]) {
    check(data, Lines::new, at_once_lines);
}

/// The first byte is the limit of a message, the second says how the rest is cut.
fn check<F: Framing>(data: &[u8], new: fn(usize) -> F, at_once: fn(usize, &[u8]) -> Found) {
    let [limit, cut, batch @ ..] = data else { return };
    let limit = usize::from(*limit);
    let mut cuts = fastrand::Rng::with_seed((*cut).into());
    // From a byte at a time to all at once.
    let largest = 1 << (cut % 13);
    let mut rest = batch;
    let mut framing = new(limit);
    let mut frames = Vec::new();
    let end = loop {
        match framing.next() {
            Ok(Some(frame)) => {
                frames.push(frame);
                continue;
            }
            Ok(None) => {}
            Err(NoLength) => break End::NoLength,
        }
        // Ten bytes are the longest length.
        assert!(framing.buffer().len() <= limit + 10, "{} are held", framing.buffer().len());
        if rest.is_empty() {
            frames.extend(framing.end());
            break if framing.is_between() { End::Between } else { End::Inside };
        }
        let (piece, behind) = rest.split_at(cuts.usize(1..=largest).min(rest.len()));
        framing.buffer().extend_from_slice(piece);
        rest = behind;
    };
    assert_eq!((frames, end), at_once(limit, batch));
}

fn at_once_delimited(limit: usize, mut batch: &[u8]) -> Found {
    let mut frames = Vec::new();
    while !batch.is_empty() {
        let length = batch.len();
        let is_whole = batch.iter().take(10).any(|byte| byte & 0x80 == 0);
        let Ok(length) = prost::encoding::decode_varint(&mut batch) else {
            let end = if is_whole || length >= 10 { End::NoLength } else { End::Inside };
            return (frames, end);
        };
        let fits = usize::try_from(length).ok().filter(|length| *length <= limit);
        if fits.is_none() {
            frames.push(Frame::TooLarge(length));
        }
        let Some((message, behind)) =
            usize::try_from(length).ok().and_then(|length| batch.split_at_checked(length))
        else {
            return (frames, End::Inside);
        };
        if fits.is_some() {
            frames.push(Frame::Message(message.into()));
        }
        batch = behind;
    }
    (frames, End::Between)
}

fn at_once_lines(limit: usize, batch: &[u8]) -> Found {
    let mut frames = Vec::new();
    for line in batch.split(|byte| *byte == b'\n') {
        if line.len() > limit {
            frames.push(Frame::TooLarge(line.len() as u64));
        } else if !line.iter().all(|byte| b" \t\r".contains(byte)) {
            frames.push(Frame::Message(line.into()));
        }
    }
    (frames, End::Between)
}
