//! The socket: made, made again when it is gone, its connections and their end.
//!
//! Invariant: whatever happens here stays here; ingest does not notice. It does not know what is
//! asked (`answer.rs` does).

use super::answer::{Control, Visit};
use super::{SOCKET, path_in};
use crate::spool::SpoolWriter;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A few commands at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// A connection on which nothing is asked for this long ends, and gives back what it holds.
const QUIET: Duration = Duration::from_secs(30);
/// Beside the body, which is read piece by piece.
const BUFFER: usize = 64 * 1024;
/// Between two looks at the socket: whether it can be made, or is still there.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Answers under way at the end are given this long.
const GRACE: Duration = Duration::from_secs(1);
/// For the user and the group.
const MODE: u32 = 0o660;

/// How the socket fares; shared with whoever makes the status.
#[derive(Debug, Default)]
pub struct ControlState {
    trouble: Mutex<Option<String>>,
}

impl ControlState {
    /// Why no command can be taken, as a clause without a full stop; `None` while all is well.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Listens at the socket in `dir` and answers until `shutdown`, then gives the answers under way a moment. It
/// cannot fail: what keeps it from listening stands in `state` and is tried again.
pub async fn serve(
    dir: PathBuf,
    writer: SpoolWriter,
    state: Arc<ControlState>,
    shutdown: impl Future<Output = ()>,
) {
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    let control = Arc::new(Control::new(dir.clone(), writer));
    tokio::select! {
        never = listen(&dir, &control, &state, &ended, &mut connections) => match never {},
        () = shutdown => {}
    }
    // Gone already, or another one's: the next start makes its own.
    drop(fs::remove_file(dir.join(SOCKET)));
    // Only fails when no connection is left to hear it.
    ending.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn listen(
    dir: &Path,
    control: &Arc<Control>,
    state: &ControlState,
    ended: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let path = &dir.join(SOCKET);
    loop {
        let (listener, made) = bind(dir, path, state).await;
        while is_there(path, made) {
            // The semaphore is never closed; were it, no place would be counted.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            let accepted = tokio::time::timeout(AGAIN_AFTER, listener.accept()).await;
            match accepted {
                Ok(Ok((stream, _))) => {
                    let (visit, ended) = (control.visit(), ended.clone());
                    connections.spawn(async move {
                        connection(stream, visit, ended).await;
                        drop(place);
                    });
                }
                // A client that went away again, or no file descriptor left for the moment.
                Ok(Err(error)) => {
                    tracing::debug!("the control socket could not accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // Time to look whether the socket is still there.
                Err(_) => {}
            }
            while connections.try_join_next().is_some() {}
        }
        tracing::warn!("{} is gone, and is made again", path.display());
    }
}

/// Whether the socket at `path` is the one that was made.
fn is_there(path: &Path, made: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| (data.dev(), data.ino()) == made)
}

/// Tries until the socket is there; gives also what names it. One line of log when it begins to
/// fail, one when it works.
async fn bind(dir: &Path, path: &Path, state: &ControlState) -> (UnixListener, (u64, u64)) {
    loop {
        match make(dir, path) {
            Ok(made) => {
                if state.trouble().is_some() {
                    tracing::info!("commands are taken at {}", path.display());
                }
                state.set(None);
                return made;
            }
            Err(error) => {
                let trouble =
                    format!("the control socket {} cannot be made ({error})", path.display());
                if state.trouble().is_none() {
                    tracing::error!("{trouble}; everything else works, and it is tried again");
                }
                state.set(Some(trouble));
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Makes the socket in the place of one that an earlier process left: this one has the lock of the
/// spool that it lies in. What is no socket is left alone.
fn make(dir: &Path, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("something else has its name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (short, _open) = path_in(dir)?;
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    let data = fs::symlink_metadata(path)?;
    Ok((listener, (data.dev(), data.ino())))
}

async fn connection(stream: UnixStream, visit: Visit, mut ended: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let visit = visit.clone();
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(QUIET).max_buf_size(BUFFER);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let over = async {
        // An error means that the listener is gone: that is an end as well.
        drop(ended.wait_for(|ended| *ended).await);
    };
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = over => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(GRACE, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!("a control connection broke: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds `path_in`.
    #[test]
    fn a_spool_may_lie_deeper_than_a_sockets_path_is_long() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("d".repeat(120));
        fs::create_dir(&dir).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (listener, made) = make(&dir, &dir.join(SOCKET)).unwrap();
            assert!(is_there(&dir.join(SOCKET), made));
            let (short, _open) = path_in(&dir).unwrap();
            let connecting = UnixStream::connect(short);
            let (accepted, connected) = tokio::join!(listener.accept(), connecting);
            accepted.unwrap();
            connected.unwrap();
        });
    }
}
