//! What a connection's stream tells of its requests: when an answer is with the kernel, and when a client
//! does not take it.
//!
//! A client that sends requests and never reads fills the kernel's buffers, and would keep its connection
//! for good: nothing is written for so long, and the stream is at its end. It does not know HTTP.

use super::room::Guest;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that is watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    guest: Guest,
    /// For so long a write may wait for the client.
    limit: Duration,
    /// While one waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, guest: Guest, limit: Duration) -> Self {
        Self { stream, guest, limit, deadline: None }
    }

    /// The outcome of a write; an error where the client has not taken anything for too long.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(deadline.as_mut().poll(cx));
        let text = format!("the client has not read for {}", humantime::format_duration(limit));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.within(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when all that was written before has been taken.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        let outcome = self.within(cx, outcome);
        if let Poll::Ready(Ok(())) = outcome {
            self.guest.flushed(Instant::now);
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMIT: Duration = Duration::from_millis(300);

    fn guest() -> Guest {
        Arc::new(Room::new(Instant::now(), 1, 0))
            .enter(std::net::IpAddr::from([127, 0, 0, 1]).into(), Instant::now())
            .guest()
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (stream, client) = duplex(10);
        let mut stream = Watched::new(stream, guest(), LIMIT);
        let error = stream.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("300ms"), "{error}");
        drop(client);
    }

    /// Fails where the time is that of the whole answer.
    #[tokio::test]
    async fn a_client_that_reads_slowly_is_waited_for() {
        let (stream, mut client) = duplex(10);
        let mut stream = Watched::new(stream, guest(), LIMIT);
        let reading = tokio::spawn(async move {
            let mut all = 0;
            while let Ok(1..) = client.read(&mut [0; 10]).await {
                all += 1;
                sleep(LIMIT / 3).await;
            }
            all
        });
        stream.write_all(&[0; 60]).await.unwrap();
        drop(stream);
        assert!(reading.await.unwrap() >= 6);
    }
}
