//! How a command asks a running service to do something.
//!
//! Requests are sent from the calling thread and waited for. The connection itself, and what keeps
//! it open while the command is busy otherwise, are driven by a thread of its own. While something
//! is held that thread asks nothing unless the command has moved on ([`Client::moved`]): so what is
//! held stays held while the command makes progress, and is given back when it is stopped or killed,
//! or hangs at a medium that does not answer.

use super::answer::{Departed, Imported, Letters, Problem, Range, Ranges, Removed};
use super::{SOCKET, path_in};
use crate::dead::{Left, Name};
use crate::record::Sequence;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

/// One request: the longest wait is for records that must be committed first.
const WITHIN: Duration = Duration::from_mins(2);
/// Well below what the service calls quiet.
const BEAT: Duration = Duration::from_secs(5);
/// An answer is a number or a sentence.
const ANSWER: usize = 64 * 1024;

/// Why the service did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No service runs here, or it has no socket.
    #[error("no service answers at {}: {source}", socket.display())]
    Nobody { socket: PathBuf, source: io::Error },
    #[error("{} may not be used by this user; use sudo, or become a member of its group", .0.display())]
    Forbidden(PathBuf),
    #[error("the connection to the service broke: {0}")]
    Broken(String),
    /// In the service's words.
    #[error("the service refuses: {}", .0.detail)]
    Refused(Box<Problem>),
}

/// A connection to the service that has the spool open.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: Arc<Mutex<SendRequest<Full<Bytes>>>>,
    life: Arc<Life>,
}

/// What the thread that keeps the connection open goes by.
#[derive(Debug, Default)]
struct Life {
    holds: AtomicBool,
    /// Since the last beat.
    moved: AtomicBool,
}

impl Client {
    /// Connects to the service whose spool is in `dir`.
    pub fn connect(dir: &Path) -> Result<Self, ClientError> {
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| broken(&error))?;
        let socket = dir.join(SOCKET);
        let nobody = |source| ClientError::Nobody { socket: socket.clone(), source };
        let (short, _open) = path_in(dir).map_err(nobody)?;
        let sender = runtime.block_on(async {
            let stream =
                UnixStream::connect(short).await.map_err(|source| match source.kind() {
                    io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket.clone()),
                    _ => nobody(source),
                })?;
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
            // How it ends shows in the answers.
            tokio::spawn(async move { drop(connection.await) });
            Ok(Arc::new(Mutex::new(sender)))
        })?;
        let life = Arc::new(Life::default());
        let (kept, seen) = (Arc::clone(&sender), Arc::clone(&life));
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                if seen.holds.load(Relaxed) && !seen.moved.swap(false, Relaxed) {
                    continue;
                }
                let beat = exchange(&kept, Method::GET, "/", Bytes::new());
                if beat.await.is_err() {
                    return; // the next request says why
                }
            }
        });
        Ok(Self { runtime, sender, life })
    }

    /// Keeps what waits of `first` to `end` (exclusive) from Kafka for as long as this connection
    /// lives; gives what of it is held. It lives only while [`Client::moved`] is called every few
    /// seconds.
    pub fn hold(
        &self,
        first: Sequence,
        end: Sequence,
    ) -> Result<(Sequence, Sequence), ClientError> {
        let asked = Range { first: first.0, end: end.0 };
        self.life.holds.store(true, Relaxed);
        let held: Range = self.ask("/spool/hold", json(&asked)?)?;
        Ok((Sequence(held.first), Sequence(held.end)))
    }

    /// The command has made progress with what it holds.
    pub fn moved(&self) {
        self.life.moved.store(true, Relaxed);
    }

    /// Takes what of these ranges is held out of the spool, for good; gives how many it were.
    pub fn remove(&self, ranges: &[(Sequence, Sequence)]) -> Result<u64, ClientError> {
        let ranges = ranges.iter().map(|(first, end)| (first.0, end.0)).collect();
        let removed: Removed = self.ask("/spool/remove", json(&Ranges { ranges })?)?;
        Ok(removed.removed)
    }

    /// Makes the records of these lines durable in the service's spool; gives how many it were.
    pub fn import(&self, lines: &[u8]) -> Result<u64, ClientError> {
        let imported: Imported = self.ask("/spool/records", Bytes::copy_from_slice(lines))?;
        Ok(imported.imported)
    }

    /// Drops these dead letters; see `dead::drop_letters`.
    pub fn drop_letters(&self, names: &[Name]) -> Result<Left, ClientError> {
        self.letters("/dead/drop", names)
    }

    /// Sends the records of these dead letters again; see `dead::send_again`.
    pub fn send_again(&self, names: &[Name]) -> Result<Left, ClientError> {
        self.letters("/dead/retry", names)
    }

    fn letters(&self, path: &str, names: &[Name]) -> Result<Left, ClientError> {
        let letters = names.iter().map(Name::to_string).collect();
        let departed: Departed = self.ask(path, json(&Letters { letters })?)?;
        let Departed { gone, without, complaints, stopped } = departed;
        let gone = gone.iter().filter_map(|name| Name::parse(name)).collect();
        Ok(Left { gone, without, complaints, stopped })
    }

    fn ask<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, ClientError> {
        let answer = self.runtime.block_on(exchange(&self.sender, Method::POST, path, body))?;
        let broken = |error: serde_json::Error| ClientError::Broken(error.to_string());
        serde_json::from_slice(&answer).map_err(broken)
    }
}

fn json(asked: &impl Serialize) -> Result<Bytes, ClientError> {
    let text = serde_json::to_vec(asked).map_err(|error| ClientError::Broken(error.to_string()))?;
    Ok(text.into())
}

/// One request and the body of its answer, if that is a good one.
async fn exchange(
    sender: &Mutex<SendRequest<Full<Bytes>>>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
    let request = Request::builder().method(method).uri(path).header(HOST, "waystation");
    let request = request.body(Full::new(body)).map_err(|error| broken(&error))?;
    let answered = async {
        let mut sender = sender.lock().await;
        sender.ready().await.map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| broken(&error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(broken(&format!("it answered {status}"))),
        }
    };
    let late = |_| broken(&format!("no answer within {} s", WITHIN.as_secs()));
    tokio::time::timeout(WITHIN, answered).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    /// Fails without the beats, and when they do not go by what moved on (that they stop then is
    /// held by `tests/service/carry.rs`).
    #[test]
    fn what_is_held_is_kept_by_a_command_that_moves_on() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let service = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut asked = Vec::new();
            while asked.last().is_none_or(|path| path != "/") {
                let mut bytes = Vec::new();
                let mut some = [0; 4096];
                // Its whole head; the small body comes with it.
                while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = stream.read(&mut some).unwrap();
                    assert!(read > 0, "the client went away after {asked:?}");
                    bytes.extend_from_slice(&some[..read]);
                }
                let head = String::from_utf8_lossy(&bytes).into_owned();
                asked.push(head.split(' ').nth(1).unwrap().to_owned());
                let answer = r#"{"first":0,"end":9}"#;
                let length = answer.len();
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{answer}")
                    .unwrap();
            }
            asked
        });
        let client = Client::connect(dir.path()).unwrap();
        client.hold(Sequence(0), Sequence(9)).unwrap();
        while !service.is_finished() {
            client.moved();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(service.join().unwrap(), ["/spool/hold", "/"]);
    }
}
