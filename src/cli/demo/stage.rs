//! Everything that plays in the demo, put together: set up, one second, the end.
//!
//! The order of the set-up is Kafka, consumer, collector, vehicles; dropped at any point,
//! what stands is taken down. The numbers on a line come from three sides: what the
//! vehicles saw acknowledged, what the consumer read, and what the collector says is
//! spooled; the verdict uses the first two only.

use super::Screen;
use super::collector::{Collector, CollectorError, Site};
use super::kafka::{Broker, KafkaError, Reader, Sight};
use super::ledger::{Ledger, Mark};
use super::narrator::{Facts, Narrator, Places};
use super::scratch::Scratch;
use super::story::{Act, Seen, Story};
use crate::cli::fleet;
use crate::cli::load::drive::{Observer, Plan, Posting, Step, drive};
use crate::cli::load::pace::Rate;
use crate::cli::load::target::Target;
use crate::cli::terminal;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// The seed of the demo's vehicles: the same streets each time.
const SEED: u64 = 20;
/// Trackers' connections at most.
const CONNECTIONS: usize = 32;
/// How long a vehicle waits for an answer before it tries again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that a start may take, the first one and that after the kill.
const START: Duration = Duration::from_secs(30);
/// The longest that vehicles may take to get their last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(20);
/// The longest from the moment that is judged until everything was read.
const DRAIN: Duration = Duration::from_secs(30);
/// The longest from SIGTERM to the end.
const STOP: Duration = Duration::from_secs(20);
/// Between two looks while waiting.
const BETWEEN: Duration = Duration::from_millis(25);

/// Who plays.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    pub vehicles: usize,
    /// Messages a second together.
    pub rate: u64,
    /// Without outage and kill.
    pub calm: bool,
}

/// The play cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    #[error("cannot make a directory under {directory}: {source}")]
    Scratch { directory: String, source: std::io::Error },
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("{error}\n{words}")]
    Start { error: CollectorError, words: String },
    #[error(transparent)]
    Collector(#[from] CollectorError),
    #[error("the vehicles stopped by themselves: {0}")]
    Vehicles(tokio::task::JoinError),
}

/// The ledger, which the vehicles and the consumer write by turns.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    /// A panic while it was held leaves counts that are short at most, and then records
    /// are missing: nothing is glossed over.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Shared {
    fn saw(&self, posting: Posting<'_>, step: Step) {
        self.lock().saw(posting, step);
    }
}

/// All that runs. Fields are dropped from the top: the vehicles' task ends with the
/// runtime, the child before its files.
pub struct Stage {
    collector: Collector,
    _reader: Reader,
    broker: Broker,
    ledger: Shared,
    vehicles: JoinHandle<()>,
    stop_vehicles: watch::Sender<bool>,
    site: Site,
    story: Story,
    page: String,
    /// The most memory that any process of the collector ever had, bytes.
    highest: u64,
    killed_at: Option<Instant>,
    judging: Option<(Mark, Instant)>,
    /// How long the end waits for what is not read yet: not again, if that was in vain.
    patience: Duration,
    scratch: Scratch,
}

impl Stage {
    /// Sets everything up, says what runs where, and lets the vehicles go.
    pub async fn raise(cast: &Cast, screen: &mut Screen) -> Result<Self, StageError> {
        let temporary = std::env::temp_dir();
        let mut scratch = Scratch::create(&temporary).map_err(|source| StageError::Scratch {
            directory: temporary.display().to_string(),
            source,
        })?;
        let broker = Broker::start()?;
        let kafka = broker.address()?;
        let vehicles = fleet::vehicles(cast.vehicles, SEED);
        let device_ids = vehicles.iter().map(fleet::Vehicle::device_id);
        let ledger = Shared(Arc::new(Mutex::new(Ledger::new(device_ids))));
        let witness = ledger.clone();
        let reader = Reader::start(&kafka, move |sight| match sight {
            Sight::Record(arrival) => witness.lock().arrived(arrival),
            Sight::Wrong(text) => witness.lock().violation(text),
        })?;
        let site = Site::prepare(scratch.path(), &kafka)?;
        let mut collector = Collector::start(&site)?;
        if let Err(error) = collector.ready(&site, START).await {
            scratch.keep();
            let mut words = site.last_words();
            words.push(Narrator::kept(&site.log));
            return Err(StageError::Start { error, words: words.join("\n") });
        }

        let endpoint = Target::local(site.ingest, "/endpoint");
        let page = format!("http://{}/", site.admin);
        screen.say_all(&screen.narrator.opening(&Places {
            vehicles: cast.vehicles as u64,
            rate: cast.rate,
            endpoint: format!("http://{}{}", endpoint.host, endpoint.path),
            page: page.clone(),
            kafka,
            directory: scratch.path().to_owned(),
            collector_pid: collector.pid(),
        }));
        let (stop_vehicles, stopped) = watch::channel(false);
        let plan = Plan {
            target: endpoint,
            #[allow(clippy::cast_precision_loss, reason = "at most 100,000")]
            rate: Rate::Messages(cast.rate as f64),
            connections: CONNECTIONS,
            retry: true,
            patience: PATIENCE,
        };
        let observer = Arc::new(ledger.clone());
        Ok(Self {
            vehicles: tokio::spawn(drive(plan, vehicles, observer, stopped)),
            stop_vehicles,
            story: Story::new(cast.calm, cast.rate),
            collector,
            _reader: reader,
            broker,
            ledger,
            site,
            page,
            highest: 0,
            killed_at: None,
            judging: None,
            patience: DRAIN,
            scratch,
        })
    }

    /// What is due in this second, and its line. `false` when the verdict is bad and there
    /// is nothing to wait for any more.
    pub async fn second(&mut self, second: u64, screen: &mut Screen) -> Result<bool, StageError> {
        self.collector.check()?;
        let mut acted = None;
        while let Some(act) = self.story.due(second) {
            self.act(act)?;
            acted = Some(act);
        }
        let memory = self.look_at_memory();
        let snapshot =
            if acted == Some(Act::KillCollector) { None } else { self.site.look().await };
        if snapshot.is_none() && self.killed_at.is_some_and(|killed| killed.elapsed() > START) {
            return Err(CollectorError::NotReady(START).into());
        }
        let seen = snapshot.map(|snapshot| {
            if !snapshot.ledger.balances() {
                let text = format!("the collector's books do not balance: {:?}", snapshot.ledger);
                self.ledger.lock().violation(text);
            }
            Seen { accepted: snapshot.ledger.accepted, spooled: snapshot.ledger.spooled }
        });
        let note = self.story.note(second, acted, seen);
        if !self.story.collector_is_down() {
            self.killed_at = None;
        }
        let facts = {
            let ledger = self.ledger.lock();
            Facts {
                second,
                acknowledged: ledger.acknowledged(),
                read: ledger.read(),
                spooled: seen.map(|seen| seen.spooled),
                memory: memory.filter(|_| acted != Some(Act::KillCollector)),
                note,
            }
        };
        screen.say(&screen.narrator.line(facts));
        Ok(self.judge(screen))
    }

    fn act(&mut self, act: Act) -> Result<(), StageError> {
        match act {
            Act::TakeKafkaAway => self.broker.take_away()?,
            Act::ReturnKafka => self.broker.give_back()?,
            Act::KillCollector => {
                // The highest of this process dies with it.
                self.look_at_memory();
                self.collector.kill()?;
                self.killed_at = Some(Instant::now());
                self.collector = Collector::start(&self.site)?;
            }
            Act::Judge => self.judging = Some((self.ledger.lock().mark(), Instant::now())),
        }
        Ok(())
    }

    /// Bytes resident now; keeps the highest.
    fn look_at_memory(&mut self) -> Option<u64> {
        let memory = self.collector.memory()?;
        self.highest = self.highest.max(memory.highest);
        Some(memory.now)
    }

    /// The story's verdict, once the consumer has caught up or has had its time.
    fn judge(&mut self, screen: &mut Screen) -> bool {
        let Some((mark, since)) = &self.judging else { return true };
        let ledger = self.ledger.lock();
        if !ledger.has_all(mark) && since.elapsed() < DRAIN {
            return true;
        }
        let verdict = ledger.verdict(mark);
        drop(ledger);
        self.judging = None;
        self.patience = if verdict.is_good() { DRAIN } else { Duration::ZERO };
        if verdict.is_good() {
            screen.say_all(&screen.narrator.verdict(&verdict, self.highest));
            screen.say_all(&screen.narrator.running_on(&self.page));
        }
        verdict.is_good()
    }

    /// Stops the vehicles, lets everything be read, stops the collector, and gives the
    /// closing verdict: whether it is good. `hurry` cuts the waiting short.
    pub async fn close(
        &mut self,
        screen: &mut Screen,
        hurry: impl Future<Output = ()>,
    ) -> Result<bool, StageError> {
        screen.say(Narrator::CLOSING);
        let mut hurry = pin!(hurry);
        let orderly = tokio::select! {
            orderly = self.wind_down() => Some(orderly?),
            () = &mut hurry => None,
        };
        let mark = match orderly {
            Some(mark) => mark,
            None => self.ledger.lock().mark(),
        };
        self.look_at_memory();
        if let Err(error) = self.collector.stop(STOP).await {
            self.ledger.lock().violation(error.to_string());
        }
        let verdict = self.ledger.lock().verdict(&mark);
        screen.say_all(&screen.narrator.verdict(&verdict, self.highest));
        if !verdict.is_good() {
            self.keep(screen);
        }
        Ok(verdict.is_good())
    }

    /// Until all that the vehicles sent is acknowledged and read, each within its limit.
    async fn wind_down(&mut self) -> Result<Mark, StageError> {
        self.stop_vehicles.send_replace(true);
        if self.story.kafka_is_away() {
            self.broker.give_back()?;
        }
        if self.story.collector_is_down() {
            self.collector.ready(&self.site, START).await?;
        }
        if let Ok(ended) = timeout(LAST_ANSWERS, &mut self.vehicles).await {
            ended.map_err(StageError::Vehicles)?;
        } else {
            self.vehicles.abort();
            let text = format!("vehicles had no answer within {} s", LAST_ANSWERS.as_secs());
            self.ledger.lock().violation(text);
        }
        let mark = self.ledger.lock().mark();
        let start = Instant::now();
        while !self.ledger.lock().has_all(&mark) && start.elapsed() < self.patience {
            self.collector.check()?;
            sleep(BETWEEN).await;
        }
        Ok(mark)
    }

    /// The play broke off: says why, and where to look.
    pub fn failed(&mut self, error: &StageError, screen: &mut Screen) {
        terminal::complain(error);
        for line in self.site.last_words() {
            terminal::complain(&format!("its log: {line}"));
        }
        self.keep(screen);
    }

    fn keep(&mut self, screen: &mut Screen) {
        self.scratch.keep();
        screen.say(&Narrator::kept(&self.site.log));
    }
}
