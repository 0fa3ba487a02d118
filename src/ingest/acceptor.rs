//! Connections out of the kernel's queue, one after the other, whatever goes wrong.
//!
//! Where all places are taken, those that wait are taken out of the queue, so that whoever comes from a network
//! that has many open is not in the way of others: it waits here until none of them does.
//!
//! An error that is one connection's is that one's alone. What is everybody's, such as no file descriptors
//! left, is logged once and waited for. It does not know what becomes of a connection.

use super::rate::Network;
use super::stats::{Closed, Stats};
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The pause after an error that is not one connection's.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Connections that wait here: of a crowd no more, in all twice as many.
const MOST: usize = 1_024;

/// One that was accepted, and where it comes from.
type Accepted = (TcpStream, SocketAddr);

/// Takes connections from the kernel's queue.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    stats: Arc<Stats>,
    most: usize,
    /// In the order in which they came.
    waiting: VecDeque<Accepted>,
    /// Whether the last attempt failed: an error that lasts is logged once.
    troubled: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, stats: Arc<Stats>) -> Self {
        Self { listener, stats, most: MOST, waiting: VecDeque::new(), troubled: false }
    }

    /// The next one, and where it comes from: of those that wait the first which is not from `crowd`, if
    /// there is. With `all_taken` those in the kernel's queue are among them, as far as they can be taken
    /// out in one go.
    pub(super) async fn next(&mut self, all_taken: bool, crowd: Option<Network>) -> Accepted {
        if all_taken {
            self.look_behind(crowd);
        }
        let first = self.waiting.iter().position(|one| is_from_elsewhere(one, crowd));
        match self.waiting.remove(first.unwrap_or_default()) {
            Some(next) => next,
            None => self.accept().await,
        }
    }

    /// One that was taken, and for which there is no place: it is the first of those that wait.
    pub(super) fn put_back(&mut self, one: Accepted) {
        self.waiting.push_front(one);
    }

    /// Resolves when one waits that is not from `crowd`.
    pub(super) async fn other_comes(&mut self, crowd: Option<Network>) {
        while !self.waiting.iter().any(|one| is_from_elsewhere(one, crowd)) {
            let one = self.accept().await;
            self.keep(one, crowd);
        }
    }

    /// Takes what is in the kernel's queue.
    fn look_behind(&mut self, crowd: Option<Network>) {
        while self.waiting.len() < 2 * self.most {
            match self.listener.accept().now_or_never() {
                Some(Ok(one)) => self.keep(one, crowd),
                Some(Err(error)) if is_the_clients(&error) => {}
                // What is everybody's is told where nobody waits who could go on.
                Some(Err(_)) | None => return,
            }
        }
    }

    fn keep(&mut self, one: Accepted, crowd: Option<Network>) {
        if self.waiting.len() < self.most || is_from_elsewhere(&one, crowd) {
            self.waiting.push_back(one);
        } else {
            // Or others would stand in the kernel's queue behind it.
            self.stats.count_closed(Closed::MadeRoom);
        }
    }

    async fn accept(&mut self) -> Accepted {
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

fn is_from_elsewhere((_, peer): &Accepted, crowd: Option<Network>) -> bool {
    Some(peer.ip().into()) != crowd
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

    async fn acceptor() -> (Acceptor, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        (Acceptor::new(listener, Arc::new(Stats::new(std::iter::empty()))), to)
    }

    /// Fails where they are taken as they came, and where those of the crowd are forgotten.
    #[tokio::test]
    async fn where_all_places_are_taken_a_crowd_waits_until_no_other_does() {
        let (mut acceptor, to) = acceptor().await;
        let mut clients = Vec::new();
        for from in [2, 2, 2, 3, 2, 4] {
            clients.push(connect(to, from).await);
        }
        let crowd = Some(address(2).into());
        let first = acceptor.next(false, crowd).await;
        assert_eq!(first.1, clients[0].local_addr().unwrap(), "there is room");
        acceptor.put_back(first);
        let mut came = Vec::new();
        for _ in 0..6 {
            came.push(acceptor.next(true, crowd).await.1);
        }
        let expected =
            [3, 5, 0, 1, 2, 4].map(|client: usize| clients[client].local_addr().unwrap());
        assert_eq!(came, expected);
        clients.push(connect(to, 2).await);
        assert!(acceptor.other_comes(crowd).now_or_never().is_none());
        clients.push(connect(to, 3).await);
        acceptor.other_comes(crowd).await;
        assert_eq!(acceptor.next(true, crowd).await.1, clients[7].local_addr().unwrap());
        assert_eq!(acceptor.next(true, None).await.1, clients[6].local_addr().unwrap());
    }

    /// Fails where a crowd that waits keeps others in the kernel's queue.
    #[tokio::test]
    async fn of_a_crowd_only_so_many_wait() {
        let (mut acceptor, to) = acceptor().await;
        acceptor.most = 2;
        let mut clients = Vec::new();
        for from in [2, 2, 2, 2, 3, 2] {
            clients.push(connect(to, from).await);
        }
        let mut came = Vec::new();
        for _ in 0..3 {
            came.push(acceptor.next(true, Some(address(2).into())).await.1);
        }
        assert_eq!(came, [4, 0, 1].map(|client: usize| clients[client].local_addr().unwrap()));
        assert!(acceptor.stats.closed().any(|closed| closed == ("made_room", 3)));
    }
}
