//! The service: builds the parts, wires them, runs them until it is told to stop, drains them.
//!
//! Building opens the spool and the ports and can fail with a sentence; running cannot fail in
//! a way that building could have found. Three threads have a runtime of their own: this one
//! serves ingest, so that nothing else makes a request wait; `forward` reads blocks from the
//! disk, which blocks; `admin` answers however busy the other two are.
//!
//! The drain: ingest stops accepting and answers what it has; the forwarder flushes what is in
//! flight within its grace; the spool commits, seals its tail and writes its progress; the
//! status page is there until the end.

mod descriptors;
mod environment;
mod facts;
mod heartbeat;
mod last_result;
mod memory;
mod priority;
mod signals;
mod waits;

use crate::admin::{self, AdminState, Source};
use crate::config::Config;
use crate::control;
use crate::dead;
use crate::forward::{self, Forwarder};
use crate::ingest::{self, Server};
use crate::spool::{self, Spool, SpoolWriter};
use facts::Facts;
use heartbeat::Heart;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

/// How often the counters are read and the watchdog is told.
const SECOND: Duration = Duration::from_secs(1);

/// Why the service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error(transparent)]
    Spool(#[from] spool::OpenError),
    #[error(transparent)]
    Ingest(#[from] ingest::BindError),
    #[error(transparent)]
    Forward(#[from] forward::BuildError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// A part ended that must not; the service ends, to be started again.
    #[error("{0}; everything acknowledged is on the disk, and a new start goes on from there")]
    Broken(String),
    #[error(transparent)]
    Close(#[from] spool::CloseError),
}

/// Puts in place what a login to Kafka finds in the environment. To be called before any other thread
/// runs.
pub fn prepare_login(config: &forward::Config) {
    environment::set(config.environment());
}

/// Runs the service until SIGTERM or SIGINT, and drains it. Blocks.
pub fn run(config: Config) -> Result<(), RunError> {
    memory::keep_flat();
    descriptors::allow(config.ingest.max_connections);
    priority::prompt();
    prepare_login(&config.forward);
    waits::do_not_depend_on_the_clock();
    // Other threads from here on.
    if let Err(error) = spool::start_threads() {
        tracing::debug!("sled's threads start with its first write: {error}");
    }
    let runtime = runtime()?;
    let Spool { writer, reader, acks, report } = spool::open(config.spool.clone())?;
    tell_of_the_start(&report);
    // Before anything of the spool is handed out.
    dead::recover(&config.spool.dir, &writer);
    let letters = dead::Store::open(&config.spool.dir, config.dead);
    let (forwarder, monitor) = Forwarder::new(config.forward.clone(), reader, letters)?;
    let server = {
        let _inside = runtime.enter();
        Server::bind(config.ingest.clone(), writer.clone())?
    };
    let signals = {
        let _inside = runtime.enter();
        signals::Signals::listen().map_err(RunError::Signals)?
    };
    tracing::info!("taking records at {}://{}/", server.scheme(), server.local_addr());

    let admin_state = Arc::new(AdminState::default());
    let stats = server.stats();
    let hearts = [Heart::new("ingest"), Heart::new("the forwarder")];
    let [ingest_heart, forward_heart] = hearts.clone();
    let mut facts = Facts::new(&config, writer.clone(), stats, monitor, admin_state, report);
    facts.watch(hearts.to_vec());
    if last_result::was_watchdog() {
        facts.set_ended_by_watchdog();
    }
    let facts = Arc::new(facts);
    let (stop, stopped) = watch::channel(false);
    let (ended, mut endings) = mpsc::channel(4);
    let forward = forward_thread(forwarder, forward_heart, stopped, ended.clone())?;
    let (stop_admin, admin_stopped) = watch::channel(false);
    let spool_dir = config.spool.dir.clone();
    let admin =
        admin_thread(config.admin, spool_dir, facts.clone(), writer.clone(), admin_stopped, ended)?;

    let broken = runtime.block_on(async {
        tokio::spawn(acks.run());
        tokio::spawn(ingest_heart.beat());
        notify(&[sd_notify::NotifyState::Ready]);
        let mut broken = None;
        let until = async {
            tokio::select! {
                signal = signals.received() => tracing::info!("{signal}: stopping"),
                Some(ending) = endings.recv() => broken = Some(ending),
            }
            facts.set_stopping();
            notify(&[sd_notify::NotifyState::Stopping]);
        };
        server.run(until).await;
        broken
    });

    stop.send_replace(true);
    let drained = forward.join();
    let closed = writer.close();
    stop_admin.send_replace(true);
    let dismissed = admin.join();
    closed?;
    if let Some(broken) = broken {
        return Err(RunError::Broken(broken));
    }
    if drained.is_err() || dismissed.is_err() {
        return Err(RunError::Broken("a thread panicked while it stopped".to_owned()));
    }
    let ledger = writer.ledger();
    tracing::info!("stopped; {} records wait in the spool", ledger.spooled);
    Ok(())
}

fn runtime() -> Result<Runtime, RunError> {
    Builder::new_current_thread().enable_all().build().map_err(RunError::Thread)
}

/// Tells of its thread's end, however it comes.
struct Ending {
    part: &'static str,
    told: mpsc::Sender<String>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more once the drain has begun: then it is no surprise.
        let _ = self.told.try_send(format!("{} has ended unexpectedly", self.part));
    }
}

fn forward_thread(
    forwarder: Forwarder,
    heart: Arc<Heart>,
    mut stopped: watch::Receiver<bool>,
    told: mpsc::Sender<String>,
) -> Result<JoinHandle<()>, RunError> {
    let runtime = runtime()?;
    let ending = Ending { part: "the forwarder", told };
    let body = move || {
        let _ending = ending;
        priority::yielding();
        runtime.block_on(async move {
            tokio::spawn(heart.beat());
            forwarder.run(async move { wait(&mut stopped).await }).await;
        });
    };
    thread::Builder::new().name("forward".to_owned()).spawn(body).map_err(RunError::Thread)
}

fn admin_thread(
    config: admin::Config,
    spool_dir: PathBuf,
    facts: Arc<Facts>,
    writer: SpoolWriter,
    stopped: watch::Receiver<bool>,
    told: mpsc::Sender<String>,
) -> Result<JoinHandle<()>, RunError> {
    let runtime = runtime()?;
    let ending = Ending { part: "the admin listener", told: told.clone() };
    let body = move || {
        let _ending = ending;
        runtime.block_on(async move {
            let mut until = stopped.clone();
            tokio::spawn(watch_over(facts.clone(), told));
            let (state, control_state) = (facts.admin_state(), facts.control_state());
            let mut control_until = stopped.clone();
            let over = async move { wait(&mut control_until).await };
            tokio::join!(
                control::serve(spool_dir, writer, control_state, over),
                admin::serve(config, facts, state, async move { wait(&mut until).await })
            );
        });
    };
    thread::Builder::new().name("admin".to_owned()).spawn(body).map_err(RunError::Thread)
}

async fn wait(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: then it is time to stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Once a second: reads the counters, feeds systemd's watchdog while all parts make progress, and
/// ends the service when the spool cannot go on: a new start can.
async fn watch_over(facts: Arc<Facts>, told: mpsc::Sender<String>) {
    let mut ticks = tokio::time::interval(SECOND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        facts.sample();
        if let Some(failure) = facts.failure() {
            // Once is enough, and nobody listens once the drain has begun.
            let _ = told.try_send(failure);
        } else if let Err(stuck) = facts.live() {
            tracing::error!("{stuck}; systemd's watchdog is not fed");
        } else {
            let sentence = facts.status().sentence;
            let status = sd_notify::NotifyState::Status(&sentence);
            notify(&[sd_notify::NotifyState::Watchdog, status]);
        }
    }
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

fn tell_of_the_start(report: &spool::OpenReport) {
    let ledger = &report.ledger;
    match report.last_stop {
        spool::LastStop::First => tracing::info!("the spool is new"),
        spool::LastStop::Clean => tracing::info!("{} records wait in the spool", ledger.spooled),
        spool::LastStop::Crash | spool::LastStop::Power => tracing::info!(
            "the last run ended without a stop; {} records wait in the spool",
            ledger.spooled
        ),
    }
    if let Some(from) = report.uncertain_from {
        tracing::info!(
            "everything below sequence {from} is accounted for; nothing on the disk says that there \
             was more"
        );
    }
    for path in &report.set_aside {
        tracing::error!("{}", facts::set_aside(path));
    }
    for (first, end) in &report.lost {
        tracing::error!("sequences {first} to {} are lost: damaged on the disk", end.0 - 1);
    }
}
