//! Accepting connections and serving HTTP/1 on each, under limits, until told to stop.
//!
//! Nothing that a client does costs more than its own connection: the headers of a request,
//! the time between two requests, that in which an answer is not read, the buffers of a connection and
//! the number of connections are bounded, and an error of a connection is that connection's alone. Where
//! all are taken one whose client is waited for makes room (`room.rs`). It does not know what is served.

use super::acceptor::Acceptor;
use super::linger::Lingering;
use super::rate::Network;
use super::reload::Current;
use super::room::{Guest, Room};
use super::stats::{Closed, Stats};
use super::tls::Tls;
use super::watched::Watched;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use warp::reply::Response;

/// Bytes of request line and headers, at most; also the largest piece of a body, of which hyper has two in
/// memory that nobody has asked for. Less it does not take. Of headers there may be
/// 100: hyper's own limit, which it keeps without an allocation a request. More of either is a 431.
const BUFFER: usize = 8 * 1024;

/// What bounds the connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Open at once; further ones wait, here or in the kernel's queue.
    pub connections: usize,
    /// For the headers of a request, and between two requests; also for a TLS handshake.
    pub headers: Duration,
    /// How long a client may take no more of its answer.
    pub unread: Duration,
    /// Bytes that bodies which are not whole may hold together.
    pub unfinished: usize,
    /// How long the connections may take to end after the signal to stop.
    pub grace: Duration,
}

/// How far the end of all connections has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No further request; the current one is finished.
    Draining,
    /// The time for that is over.
    Cut,
}

/// Serves until `shutdown`, each connection by what `service` makes of its peer, inside of TLS where
/// there are certificates. Then it stops accepting, lets the requests at hand finish, and
/// returns when no connection is left, at the latest shortly after the time of grace.
pub(super) async fn run<S>(
    listener: TcpListener,
    tls: Option<Arc<Current<Tls>>>,
    limits: Limits,
    service: impl Fn(SocketAddr) -> S,
    stats: Arc<Stats>,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_buf_size(BUFFER)
        // A client that has closed its sending side still reads its answer.
        .half_close(true);

    let count = u32::try_from(limits.connections).unwrap_or(u32::MAX).max(1);
    let permits = Arc::new(Semaphore::new(count as usize));
    let (stage, _) = watch::channel(Stage::Serving);

    let mut shutdown = pin!(shutdown);
    let room = Arc::new(Room::new(Instant::now(), limits.connections, limits.unfinished));
    let mut acceptor = Acceptor::new(listener, Arc::clone(&stats));
    loop {
        let accepted = async {
            loop {
                let all_taken = permits.available_permits() == 0;
                let crowd = if all_taken { room.crowd() } else { None };
                let (stream, peer) = acceptor.next(all_taken, crowd).await;
                let comes = peer.ip().into();
                let of_crowd = crowd == Some(comes);
                tokio::select! {
                    biased;
                    permit = permit(&permits, &room, comes, &stats) => break (stream, peer, permit),
                    // Whoever comes from elsewhere does not wait behind it.
                    () = acceptor.other_comes(crowd), if of_crowd => {}
                }
                acceptor.put_back((stream, peer));
            }
        };
        let (stream, peer, permit) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection cannot be set to send at once: {error}");
        }
        let seated = room.enter(peer.ip().into(), Instant::now());
        let guest = seated.guest();
        let stream = Watched::new(Lingering::new(stream), guest.clone(), limits.unread);
        let service = noticed(service(peer), guest.clone());
        // Those of this moment: what is read anew later is for later connections.
        let encryption = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.get().server)));
        let (stage, open) = (stage.subscribe(), stats.open_connection());
        let (http, stats) = (http.clone(), Arc::clone(&stats));
        let task = tokio::spawn(async move {
            match encryption {
                None => {
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    serve(pin!(connection), stage, &stats).await;
                }
                // By itself: without TLS no connection has its memory.
                Some(tls) => {
                    let shaken = handshake(tls, stream, limits.headers, stage.clone());
                    match Box::pin(shaken).await {
                        Some(Ok(stream)) => {
                            let stream = TokioIo::new(stream);
                            let mut connection = Box::pin(http.serve_connection(stream, service));
                            serve(connection.as_mut(), stage, &stats).await;
                        }
                        Some(Err(why)) => {
                            stats.count_failed_handshake();
                            tracing::debug!("no TLS with {peer}: {why}");
                        }
                        None => {}
                    }
                }
            }
            drop((open, seated, permit));
        });
        guest.is_served_by(task.abort_handle());
    }
    // New connections are refused from here on.
    drop(acceptor);

    stage.send_replace(Stage::Draining);
    if tokio::time::timeout(limits.grace, all_closed(&permits, count)).await.is_err() {
        let (left, grace) = (stats.connections(), limits.grace);
        tracing::warn!("{left} connections did not end within {grace:?} and were cut");
        stage.send_replace(Stage::Cut);
        all_closed(&permits, count).await;
    }
}

/// Waits until every connection has given its permit back.
async fn all_closed(permits: &Semaphore, count: u32) {
    // The semaphore is never closed, so the only outcome is that all are back.
    let _all = permits.acquire_many(count).await;
}

/// Begins TLS, within the limit; `None` when the end of all connections comes first.
async fn handshake(
    acceptor: TlsAcceptor,
    stream: Watched<Lingering>,
    limit: Duration,
    mut stage: watch::Receiver<Stage>,
) -> Option<Result<TlsStream<Watched<Lingering>>, String>> {
    let shaking = async {
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, mut stream)) => {
                // So that the client reads the alert. That it is gone is nothing more to tell.
                let _ = stream.shutdown().await;
                Err(error.to_string())
            }
        }
    };
    tokio::select! {
        biased;
        shaken = timeout(limit, shaking) => Some(shaken.unwrap_or_else(|_| {
            let limit = humantime::format_duration(limit);
            Err(format!("the handshake did not end within {limit}"))
        })),
        // Also when the listener is gone without a word.
        _ = stage.wait_for(|stage| *stage != Stage::Serving) => None,
    }
}

/// Waits until one more connection may be open, from there; where all are taken, one whose client is waited for is ended.
async fn permit(
    permits: &Arc<Semaphore>,
    room: &Room,
    comes: Network,
    stats: &Stats,
) -> OwnedSemaphorePermit {
    loop {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return permit;
        }
        let again = match room.make(comes, Instant::now()) {
            Ok(one_more) => {
                if one_more {
                    stats.count_closed(Closed::MadeRoom);
                }
                // It gives its permit back as soon as it has its turn.
                Duration::MAX
            }
            Err(again) => again,
        };
        let free = timeout(again, Arc::clone(permits).acquire_owned()).await;
        if let Ok(Ok(permit)) = free {
            return permit;
        }
    }
}

/// The service, of which the room knows when a request begins and when it is answered. What serves it tells the
/// room the rest, by the [`Guest`] among the request's extensions.
fn noticed<S>(
    service: S,
    guest: Guest,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
{
    service_fn(move |mut request: Request<Incoming>| {
        guest.begin(Instant::now());
        request.extensions_mut().insert(guest.clone());
        let (answer, guest) = (service.call(request), guest.clone());
        async move {
            let answer = answer.await;
            guest.answered();
            answer
        }
    })
}

/// Drives one connection to its end.
async fn serve<I, S>(
    mut connection: Pin<&mut http1::Connection<TokioIo<I>, S>>,
    mut stage: watch::Receiver<Stage>,
    stats: &Stats,
) where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    loop {
        let changed = tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection ended with an error: {error}");
                    if let Some(why) = why(&error) {
                        stats.count_closed(why);
                    }
                }
                return;
            }
            changed = stage.changed() => changed,
        };
        let now = *stage.borrow_and_update();
        match now {
            Stage::Draining if changed.is_ok() => connection.as_mut().graceful_shutdown(),
            Stage::Serving if changed.is_ok() => {}
            // The listener is gone without a word only when its runtime is being torn down.
            _ => return,
        }
    }
}

/// Why this side ended a connection; none where the client did, or the network.
fn why(error: &hyper::Error) -> Option<Closed> {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_parse_too_large() {
        Some(Closed::HeadersTooLarge)
    } else if error.is_parse() {
        Some(Closed::NotHttp)
    } else if error.is_timeout() {
        Some(Closed::Silent)
    } else if cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) {
        Some(Closed::Unread)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use warp::reply::Reply;

    /// A listener whose every request is answered when the test says so; the signal to stop
    /// it; and its end.
    async fn started(
        grace: Duration,
        answer: watch::Receiver<bool>,
    ) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let headers = Duration::from_secs(30);
        let limits = Limits { connections: 4, headers, unread: headers, unfinished: 0, grace };
        let service = hyper::service::service_fn(move |_: Request<Incoming>| {
            let mut answer = answer.clone();
            async move {
                answer.wait_for(|now| *now).await.unwrap();
                Ok::<_, Infallible>(warp::reply().into_response())
            }
        });
        let (stop, stopped) = oneshot::channel();
        let stats = Arc::new(Stats::new(std::iter::empty()));
        let run = async move {
            run(listener, None, limits, |_| service.clone(), stats, async move {
                stopped.await.unwrap();
            })
            .await;
        };
        (address, stop, tokio::spawn(run))
    }

    async fn requested(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        client
    }

    /// Waits until the listener is gone.
    async fn refused(address: SocketAddr) {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_request_at_hand_is_finished_after_the_signal_to_stop() {
        let (answer, answered) = watch::channel(false);
        let (address, stop, running) = started(Duration::from_secs(30), answered).await;
        let mut client = requested(address).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        // One each for the listener, the two connections and the request.
        while answer.receiver_count() < 4 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        refused(address).await;
        assert!(!running.is_finished());
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "an idle connection is closed at once");
        answer.send(true).unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
        drop((client, idle));
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_hold_up_the_stop() {
        let (answer, answered) = watch::channel(false);
        let (address, stop, running) = started(Duration::from_millis(50), answered).await;
        let mut client = requested(address).await;
        while answer.receiver_count() < 3 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        running.await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
