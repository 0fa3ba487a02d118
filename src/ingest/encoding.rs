//! How was a body compressed (`Content-Encoding`), and what was it before?
//!
//! What comes out is asked for piece by piece, so that one that would become gigabytes costs no more than
//! what somebody is ready to read. It does not know what the bytes mean, nor how many there may be.

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// The largest window that a zstd frame may ask for, as a power of two: 2 MiB, which the levels up to 8 use
/// for what is long, and more than any message. A decoder has that much memory for as long as its body
/// takes.
const WINDOW: u32 = 21;

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
    /// The body as it was before it was compressed.
    pub(super) fn undo<R: AsyncBufRead>(self, body: R) -> Plain<R> {
        match self {
            Self::Identity | Self::Other => Plain::Identity(body),
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Plain::Gzip(decoder)
            }
            Self::Zstd => {
                let window = DParameter::window_log_max(WINDOW);
                let mut decoder = ZstdDecoder::with_params(body, &[window]);
                decoder.multiple_members(true);
                Plain::Zstd(decoder)
            }
        }
    }
}

/// See [`Encoding::undo`].
pub(super) enum Plain<R> {
    Identity(R),
    Gzip(GzipDecoder<R>),
    Zstd(ZstdDecoder<R>),
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Plain<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Identity(body) => Pin::new(body).poll_read(context, buffer),
            Self::Gzip(body) => Pin::new(body).poll_read(context, buffer),
            Self::Zstd(body) => Pin::new(body).poll_read(context, buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use tokio::io::AsyncReadExt as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    /// What comes out of it, at most so many bytes.
    fn undone(encoding: Encoding, body: &[u8], most: u64) -> io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut all = Vec::new();
        runtime.block_on(encoding.undo(body).take(most).read_to_end(&mut all))?;
        Ok(all)
    }

    fn both(bytes: &[u8]) -> [(Encoding, Vec<u8>); 2] {
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
    fn several_members_one_after_the_other_are_one_body() {
        for (encoding, first) in both(b"first ") {
            let second = if encoding == Encoding::Gzip { gzip(b"second") } else { zstd(b"second") };
            let body = [first, second].concat();
            assert_eq!(undone(encoding, &body, 100).unwrap(), b"first second");
        }
    }

    #[test]
    fn what_breaks_off_or_is_something_else_is_an_error() {
        for (encoding, body) in both(b"a message of a tracker") {
            let cut = (0..body.len()).map(|end| body[..end].to_vec());
            let other = [b"neither".to_vec(), [&body[..], b"junk!"].concat()];
            for body in cut.chain(other) {
                let out = undone(encoding, &body, 1_000);
                assert!(out.is_err(), "{encoding:?} {body:?}: {out:?}");
            }
        }
    }

    #[test]
    fn a_window_that_nobody_has_to_have_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(WINDOW + 1).unwrap();
        encoder.write_all(&[1; 100]).unwrap();
        let body = encoder.finish().unwrap();
        assert!(undone(Encoding::Zstd, &body, 1_000).is_err());
    }

    proptest! {
        #[test]
        fn whatever_was_compressed_comes_out_again(
            bytes in prop::collection::vec(any::<u8>(), 0..2_000)
        ) {
            for (encoding, body) in both(&bytes) {
                prop_assert_eq!(&undone(encoding, &body, 10_000).unwrap(), &bytes);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                drop(undone(encoding, &bytes, 1_000));
            }
        }
    }
}
