//! How a body was compressed (`Content-Encoding`), and how that is undone within a limit.
//!
//! What comes out is never more than a message may be, whatever the compressed bytes promise: one that
//! would become gigabytes costs as much as the largest message. It does not know what the bytes
//! mean.

use super::problem::{Problem, Reason};
use bytes::Bytes;
use std::convert::Infallible;
use std::io::Read;
use std::str::FromStr;

/// The largest window that a zstd frame may ask for, as a power of two: the 8 MiB that every decoder for
/// HTTP must have (RFC 9659). Memory is used only as far as something comes out.
const WINDOW: u32 = 23;

/// What `Content-Encoding` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The body is as it is.
    Identity,
    Gzip,
    Zstd,
    /// Another one, or several on top of each other.
    Other,
}

impl FromStr for Encoding {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let codings = text.split(',').map(str::trim).filter(|coding| !coding.is_empty());
        let mut found = Self::Identity;
        for coding in codings {
            let is = |name: &str| coding.eq_ignore_ascii_case(name);
            found = match found {
                same if is("identity") => same,
                Self::Identity if is("gzip") || is("x-gzip") => Self::Gzip,
                Self::Identity if is("zstd") => Self::Zstd,
                _ => return Ok(Self::Other),
            };
        }
        Ok(found)
    }
}

impl Encoding {
    /// The body as it was before it was compressed, if that has at most `limit` bytes.
    pub(super) fn undo(self, body: Bytes, limit: usize) -> Result<Bytes, Problem> {
        match self {
            Self::Identity | Self::Other => Ok(body),
            Self::Gzip => read("gzip", flate2::bufread::MultiGzDecoder::new(&body[..]), limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..])
                    .map_err(|error| broken("zstd", &error))?;
                decoder.window_log_max(WINDOW).map_err(|error| broken("zstd", &error))?;
                if body.is_empty() {
                    // No frame at all would be taken for one with nothing in it.
                    return Err(broken("zstd", &"it is empty"));
                }
                read("zstd", decoder, limit)
            }
        }
    }
}

fn read(name: &str, from: impl Read, limit: usize) -> Result<Bytes, Problem> {
    let mut all = Vec::new();
    // One more than it may have, to tell what is too large from what just fits.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut all).map_err(|error| broken(name, &error))?;
    if all.len() > limit {
        let detail = format!("a message may have {limit} bytes; uncompressed it has more");
        return Err(Problem::new(Reason::TooLarge, detail));
    }
    Ok(all.into())
}

fn broken(name: &str, why: &dyn std::fmt::Display) -> Problem {
    Problem::new(Reason::Malformed, format!("the body is not {name}, as announced: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn zstd(bytes: &[u8]) -> Bytes {
        zstd::stream::encode_all(bytes, 3).unwrap().into()
    }

    fn both(bytes: &[u8]) -> [(Encoding, Bytes); 2] {
        [(Encoding::Gzip, gzip(bytes)), (Encoding::Zstd, zstd(bytes))]
    }

    #[test]
    fn the_codings_that_are_taken_are_known_by_their_names() {
        for (text, encoding) in [
            ("", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("Identity, identity", Encoding::Identity),
            ("gzip", Encoding::Gzip),
            ("x-gzip", Encoding::Gzip),
            (" GZip , identity", Encoding::Gzip),
            ("zstd", Encoding::Zstd),
            ("gzip, gzip", Encoding::Other),
            ("zstd, gzip", Encoding::Other),
            ("br", Encoding::Other),
            ("deflate", Encoding::Other),
        ] {
            assert_eq!(text.parse(), Ok(encoding), "{text:?}");
        }
    }

    #[test]
    fn what_just_fits_is_taken_and_a_byte_more_is_not() {
        for (encoding, body) in both(&[7; 1_000]) {
            assert_eq!(encoding.undo(body.clone(), 1_000).unwrap(), vec![7; 1_000]);
            let problem = encoding.undo(body, 999).unwrap_err();
            assert_eq!(problem.reason, Reason::TooLarge, "{problem:?}");
        }
    }

    #[test]
    fn several_members_one_after_the_other_are_one_body() {
        for (encoding, first) in both(b"first ") {
            let second = if encoding == Encoding::Gzip { gzip(b"second") } else { zstd(b"second") };
            let body = [first, second].concat().into();
            assert_eq!(encoding.undo(body, 100).unwrap(), "first second");
        }
    }

    #[test]
    fn what_breaks_off_or_is_something_else_is_refused_by_the_name_of_the_coding() {
        for (encoding, body) in both(b"a message of a tracker") {
            let name = format!("not {encoding:?}, as announced").to_lowercase();
            let cut = (0..body.len()).map(|end| body.slice(..end));
            let other = [Bytes::from_static(b"neither"), [&body[..], b"junk!"].concat().into()];
            for body in cut.chain(other) {
                let problem = encoding.undo(body.clone(), 1_000).unwrap_err();
                assert_eq!(problem.reason, Reason::Malformed, "{body:?}");
                assert!(problem.detail.contains(&name), "{}", problem.detail);
            }
        }
    }

    #[test]
    fn a_window_that_nobody_has_to_have_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW + 1).unwrap();
        encoder.write_all(&[1; 100]).unwrap();
        let body = encoder.finish().unwrap();
        let problem = Encoding::Zstd.undo(body.into(), 1_000).unwrap_err();
        assert_eq!(problem.reason, Reason::Malformed);
    }

    proptest! {
        #[test]
        fn whatever_was_compressed_comes_out_again(
            bytes in prop::collection::vec(any::<u8>(), 0..2_000)
        ) {
            for (encoding, body) in both(&bytes) {
                prop_assert_eq!(&encoding.undo(body, bytes.len()).unwrap()[..], &bytes[..]);
            }
        }

        #[test]
        fn no_bytes_become_more_than_a_message_may_be(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            limit in 0_usize..1_000,
        ) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                if let Ok(body) = encoding.undo(bytes.clone().into(), limit) {
                    prop_assert!(body.len() <= limit);
                }
            }
        }
    }
}
