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
//!
//! What is held belongs to its connection: it is given back when that ends, however it ends, and a
//! connection ends when nothing was asked for half a minute. The records themselves are not sent:
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

/// The socket's name in the spool's directory.
pub const SOCKET: &str = "socket";

/// Bytes of a request's body, at most: a line that is as long as lines may be.
const BODY: usize = crate::line::MAX_LEN + 2;
