//! The control socket: how a command changes something in a running service.
//!
//! A Unix socket in the spool's directory ([`SOCKET`]), for the service's user and group only
//! (mode 0660): nothing that changes something goes over TCP. It speaks HTTP/1.1, one small request
//! at a time, so that memory is bounded on both sides whatever a command does:
//!
//! | request | body | what it does |
//! |---|---|---|
//! | `GET /` | | says that a service is there; keeps a quiet connection open |
//! | `POST /spool/hold` | `{"first":…,"end":…}` | keeps these records from Kafka; gives `{"first":…,"end":…}` of what is held |
//! | `POST /spool/remove` | `{"ranges":[[first,end],…]}` | takes what of them is held out of the spool, as exported; gives `{"removed":…}` |
//! | `POST /spool/records` | lines of an export | makes the records durable here; gives `{"imported":…}` |
//! | `POST /dead/drop` | `{"letters":["….letter",…]}` | drops these dead letters, by the names of their files; gives `{"gone":[…],"without":…,"complaints":[…],"stopped":…}` |
//! | `POST /dead/retry` | the same | puts their records behind what waits, and lets the letters go; gives the same |
//!
//! What is held belongs to its connection: it is given back when that ends, however it ends, and a
//! connection ends when nothing was asked for half a minute: a client that holds something asks only
//! when it has moved on. The records themselves are not sent:
//! whoever may use the socket may read the files.
//!
//! Like the admin listener it never stops ingest: what keeps it from listening is said in the
//! status and tried again.
//!
//! - `listener.rs`: the socket and its connections; `answer.rs`: which request does what;
//! - [`records`]: lines of an export into a spool; [`client`]: the other end, for the commands.

mod answer;
pub mod client;
mod listener;
pub mod records;

pub use answer::Problem;
pub use listener::{ControlState, serve};

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The socket's name in the spool's directory.
pub const SOCKET: &str = "socket";

/// A path of the socket in `dir` that the kernel takes: one of a socket has at most 107 bytes. It is
/// good for as long as the file is open.
fn path_in(dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = dir.join(SOCKET);
    if path.as_os_str().len() <= 107 {
        return Ok((path, None));
    }
    let dir = File::open(dir)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    Ok((path.into(), Some(dir)))
}

/// Bytes of a request's body, at most: a line that is as long as lines may be.
const BODY: usize = crate::line::MAX_LEN + 2;
