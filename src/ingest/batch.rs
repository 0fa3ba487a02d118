//! A batch: many messages in one body, each of which is kept or refused by itself.
//!
//! What is read is converted and handed on at once, and only a part of it waits to be durable at a time:
//! memory is bounded by one message and that part, not by the batch, and all batches together
//! leave room for single messages. The report comes when all is settled. Where a batch
//! breaks off (the connection, a length that is none, a spool that is full, a stop), what came before
//! is kept all the same, and the report says from which message on to send it again.
//!
//! It does not know what a message says, nor how one becomes durable.

use super::body;
use super::framing::{Frame, Framing, NoLength};
use super::problem::{Problem, Reason};
use crate::spool::AppendError;
use futures_util::FutureExt as _;
use futures_util::future::{Fuse, FusedFuture as _};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep, timeout_at};

/// Batches that are read at once; others wait for their turn.
pub(super) const AT_ONCE: u32 = 8;
/// Records of one batch that wait to be durable at once, at most.
const WAITING: usize = 1_000;
/// Refused messages that are listed; a batch with more of them is given up.
const LISTED: usize = 100;
/// Until it is tried again while too much waits for the disk.
const AGAIN: Duration = Duration::from_millis(10);
/// How long what still comes is read of a batch that had to be given up for others, or for the stop.
const LAST: Duration = Duration::from_secs(2);
/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// What a batch may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of one message.
    pub message: usize,
    /// Bytes of the batch, uncompressed.
    pub batch: usize,
    /// Bytes of JSON that wait to be durable at once.
    pub waiting: usize,
    /// For each message to come whole.
    pub time: Duration,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Messages that are durable.
    pub accepted: u64,
    /// Those that were refused for good: the place of each, from 0.
    pub rejected: Vec<(u64, Problem)>,
    /// Why it broke off, and from which message on it is to be sent again.
    pub broken: Option<(u64, Problem)>,
}

/// Keeps what it can of a batch, whose messages `framing` finds, until `given_up` says why it is to break
/// off. `append` converts a message and hands it to the spool; it gives what to wait for, and how many
/// bytes wait.
pub(super) async fn keep<A, T>(
    body: impl AsyncRead,
    framing: impl Framing,
    limits: Limits,
    given_up: impl Future<Output = Problem>,
    append: impl FnMut(&[u8]) -> Result<(A, usize), Problem>,
) -> Report
where
    A: Future<Output = Result<T, AppendError>>,
{
    let (mut body, mut given_up) = (pin!(body), pin!(given_up.fuse()));
    let report = Report::default();
    let (waiting, bytes) = (VecDeque::new(), 0);
    let mut work = Work { append, given_up: given_up.as_mut(), limits, waiting, bytes, report };
    let read = work.read(body.as_mut(), framing).await;
    work.settle(0).await;
    let Work { mut report, .. } = work;
    if read.is_err() {
        discard(body, limits, given_up).await;
    }
    // Where both broke off, what was not durable comes first.
    report.broken = report.broken.or(read.err());
    report
}

/// Reads what still comes of a batch that is given up: a client that is still sending would lose the answer.
async fn discard(
    mut body: Pin<&mut impl AsyncRead>,
    limits: Limits,
    mut given_up: Pin<&mut Fuse<impl Future<Output = Problem>>>,
) {
    let soon = || Instant::now() + LAST.min(limits.time);
    let mut until = if given_up.is_terminated() { soon() } else { Instant::now() + limits.time };
    let (mut piece, mut bytes) = (vec![0; PIECE], 0);
    while bytes < limits.batch {
        let read = tokio::select! {
            biased;
            // Only once.
            _why = given_up.as_mut() => {
                until = until.min(soon());
                continue;
            }
            read = timeout_at(until, body.read(&mut piece)) => read,
        };
        match read {
            Ok(Ok(more)) if more > 0 => bytes += more,
            _ => return,
        }
        tokio::task::yield_now().await;
    }
}

struct Work<'a, A, F, G: Future> {
    append: F,
    given_up: Pin<&'a mut Fuse<G>>,
    limits: Limits,
    /// Not durable yet: the place of each, and its bytes.
    waiting: VecDeque<(u64, A, usize)>,
    bytes: usize,
    report: Report,
}

impl<A, F, G, T> Work<'_, A, F, G>
where
    A: Future<Output = Result<T, AppendError>>,
    F: FnMut(&[u8]) -> Result<(A, usize), Problem>,
    G: Future<Output = Problem>,
{
    /// To the end of the body, or to where it breaks off.
    async fn read(
        &mut self,
        mut body: Pin<&mut impl AsyncRead>,
        mut framing: impl Framing,
    ) -> Result<(), (u64, Problem)> {
        let limits = self.limits;
        let (mut place, mut bytes) = (0, 0);
        let mut until = Instant::now() + limits.time;
        loop {
            let before = place;
            while let Some(frame) = framing.next().map_err(|NoLength| (place, no_length()))? {
                self.found(place, frame).await?;
                place += 1;
                tokio::task::coop::consume_budget().await;
            }
            if place > before {
                until = Instant::now() + limits.time;
            }
            // What came with the last piece is not given up for it.
            if bytes > limits.batch {
                let detail = format!("a batch may have {} bytes", limits.batch);
                return Err((place, Problem::new(Reason::TooLarge, detail)));
            }
            let buffer = framing.buffer();
            buffer.reserve(PIECE);
            let read = self.unless_given_up(timeout_at(until, body.read_buf(buffer))).await;
            let read = read.map_err(|problem| (place, problem))?;
            let read = read.unwrap_or_else(|_| Err(body::too_slow(limits.time).into()));
            let more = read.map_err(|error| (place, body::problem(error)))?;
            bytes += more;
            if more == 0 {
                break;
            }
            // What is there already is no reason to let others wait.
            tokio::task::yield_now().await;
        }
        if let Some(frame) = framing.end() {
            self.found(place, frame).await?;
            place += 1;
        }
        if framing.is_between() {
            return Ok(());
        }
        let detail = "the batch ends in the middle of a message";
        Err((place, Problem::new(Reason::Incomplete, detail)))
    }

    async fn found(&mut self, place: u64, frame: Frame) -> Result<(), (u64, Problem)> {
        match frame {
            Frame::Message(message) => self.take(place, &message).await,
            Frame::TooLarge(length) => {
                let may = self.limits.message;
                let detail = format!("a message may have {may} bytes; it has {length}");
                self.refuse(place, Problem::new(Reason::TooLarge, detail))
            }
        }
    }

    /// Hands the message on; a refusal for now breaks the batch off.
    async fn take(&mut self, place: u64, message: &[u8]) -> Result<(), (u64, Problem)> {
        let is_busy = |taken: &Result<_, Problem>| {
            taken.as_ref().is_err_and(|problem| problem.reason == Reason::Busy)
        };
        let mut taken = (self.append)(message);
        if is_busy(&taken) {
            let until = Instant::now() + self.limits.time;
            while is_busy(&taken) && Instant::now() < until {
                // It may be this very batch that the disk has to catch up with; or others.
                self.settle(0).await;
                taken = (self.append)(message);
                if taken.is_err() {
                    let waited = self.unless_given_up(sleep(AGAIN)).await;
                    waited.map_err(|problem| (place, problem))?;
                }
            }
        }
        match taken {
            Ok((append, bytes)) => {
                self.waiting.push_back((place, append, bytes));
                self.bytes += bytes;
                while self.waiting.len() > WAITING || self.bytes > self.limits.waiting {
                    self.settle(self.waiting.len() - 1).await;
                }
            }
            Err(problem) if problem.reason.is_for_now() => return Err((place, problem)),
            Err(problem) => self.refuse(place, problem)?,
        }
        // What broke off is not added to.
        self.report.broken.clone().map_or(Ok(()), Err)
    }

    async fn unless_given_up<D>(&mut self, what: impl Future<Output = D>) -> Result<D, Problem> {
        tokio::select! {
            biased;
            why = self.given_up.as_mut() => Err(why),
            done = what => Ok(done),
        }
    }

    fn refuse(&mut self, place: u64, problem: Problem) -> Result<(), (u64, Problem)> {
        if self.report.rejected.len() == LISTED {
            let detail = format!("more than {LISTED} messages of the batch are refused");
            return Err((place, Problem::new(Reason::NoneKept, detail)));
        }
        self.report.rejected.push((place, problem));
        Ok(())
    }

    /// Waits until at most so many are not durable.
    async fn settle(&mut self, left: usize) {
        while self.waiting.len() > left {
            let Some((place, append, bytes)) = self.waiting.pop_front() else { return };
            self.bytes -= bytes;
            match append.await {
                Ok(_) => self.report.accepted += 1,
                Err(error) => {
                    self.report.broken.get_or_insert_with(|| (place, error.into()));
                }
            }
        }
    }
}

fn no_length() -> Problem {
    let detail =
        "the batch is not messages one after the other, each behind its length as a varint";
    Problem::new(Reason::Malformed, detail)
}

impl Report {
    /// What the device is told: the members of the answer, or of the problem.
    pub(super) fn answer(self) -> Result<Map<String, Value>, Problem> {
        let Self { accepted, rejected, broken } = self;
        let none_kept = accepted == 0 && !rejected.is_empty();
        let listed: Vec<_> = rejected.iter().map(|(place, why)| entry(*place, why)).collect();
        let mut more = Map::new();
        more.insert("accepted".to_owned(), accepted.into());
        more.insert("rejected".to_owned(), listed.into());
        match broken {
            Some((place, problem)) => {
                more.insert("next".to_owned(), place.into());
                Err(Problem { more, ..problem })
            }
            None if none_kept => {
                let detail = "every message of the batch is refused; rejected says why";
                Err(Problem { more, ..Problem::new(Reason::NoneKept, detail) })
            }
            None => Ok(more),
        }
    }
}

fn entry(place: u64, problem: &Problem) -> Value {
    let mut entry = json!({
        "index": place,
        "reason": problem.reason.label(),
        "detail": problem.detail,
    });
    if let Some(field) = &problem.field {
        entry["field"] = field.as_ref().into();
    }
    entry
}

#[cfg(test)]
mod tests;
