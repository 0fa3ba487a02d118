//! Well-behaved devices: some keep their connection, some open one for each message. How are they
//! answered?
//!
//! A kept connection may be closed by the server while it is idle, by HTTP's rules: who finds it closed
//! sends the same again over a new one, once. Nothing else is forgiven.

use crate::support::client::{Connection, post as request};
use crate::support::fleet::message;
use hyper::StatusCode;
use prost::Message as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Devices that keep their connection, and as many that do not.
const DEVICES: usize = 8;
/// Between two messages of one.
const PAUSE: Duration = Duration::from_millis(20);

/// How they were answered.
#[derive(Debug, Default)]
pub struct Answers {
    /// How long each answer took, connecting included.
    pub times: Vec<Duration>,
    /// What was not a 200: a status, or no answer.
    pub others: Vec<String>,
    /// Connections that were found closed.
    pub again: u64,
}

impl Answers {
    /// Of a hundred answers the slowest but one.
    pub fn p99(&mut self) -> Duration {
        self.times.sort_unstable();
        self.times.get(self.times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.others.extend(other.others);
        self.again += other.again;
    }
}

pub fn post(address: SocketAddr, time: Duration) -> Answers {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let until = Instant::now() + time;
        let mut devices = JoinSet::new();
        for device in 0..2 * DEVICES {
            devices.spawn(drive(address, device, device < DEVICES, until));
        }
        let mut all = Answers::default();
        while let Some(answers) = devices.join_next().await {
            all.add(answers.unwrap());
        }
        all
    })
}

async fn drive(address: SocketAddr, device: usize, keeps: bool, until: Instant) -> Answers {
    let mut answers = Answers::default();
    let mut connection = Connection::new(address);
    for number in 1.. {
        let body = message(device, number).encode_to_vec();
        let start = Instant::now();
        let mut answer = None;
        // On one that was there before it may be tried once more.
        let tries = if keeps && number > 1 { 2 } else { 1 };
        for left in (0..tries).rev() {
            if !connection.connect().await {
                break;
            }
            answer = connection.send(request(body.clone().into())).await;
            if answer.is_some() {
                break;
            }
            answers.again += left;
        }
        match answer {
            Some(answer) if answer.status == StatusCode::OK => answers.times.push(start.elapsed()),
            Some(answer) => answers.others.push(answer.status.to_string()),
            None => answers.others.push("no answer".to_owned()),
        }
        if !keeps {
            connection = Connection::new(address);
        }
        sleep(PAUSE).await;
        if Instant::now() >= until {
            break;
        }
    }
    answers
}
