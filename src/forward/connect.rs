//! Would Kafka take the records, and if not, what is in the way?
//!
//! What `check --connect` asks: first each broker that the operator wrote, [`AT_ONCE`] at the same time
//! ([`knock`]); then, by one client like the forwarder's, for the topics, the right to write to
//! each and the right to be an idempotent producer; then each broker that leads a partition of a
//! topic and was not asked by that address; and where every record is to arrive once, for what
//! transactions need ([`rights`]). Every answer is a [`Step`] with one sentence.
//!
//! Nothing is sent or created, and all of it ends within [`LIMIT`] and [`FAREWELL`]. It deliberately
//! does not know who reads the steps, and touches no spool.

use super::exactly::Delivery;
use super::kafka::{Asker, FAREWELL, Topic};
use super::knock::{Broker, knock};
use super::obstacle::Obstacle;
use super::settings;
use super::step::{Finding, Step};
use super::verdict::Failure;
use super::{Config, rights};
use crate::record::Route;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the questions may take in all; the end of the clients comes on top.
const LIMIT: Duration = Duration::from_secs(12);
/// How long one broker may take to let a client in.
const PATIENCE: Duration = Duration::from_secs(6);
/// How late the answers may be.
const LATE: Duration = Duration::from_secs(1);
/// How many brokers are asked at the same time: each costs a client.
const AT_ONCE: usize = 8;
/// Between two looks for the producer's number; also how often the statistics tell of it.
const SLICE: Duration = Duration::from_millis(100);

/// Asks, and tells of each step. Nothing is asked without brokers.
pub fn ask(config: &Config, routes: &[Route], mut tell: impl FnMut(Step)) {
    let Some(servers) = config.brokers() else { return };
    let end = Instant::now() + LIMIT;
    let mut properties = config.properties();
    // Each client's end gives one of these back.
    let (alive, gone) = channel::<()>();

    let mut written = Vec::new();
    for address in servers.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        let broker = Broker::Written(address.to_owned());
        if !written.contains(&broker) {
            written.push(broker);
        }
    }
    let open = knock_at(&written, &properties, end, &alive, &mut tell);
    let ways: Vec<_> = open.iter().map(Broker::address).collect();
    if ways.is_empty() {
        let says = "no broker lets this box in, so that none was asked for the topics".to_owned();
        tell(Step { finding: Finding::Refused, says });
    } else {
        settings::with_brokers(&mut properties, &ways);
        let leaders = ask_as_a_producer(&properties, routes, end, &alive, &mut tell);
        let strange: Vec<_> = leaders
            .into_iter()
            .filter(|leader| !written.iter().any(|broker| broker.address() == leader.address()))
            .collect();
        knock_at(&strange, &properties, end, &alive, &mut tell);
        if let Delivery::ExactlyOnce { progress_topic, .. } = &config.delivery {
            rights::ask(properties, progress_topic, end, &alive, &mut tell);
        }
    }
    drop(alive);
    // Nobody sends: the end of the last client closes the channel.
    let _ = gone.recv_timeout(FAREWELL);
}

/// Knocks at all of them; those that let the client in.
fn knock_at(
    brokers: &[Broker],
    properties: &BTreeMap<String, String>,
    end: Instant,
    alive: &Sender<()>,
    tell: &mut impl FnMut(Step),
) -> Vec<Broker> {
    let mut open = Vec::new();
    for (round, some) in brokers.chunks(AT_ONCE).enumerate() {
        let start = Instant::now();
        if start >= end {
            tell(not_asked(&brokers[round * AT_ONCE..]));
            break;
        }
        let until = end.min(start + PATIENCE);
        let (answers, answered) = channel();
        for (index, broker) in some.iter().enumerate() {
            let (broker, properties) = (broker.clone(), properties.clone());
            let (answers, alive) = (answers.clone(), alive.clone());
            // A thread that cannot be started answers as late as one that hangs. Nobody waits for what
            // cannot be sent.
            let _ = thread::Builder::new().name("knock".to_owned()).spawn(move || {
                let client = knock(&broker, &properties, until, |step| {
                    let _ = answers.send((index, Some(step)));
                });
                let _ = answers.send((index, None));
                drop(client);
                drop(alive);
            });
        }
        drop(answers);
        let mut found: Vec<(Vec<Step>, bool)> = vec![(Vec::new(), false); some.len()];
        let late = until + LATE;
        while found.iter().any(|(_, ended)| !ended)
            && let Ok((index, step)) =
                answered.recv_timeout(late.saturating_duration_since(Instant::now()))
        {
            let (steps, ended) = &mut found[index];
            match step {
                Some(step) => steps.push(step),
                None => *ended = true,
            }
        }
        for (broker, (mut steps, ended)) in some.iter().zip(found) {
            if !ended && steps.is_empty() {
                let waited = (until - start).as_secs_f64();
                steps.push(broker.unknown(&format!("no answer within {waited:.0} s")));
            } else if !ended {
                steps.push(broker.silent());
            }
            if steps.iter().all(|step| step.finding == Finding::Right) {
                open.push(broker.clone());
            }
            steps.into_iter().for_each(&mut *tell);
        }
    }
    open
}

/// The time is up, and these are left.
fn not_asked(brokers: &[Broker]) -> Step {
    let left: Vec<_> = brokers.iter().map(ToString::to_string).collect();
    let seconds = LIMIT.as_secs();
    Step::away(format!("{seconds} s are over; not asked any more: {}", left.join(", ")))
}

/// Asks by a client like the forwarder's; the brokers that lead the topics' partitions.
fn ask_as_a_producer(
    properties: &BTreeMap<String, String>,
    routes: &[Route],
    end: Instant,
    alive: &Sender<()>,
    tell: &mut impl FnMut(Step),
) -> Vec<Broker> {
    let mut with_statistics = properties.clone();
    let every = SLICE.as_millis().to_string();
    with_statistics.insert("statistics.interval.ms".to_owned(), every);
    let asker = match Asker::new(&with_statistics) {
        Ok(asker) => asker,
        Err(error) => {
            tell(Step::away(Obstacle::of(properties, &error).says));
            return Vec::new();
        }
    };
    let leaders = ask_for_topics(&asker, routes, end, tell);
    let alive = alive.clone();
    let end = move || {
        drop(asker);
        drop(alive);
    };
    // Where no thread can be started, the client ends here.
    let _ = thread::Builder::new().name("farewell".to_owned()).spawn(end);
    leaders
}

fn ask_for_topics(
    asker: &Asker,
    routes: &[Route],
    end: Instant,
    tell: &mut impl FnMut(Step),
) -> Vec<Broker> {
    let names: BTreeSet<&str> = routes.iter().map(|route| route.topic.as_str()).collect();
    let names: Vec<_> = names.into_iter().collect();
    let answers = match asker.describe(&names, end) {
        Ok(answers) => answers,
        Err(failure) => {
            tell(Step::failed("the topics", &failure));
            return Vec::new();
        }
    };
    for (name, answer) in names.iter().zip(&answers) {
        tell(about_topic(name, answer));
    }
    let writable = answers.iter().flatten().any(|topic| topic.may_write != Some(false));
    let numbered = loop {
        asker.serve(SLICE);
        match asker.numbered() {
            Some(answer) => break answer,
            None if Instant::now() >= end => break Err(Failure::TimedOut),
            None => {}
        }
    };
    tell(about_number(numbered, writable));
    let leaders: BTreeSet<_> = answers.into_iter().flatten().flat_map(|t| t.leaders).collect();
    leaders.into_iter().map(Broker::Told).collect()
}

fn about_topic(name: &str, answer: &Result<Topic, Failure>) -> Step {
    let what = format!("topic {name:?}");
    let Topic { partitions, without_leader, may_write, .. } = match answer {
        Ok(topic) => topic,
        Err(failure) => return Step::failed(&what, failure),
    };
    match may_write {
        Some(false) => Step::failed(&what, &Failure::TopicDenied),
        _ if *without_leader > 0 => Step::away(format!(
            "{what}: {without_leader} of its {partitions} partitions have no leader; look at the \
             brokers' logs"
        )),
        Some(true) => {
            Step::right(format!("{what}: it is there, and this box's user may write to it"))
        }
        None => Step {
            finding: Finding::Untold,
            says: format!(
                "{what}: it is there; whether this box's user may write to it is not told by \
                 brokers before 2.3"
            ),
        },
    }
}

/// Whether the brokers take an idempotent producer from this user.
fn about_number(answer: Result<(), Failure>, writable: bool) -> Step {
    match answer {
        Ok(()) => Step::right("this box's user may be an idempotent producer"),
        // Since 3.0 it may, once it may write to any topic.
        Err(Failure::ClusterDenied) if !writable => Step {
            finding: Finding::Refused,
            says:
                "whether this box's user may be an idempotent producer is told once it may write \
                   to a topic"
                    .to_owned(),
        },
        Err(failure) => Step::failed("the idempotent producer", &failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(without_leader: usize, may_write: Option<bool>) -> Topic {
        Topic { partitions: 6, without_leader, leaders: BTreeSet::new(), may_write, may_read: None }
    }

    #[test]
    fn a_topic_is_right_only_where_it_can_be_written() {
        for (answer, finding, says) in [
            (Ok(topic(0, Some(true))), Finding::Right, "may write to it"),
            (Ok(topic(0, None)), Finding::Untold, "not told by brokers before 2.3"),
            (Ok(topic(0, Some(false))), Finding::Refused, "grant it Write on the topic"),
            (Ok(topic(2, Some(true))), Finding::Away, "2 of its 6 partitions have no leader"),
            (Err(Failure::UnknownTopic), Finding::Away, "create it in Kafka"),
            (Err(Failure::TopicDenied), Finding::Refused, "grant it Write on the topic"),
        ] {
            let step = about_topic("t", &answer);
            assert_eq!(step.finding, finding, "{step:?}");
            assert!(step.says.starts_with("topic \"t\": ") && step.says.contains(says), "{step:?}");
        }
    }

    #[test]
    fn whom_the_time_did_not_suffice_for_is_named() {
        let brokers = ["a:1", "b:1"].map(|address| Broker::Written(address.to_owned()));
        let (alive, _gone) = channel();
        let mut steps = Vec::new();
        let mut tell = |step| steps.push(step);
        let end = Instant::now();
        assert!(knock_at(&brokers, &BTreeMap::new(), end, &alive, &mut tell).is_empty());
        assert_eq!(steps, [Step::away("12 s are over; not asked any more: a:1, b:1")]);
    }

    #[test]
    fn the_right_to_the_cluster_is_asked_for_only_where_it_is_known_to_lack() {
        let denied = || Err(Failure::ClusterDenied);
        let step = about_number(denied(), true);
        assert!(step.says.contains("grant it IdempotentWrite on the cluster"), "{step:?}");
        assert_eq!(step.finding, Finding::Refused);
        let step = about_number(denied(), false);
        assert!(!step.says.contains("IdempotentWrite"), "{step:?}");
        assert_eq!(step.finding, Finding::Refused);
        assert_eq!(about_number(Err(Failure::TimedOut), true).finding, Finding::Away);
    }
}
