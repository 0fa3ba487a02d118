//! Lines of an export, made durable in a spool: for the socket and for a command that has the spool
//! open itself.

use crate::line::{self, LineError};
use crate::record::{NewRecord, Route};
use crate::spool::{Append, AppendError, SpoolWriter};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a record waits for others to be committed before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries while too much waits.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Why not all lines are in the spool.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// How many were made durable all the same.
    pub imported: u64,
    /// The first that was not, from 0 on.
    pub line: u64,
    pub why: Why,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Appends the records of all lines, in their order. `Ok` means that all of them are durable.
pub async fn append(writer: &SpoolWriter, lines: &[u8]) -> Result<u64, Refused> {
    let mut batch = Batch::default();
    let mut routes: Vec<Arc<Route>> = Vec::new();
    let lines = lines.split(|byte| *byte == b'\n').zip(0..);
    for (text, number) in lines.filter(|(text, _)| !text.trim_ascii().is_empty()) {
        let appended = match line::read(text) {
            Ok(line) => batch.append(writer, &line, &mut routes, number).await.map_err(Why::from),
            Err(error) => Err(error.into()),
        };
        if let Err(why) = appended {
            // What went before it is durable or not, whatever became of this one; what was refused
            // of it comes first.
            let imported = batch.durable().await?;
            return Err(Refused { imported, line: number, why });
        }
    }
    batch.durable().await
}

/// Records on their way to the disk.
#[derive(Debug, Default)]
struct Batch {
    imported: u64,
    waiting: Vec<(u64, Append)>,
}

impl Batch {
    async fn append(
        &mut self,
        writer: &SpoolWriter,
        line: &line::Line,
        routes: &mut Vec<Arc<Route>>,
        number: u64,
    ) -> Result<(), AppendError> {
        let known = routes.iter().find(|route| ***route == line.route).cloned();
        let route = known.unwrap_or_else(|| {
            routes.push(Arc::new(line.route.clone()));
            routes[routes.len() - 1].clone()
        });
        let record = NewRecord {
            route: &route,
            key: line.key.as_deref(),
            timestamp: line.timestamp,
            received: line.received,
            headers: &line.headers,
            value: &line.value,
            origin: Some(line.id),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match writer.append(&record) {
                Err(AppendError::Busy) if Instant::now() < deadline => sleep(AGAIN_AFTER).await,
                other => return other.map(|append| self.waiting.push((number, append))),
            }
        }
    }

    /// Waits for all of them.
    async fn durable(&mut self) -> Result<u64, Refused> {
        let mut first = None;
        for (line, append) in self.waiting.drain(..) {
            match append.await {
                Ok(_) => self.imported += 1,
                Err(error) => drop(first.get_or_insert((line, error))),
            }
        }
        let imported = self.imported;
        first.map_or(Ok(imported), |(line, error)| {
            Err(Refused { imported, line, why: error.into() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{self, Config};
    use std::fmt::Write as _;

    /// Fails when what the commit thread refused is not asked for once a later line is refused at
    /// once: on a disk that has become full that is how an import ends.
    #[test]
    fn the_first_line_that_is_not_in_the_spool_is_named() {
        let dir = tempfile::tempdir().unwrap();
        // Room for the commit's reserve and a part of the lines. Few of them wait at a time, so that
        // many are still to come when the spool is full.
        let (max_size, max_pending) = (8 << 20, 64 << 10);
        let config = Config { max_size, max_pending, min_free: 0, ..Config::new(dir.path()) };
        let spool = spool::open(config).unwrap();
        let mut lines = String::new();
        for number in 0..20_000 {
            let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(400).collect();
            writeln!(
                lines,
                "{{\"sequence\":{number},\"id\":\"00000000deadbeef:{number}\",\
                 \"received\":\"2026-01-01T00:00:00.000Z\",\"timestamp\":0,\"path\":\"/p\",\
                 \"topic\":\"t\",\"key\":null,\"headers\":{{}},\"value\":\"{noise}\"}}"
            )
            .unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(async {
            tokio::spawn(spool.acks.run());
            append(&spool.writer, lines.as_bytes()).await.unwrap_err()
        });
        assert!(matches!(refused.why, Why::Append(AppendError::Full(_))), "{refused:?}");
        assert!(refused.imported > 0, "{refused:?}");
        assert_eq!(spool.writer.ledger().accepted, refused.imported);
        assert_eq!(refused.line, refused.imported, "the lines before it are there");
        spool.writer.close().unwrap();
    }
}
