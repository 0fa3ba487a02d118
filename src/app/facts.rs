//! The facts of this moment, gathered from the parts for whoever looks.
//!
//! It only reads: counters, the spool's depth and books, the forwarder's monitor, the kernel's
//! account of this process. What follows from them (rates, the verdict, the sentence) is decided
//! in `status`.

use super::heartbeat::Heart;
use crate::admin::{AdminState, Source, metrics};
use crate::config::Config;
use crate::control::ControlState;
use crate::forward::Monitor;
use crate::ingest::{Stats, Taken};
use crate::ledger::Ledger;
use crate::line;
use crate::record::{Millis, Route};
use crate::spool::{self, AppendError, Depth, OpenReport, SpoolWriter};
use crate::status::rates::{Counters, Rates, age_seconds};
use crate::status::{self, IngestState, KafkaState, Snapshot, Verdict, words};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub struct Facts {
    box_name: String,
    routes: Vec<Route>,
    writer: SpoolWriter,
    stats: Arc<Stats>,
    monitor: Arc<Monitor>,
    admin_state: Arc<AdminState>,
    control_state: Arc<ControlState>,
    report: OpenReport,
    started: Instant,
    rates: Mutex<Rates>,
    stopping: AtomicBool,
    /// What ended the process before this one, where that was no stop.
    ended_by_watchdog: bool,
    hearts: Vec<Arc<Heart>>,
}

/// A part that has been at one thing for longer than this is stuck: no sync and no read takes as
/// long on a disk that works.
const STUCK: Duration = Duration::from_secs(20);

impl Facts {
    pub fn new(
        config: &Config,
        writer: SpoolWriter,
        stats: Arc<Stats>,
        monitor: Arc<Monitor>,
        admin_state: Arc<AdminState>,
        report: OpenReport,
    ) -> Self {
        let routes = config.ingest.routes.iter();
        Self {
            box_name: config.box_name.clone(),
            routes: routes
                .map(|r| Route { path: r.path.clone(), topic: r.topic.clone() })
                .collect(),
            writer,
            stats,
            monitor,
            admin_state,
            control_state: Arc::default(),
            report,
            started: Instant::now(),
            rates: Mutex::default(),
            stopping: AtomicBool::new(false),
            ended_by_watchdog: false,
            hearts: Vec::new(),
        }
    }

    /// The service is alive only while these beat.
    pub fn watch(&mut self, hearts: Vec<Arc<Heart>>) {
        self.hearts = hearts;
    }

    /// The process before this one, if it did not stop, was ended by the watchdog.
    pub fn set_ended_by_watchdog(&mut self) {
        self.ended_by_watchdog = true;
    }

    pub fn admin_state(&self) -> Arc<AdminState> {
        self.admin_state.clone()
    }

    pub fn control_state(&self) -> Arc<ControlState> {
        self.control_state.clone()
    }

    /// Why the service cannot go on until it is started again, if so.
    pub fn failure(&self) -> Option<String> {
        self.writer.failure().or_else(|| self.monitor.failure())
    }

    /// From now on the state is "stopping".
    pub fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Reads the counters for the rates; called about once a second.
    pub fn sample(&self) {
        let (depth, ledger) = (self.writer.depth(), self.books());
        let counters = Counters {
            accepted: ledger.accepted,
            delivered: self.monitor.look().delivered,
            backlog: depth.records,
            disk_bytes: depth.disk_bytes,
            max_bytes: depth.max_bytes,
            free_bytes: depth.free_bytes,
            syncs: depth.syncs,
            // A kernel that keeps no account leaves what the spool counts itself.
            bytes_written: written_to_the_medium().unwrap_or(depth.bytes_written),
            refusing: self.writer.refusal().is_some(),
        };
        self.rates().feed(self.started.elapsed(), counters);
    }

    /// With those of the topics that are held.
    fn books(&self) -> Ledger {
        self.monitor.books(|| self.writer.ledger())
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The main spool's, and what waits in those of held topics. (What these take on the disk is
    /// part of what that one takes.)
    fn depth(&self) -> Depth {
        let mut whole = self.writer.depth();
        for held in self.monitor.held_topics(STUCK) {
            let Some(depth) = held.depth else { continue };
            whole.records = (whole.records + depth.records).saturating_sub(held.ahead);
            whole.bytes += depth.bytes;
            whole.segments += depth.segments;
            whole.quarantine_bytes += depth.quarantine_bytes;
            whole.oldest = [whole.oldest, depth.oldest].into_iter().flatten().min();
            whole.syncs += depth.syncs;
            whole.bytes_written += depth.bytes_written;
            whole.stuck = whole.stuck.or(depth.stuck);
            whole.set_aside.extend(depth.set_aside);
        }
        whole
    }

    fn ingest(&self, per_second: f64) -> status::Ingest {
        // That it is being stopped is Kafka's state to tell; nothing is the matter with ingest.
        let refusal = self.writer.refusal().filter(|why| *why != AppendError::Closing);
        let reason = refusal.as_ref().map(AppendError::to_string);
        let state = if reason.is_some() { IngestState::Refusing } else { IngestState::Accepting };
        // With those that are 0: a counter that appears with its first count has no increase.
        let named = |(name, count): (&'static str, u64)| (name.to_owned(), count);
        let rejected = self.stats.rejected().map(named).collect();
        let closed = self.stats.closed().map(named).collect();
        let failed_handshakes = self.stats.failed_handshakes();
        status::Ingest { state, reason, per_second, rejected, failed_handshakes, closed }
    }

    fn kafka(&self, estimates: &status::rates::Estimates) -> status::Kafka {
        let look = self.monitor.look();
        let stopping = self.stopping.load(Relaxed);
        let (reason, error) = (look.mood.reason, look.mood.last_error);
        // A pause that an outage interrupts is not what matters now.
        let paused = look.mood.state == KafkaState::Paused;
        let last_error = if paused { reason.or(error) } else { error.or(reason) };
        status::Kafka {
            state: if stopping { KafkaState::Stopping } else { look.mood.state },
            cause: look.mood.cause,
            per_second: estimates.delivered_per_second,
            in_flight: look.in_flight,
            outage_seconds: look.mood.outage_since.map(|since| since.elapsed().as_secs_f64()),
            last_delivery: look.last_delivery.and_then(line::rfc3339),
            last_error,
            advice: look.mood.advice,
            drain_eta_seconds: estimates.drain_eta_seconds,
        }
    }

    /// The routes of the configuration; a route that only the backlog still knows comes behind.
    fn routes(&self) -> Vec<status::Route> {
        let delivered = self.monitor.look().by_route;
        let held_topics = self.monitor.held_topics(STUCK);
        let mut held = held_topics.clone();
        // Which of a topic's routes they came by is not known: they are told once.
        let mut of = |route: &Route, taken: Taken| {
            let held = held.iter_mut().find(|held| held.topic == route.topic);
            let (held, because) = held.map_or((0, None), |held| {
                (std::mem::take(&mut held.books.spooled), held.because.take())
            });
            let known = delivered.iter().find(|(known, _)| **known == *route);
            status::Route {
                path: route.path.clone(),
                topic: route.topic.clone(),
                accepted: taken.accepted,
                invalid: taken.invalid,
                repeated: taken.repeated,
                delivered: known.map_or(0, |(_, count)| *count),
                held,
                held_because: because,
            }
        };
        let taken: Vec<_> = self.stats.taken().collect();
        let mut routes: Vec<_> = self
            .routes
            .iter()
            .map(|route| {
                let count = taken.iter().find(|(known, _)| ***known == *route);
                of(route, count.map(|(_, taken)| *taken).unwrap_or_default())
            })
            .collect();
        let unknown = delivered.iter().filter(|(route, _)| !self.routes.contains(route));
        routes.extend(unknown.map(|(route, _)| of(route, Taken::default())));
        // Nor is by which path they came.
        let topics: Vec<_> = routes.iter().map(|route| route.topic.clone()).collect();
        let held = held_topics.into_iter().filter(|held| held.books.spooled > 0);
        let others = held.filter(|held| !topics.contains(&held.topic));
        routes.extend(others.map(|held| status::Route {
            path: "-".to_owned(),
            topic: held.topic,
            accepted: 0,
            invalid: 0,
            repeated: 0,
            delivered: 0,
            held: held.books.spooled,
            held_because: held.because,
        }));
        routes
    }
}

impl Source for Facts {
    fn status(&self) -> Snapshot {
        let (depth, ledger) = (self.depth(), self.books());
        let estimates = self.rates().estimates();
        let snapshot = Snapshot {
            schema: status::SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            box_name: self.box_name.clone(),
            spool_id: self.report.spool_id.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            last_stop: match self.report.last_stop {
                spool::LastStop::First | spool::LastStop::Clean => status::LastStop::Clean,
                spool::LastStop::Crash if self.ended_by_watchdog => status::LastStop::Watchdog,
                spool::LastStop::Crash => status::LastStop::Crash,
                spool::LastStop::Power => status::LastStop::Power,
            },
            verdict: Verdict::Ok,
            sentence: String::new(),
            ledger,
            ingest: self.ingest(estimates.accepted_per_second),
            spool: status::Spool {
                records: depth.records,
                bytes: depth.bytes,
                disk_bytes: depth.disk_bytes,
                quarantine_bytes: depth.quarantine_bytes,
                max_bytes: depth.max_bytes,
                segments: depth.segments,
                oldest_age_seconds: depth.oldest.map(|then| age_seconds(Millis::now(), then)),
                held_records: depth.held.map_or(0, |held| held.records),
                held_seconds: depth.held.map(|held| held.since.elapsed().as_secs_f64()),
                full_in_seconds: estimates.full_in_seconds,
                syncs_per_day: estimates.syncs_per_day,
                bytes_written_per_day: estimates.bytes_written_per_day,
            },
            kafka: self.kafka(&estimates),
            routes: self.routes(),
        };
        let troubles = [self.admin_state.trouble(), self.control_state.trouble()];
        let aside = depth.set_aside.iter().map(|path| set_aside(path));
        let damaged = (depth.quarantine_bytes > 0).then(|| quarantine(depth.quarantine_bytes));
        let stuck = depth.stuck.map(|(segments, why)| stuck(segments, &why));
        let troubles = troubles.into_iter().flatten().chain(aside).chain(damaged).chain(stuck);
        snapshot.judged(&troubles.collect::<Vec<_>>())
    }

    fn metrics(&self) -> metrics::Input {
        let (depth, look) = (self.depth(), self.monitor.look());
        metrics::Input {
            at_start: self.monitor.books_at_start(before(&self.report)),
            oldest_received: depth.oldest,
            last_delivery: look.last_delivery,
            commits: depth.commits,
            requests: self.stats.requests(),
            unknown_fields: self.stats.unknown_fields(),
            deliveries: look.durations,
        }
    }

    fn live(&self) -> Result<(), String> {
        let stuck = || {
            let silent = || self.hearts.iter().find_map(|heart| heart.silent(STUCK));
            let held = || self.monitor.held_topics(STUCK).into_iter().find_map(|held| held.stalled);
            self.writer.stalled(STUCK).or_else(silent).or_else(held)
        };
        self.failure().or_else(stuck).map_or(Ok(()), Err)
    }

    fn ready(&self) -> Result<(), String> {
        self.live()?;
        self.writer.refusal().map_or(Ok(()), |refusal| Err(refusal.to_string()))
    }
}

/// A spool of a newer program, and the hand that it needs.
pub fn set_aside(path: &Path) -> String {
    format!(
        "a spool that a newer version of Waystation wrote is kept in {0}; none of it is sent: install \
         that version again and take it out with `waystation spool export --dir {0}`",
        path.display()
    )
}

/// Damaged segments that are kept, and the hand that ends it.
fn quarantine(bytes: u64) -> String {
    format!(
        "{} of damaged segments are kept in quarantine/ of the spool; delete them when nobody needs \
         them",
        words::bytes(bytes)
    )
}

/// Segments that cannot be removed, and the hand that ends it.
fn stuck(segments: usize, why: &str) -> String {
    let are = if segments == 1 { "segment is" } else { "segments are" };
    format!(
        "{segments} {are} done with and cannot be removed from the spool ({why}): let the user that \
         the service runs as own all that is in its directory"
    )
}

/// The books as the process before this one left them: what this start found missing is counted
/// from now on.
fn before(report: &OpenReport) -> Ledger {
    let found = report.lost.iter().map(|(first, end)| end.0.saturating_sub(first.0));
    let found = found.fold(0, u64::saturating_add);
    Ledger { lost: report.ledger.lost.saturating_sub(found), ..report.ledger }
}

/// Bytes that this process has sent to the medium since it started, as the kernel counts them.
fn written_to_the_medium() -> Option<u64> {
    write_bytes(&fs::read_to_string("/proc/self/io").ok()?)
}

/// The `write_bytes` of a `/proc/<pid>/io` (`man 5 proc_pid_io`): whole pages, at each time that a
/// page is made dirty anew; neither the file system's journal nor what the medium adds itself.
fn write_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests;
