//! The way into a spool to change it: through the service that has it open, or, when none runs, by
//! opening it.

use super::place;
use crate::cli::{exit, terminal};
use crate::control::client::{Client, ClientError};
use crate::control::records;
use crate::dead::{self, Left, Name};
use crate::record::Sequence;
use crate::spool::{self, Hold, HoldError, OpenError, SpoolWriter};
use std::io;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// See the module.
#[derive(Debug)]
pub enum Door {
    Service(Client),
    Open(Opened),
}

/// A spool that this process has open.
#[derive(Debug)]
pub struct Opened {
    dir: PathBuf,
    writer: SpoolWriter,
    runtime: Runtime,
    held: Option<Hold>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// None of the records is free: Kafka's client has them, or there are none.
    #[error("none of these records is free to be taken out")]
    Nothing,
    /// Of a batch of lines: how many were made durable all the same, and which one was not, from 0.
    #[error("{why}")]
    Refused { imported: u64, line: u64, why: String },
    #[error("{0}")]
    Failed(String),
}

impl Door {
    /// Finds the way in; the exit code when there is none.
    pub fn find(config: &spool::Config) -> Result<Self, u8> {
        let nobody = match Client::connect(&config.dir) {
            Ok(client) => return Ok(Self::Service(client)),
            Err(ClientError::Nobody { source, .. }) => source,
            Err(error) => {
                terminal::complain(&error);
                let forbidden = matches!(error, ClientError::Forbidden(_));
                return Err(if forbidden { exit::NO_PERMISSION } else { exit::IO });
            }
        };
        place::owned(&config.dir)?;
        match spool::open(config.clone()) {
            Ok(spool) => {
                dead::recover(&config.dir, &spool.writer);
                Ok(Self::Open(Opened::new(config.dir.clone(), spool)?))
            }
            Err(error @ OpenError::InUse { .. }) => {
                terminal::complain(&format!(
                    "{error}; its control socket does not answer ({nobody})"
                ));
                Err(exit::SPOOL_IN_USE)
            }
            Err(error) => Err(place::unopened(&error)),
        }
    }

    /// Keeps what waits of `first` to `end` (exclusive) from Kafka; gives what of it is kept.
    pub fn hold(
        &mut self,
        first: Sequence,
        end: Sequence,
    ) -> Result<(Sequence, Sequence), DoorError> {
        match self {
            Self::Service(client) => Ok(client.hold(first, end)?),
            Self::Open(opened) => match opened.writer.hold(first, end) {
                Ok(hold) => {
                    let range = (hold.first(), hold.end());
                    opened.held = Some(hold);
                    Ok(range)
                }
                Err(HoldError::Nothing) => Err(DoorError::Nothing),
                Err(error) => Err(DoorError::Failed(error.to_string())),
            },
        }
    }

    /// The command has made progress; what is held is given back when it makes none.
    pub fn moved(&self) {
        match self {
            Self::Service(client) => client.moved(),
            // It is kept from nobody.
            Self::Open(_) => {}
        }
    }

    /// Takes what of these ranges is held out of the spool, for good.
    pub fn remove(&mut self, ranges: &[(Sequence, Sequence)]) -> Result<u64, DoorError> {
        match self {
            Self::Service(client) => Ok(client.remove(ranges)?),
            Self::Open(opened) => {
                let removed = opened.held.take().map_or(Ok(0), |hold| hold.remove(ranges));
                removed.map_err(|error: io::Error| DoorError::Failed(error.to_string()))
            }
        }
    }

    /// Makes the records of these lines durable.
    pub fn import(&mut self, lines: &[u8]) -> Result<u64, DoorError> {
        match self {
            Self::Service(client) => Ok(client.import(lines)?),
            Self::Open(Opened { writer, runtime, .. }) => {
                runtime.block_on(records::append(writer, lines)).map_err(|refused| {
                    let (imported, line) = (refused.imported, refused.line);
                    DoorError::Refused { imported, line, why: refused.to_string() }
                })
            }
        }
    }

    /// Drops these dead letters.
    pub fn drop_letters(&mut self, names: &[Name]) -> Result<Left, DoorError> {
        match self {
            Self::Service(client) => Ok(client.drop_letters(names)?),
            Self::Open(opened) => unchanged(dead::drop_letters(&opened.dir, &opened.writer, names)),
        }
    }

    /// Sends the records of these dead letters again.
    pub fn send_again(&mut self, names: &[Name]) -> Result<Left, DoorError> {
        match self {
            Self::Service(client) => Ok(client.send_again(names)?),
            Self::Open(opened) => unchanged(dead::send_again(&opened.dir, &opened.writer, names)),
        }
    }

    /// Lets go of it. An error says that the spool was not closed in order; nothing is lost by it.
    pub fn close(self) -> Result<(), spool::CloseError> {
        match self {
            Self::Service(_) => Ok(()),
            Self::Open(opened) => {
                drop(opened.held);
                opened.writer.close()
            }
        }
    }
}

fn unchanged(left: io::Result<Left>) -> Result<Left, DoorError> {
    left.map_err(|error| DoorError::Failed(format!("nothing was changed: {error}")))
}

impl Opened {
    fn new(dir: PathBuf, spool: spool::Spool) -> Result<Self, u8> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| {
            terminal::complain(&format!("cannot start: {error}"));
            exit::SOFTWARE
        })?;
        runtime.spawn(spool.acks.run());
        Ok(Self { dir, writer: spool.writer, runtime, held: None })
    }
}

impl From<ClientError> for DoorError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => match (problem.imported, problem.line) {
                (Some(imported), Some(line)) => {
                    Self::Refused { imported, line, why: problem.detail }
                }
                _ if problem.nothing => Self::Nothing,
                _ => Self::Failed(format!("the service refuses: {}", problem.detail)),
            },
            other => Self::Failed(other.to_string()),
        }
    }
}
