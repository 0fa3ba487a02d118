//! Reading a request's body under a limit of bytes and of time.
//!
//! What is returned is the whole body; a body that is too large is given up as soon as that
//! is known, and never held in memory beyond the limit and one read. It does not know what
//! the bytes mean.

use super::encoding::Encoding;
use super::problem::{Problem, Reason};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes, at most, compressed or not.
    pub size: usize,
    /// What it is: `a message`.
    pub what: &'static str,
    /// From the end of the headers to the last byte, at most.
    pub time: Duration,
}

impl Limits {
    /// Refuses a length that was announced and is too large, before a byte of it is read.
    pub(super) fn check(self, announced: Option<u64>) -> Result<(), Problem> {
        match announced {
            // A length that does not fit into memory's addresses is certainly too large.
            Some(length) if usize::try_from(length).map_or(true, |n| n > self.size) => {
                Err(self.too_large())
            }
            _ => Ok(()),
        }
    }

    fn too_large(self) -> Problem {
        let Self { size, what, .. } = self;
        Problem::new(Reason::TooLarge, format!("{what} may have {size} bytes"))
    }
}

/// Reads the body of a request whose headers were complete at `started`, as it was before it was
/// compressed. Until it is known to be whole, by the `length` that was announced or by its end, `holds` is told
/// of the bytes of each piece, and waited for before the next one is read.
pub(super) async fn read<S, B, E, H>(
    body: S,
    length: Option<u64>,
    encoding: Encoding,
    limits: Limits,
    started: Instant,
    holds: impl Fn(usize) -> H,
) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
    E: Display,
    H: Future<Output = ()>,
{
    let read = async {
        // All of it first: what undoes it holds more memory than the body, which may be slow.
        let body = collect(body, length, limits, holds).await?;
        match encoding {
            Encoding::Identity | Encoding::Other => Ok(body),
            Encoding::Gzip | Encoding::Zstd => unpack(&body, encoding, limits).await,
        }
    };
    // Most bodies came with their headers: then this never waits, and arms no timer.
    let read = tokio::time::timeout_at(started + limits.time, read).await;
    read.unwrap_or_else(|_| Err(too_slow(limits.time)))
}

pub(super) fn too_slow(limit: Duration) -> Problem {
    let limit = humantime::format_duration(limit);
    Problem::new(Reason::TooSlow, format!("a body may take {limit}"))
}

async fn unpack(packed: &[u8], encoding: Encoding, limits: Limits) -> Result<Bytes, Problem> {
    // One more than it may have, to tell what is too large from what just fits.
    let most = limits.size as u64 + 1;
    let mut all = Vec::new();
    let mut plain = encoding.undo(packed).take(most);
    plain.read_to_end(&mut all).await.map_err(problem)?;
    if all.len() > limits.size { Err(limits.too_large()) } else { Ok(all.into()) }
}

/// The pieces of a body for those who read it as it comes: at most so many bytes as they came, and then
/// an error, which is for [`problem`].
pub(super) fn stream<S, B, E>(body: S, limits: Limits) -> impl Stream<Item = io::Result<Bytes>>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
    E: Display,
{
    let mut left = limits.size;
    body.flat_map(move |piece| {
        let (within, error) = match piece {
            Ok(mut piece) => {
                let length = piece.remaining().min(left);
                left -= length;
                let within = piece.copy_to_bytes(length);
                (Some(within), piece.has_remaining().then(|| limits.too_large()))
            }
            Err(error) => (None, Some(unreadable(&error))),
        };
        let within = within.filter(|within| !within.is_empty()).map(Ok);
        stream::iter(within.into_iter().chain(error.map(|problem| Err(problem.into()))))
    })
}

fn unreadable(error: &dyn Display) -> Problem {
    Problem::new(Reason::Incomplete, format!("the body could not be read: {error}"))
}

/// What is wrong where reading such a stream, or what undoes its compression, fails.
pub(super) fn problem(error: io::Error) -> Problem {
    error.downcast::<Problem>().unwrap_or_else(|error| {
        let detail = format!("the body is not compressed as Content-Encoding says: {error}");
        Problem::new(Reason::Malformed, detail)
    })
}

async fn collect<S, B, E, H>(
    body: S,
    length: Option<u64>,
    limits: Limits,
    holds: impl Fn(usize) -> H,
) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
    E: Display,
    H: Future<Output = ()>,
{
    let mut left = limits.size;
    let mut take = |piece: Result<B, E>| {
        let piece = piece.map_err(|error| unreadable(&error))?;
        left = left.checked_sub(piece.remaining()).ok_or_else(|| limits.too_large())?;
        Ok::<_, Problem>(piece)
    };
    let mut body = pin!(body);
    let Some(first) = body.next().await else { return Ok(Bytes::new()) };
    let mut piece = take(first)?;
    let is_whole = |bytes: usize| length == Some(bytes as u64);
    if is_whole(piece.remaining()) {
        // One piece, as most bodies are, is passed on without a copy.
        return Ok(piece.copy_to_bytes(piece.remaining()));
    }
    let mut all = BytesMut::with_capacity(piece.remaining());
    loop {
        let bytes = piece.remaining();
        all.put(piece);
        if is_whole(all.len()) {
            break;
        }
        holds(bytes).await;
        let Some(next) = body.next().await else { break };
        piece = take(next)?;
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::{Cell, RefCell};

    const LIMITS: Limits = Limits { size: 10, what: "a message", time: Duration::from_secs(30) };

    async fn read_pieces(pieces: &[&'static str]) -> Result<Bytes, Problem> {
        let pieces =
            pieces.iter().map(|piece| Ok::<_, String>(Bytes::from_static(piece.as_bytes())));
        let (plain, now) = (Encoding::Identity, Instant::now());
        read(stream::iter(pieces), None, plain, LIMITS, now, |_| async {}).await
    }

    #[tokio::test]
    async fn the_pieces_of_a_body_are_put_together() {
        assert_eq!(read_pieces(&[]).await.unwrap(), "");
        assert_eq!(read_pieces(&["abc"]).await.unwrap(), "abc");
        assert_eq!(read_pieces(&["", "abc", "", "def", "g"]).await.unwrap(), "abcdefg");
        assert_eq!(read_pieces(&["0123456789"]).await.unwrap(), "0123456789");
        assert_eq!(read_pieces(&["01234", "56789"]).await.unwrap(), "0123456789");
    }

    /// What `holds` is told of a body of seven bytes in these pieces.
    async fn told(pieces: &[&'static str], length: Option<u64>) -> Vec<usize> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, String>(piece.as_bytes())).collect();
        let told = RefCell::new(Vec::new());
        let holds = |bytes| {
            told.borrow_mut().push(bytes);
            async {}
        };
        let (plain, now) = (Encoding::Identity, Instant::now());
        let body = read(stream::iter(pieces), length, plain, LIMITS, now, holds).await.unwrap();
        assert_eq!(body, "abcdefg");
        told.into_inner()
    }

    /// Fails where a piece is not told, or told twice, and where one is with which the body is whole.
    #[tokio::test]
    async fn what_is_held_of_a_body_that_is_not_whole_is_told() {
        assert_eq!(told(&["ab", "c", "def", "g"], Some(7)).await, [2, 1, 3]);
        assert_eq!(told(&["ab", "cdefg"], None).await, [2, 5]);
        assert_eq!(told(&["abcdefg"], None).await, [7], "more may come");
        assert_eq!(told(&["abcdefg"], Some(7)).await, [0; 0]);
    }

    /// Fails where a second piece is in memory that `holds` does not know of.
    #[tokio::test]
    async fn no_piece_is_read_while_the_one_before_is_held_back() {
        let read_so_far = Cell::new(0);
        let pieces = stream::iter(["ab", "cd"]).map(|piece| {
            read_so_far.set(read_so_far.get() + 1);
            Ok::<_, String>(piece.as_bytes())
        });
        let (plain, now) = (Encoding::Identity, Instant::now());
        let reading = read(pieces, None, plain, LIMITS, now, |_| std::future::pending());
        assert!(reading.now_or_never().is_none());
        assert_eq!(read_so_far.get(), 1);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_however_it_is_cut() {
        for pieces in [&["0123456789a"][..], &["01234", "56789", "a"], &["0123456789", "a"]] {
            assert_eq!(read_pieces(pieces).await.unwrap_err().reason, Reason::TooLarge);
        }
    }

    async fn unpacked(bytes: &[u8]) -> Result<Bytes, Problem> {
        let packed = zstd::stream::encode_all(bytes, 3).unwrap();
        let limits = Limits { size: 100, ..LIMITS };
        let body = stream::iter([Ok::<_, String>(Bytes::from(packed))]);
        read(body, None, Encoding::Zstd, limits, Instant::now(), |_| async {}).await
    }

    #[tokio::test]
    async fn what_just_fits_uncompressed_is_taken_and_a_byte_more_is_not() {
        assert_eq!(unpacked(&[7; 100]).await.unwrap(), vec![7; 100]);
        assert_eq!(unpacked(&[7; 101]).await.unwrap_err().reason, Reason::TooLarge);
        assert_eq!(unpacked(&vec![7; 1_000_000]).await.unwrap_err().reason, Reason::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_is_not_compressed_as_announced_is_refused_and_so_is_one_too_large_as_it_came()
     {
        for (body, reason) in [("neither", Reason::Malformed), ("0123456789a", Reason::TooLarge)] {
            let body = stream::iter([Ok::<_, String>(Bytes::from_static(body.as_bytes()))]);
            let problem = read(body, None, Encoding::Gzip, LIMITS, Instant::now(), |_| async {})
                .await
                .unwrap_err();
            assert_eq!(problem.reason, reason, "{problem:?}");
        }
    }

    /// Fails where the piece that goes beyond the limit is dropped: a batch is cut where it comes to an end.
    #[tokio::test]
    async fn what_is_read_as_it_comes_is_read_up_to_its_limit_and_no_further() {
        for (pieces, ends) in
            [(&["012", "3456789"][..], true), (&["012", "", "3456789a", "b"], false)]
        {
            let pieces = pieces.iter().map(|piece| Ok::<_, String>(piece.as_bytes()));
            let all: Vec<_> = super::stream(stream::iter(pieces), LIMITS).collect().await;
            let bytes: Vec<u8> = all.iter().flatten().flatten().copied().collect();
            assert_eq!(bytes, b"0123456789");
            assert_eq!(all.iter().all(Result::is_ok), ends, "{all:?}");
        }
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_unread() {
        assert_eq!(LIMITS.check(None), Ok(()));
        assert_eq!(LIMITS.check(Some(10)), Ok(()));
        assert_eq!(LIMITS.check(Some(11)).unwrap_err().reason, Reason::TooLarge);
        assert_eq!(LIMITS.check(Some(u64::MAX)).unwrap_err().reason, Reason::TooLarge);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let limits = Limits { time: Duration::from_millis(20), ..LIMITS };
        let body = stream::pending::<Result<Bytes, String>>();
        let problem = read(body, None, Encoding::Identity, limits, Instant::now(), |_| async {})
            .await
            .unwrap_err();
        assert_eq!(problem.reason, Reason::TooSlow);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let body = stream::iter([Ok(Bytes::from_static(b"ab")), Err("connection reset")]);
        let problem = read(body, None, Encoding::Identity, LIMITS, Instant::now(), |_| async {})
            .await
            .unwrap_err();
        assert_eq!(problem.reason, Reason::Incomplete);
        assert!(problem.detail.contains("connection reset"), "{}", problem.detail);
    }
}
