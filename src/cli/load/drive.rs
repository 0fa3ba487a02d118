//! Puts a fleet on the road: each report is posted, and each answer is told.
//!
//! A vehicle belongs to one connection and has one message on its way at a time, and the
//! next is made only when the last was acknowledged or given up: so the order of its
//! reports is the order in which they were acknowledged. What is done with the answers is
//! the observer's affair; this file keeps no count.

use super::client::Connection;
use super::pace::{Pace, Rate, backoff};
use super::target::Target;
use crate::cli::fleet::Vehicle;
use bytes::Bytes;
use hyper::StatusCode;
use prost::Message as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The runtime's timers fire up to so late; that is no fault of the server.
const TIMER: Duration = Duration::from_millis(2);

/// How a fleet reports.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub rate: Rate,
    /// At most so many at once; never more than there are vehicles.
    pub connections: usize,
    /// Whether a message that was not answered, or with 503, is sent again until it is
    /// acknowledged.
    pub retry: bool,
    /// How long a tracker waits for one answer.
    pub patience: Duration,
}

/// A report on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'a> {
    pub device_id: &'a str,
    pub sequence: u64,
}

/// What happened to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is about to be sent for the `attempt`th time, 1 at first.
    Sending { attempt: u32 },
    /// It was answered with 200, so long after it was due.
    Acknowledged { waited: Duration },
    /// It was answered with another status.
    Refused { status: u16 },
    /// The connection failed, broke or stayed silent: it may have been taken or not.
    Unanswered,
    /// It will not be sent again.
    GivenUp,
}

/// Who is told. The calls for one vehicle come in order.
pub trait Observer: Send + Sync + 'static {
    fn saw(&self, posting: Posting<'_>, step: Step);
}

/// Posts until `stop` turns true; then makes no new report, and returns once every report
/// is acknowledged or given up. Dropped before, it gives up at once.
pub async fn drive(
    plan: Plan,
    vehicles: Vec<Vehicle>,
    observer: Arc<impl Observer>,
    stop: watch::Receiver<bool>,
) {
    let connections = plan.connections.min(vehicles.len()).max(1);
    let mut shares: Vec<Vec<Vehicle>> = (0..connections).map(|_| Vec::new()).collect();
    for (index, vehicle) in vehicles.into_iter().enumerate() {
        shares[index % connections].push(vehicle);
    }
    let start = Instant::now();
    let mut drivers = JoinSet::new();
    for (index, vehicles) in shares.into_iter().enumerate() {
        let pace = Pace::new(plan.rate, index, connections);
        let connection = Connection::new(plan.target.clone(), plan.patience);
        let driver =
            Driver { connection, retry: plan.retry, observer: Arc::clone(&observer), start, pace };
        drivers.spawn(driver.run(vehicles, stop.clone()));
    }
    drivers.join_all().await;
}

/// One connection and the vehicles that share it.
struct Driver<O> {
    connection: Connection,
    retry: bool,
    observer: Arc<O>,
    start: Instant,
    pace: Option<Pace>,
}

impl<O: Observer> Driver<O> {
    async fn run(mut self, mut vehicles: Vec<Vehicle>, mut stop: watch::Receiver<bool>) {
        if vehicles.is_empty() {
            return;
        }
        let mut next = 0;
        for turn in 0_u64.. {
            let due = match self.pace {
                Some(pace) => self.start.checked_add(pace.due(turn)),
                None => Some(Instant::now()),
            };
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // An error here says that whoever could stop this is gone: stop too.
                _ = stop.wait_for(|stop| *stop) => return,
                () = wait => {}
            }
            let now = Instant::now();
            let due = due.filter(|due| now.duration_since(*due) > TIMER).unwrap_or(now);
            self.report(&mut vehicles[next], due).await;
            next = (next + 1) % vehicles.len();
        }
    }

    /// One report, until it is acknowledged or given up.
    async fn report(&mut self, vehicle: &mut Vehicle, due: Instant) {
        let message = vehicle.report(SystemTime::now());
        let posting = Posting { device_id: vehicle.device_id(), sequence: message.sequence };
        let body = Bytes::from(message.encode_to_vec());
        for attempt in 1.. {
            self.observer.saw(posting, Step::Sending { attempt });
            let (step, again, asked) = match self.connection.post(body.clone()).await {
                Ok(answer) if answer.status == StatusCode::OK => {
                    (Step::Acknowledged { waited: due.elapsed() }, false, None)
                }
                Ok(answer) => (
                    Step::Refused { status: answer.status.as_u16() },
                    answer.status == StatusCode::SERVICE_UNAVAILABLE,
                    answer.retry_after,
                ),
                // The cause was not asked for: what counts for a tracker is only that
                // there was no answer.
                Err(_) => (Step::Unanswered, true, None),
            };
            self.observer.saw(posting, step);
            if matches!(step, Step::Acknowledged { .. }) {
                return;
            }
            if !(self.retry && again) {
                self.observer.saw(posting, Step::GivenUp);
                return;
            }
            tokio::time::sleep(backoff(attempt, asked, fastrand::f64())).await;
        }
    }
}
