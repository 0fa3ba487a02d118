//! What survives `kill -9`?
//!
//! Thirty kills under load, with Kafka there and with Kafka away. `WAYSTATION_SEED` repeats
//! a run's choices; when a kill strikes is the machine's choice as well.
//!
//! A kill counts as one in the midst of a commit when, as the last thing before it, devices
//! were waiting for answers and the kernel showed the commit thread inside a system call
//! other than the one that it waits for work in: writing, syncing, making a segment. Four
//! kills of five are aimed at such a moment, the fifth strikes whenever it does. And some
//! starts are killed before they are done.

use crate::support::fleet::Fleet;
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use crate::support::{PATIENCE, mb, until};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use waystation::status::{LastStop, Snapshot};

const ROUNDS: usize = 30;
/// How many rounds have no Kafka.
const AWAY: usize = 12;
/// How many kills must strike in the midst of a commit.
const MIDST: usize = 20;
const DEVICES: usize = 48;
/// How long a kill is aimed before it is done anyway.
const AIM: Duration = Duration::from_secs(2);

/// The system call in which a thread waits for another.
#[cfg(target_arch = "x86_64")]
const FUTEX: &str = "202";
#[cfg(not(target_arch = "x86_64"))]
const FUTEX: &str = "98";

/// What the kernel shows of a thread: the number of its system call where it is in one.
fn system_call(thread: &Path) -> Option<String> {
    let text = fs::read_to_string(thread.join("syscall")).ok()?;
    let number = text.split_whitespace().next()?.to_owned();
    // "running" is no system call, and -1 is none that it was asked for.
    number.parse::<u32>().is_ok().then_some(number)
}

/// Kills; where it is aimed, in the midst of a commit or at the latest after [`AIM`]. Gives
/// the commit thread's system call if it was such a moment.
fn kill(service: Service, fleet: &Fleet, aimed: bool) -> Option<String> {
    let thread = service.thread("commit");
    let start = Instant::now();
    let mut caught;
    loop {
        let waiting = fleet.waiting();
        caught = system_call(&thread).filter(|call| call != FUTEX && waiting > 0);
        if caught.is_some() || !aimed || start.elapsed() > AIM {
            break;
        }
    }
    service.kill();
    caught
}

#[test]
fn every_acknowledged_record_survives_thirty_kills() {
    let seed = std::env::var("WAYSTATION_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    println!("seed {seed}");
    let mut choose = fastrand::Rng::with_seed(seed);
    let mut away: Vec<bool> = (0..ROUNDS).map(|round| round < AWAY).collect();
    choose.shuffle(&mut away);

    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let site = Site::new(Some(&kafka.servers()));
    let fleet = Fleet::start(site.ingest, DEVICES);
    let begun = Instant::now();
    let (mut is_away, mut highest, mut early) = (false, 0, 0);
    // What each kill in the midst of a commit left unanswered, and the system calls.
    let (mut midst, mut calls) = (Vec::new(), BTreeMap::new());
    for (round, away) in away.into_iter().enumerate() {
        if round > 0 && choose.u8(..3) == 0 {
            // Wherever it is by then.
            let service = site.launch();
            std::thread::sleep(Duration::from_millis(choose.u64(1..40)));
            service.kill();
            until("every device has noticed", || fleet.waiting() == 0);
            early += 1;
        }
        let acknowledged = fleet.acknowledged();
        let service = site.start();
        let status = service.status();
        let last_stop = if round == 0 { LastStop::Clean } else { LastStop::Crash };
        assert_eq!(status.last_stop, last_stop, "round {round}");
        check_books(&status, acknowledged, fleet.posted(), round);

        fleet.until_more(choose.u64(100..3_000));
        if away != is_away {
            // In mid-flight, so that it is both there and gone in one life of the service.
            if away {
                kafka.take_away();
            } else {
                kafka.give_back();
            }
            is_away = away;
        }
        fleet.until_more(choose.u64(100..3_000));
        highest = highest.max(service.memory().highest);
        let before = fleet.unanswered();
        let call = kill(service, &fleet, round % 5 != 0);
        until("every device has noticed", || fleet.waiting() == 0);
        let unanswered = fleet.unanswered() - before;
        if let Some(call) = call.filter(|_| unanswered > 0) {
            midst.push(unanswered);
            *calls.entry(call).or_insert(0) += 1;
        }
    }

    if is_away {
        kafka.give_back();
    }
    let acknowledged = fleet.acknowledged();
    let service = site.start();
    check_books(&service.status(), acknowledged, fleet.posted(), ROUNDS);
    fleet.until_more(1_000);
    let sent = fleet.stop();
    let status = service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    service.stop();

    // What was kept unanswered is read as well.
    let accepted = status.ledger.accepted;
    until("the consumer has read as much", || reader.witness().distinct() >= accepted);
    let comparison = reader.compared(&sent, PATIENCE);
    assert!(sent.refusals().is_empty(), "{:?}", sent.refusals());
    assert_eq!(accepted, comparison.distinct);
    println!(
        "{comparison}; {} unanswered and kept all the same\n\
         {ROUNDS} kills and {early} during a start in {:.1?}; {} kills in the midst of a commit, \
         the commit thread's system call by its number: {calls:?}, requests that each left \
         unanswered: {midst:?}\n\
         memory (VmHWM): {}",
        comparison.distinct - comparison.acknowledged,
        begun.elapsed(),
        midst.len(),
        mb(highest),
    );
    assert!(midst.len() >= MIDST, "only {} kills in the midst of a commit", midst.len());
}

/// What the service says of itself after a start, against what the devices know.
fn check_books(status: &Snapshot, acknowledged: u64, posted: u64, round: usize) {
    let ledger = &status.ledger;
    assert!(ledger.balances(), "round {round}: {ledger:?}");
    assert!(
        (acknowledged..=posted).contains(&ledger.accepted),
        "round {round}: {ledger:?}, but {acknowledged} acknowledged and {posted} posted"
    );
    let gone = ledger.dead + ledger.dropped + ledger.exported + ledger.lost;
    assert_eq!(gone, 0, "round {round}: {ledger:?}");
}
