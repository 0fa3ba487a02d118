//! Connections out of the kernel's queue, one after the other, whatever goes wrong.
//!
//! Where all places are taken, those that wait are taken out of the queue, so that whoever comes from a network
//! that has many open is not in the way of others: it waits here until none of them does.
//!
//! An error that is one connection's is that one's alone. What is everybody's, such as no file descriptors
//! left, is logged once and waited for. It does not know what becomes of a connection.

use super::rate::Network;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The pause after an error that is not one connection's.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Connections that wait here, at most: as many as in the kernel's queue.
const MOST: usize = 1_024;

/// Takes connections from the kernel's queue.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// In the order in which they came.
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    /// Whether the last attempt failed: an error that lasts is logged once.
    troubled: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, waiting: VecDeque::new(), troubled: false }
    }

    /// The next one, and where it comes from: of those that wait the first which is not from `crowd`, if
    /// there is. With `all_taken` those in the kernel's queue are among them.
    pub(super) async fn next(
        &mut self,
        all_taken: bool,
        crowd: Option<Network>,
    ) -> (TcpStream, SocketAddr) {
        if all_taken {
            self.look_behind();
        }
        let is_other = |(_, peer): &(_, SocketAddr)| Some(peer.ip().into()) != crowd;
        let place = self.waiting.iter().position(is_other).unwrap_or_default();
        match self.waiting.remove(place) {
            Some(next) => next,
            None => self.accept().await,
        }
    }

    /// Takes what is in the kernel's queue.
    fn look_behind(&mut self) {
        while self.waiting.len() < MOST {
            match self.listener.accept().now_or_never() {
                Some(Ok(next)) => self.waiting.push_back(next),
                Some(Err(error)) if is_the_clients(&error) => {}
                // What is everybody's is told where nobody waits who could go on.
                Some(Err(_)) | None => return,
            }
        }
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut self.troubled) {
                        tracing::info!("connections are accepted again");
                    }
                    return (stream, peer);
                }
                Err(error) if is_the_clients(&error) => {
                    tracing::debug!("a connection broke before it was accepted: {error}");
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.troubled, true) {
                        tracing::error!("no connections can be accepted, trying on: {error}");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` concerns the connection that was about to be accepted alone.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use tokio::net::TcpSocket;

    /// Connects from the loopback address that ends so.
    async fn connect(to: SocketAddr, from: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, from], 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    fn address(from: u8) -> IpAddr {
        [127, 0, 0, from].into()
    }

    /// Fails where they are taken as they came, and where those of the crowd are forgotten.
    #[tokio::test]
    async fn where_all_places_are_taken_a_crowd_waits_until_no_other_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::new(listener);
        let mut clients = Vec::new();
        for from in [2, 2, 2, 3, 2, 4] {
            clients.push(connect(to, from).await);
        }
        let first = acceptor.next(false, Some(address(2).into())).await;
        assert_eq!(first.1, clients[0].local_addr().unwrap(), "there is room");
        let mut came = Vec::new();
        for _ in 0..5 {
            came.push(acceptor.next(true, Some(address(2).into())).await.1);
        }
        let expected = [3, 5, 1, 2, 4].map(|client: usize| clients[client].local_addr().unwrap());
        assert_eq!(came, expected);
        clients.push(connect(to, 2).await);
        let last = acceptor.next(true, None).await;
        assert_eq!(last.1, clients[6].local_addr().unwrap());
    }
}
