//! Which request does what. One [`Visit`] is one connection; what it holds goes with it.

use super::BODY;
use super::records;
use crate::dead::{self, Left, Name};
use crate::record::Sequence;
use crate::spool::{Hold, HoldError, SpoolWriter};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex as Turn;

/// For a whole body: it comes from this machine.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// What the answers need.
#[derive(Debug)]
pub struct Control {
    spool: PathBuf,
    writer: SpoolWriter,
    /// One request's lines are in memory at a time.
    importing: Turn<()>,
    /// Letters leave by one command at a time.
    leaving: Mutex<()>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Visit {
    control: Arc<Control>,
    held: Arc<Mutex<Option<Hold>>>,
}

/// A range of sequences, the end exclusive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Range {
    pub first: u64,
    pub end: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Ranges {
    pub ranges: Vec<(u64, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Removed {
    pub removed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Imported {
    pub imported: u64,
}

/// Dead letters, by the names of their files.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letters {
    pub letters: Vec<String>,
}

/// What became of them; see `dead::Left`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Departed {
    pub gone: Vec<String>,
    pub without: u64,
    pub complaints: Vec<String>,
    pub stopped: bool,
}

/// Why something was not done: that none of the records is free to be held; how many lines were
/// imported all the same, and which one was not, from 0 on, where it is about lines.
#[derive(Debug, Serialize, Deserialize)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: String,
    #[serde(default)]
    pub nothing: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

impl Control {
    pub fn new(spool: PathBuf, writer: SpoolWriter) -> Self {
        Self { spool, writer, importing: Turn::new(()), leaving: Mutex::new(()) }
    }

    /// A connection was made.
    pub fn visit(self: &Arc<Self>) -> Visit {
        Visit { control: Arc::clone(self), held: Arc::default() }
    }
}

type Answer = Response<Full<Bytes>>;

impl Visit {
    /// The answer to one request.
    pub async fn answer(self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let done = match (&head.method, head.uri.path()) {
            (&Method::GET, "/") => Ok(json(StatusCode::OK, &serde_json::json!({}))),
            (&Method::POST, "/spool/hold") => self.hold(body).await,
            (&Method::POST, "/spool/remove") => self.remove(body).await,
            (&Method::POST, "/spool/records") => self.records(body).await,
            (&Method::POST, "/dead/drop") => self.letters(body, dead::drop_letters).await,
            (&Method::POST, "/dead/retry") => self.letters(body, dead::send_again).await,
            (
                _,
                "/" | "/spool/hold" | "/spool/remove" | "/spool/records" | "/dead/drop"
                | "/dead/retry",
            ) => Err(problem(StatusCode::METHOD_NOT_ALLOWED, "GET / and POST for the others")),
            _ => Err(problem(StatusCode::NOT_FOUND, "the service knows no such request")),
        };
        done.unwrap_or_else(|problem| problem)
    }

    async fn hold(self, body: Incoming) -> Result<Answer, Answer> {
        let Range { first, end } = read(body).await?;
        let taken = blocking(move || {
            let kept = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
            // One connection holds one range: the one before is given back first.
            *kept = None;
            let hold = self.control.writer.hold(Sequence(first), Sequence(end))?;
            let range = Range { first: hold.first().0, end: hold.end().0 };
            *kept = Some(hold);
            Ok::<_, HoldError>(range)
        });
        match taken.await? {
            Ok(range) => Ok(json(StatusCode::OK, &range)),
            Err(error) => {
                let mut said = problem_of(StatusCode::CONFLICT, &error.to_string());
                said.nothing = error == HoldError::Nothing;
                Err(json(StatusCode::CONFLICT, &said))
            }
        }
    }

    async fn remove(self, body: Incoming) -> Result<Answer, Answer> {
        let Ranges { ranges } = read(body).await?;
        let ranges: Vec<_> =
            ranges.into_iter().map(|(first, end)| (Sequence(first), Sequence(end))).collect();
        let removed = blocking(move || {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
            held.map(|hold| hold.remove(&ranges))
        });
        match removed.await? {
            None => Err(problem(StatusCode::CONFLICT, "nothing is held on this connection")),
            Some(Ok(removed)) => Ok(json(StatusCode::OK, &Removed { removed })),
            Some(Err(error)) => {
                let says = format!("the removal cannot be written down: {error}");
                Err(problem(StatusCode::SERVICE_UNAVAILABLE, &says))
            }
        }
    }

    async fn records(self, body: Incoming) -> Result<Answer, Answer> {
        let _turn = self.control.importing.lock().await;
        let lines = collected(body).await?;
        match records::append(&self.control.writer, &lines).await {
            Ok(imported) => Ok(json(StatusCode::OK, &Imported { imported })),
            Err(refused) => {
                let status = match refused.why {
                    records::Why::Line(_) => StatusCode::UNPROCESSABLE_ENTITY,
                    records::Why::Append(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                let mut said = problem_of(status, &refused.to_string());
                (said.imported, said.line) = (Some(refused.imported), Some(refused.line));
                Err(json(status, &said))
            }
        }
    }
}

/// How letters leave the spool in a directory.
type Leave = fn(&Path, &SpoolWriter, &[Name]) -> io::Result<Left>;

impl Visit {
    async fn letters(self, body: Incoming, leave: Leave) -> Result<Answer, Answer> {
        let Letters { letters } = read(body).await?;
        let names: Option<Vec<_>> = letters.iter().map(|name| Name::parse(name)).collect();
        let no_name = || problem(StatusCode::BAD_REQUEST, "a name is none of a dead letter");
        let names = names.ok_or_else(no_name)?;
        // It runs to its end, whatever becomes of the connection.
        let left = blocking(move || {
            let Control { spool, writer, leaving, .. } = &*self.control;
            let _turn = leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leave(spool, writer, &names)
        });
        match left.await? {
            Ok(left) => Ok(json(StatusCode::OK, &Departed::from(left))),
            Err(error) => {
                let says = format!("nothing was changed: {error}");
                Err(problem(StatusCode::SERVICE_UNAVAILABLE, &says))
            }
        }
    }
}

impl From<Left> for Departed {
    fn from(Left { gone, without, complaints, stopped }: Left) -> Self {
        Self { gone: gone.iter().map(Name::to_string).collect(), without, complaints, stopped }
    }
}

/// What may wait for the disk, off the runtime that answers the others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Answer> {
    let broken = |_| problem(StatusCode::INTERNAL_SERVER_ERROR, "the service failed at it");
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

async fn collected(body: Incoming) -> Result<Bytes, Answer> {
    let body = tokio::time::timeout(BODY_WITHIN, Limited::new(body, BODY).collect()).await;
    let body =
        body.map_err(|_| problem(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))?;
    let body = body.map_err(|error| problem(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()))?;
    Ok(body.to_bytes())
}

async fn read<T: for<'de> Deserialize<'de>>(body: Incoming) -> Result<T, Answer> {
    let body = collected(body).await?;
    serde_json::from_slice(&body)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn problem_of(status: StatusCode, detail: &str) -> Problem {
    Problem {
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        nothing: false,
        imported: None,
        line: None,
    }
}

fn problem(status: StatusCode, detail: &str) -> Answer {
    json(status, &problem_of(status, detail))
}

fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let (status, text) = match serde_json::to_vec(body) {
        Ok(text) => (status, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
