//! From the facts of a snapshot to a verdict and one sentence that a person can act on.
//!
//! The rules; the worst that applies is the verdict:
//!
//! | critical | attention | ok |
//! |---|---|---|
//! | new records are refused | Kafka is away, or not reached a minute after the start | all else |
//! | sending is paused until somebody acts | no Kafka is configured | |
//! | records are lost, or the books do not balance | there are dead letters, or a topic is held | |
//! | the disk is full within the hour | a part of the service is in trouble | |
//! | | an export has held records back for long | |
//!
//! An outage alone is no emergency: nothing is lost by it until the disk is full.
//! Pure: it reads the snapshot and nothing else, no clock above all.

use super::words::{about, capitalised, count, duration, percent, thousands};
use super::{Cause, IngestState, Kafka, KafkaState, Route, Snapshot, Verdict};

/// A disk that is full within this many seconds cannot wait until tomorrow.
const FULL_SOON: f64 = 3_600.0;
/// Kafka should have answered this many seconds after the start.
const CONNECTED_BY: f64 = 60.0;
/// An export that holds records back for longer than this may have been forgotten.
const HELD_LONG: f64 = 600.0;

/// What the snapshot's `verdict` and `sentence` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub sentence: String,
}

impl Snapshot {
    /// The same facts with the verdict and the sentence that follow from them (see [`judge`]).
    #[must_use]
    pub fn judged(mut self, troubles: &[String]) -> Self {
        let judgement = judge(&self, troubles);
        self.verdict = judgement.verdict;
        self.sentence = judgement.sentence;
        self
    }
}

/// Judges the facts; the snapshot's own `verdict` and `sentence` are not read. `troubles` are
/// those of parts that have no field of their own (the admin listener's port is taken), each a
/// clause without a full stop.
#[must_use]
pub fn judge(facts: &Snapshot, troubles: &[String]) -> Judgement {
    let mut said = Said { verdict: Verdict::Ok, clauses: Vec::new() };
    let away = kafka_needs_a_person(facts.kafka.state);

    if facts.ingest.state == IngestState::Refusing {
        said.say(Verdict::Critical, refusing(facts));
    }
    if away {
        kafka(facts, &mut said);
        said.say(Verdict::Ok, waiting(facts.ledger.spooled));
    } else {
        said.say(Verdict::Ok, quiet(facts));
        kafka(facts, &mut said);
    }
    disk(facts, away, &mut said);
    if facts.ledger.dead > 0 {
        let are = if facts.ledger.dead == 1 { "is a dead letter" } else { "are dead letters" };
        let records = count(facts.ledger.dead, "record");
        said.say(Verdict::Attention, format!("{records} {are} (`waystation dead ls` says why)"));
    }
    held(&facts.routes, &mut said);
    exporting(facts, &mut said);
    for trouble in troubles {
        said.say(Verdict::Attention, trouble.trim_end_matches('.').to_owned());
    }
    if facts.ledger.dropped > 0 {
        let text = format!("{} dropped, to make room or by hand", were(facts.ledger.dropped));
        // The operator's own policy, or doing: no reason to call anybody.
        said.say(Verdict::Ok, text);
    }
    losses(facts, &mut said);
    said.judgement()
}

struct Said {
    verdict: Verdict,
    clauses: Vec<String>,
}

impl Said {
    fn say(&mut self, verdict: Verdict, clause: String) {
        self.verdict = self.verdict.max(verdict);
        if !clause.is_empty() {
            self.clauses.push(clause);
        }
    }

    fn judgement(self) -> Judgement {
        let sentence = format!("{}.", capitalised(&self.clauses.join("; ")));
        Judgement { verdict: self.verdict, sentence }
    }
}

/// Whether Kafka's state comes first in the sentence.
fn kafka_needs_a_person(state: KafkaState) -> bool {
    use KafkaState::{Connecting, Outage, Paused, Unconfigured};
    matches!(state, Unconfigured | Connecting | Outage | Paused)
}

fn refusing(facts: &Snapshot) -> String {
    let reason = facts.ingest.reason.as_deref().unwrap_or_default().trim_end_matches('.');
    if reason.is_empty() {
        "new records are refused".to_owned()
    } else {
        format!("new records are refused because {reason}")
    }
}

fn kafka(facts: &Snapshot, said: &mut Said) {
    let kafka = &facts.kafka;
    match kafka.state {
        KafkaState::Unconfigured => {
            said.say(Verdict::Attention, "no Kafka is configured".to_owned());
        }
        KafkaState::Connecting => {
            let late = facts.uptime_seconds > CONNECTED_BY;
            let verdict = if late { Verdict::Attention } else { Verdict::Ok };
            said.say(verdict, format!("Kafka has not been reached yet{}", because(kafka)));
        }
        KafkaState::Outage => {
            let since = kafka.outage_seconds.unwrap_or_default();
            let text = format!("Kafka has been away for {}{}", duration(since), because(kafka));
            said.say(Verdict::Attention, text);
        }
        KafkaState::Paused => said.say(Verdict::Critical, paused(kafka)),
        KafkaState::Connected => said.say(Verdict::Ok, "Kafka is connected".to_owned()),
        KafkaState::CatchingUp => {
            let mut text = "Kafka is back".to_owned();
            match kafka.drain_eta_seconds {
                Some(eta) => {
                    text.push_str(" and will have them all in ");
                    text.push_str(&about(eta));
                }
                None => text.push_str(" and takes them"),
            }
            said.say(Verdict::Ok, text);
        }
        KafkaState::Stopping => said.say(Verdict::Ok, "Waystation is stopping".to_owned()),
    }
}

/// What is known of an outage, in brackets.
fn because(kafka: &Kafka) -> String {
    let Some(cause) = kafka.cause.map(Cause::says) else { return String::new() };
    match kafka.advice.as_deref().map(clause) {
        Some(advice) => format!(" ({cause}: {advice})"),
        None => format!(" ({cause})"),
    }
}

/// A pause: the forwarder's own reason, which names the topic and the record where there is one,
/// and the hand that ends it where the cause is known.
fn paused(kafka: &Kafka) -> String {
    let reason = clause(kafka.last_error.as_deref().unwrap_or_default());
    let mut text = match reason.as_str() {
        "" => "sending to Kafka is paused until somebody acts".to_owned(),
        reason => format!("sending to Kafka is paused: {reason}"),
    };
    if let Some(cause) = kafka.cause {
        text.push_str("; to go on, ");
        text.push_str(hand(cause));
    }
    text
}

/// What ends a pause of this cause, as a request.
fn hand(cause: Cause) -> &'static str {
    match cause {
        Cause::Dns => "check bootstrap.servers and this box's DNS",
        Cause::Network => "check bootstrap.servers and the network",
        Cause::Tls => "check the certificates named under [kafka]",
        Cause::Login => "check the credentials under [kafka]",
        Cause::Authorization => "give this box's user the right that it lacks",
        Cause::Topic => "create the topic, or correct the route",
        Cause::Clock => "set this box's clock if it is wrong",
    }
}

/// The text as a part of a sentence: on one line, without the full stop at its end.
fn clause(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.trim_end_matches(['.', ';', ' ']).to_owned()
}

/// What waits while Kafka is not there.
fn waiting(records: u64) -> String {
    match records {
        0 => "nothing waits".to_owned(),
        1 => "one record waits".to_owned(),
        many => format!("{} records wait", thousands(many)),
    }
}

/// What waits while Kafka takes records.
fn quiet(facts: &Snapshot) -> String {
    let ledger = &facts.ledger;
    let held = facts.routes.iter().map(|route| route.held).fold(0, u64::saturating_add);
    match (facts.kafka.state, ledger.spooled.saturating_sub(held)) {
        // Told with their topics.
        (_, 0) if held > 0 => "everything else is delivered".to_owned(),
        (_, 0) if ledger.accepted == 0 => "no record has come yet".to_owned(),
        (_, 0) if ledger.delivered == ledger.accepted => "everything is delivered".to_owned(),
        // Those that are held, and those behind them, are not.
        (_, records) if facts.spool.held_seconds.is_some() => waiting(records),
        (KafkaState::Connected, 1) => "one record is on its way".to_owned(),
        (KafkaState::Connected, many) if many > 1 => {
            format!("{} records are on their way", thousands(many))
        }
        (_, records) => waiting(records),
    }
}

fn disk(facts: &Snapshot, away: bool, said: &mut Said) {
    if facts.ingest.state == IngestState::Refusing {
        return;
    }
    let spool = &facts.spool;
    match spool.full_in_seconds {
        Some(seconds) if seconds <= FULL_SOON => {
            said.say(Verdict::Critical, format!("the disk is full in {}", about(seconds)));
        }
        Some(seconds) if away => {
            said.say(Verdict::Ok, format!("the disk lasts {} more", about(seconds)));
        }
        // Below that, how full it is does not matter to anybody yet.
        None if away && percent(spool.disk_bytes, spool.max_bytes) >= 10.0 => {
            let full = percent(spool.disk_bytes, spool.max_bytes);
            said.say(Verdict::Ok, format!("the spool is {full:.0} % full"));
        }
        _ => {}
    }
}

fn held(routes: &[Route], said: &mut Said) {
    let held: Vec<&Route> = routes.iter().filter(|route| route.held > 0).collect();
    match held.as_slice() {
        [] => {}
        [route] => {
            let mut text = format!("{} held for topic {}", of_records(route.held), route.topic);
            if let Some(reason) = &route.held_because {
                text = format!("{text} ({})", reason.trim_end_matches('.'));
            }
            said.say(Verdict::Attention, text);
        }
        many => {
            let records = many.iter().map(|route| route.held).fold(0, u64::saturating_add);
            let text = format!("{} held for {} topics", of_records(records), many.len());
            said.say(Verdict::Attention, text);
        }
    }
}

/// An export that takes records out: none of them goes to Kafka meanwhile, and none behind them.
fn exporting(facts: &Snapshot, said: &mut Said) {
    let Some(seconds) = facts.spool.held_seconds else { return };
    let records = count(facts.spool.held_records, "record");
    let text = format!("an export has held {records} back from Kafka for {}", duration(seconds));
    said.say(if seconds > HELD_LONG { Verdict::Attention } else { Verdict::Ok }, text);
}

fn were(number: u64) -> String {
    format!("{} {}", count(number, "record"), if number == 1 { "was" } else { "were" })
}

fn of_records(number: u64) -> String {
    format!("{} {}", count(number, "record"), if number == 1 { "is" } else { "are" })
}

fn losses(facts: &Snapshot, said: &mut Said) {
    let ledger = &facts.ledger;
    if !ledger.balances() {
        said.say(Verdict::Critical, "the books do not balance, which is a fault".to_owned());
    }
    if ledger.lost > 0 {
        let text = format!("{} lost to damage of the medium", of_records(ledger.lost));
        said.say(Verdict::Critical, text);
        return;
    }
    // Worth saying where one would fear it.
    let feared = facts.ingest.state == IngestState::Refusing
        || matches!(
            facts.kafka.state,
            KafkaState::Outage | KafkaState::Paused | KafkaState::CatchingUp
        );
    if feared && ledger.accepted > 0 {
        said.say(Verdict::Ok, "nothing is lost".to_owned());
    }
}

#[cfg(test)]
mod tests;
