//! Connections out of the kernel's queue, one after the other, whatever goes wrong.
//!
//! An error that is one connection's is that one's alone. What is everybody's, such as no file descriptors
//! left, is logged once and waited for. It does not know what becomes of a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The pause after an error that is not one connection's.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Takes connections from the kernel's queue.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// Whether the last attempt failed: an error that lasts is logged once.
    troubled: bool,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, troubled: false }
    }

    /// The next one, and where it comes from.
    pub(super) async fn next(&mut self) -> (TcpStream, SocketAddr) {
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
