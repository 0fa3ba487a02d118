//! Closing a connection so that the client can read the last answer.
//!
//! A refusal such as 413 is answered before the body was read. Closing the socket with
//! bytes unread makes the kernel send a reset, at which many clients throw away the answer
//! that already reached them, and try the same again. So the closing side stops sending,
//! then reads and discards what still comes, for a short time and up to a bound. It does not know
//! HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// How long what still comes is read.
const TIME: Duration = Duration::from_secs(1);
/// How many bytes of it, at most.
const BYTES: usize = 1 << 20;
/// How many at once: what is thrown away should cost little.
const PIECE: usize = 16 * 1024;

/// A stream whose shutdown lingers.
#[derive(Debug)]
pub(super) struct Lingering {
    stream: TcpStream,
    /// Set once the sending side is closed.
    last: Option<Last>,
}

/// What is left to wait for.
#[derive(Debug)]
struct Last {
    deadline: Pin<Box<Sleep>>,
    bytes: usize,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, last: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let last = match &mut this.last {
            Some(last) => last,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                none.insert(Last { deadline: Box::pin(sleep(TIME)), bytes: 0 })
            }
        };
        let mut discarded = [0; PIECE];
        while last.bytes < BYTES {
            let mut buffer = ReadBuf::new(&mut discarded);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    ready!(last.deadline.as_mut().poll(cx));
                    break;
                }
                // The client has closed its side too, or is gone: nobody is left to wait for.
                Poll::Ready(Err(_)) => break,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
                Poll::Ready(Ok(())) => last.bytes += buffer.filled().len(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Lingering, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Lingering::new(server), client)
    }

    #[tokio::test]
    async fn a_client_that_is_still_sending_reads_the_answer() {
        let (mut server, mut client) = pair().await;
        client.write_all(&vec![b'x'; 100_000]).await.unwrap();
        server.write_all(b"no").await.unwrap();
        let closing = tokio::spawn(async move { server.shutdown().await });
        client.write_all(&vec![b'x'; 100_000]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "no");
        drop(client);
        closing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_closes_is_not_waited_for() {
        let (mut server, client) = pair().await;
        server.shutdown().await.unwrap();
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_never_stops_sending_is_cut_off() {
        let (mut server, mut client) = pair().await;
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; 65_536];
            let mut sent = 0;
            while client.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        });
        server.shutdown().await.unwrap();
        drop(server);
        assert!(sending.await.unwrap() > 0);
    }
}
