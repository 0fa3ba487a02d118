//! The admin listener's connections: how many, how long, and their end.
//!
//! Invariant: whatever happens here stays here. A port that is taken, a client that is slow or
//! hostile, a storm of connections: ingest does not notice. It does not know what is answered
//! (`answer` does).
//!
//! hyper-util's connection under a `warp::service`, because `warp::serve` sets no time limits
//! and bounds nothing.

use super::answer::answer;
use super::{Config, Source};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use warp::Filter;

/// A page a phone, a scrape, a few curious people: more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// For the head of a request, and for the pause between two.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// A connection ends after this long however busy it is, so that nobody holds a place for ever.
const CONNECTION_WITHIN: Duration = Duration::from_mins(5);
/// Requests here have no body and few headers.
const BUFFER: usize = 16 * 1024;
/// Between two tries for a port that is taken.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Replies under way at the end are given this long.
const GRACE: Duration = Duration::from_secs(1);

/// How the listener fares; shared with whoever makes the status.
#[derive(Debug, Default)]
pub struct AdminState {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    trouble: Option<String>,
    address: Option<SocketAddr>,
}

impl AdminState {
    /// Why nobody can look, as a clause without a full stop; `None` while all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.read(|inner| inner.trouble.clone())
    }

    /// Where it listens, once it does: with port 0 in the configuration, the port it was given.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.read(|inner| inner.address)
    }

    fn read<T>(&self, read: impl FnOnce(&Inner) -> T) -> T {
        // Two plain values: a panic elsewhere cannot have left them half written.
        read(&self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, trouble: Option<String>, address: Option<SocketAddr>) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Inner { trouble, address };
    }
}

/// Listens and answers until `shutdown`, then gives the replies under way a moment. It cannot
/// fail: what keeps it from listening stands in `state` and is tried again.
pub async fn serve(
    config: Config,
    source: Arc<dyn Source>,
    state: Arc<AdminState>,
    shutdown: impl Future<Output = ()>,
) {
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::select! {
        never = listen(&config, &source, &state, &ended, &mut connections) => match never {},
        () = shutdown => {}
    }
    // Only fails when no connection is left to hear it.
    ending.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn listen(
    config: &Config,
    source: &Arc<dyn Source>,
    state: &AdminState,
    ended: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let listener = bind(config.listen, state).await;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let source = Arc::clone(source);
    let replies = warp::method().and(warp::path::full()).and(warp::header::headers_cloned()).map(
        move |method, path: warp::path::FullPath, headers| {
            answer(&method, path.as_str(), &headers, &*source)
        },
    );
    let service = warp::service(replies);
    loop {
        // The semaphore is never closed; were it, no place would be counted.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let stream = accept(&listener).await;
        let service = service.clone();
        let ended = ended.clone();
        connections.spawn(async move {
            connection(stream, TowerToHyperService::new(service), ended).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Tries until the port is ours. One line of log when it begins to fail, one when it works.
async fn bind(address: SocketAddr, state: &AdminState) -> TcpListener {
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(address);
                state.set(None, Some(bound));
                tracing::info!("the status page is at http://{bound}/");
                return listener;
            }
            Err(error) => error,
        };
        let trouble = format!("the admin listener cannot use {address} ({error})");
        if state.trouble().is_none() {
            tracing::error!("{trouble}; everything else works, and it is tried again");
        }
        state.set(Some(trouble), None);
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // A client that went away again, or no file descriptor left for the moment.
            Err(error) => {
                tracing::debug!("the admin listener could not accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection<S, B>(stream: TcpStream, service: S, mut ended: watch::Receiver<bool>)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: std::error::Error + Send + Sync + 'static,
    B: hyper::body::Body + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(BUFFER);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let over = async {
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = tokio::time::sleep(CONNECTION_WITHIN) => {}
        }
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = over => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!("an admin connection broke: {error}");
    }
}

#[cfg(test)]
mod tests;
