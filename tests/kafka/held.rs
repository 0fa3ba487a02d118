//! One route's topic is denied for a while, and the service killed again and again: do the records of
//! the other go on, and do those of the first go out in order afterwards?

use crate::broker::{Broker, Door};
use crate::kerberos::CLIENT;
use crate::logins::site;
use crate::support::fleet::{Fate, Fleet};
use crate::support::{PATIENCE, mb, until};
use crate::table::Row;
use std::fs;
use std::time::{Duration, Instant};
use waystation::status::{KafkaState, Verdict};

const PARTITIONS: i32 = 3;
const DEVICES: usize = 8;
const PAUSE: Duration = Duration::from_millis(10);
/// How long the topic is denied; more by the environment.
const DENIED: u64 = 25;
/// The most memory that the service may ever have had.
const MEMORY: u64 = 64_000_000;
/// Segments that the main spool may have, at most: those of the last seconds.
const FEW: usize = 4;

fn denied_for() -> Duration {
    let asked = std::env::var("WAYSTATION_DENIED_SECONDS").ok();
    Duration::from_secs(asked.and_then(|seconds| seconds.parse().ok()).unwrap_or(DENIED))
}

/// Fails without `Forwarder::hold` and without `Forwarder::take_up_held`. What it would cost to do
/// without the ids of what was moved before a crash is asked in `tests/library/held.rs`.
#[test]
fn a_topic_that_is_denied_while_the_service_is_killed_holds_up_no_other_and_loses_nothing() {
    let Some(broker) = Broker::start() else { return };
    broker.topic("free", PARTITIONS, &[]);
    broker.topic("denied", PARTITIONS, &[]);
    let user = format!("User:{CLIENT}");
    let rule = ["--deny-principal", &user, "--operation", "Write", "--topic", "denied"];
    broker.rule("--add", &rule);
    let (free, denied) =
        (broker.read_along("free", PARTITIONS), broker.read_along("denied", PARTITIONS));
    let mut site = site(&broker, Door::Kerberos, "free");
    site.set_routes(&[("/endpoint", "free"), ("/denied", "denied")]);
    site.set("forward.hold_after", "2s");
    let (mut service, begun) = (site.start(), Instant::now());
    let to_free = Fleet::start_slow(site.ingest, DEVICES, PAUSE);
    let to_denied = Fleet::start_at(site.ingest, "/denied", DEVICES, PAUSE);

    // Each life of the service has to get the other topic's records through, and most are ended when
    // some records are just being moved.
    let (mut kills, mut random, mut memory) = (0, fastrand::Rng::with_seed(7), 0);
    while begun.elapsed() < denied_for() {
        let goal = to_free.posted();
        until("the other topic's records arrive", || free.witness().distinct() > goal);
        std::thread::sleep(Duration::from_millis(random.u64(..500)));
        memory = memory.max(service.memory().highest);
        service.kill();
        service = site.start();
        kills += 1;
    }
    let status = service.until_status("it says what is held and why", |status| {
        status.routes.iter().any(|route| route.held > 0 && route.held_because.is_some())
    });
    assert_eq!(status.verdict, Verdict::Attention, "{}", status.sentence);
    assert_ne!(status.kafka.state, KafkaState::Paused, "{}", status.sentence);
    for part in ["held for topic denied", "grant it Write on the topic"] {
        assert!(status.sentence.contains(part), "{}", status.sentence);
    }
    assert_eq!(status.routes[0].held, 0);
    let to_free = to_free.stop();
    let of_free = free.compared(&to_free, PATIENCE);
    assert_eq!(denied.witness().distinct(), 0);
    until("what the other topic had is freed", || {
        let entries = fs::read_dir(site.spool()).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with("seg-")).count() <= FEW
    });
    let listed = site.command("spool").arg("ls").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("for topic denied, which Kafka refuses"), "{listed}");
    let verified = site.command("spool").arg("verify").output().unwrap();
    assert!(verified.status.success(), "{verified:?}");

    broker.rule("--remove", &rule);
    let granted = Instant::now();
    until("what was held goes out", || denied.witness().distinct() > 0);
    let back_after = granted.elapsed();
    let to_denied = to_denied.stop();
    let of_denied = denied.compared(&to_denied, PATIENCE);
    let acknowledged = of_free.acknowledged + of_denied.acknowledged;
    let ledger = service.until_status("all is delivered", |s| s.ledger.spooled == 0).ledger;
    assert!(ledger.balances() && ledger.lost == 0, "{ledger:?}");
    // What was kept and never answered is there as well.
    assert!(
        (acknowledged..=acknowledged + 2 * 8 * kills).contains(&ledger.delivered),
        "{ledger:?}"
    );
    let memory = memory.max(service.memory().highest);
    assert!(memory < MEMORY, "{}", mb(memory));
    service.stop();
    println!("free: {of_free}");
    println!(
        "denied: {of_denied}; {kills} kills in {:.0} s; {}",
        denied_for().as_secs_f64(),
        mb(memory)
    );
    println!("the first of them {:.1} s after the grant", back_after.as_secs_f64());
    assert_eq!(to_free.count(Fate::Acknowledged), of_free.acknowledged);
    Row {
        failure: "one of two topics denied",
        provoked: "Write denied to one topic, the service killed again and again, granted",
        status: vec![status.sentence],
        log: Vec::new(),
        compared: vec![of_free, of_denied],
        memory,
        back_after,
    }
    .add();
}
