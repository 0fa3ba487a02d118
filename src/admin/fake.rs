//! A source for tests: fixed facts, and a listener that serves them.

use super::{AdminState, Config, Source, metrics, serve};
use crate::record::Millis;
use crate::status::{Snapshot, example};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Fake {
    pub snapshot: Snapshot,
    /// What both health checks answer, if they fail.
    pub failing: Option<String>,
}

impl Default for Fake {
    fn default() -> Self {
        Self { snapshot: example::snapshot(), failing: None }
    }
}

impl Source for Fake {
    fn status(&self) -> Snapshot {
        self.snapshot.clone()
    }

    fn metrics(&self) -> metrics::Input {
        metrics::Input {
            last_delivery: Some(Millis(1_777_889_472_345)),
            ..metrics::Input::default()
        }
    }

    fn live(&self) -> Result<(), String> {
        self.failing.clone().map_or(Ok(()), Err)
    }

    fn ready(&self) -> Result<(), String> {
        self.live()
    }
}

/// A [`Fake`] behind a real listener on a free port of loopback.
pub(crate) struct Served {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn new(fake: Fake) -> Self {
        let (stop, stopped) = oneshot::channel();
        let state = Arc::new(AdminState::default());
        let config = Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let ended = tokio::spawn(serve(config, Arc::new(fake), Arc::clone(&state), async {
            // Either the word to stop or the end of the test.
            drop(stopped.await);
        }));
        let address = eventually(|| state.address()).await;
        Self { address, stop, ended }
    }

    /// Ends it and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("it still runs");
        within(self.ended).await.expect("it ends without a panic");
    }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(ask: impl Fn() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// What does not come within this is a failure, not a slow machine.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it comes in time")
}
