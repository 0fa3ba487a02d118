//! How was a body compressed (`Content-Encoding`), and what was it before?
//!
//! What comes out is asked for piece by piece, so that one that would become gigabytes costs no more than
//! what somebody is ready to read, and one that is members without end costs no more than some. It does
//! not know what the bytes mean, nor how many there may be.

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use warp::http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

/// The largest window that a zstd frame may ask for, as a power of two: 2 MiB, which the levels up to 8 use
/// for what is long, and more than any message. A decoder has that much memory for as long as its body
/// takes.
const WINDOW: u32 = 21;
/// Members (frames, of zstd) that a body may have one after the other. Each costs a decoder of its own,
/// and an empty one is of a few bytes.
const MEMBERS: usize = 1_000;

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

/// Several lines of `Content-Encoding` mean the same as one with all of them (RFC 9110, section 5.3).
pub(super) fn join(headers: &mut HeaderMap) {
    let lines = headers.get_all(CONTENT_ENCODING);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<_> = lines.iter().map(HeaderValue::as_bytes).collect();
    // What can stand in one line can stand in a longer one; else it is none that is taken.
    let joined = HeaderValue::from_bytes(&lines.join(&b", "[..]));
    let joined = joined.unwrap_or(HeaderValue::from_static("several"));
    headers.insert(CONTENT_ENCODING, joined);
}

impl Encoding {
    /// The body as it was before it was compressed.
    pub(super) fn undo<R: AsyncBufRead>(self, body: R) -> Plain<R> {
        Plain { decoder: Some(self.decoder(body)), encoding: self, members: 1 }
    }

    /// For one member.
    fn decoder<R: AsyncBufRead>(self, body: R) -> Decoder<R> {
        match self {
            Self::Identity | Self::Other => Decoder::Identity(body),
            Self::Gzip => Decoder::Gzip(GzipDecoder::new(body)),
            Self::Zstd => {
                let window = DParameter::window_log_max(WINDOW);
                Decoder::Zstd(ZstdDecoder::with_params(body, &[window]))
            }
        }
    }
}

/// See [`Encoding::undo`].
pub(super) struct Plain<R> {
    /// There, but while it is replaced.
    decoder: Option<Decoder<R>>,
    encoding: Encoding,
    /// How many were begun.
    members: usize,
}

enum Decoder<R> {
    Identity(R),
    Gzip(GzipDecoder<R>),
    Zstd(ZstdDecoder<R>),
}

impl<R: AsyncBufRead + Unpin> Decoder<R> {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Identity(body) => Pin::new(body).poll_read(context, buffer),
            Self::Gzip(body) => Pin::new(body).poll_read(context, buffer),
            Self::Zstd(body) => Pin::new(body).poll_read(context, buffer),
        }
    }

    /// Whether more comes behind the member that has ended.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let body = match self {
            Self::Identity(body) => body,
            Self::Gzip(body) => body.get_mut(),
            Self::Zstd(body) => body.get_mut(),
        };
        Pin::new(body).poll_fill_buf(context).map_ok(|rest| !rest.is_empty())
    }

    fn into_inner(self) -> R {
        match self {
            Self::Identity(body) => body,
            Self::Gzip(body) => body.into_inner(),
            Self::Zstd(body) => body.into_inner(),
        }
    }
}

impl<R: AsyncBufRead + Unpin> AsyncRead for Plain<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Some(decoder) = &mut this.decoder {
            ready!(decoder.poll_read(context, buffer))?;
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            // Here a member ends, and with it the body, or the next one begins.
            if !ready!(decoder.poll_more(context))? {
                return Poll::Ready(Ok(()));
            }
            if this.members == MEMBERS {
                let text = format!("it has more than {MEMBERS} members");
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
            this.members += 1;
            let encoding = this.encoding;
            let rest = this.decoder.take().map(Decoder::into_inner);
            this.decoder = rest.map(|rest| encoding.decoder(rest));
            // After each of them others have their turn.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
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

    /// Fails where as many as there are cost as much as there are.
    #[test]
    fn a_body_of_members_without_end_is_an_error_and_some_are_taken() {
        for (encoding, empty) in both(b"") {
            assert_eq!(undone(encoding, &empty.repeat(MEMBERS), 1_000).unwrap(), b"");
            let error = undone(encoding, &empty.repeat(MEMBERS + 1), 1_000).unwrap_err();
            assert!(error.to_string().contains("members"), "{error}");
        }
    }

    #[test]
    fn lines_of_the_header_are_one_list() {
        let mut headers = HeaderMap::new();
        for (line, all) in
            [("gzip", "gzip"), ("identity", "gzip, identity"), ("br", "gzip, identity, br")]
        {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            join(&mut headers);
            assert_eq!((headers.len(), headers[CONTENT_ENCODING].to_str().unwrap()), (1, all));
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
