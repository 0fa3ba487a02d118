//! `waystation demo`: is it true that nothing that was acknowledged is lost? See for yourself.
//!
//! One command, no broker and no root: simulated vehicles post to the real collector, a
//! child process, which forwards to a Kafka that is built in; an independent consumer
//! compares what the vehicles saw acknowledged with what arrived. Within half a minute
//! Kafka is taken away and the collector is killed; then it runs on until Ctrl-C.
//!
//! - `story.rs`: what happens when; `narrator.rs`: how it is told; `ledger.rs`: what was
//!   acknowledged and what arrived (all three pure)
//! - `kafka.rs`: the broker and the consumer; `collector.rs`: the child process;
//!   `scratch.rs`: the directory of all files
//! - `stage.rs`: all of these put together, and how it ends
//!
//! This file is the clock: seconds and signals.

mod collector;
mod kafka;
mod ledger;
mod narrator;
mod scratch;
mod stage;
mod story;

use super::{exit, terminal};
use narrator::Narrator;
use stage::{Cast, Stage, StageError};
use std::io::{IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// Watch an outage and a crash lose nothing: no broker needed, half a minute.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long, such as 60s or 5m; without it, until Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Simulated vehicles.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    vehicles: u32,
    /// Messages a second from all vehicles together.
    #[arg(long, default_value_t = 750, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Leave out the outage and the kill.
    #[arg(long)]
    calm: bool,
}

/// Tells the story; the exit code is 0 when nothing that was acknowledged is missing and no
/// rule was broken, 70 when it could not be set up.
pub fn run(args: &Args) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::complain(&format!("cannot start: {error}"));
            return exit::SOFTWARE;
        }
    };
    let mut screen = Screen::new();
    runtime.block_on(async {
        let cast =
            Cast { vehicles: args.vehicles as usize, rate: u64::from(args.rate), calm: args.calm };
        let mut interrupts = match Interrupts::listen() {
            Ok(interrupts) => interrupts,
            Err(error) => {
                terminal::complain(&format!("cannot listen for signals: {error}"));
                return exit::SOFTWARE;
            }
        };
        let raised = tokio::select! {
            raised = Stage::raise(&cast, &mut screen) => raised,
            // Dropped half-way, the stage takes its child and its files with it.
            () = interrupts.next() => return exit::OK,
        };
        let mut stage = match raised {
            Ok(stage) => stage,
            Err(error) => {
                terminal::complain(&error);
                return exit::SOFTWARE;
            }
        };
        let played = match play(args, &mut stage, &mut screen, &mut interrupts).await {
            Ok(()) => stage.close(&mut screen, interrupts.next()).await,
            Err(error) => Err(error),
        };
        match played {
            Ok(true) => exit::OK,
            Ok(false) => exit::FAILURE,
            Err(error) => {
                stage.failed(&error, &mut screen);
                exit::FAILURE
            }
        }
    })
}

/// A second at a time, until it is enough.
async fn play(
    args: &Args,
    stage: &mut Stage,
    screen: &mut Screen,
    interrupts: &mut Interrupts,
) -> Result<(), StageError> {
    enum Event {
        Second,
        Enough,
    }
    let second = Duration::from_secs(1);
    let start = Instant::now();
    let mut seconds = interval_at(start + second, second);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut end = pin!(async {
        match args.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    });
    loop {
        let event = tokio::select! {
            biased;
            () = interrupts.next() => Event::Enough,
            _ = seconds.tick() => Event::Second,
            () = &mut end => Event::Enough,
        };
        match event {
            Event::Second => {
                let go_on = stage.second(start.elapsed().as_secs(), screen).await?;
                if !go_on || screen.gone {
                    return Ok(());
                }
            }
            Event::Enough => return Ok(()),
        }
    }
}

/// Ctrl-C, SIGTERM, or the terminal was closed.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Where the lines go.
struct Screen {
    narrator: Narrator,
    /// Nobody reads any more (`| head`): time to end.
    gone: bool,
}

impl Screen {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = terminal && !dumb && !set("NO_COLOR");
        Self { narrator: Narrator { colour, narrow: terminal }, gone: false }
    }

    fn say(&mut self, line: &str) {
        let mut out = std::io::stdout();
        self.gone |= writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
    }

    fn say_all(&mut self, lines: &[String]) {
        for line in lines {
            self.say(line);
        }
    }
}
