//! `waystation load`: how much does a collector take, and how fast does it answer?
//!
//! A load generator with simulated vehicles at a fixed rate that does not wait for the
//! server, over keep-alive connections. It prints a line a second and a summary, and
//! writes down what was acknowledged, so that a test can compare that with what arrived.
//!
//! - `target.rs`: where the load may go
//! - `pace.rs`: when a message is due, and due again
//! - `client.rs`: one connection
//! - `drive.rs`: the fleet on the road; the demo drives its vehicles by it, too
//! - `tally.rs`: the counts; `figures.rs`: numbers as people read them
//! - `acked.rs`: the file of acknowledged messages

mod acked;
pub mod client;
pub mod drive;
pub mod figures;
pub mod pace;
mod tally;
pub mod target;

use super::{exit, fleet, terminal};
use acked::Acked;
use drive::{Observer, Plan, Posting, Step, drive};
use pace::Rate;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tally::Tally;
use target::Target;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// Post simulated vehicles' messages to a collector and measure its answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to post.
    #[arg(long, default_value = "http://127.0.0.1:8080/endpoint")]
    url: String,
    /// Messages a second in all, or `max` for as many as are answered.
    #[arg(long, default_value = "1000")]
    rate: Rate,
    /// Keep-alive connections; each has one message on its way at a time.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Simulated vehicles.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    vehicles: u32,
    /// How long, such as 30s or 5m; without it, until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Send a message that was not answered, or with 503, again until it is acknowledged.
    #[arg(long)]
    retry: bool,
    /// Write `device_id,sequence` of each acknowledged message to this file, one a line.
    #[arg(long, value_name = "FILE")]
    acked: Option<PathBuf>,
    /// The vehicles' seed; without it, a new fleet each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Allow a target that is not on this machine.
    #[arg(long)]
    yes_not_loopback: bool,
}

/// How long a tracker waits for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long, after the end, messages that are under way may still be acknowledged.
const GRACE: Duration = Duration::from_secs(30);

/// Runs the load; gives the exit code: 0 when every message was acknowledged, 1 when not.
pub fn run(args: &Args) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(load(args)),
        Err(error) => Err((exit::UNAVAILABLE, format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(code) => code,
        Err((code, sentence)) => {
            terminal::complain(&sentence);
            code
        }
    }
}

type Failure = (u8, String);

/// Where the answers are counted and written down.
struct Books {
    tally: Tally,
    acked: Option<Acked>,
}

struct Watching(Mutex<Books>);

impl Watching {
    /// A driver that panicked half-way left counts that are still counts.
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watching {
    fn saw(&self, posting: Posting<'_>, step: Step) {
        let mut books = self.books();
        books.tally.saw(step);
        if let (Step::Acknowledged { .. }, Some(acked)) = (step, &mut books.acked) {
            acked.push(posting);
        }
    }
}

async fn load(args: &Args) -> Result<u8, Failure> {
    let target = Target::resolve(&args.url, args.yes_not_loopback)
        .map_err(|error| (exit::USAGE, error.to_string()))?;
    let acked = args.acked.as_deref().map(Acked::create).transpose();
    let acked = acked.map_err(|error| (exit::IO, error.to_string()))?;
    let watching = Arc::new(Watching(Mutex::new(Books { tally: Tally::new(), acked })));
    let plan = Plan {
        target,
        rate: args.rate,
        connections: args.connections as usize,
        retry: args.retry,
        patience: PATIENCE,
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let vehicles = fleet::vehicles(args.vehicles as usize, seed);
    if !args.retry {
        tokio::net::TcpStream::connect(plan.target.address).await.map_err(|error| {
            (exit::UNAVAILABLE, format!("nobody answers at {}: {error}", plan.target.address))
        })?;
    }

    let start = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let mut driving = pin!(drive(plan, vehicles, Arc::clone(&watching), stopped));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(|error| no_signals(&error))?;
    let mut terminations = signal(SignalKind::terminate()).map_err(|error| no_signals(&error))?;
    let mut end = pin!(sleep(args.duration.unwrap_or(Duration::MAX / 4)));
    let second = Duration::from_secs(1);
    let mut seconds = interval_at(start + second, second);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut ending = false;
    say(Tally::header());
    loop {
        let finish = tokio::select! {
            () = &mut driving => break,
            _ = seconds.tick() => {
                say(&line(&watching, start)?);
                false
            }
            () = &mut end => true,
            _ = interrupts.recv() => true,
            _ = terminations.recv() => true,
        };
        if finish && ending {
            // Asked twice, or out of time: what is under way is left.
            break;
        }
        if finish {
            ending = true;
            // It fails when every driver has ended already.
            let _ = stop.send(true);
            end.as_mut().reset(Instant::now() + GRACE);
        }
    }
    let mut books = watching.books();
    if let Some(acked) = &mut books.acked {
        acked.flush().map_err(|error| (exit::IO, error.to_string()))?;
    }
    say("");
    say(&books.tally.summary(start.elapsed()));
    Ok(if books.tally.all_acknowledged() {
        exit::OK
    } else if books.tally.silent() {
        exit::UNAVAILABLE
    } else {
        exit::FAILURE
    })
}

fn no_signals(error: &std::io::Error) -> Failure {
    (exit::UNAVAILABLE, format!("cannot listen for signals: {error}"))
}

/// The line of this second; what was acknowledged by now is in the file by then.
fn line(watching: &Watching, start: Instant) -> Result<String, Failure> {
    let mut books = watching.books();
    if let Some(acked) = &mut books.acked {
        acked.flush().map_err(|error| (exit::IO, error.to_string()))?;
    }
    Ok(books.tally.line(start.elapsed().as_secs()))
}

/// One line to standard output. A reader that has gone away (`| head`) is no reason to
/// stop: the exit code still tells how it went.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests;
