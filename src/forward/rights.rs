//! May this box use transactions, where every record is to arrive once?
//!
//! Only a transaction shows that, so one is tried: a client under a transactional id and a group of
//! its own, of which the service's know nothing, begins one, names an offset of the progress topic,
//! and aborts it. No record is sent, and no offset is there afterwards.
//!
//! It deliberately does not know the spool, whose id is part of the service's transactional id: what
//! is told holds for the ids and groups that begin as the service's do.

use super::kafka::Trial;
use super::mailbox::Refused;
use super::obstacle::Obstacle;
use super::settings::{self, PREFIX};
use super::step::Step;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

/// The end of the ids that are used to ask.
pub const CHECK: &str = "check";

/// Asks, and tells of each step.
pub fn ask(
    mut properties: BTreeMap<String, String>,
    topic: &str,
    until: Instant,
    alive: &Sender<()>,
    tell: &mut impl FnMut(Step),
) {
    settings::with_transactions(&mut properties, &settings::transactional_id(CHECK));
    let mut trial = match Trial::new(&properties, topic, until) {
        Ok(trial) => trial,
        Err(error) => return tell(Step::away(Obstacle::of(&properties, &error).says)),
    };
    if steps(&mut trial, topic, tell).is_err() {
        tracing::debug!("what depends on that was not asked");
    }
    let alive = alive.clone();
    let end = move || {
        drop(trial);
        drop(alive);
    };
    // Where no thread can be started, the client ends here.
    let _ = thread::Builder::new().name("farewell".to_owned()).spawn(end);
}

/// Each depends on the one before.
fn steps(trial: &mut Trial, topic: &str, tell: &mut impl FnMut(Step)) -> Result<(), ()> {
    let named = format!("topic {topic:?}");
    let mut told = |what: &str, right: &str, answer: Result<(), Refused>| {
        let outcome = answer.as_ref().map(drop).map_err(drop);
        tell(match answer {
            Ok(()) => Step::right(right),
            Err((_, failure)) => Step::failed(what, &failure),
        });
        outcome
    };
    let right = format!("{named}: it is there, and this box's user may read it");
    told(&named, &right, trial.topic())?;
    let right = format!("this box's user may use transactions, as {PREFIX}{CHECK} does");
    told("transactions", &right, trial.transactions())?;
    let right = format!("this box's user may commit offsets, as the group {PREFIX}{CHECK} does");
    told("the offsets of transactions", &right, trial.offsets())
}
