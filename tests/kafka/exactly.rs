//! With `delivery = "exactly-once"`, does whoever reads committed records see every record once, and in
//! order, whatever is killed, forgotten, copied or missing?
//!
//! All of it is judged by consumers that read committed records only.

use crate::broker::{Broker, Door, Plan, USER, copy};
use crate::connect::{NO_PERMISSION, OK, asked};
use crate::logins::site;
use crate::support::fleet::{Fleet, Sent};
use crate::support::reader::Reader;
use crate::support::service::{Service, Site};
use crate::support::witness::Comparison;
use crate::support::{PATIENCE, until_some};
use crate::table::{Row, without_time};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};
use waystation::spool;
use waystation::status::{KafkaState, Snapshot};

const TOPIC: &str = "test";
const PROGRESS: &str = "waystation-progress";
const PARTITIONS: i32 = 6;
/// In the gate: so many records, and kills for so long.
const RECORDS: u64 = 100_000;
const KILLING: Duration = Duration::from_mins(1);
/// Posted all along, by so many devices, each after such a pause.
const DEVICES: usize = 96;
const PAUSE: Duration = Duration::from_millis(30);

fn exactly_once(broker: &Broker, door: Door) -> Site {
    let mut site = site(broker, door, TOPIC);
    site.set("forward.delivery", "exactly-once");
    site
}

fn start(plan: &Plan<'_>) -> Option<Broker> {
    let broker = Broker::start_as(plan)?;
    broker.topic(TOPIC, PARTITIONS, &[]);
    broker.topic(PROGRESS, 1, &[]);
    Some(broker)
}

/// What was read is what was acknowledged, each once, and nothing more comes.
fn once(reader: Reader, sent: &Sent) -> Comparison {
    let compared = reader.compared(sent, 3 * PATIENCE);
    // Whatever would be repeated is on its way by now.
    std::thread::sleep(Duration::from_secs(2));
    let last = reader.end().compare(sent);
    println!("{last}");
    assert_eq!((last.read, last.distinct), (last.distinct, compared.distinct), "{last}");
    last
}

/// How many kills instead of those of the gate: 100 by the project's own measure.
fn kills() -> Option<u32> {
    let kills = std::env::var("WAYSTATION_KILLS").ok()?;
    Some(kills.parse().expect("WAYSTATION_KILLS is a number of kills"))
}

/// Fails where the watermark passes what is delivered and not committed: records are missing.
#[test]
fn every_record_is_read_once_and_in_order_whatever_is_killed() {
    let Some(mut broker) = start(&Plan::default()) else { return };
    let site = exactly_once(&broker, Door::Plain);
    let reader = broker.read_along(TOPIC, PARTITIONS);
    let mut service = site.start();
    let fleet = Fleet::start_slow(site.ingest, DEVICES, PAUSE);
    let (begin, wanted) = (Instant::now(), kills());
    let (mut of_service, mut of_broker) = (0, 0);
    while wanted.map_or(begin.elapsed() < KILLING, |kills| of_service + of_broker < kills) {
        std::thread::sleep(Duration::from_millis(fastrand::u64(100..3_000)));
        if (of_service + of_broker) % 3 == 2 {
            broker.take_away();
            std::thread::sleep(Duration::from_millis(fastrand::u64(0..1_000)));
            broker.give_back();
            of_broker += 1;
        } else {
            service.kill();
            service = site.start();
            of_service += 1;
        }
    }
    until_some("enough is acknowledged", 3 * PATIENCE, || {
        (fleet.acknowledged() >= RECORDS).then_some(())
    });
    let sent = fleet.stop();
    let over = Instant::now();
    let all = |s: &Snapshot| s.ledger.spooled == 0;
    let ledger = service.until_status("all is delivered", all).ledger;
    println!("all is delivered {:.1} s after the last", over.elapsed().as_secs_f64());
    assert_eq!((ledger.dead, ledger.lost), (0, 0), "{ledger:?}");
    assert!(ledger.balances(), "{ledger:?}");
    service.stop();
    println!(
        "{of_service} kills of the service and {of_broker} of the broker in {:.0} s; the topic holds \
         {} places for them",
        begin.elapsed().as_secs_f64(),
        broker.taken(TOPIC, PARTITIONS)
    );
    once(reader, &sent);
}

/// Posts some, by so many devices, until they are acknowledged.
fn post(site: &Site, records: u64) -> Sent {
    let fleet = Fleet::start(site.ingest, 8);
    fleet.until_more(records);
    fleet.stop()
}

fn spool_id(site: &Site) -> String {
    let service = site.start();
    let id = service.status().spool_id;
    service.stop();
    id
}

/// The offset that the broker has of this spool.
fn offset(broker: &Broker, spool_id: &str) -> Option<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.servers(Door::Plain))
        .set("group.id", format!("waystation-{spool_id}"))
        // Where a transaction is under way, as it was before.
        .set("isolation.level", "read_uncommitted")
        .create()
        .unwrap();
    let mut place = TopicPartitionList::new();
    place.add_partition(PROGRESS, 0);
    let found = consumer.committed_offsets(place, PATIENCE).unwrap();
    match found.elements()[0].offset() {
        Offset::Offset(at) => Some(at),
        _ => None,
    }
}

/// `kill -9` in the middle of a commit: the progress says so, as nothing but a commit makes it do. Gives
/// how many records wait then.
fn kill_in_a_commit(site: &Site) -> u64 {
    for _ in 0..20 {
        let service = site.start();
        let progress = File::open(site.spool().join("progress")).unwrap();
        let start = Instant::now();
        while !says_pending(&progress) {
            assert!(start.elapsed() < PATIENCE, "no commit is in doubt");
            std::thread::sleep(Duration::from_micros(200));
        }
        service.kill();
        let opened = spool::open(spool::Config::new(site.spool())).unwrap();
        if opened.reader.pending().is_some() {
            return opened.report.ledger.spooled;
        }
    }
    panic!("the commit was always over before the kill");
}

/// Whether the slot of the higher turn is of the version with a note; see `spool/progress.rs`.
fn says_pending(progress: &File) -> bool {
    let [first, second] = [0, 64 * 1024].map(|at| {
        let mut head = [0; 16];
        progress.read_exact_at(&mut head, at).unwrap();
        (head[8..].iter().rev().copied().collect::<Vec<u8>>(), head[4])
    });
    first.max(second).1 == 3
}

/// Fails where a standstill before a record that is no message and cannot be kept takes back what was
/// sent before it, again and again; and where what was kept in the middle of a transaction is sent.
#[test]
fn what_is_no_message_is_kept_beside_transactions_and_where_it_cannot_be_those_before_arrive() {
    let Some(mut broker) = start(&Plan::default()) else { return };
    let mut site = exactly_once(&broker, Door::Plain);
    site.set_route(TOPIC, "on_invalid = \"keep\"");
    broker.take_away();
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, DEVICES, PAUSE);
    let mut before = 0;
    for _ in 0..2 {
        fleet.until_more(100);
        before = service.status().ledger.accepted;
        let bytes = bytes::Bytes::from_static(b"\xff\xff");
        let answer = crate::support::client::ask(site.ingest, crate::support::client::post(bytes));
        assert_eq!(answer.unwrap().status, hyper::StatusCode::OK);
    }
    fleet.until_more(100);
    let sent = fleet.stop();
    service.kill();
    // Room for one.
    site.set("dead.max_size", "4KiB");
    broker.give_back();
    let reader = broker.read_along(TOPIC, PARTITIONS);
    let service = site.start();
    let status = service.until_status("it stands before the second", |status| {
        status.kafka.last_error.as_deref().is_some_and(|why| why.contains("it is no message"))
            && status.ledger.delivered + 1 >= before
    });
    println!("{}", status.sentence);
    assert_eq!((status.ledger.dead, status.ledger.lost), (1, 0), "{:?}", status.ledger);
    let dropped = site.command("dead").args(["drop", "--all"]).output().unwrap();
    assert!(dropped.status.success(), "{dropped:?}");
    let all = |s: &Snapshot| s.ledger.spooled == 0;
    let ledger = service.until_status("all is done", all).ledger;
    assert_eq!((ledger.dead, ledger.dropped, ledger.lost), (1, 1, 0), "{ledger:?}");
    assert!(ledger.balances(), "{ledger:?}");
    service.stop();
    once(reader, &sent);
}

/// The service of this place says so, and stays alive.
fn says(site: &Site, what: &str, part: &str) -> Service {
    let service = site.start();
    let status = service.until_status(what, |status| status.sentence.contains(part));
    println!("{what}: {}", status.sentence);
    service
}

/// Fails where the watermark is moved by the offset alone, whatever the epoch (the second fleet's
/// sequences are given anew, and missing then), and where the offset is not believed for what is of
/// the same epoch (the first fleet's are repeated).
#[test]
fn a_restored_backup_repeats_nothing_and_what_it_takes_anew_is_not_skipped() {
    let Some(mut broker) = start(&Plan::default()) else { return };
    broker.topic("second", PARTITIONS, &[]);
    broker.topic("third", PARTITIONS, &[]);
    let topics = [TOPIC, "second", "third"];
    let readers = topics.map(|topic| broker.read_along(topic, PARTITIONS));
    let mut site = exactly_once(&broker, Door::Plain);
    let run = |site: &mut Site, topic: &str, records: u64| {
        site.set_topic(topic);
        let service = site.start();
        let sent = post(site, records);
        (service, sent)
    };
    broker.take_away();
    let (service, first) = run(&mut site, TOPIC, 2_000);
    service.stop();
    let backup = site.root().join("backup");
    copy(&site.spool(), &backup);
    broker.give_back();
    let all = |status: &Snapshot| status.ledger.spooled == 0;
    let (service, second) = run(&mut site, "second", 3_000);
    service.until_status("all is delivered", all);
    service.stop();
    std::fs::remove_dir_all(site.spool()).unwrap();
    copy(&backup, &site.spool());
    let (service, third) = run(&mut site, "third", 4_000);
    service.until_status("all is delivered", all);
    service.stop();
    for (reader, sent) in readers.into_iter().zip([first, second, third]) {
        once(reader, &sent);
    }
    let log = site.log();
    let known = log.lines().find(|line| line.contains("Kafka has 2") && line.contains("more"));
    println!("{}", known.unwrap_or_else(|| panic!("{log}")));
}

/// Fails where the spool does not note before a commit that its outcome is not known (no commit is in
/// doubt), and where that note is not asked for when the offset is missing (no pause).
#[test]
fn an_offset_that_the_broker_forgot_matters_only_where_a_commit_is_in_doubt() {
    let settings = "offsets.retention.minutes=1\noffsets.retention.check.interval.ms=1000\n";
    let Some(broker) = start(&Plan { settings, ..Plan::default() }) else { return };
    let reader = broker.read_along(TOPIC, PARTITIONS);
    broker.topic("other", PARTITIONS, &[]);
    let other = broker.read_along("other", PARTITIONS);
    let at_rest = exactly_once(&broker, Door::Plain);
    let mut in_doubt = exactly_once(&broker, Door::Plain);
    in_doubt.set_topic("other");
    let all = |status: &Snapshot| status.ledger.spooled == 0;
    let service = at_rest.start();
    let fleet = Fleet::start_slow(at_rest.ingest, 8, Duration::from_millis(10));
    fleet.until_more(2_000);
    fleet.hold();
    service.until_status("all is delivered", all);
    service.stop();
    let doubted = Fleet::start_slow(in_doubt.ingest, 8, Duration::from_millis(10));
    let waiting = kill_in_a_commit(&in_doubt);
    let doubted = doubted.stop();
    println!("{waiting} wait after a kill in the middle of a commit");

    let ids = [&at_rest, &in_doubt].map(|site| {
        let opened = spool::open(spool::Config::new(site.spool())).unwrap();
        opened.report.spool_id
    });
    let known = ids.each_ref().map(|id| offset(&broker, id));
    println!("the offsets before: {known:?}");
    assert!(known.iter().all(Option::is_some));
    until_some("the broker forgets", 3 * PATIENCE, || {
        ids.iter().all(|id| offset(&broker, id).is_none()).then_some(())
    });

    let service = at_rest.start();
    fleet.go_on();
    fleet.until_more(1_000);
    let sent = fleet.stop();
    let status = service.until_status("all is delivered", all);
    assert_eq!(status.kafka.state, KafkaState::Connected, "{status:#?}");
    service.stop();
    once(reader, &sent);

    let service = says(&in_doubt, "in doubt", "set in_doubt = \"repeat\" under [forward]");
    assert_eq!(service.status().kafka.state, KafkaState::Paused);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(service.status().ledger.spooled, waiting);
    service.stop();
    in_doubt.set("forward.in_doubt", "repeat");
    let service = in_doubt.start();
    service.until_status("all is delivered", all);
    service.stop();
    let compared = other.compared(&doubted, PATIENCE);
    println!("{compared}");
    assert!(compared.read - compared.distinct <= waiting, "{compared}");
    let log = in_doubt.log();
    let line = log.lines().find(|line| line.contains("are sent again, and may be repeated"));
    println!("{}", line.unwrap_or_else(|| panic!("{log}")));
}

/// Fails where a fenced producer is made anew each time (no pause), and where it pauses at the first
/// time, as a broker's crash may cause it (the other one pauses, too, and nothing flows).
#[test]
fn two_boxes_with_one_spool_are_told_so_and_one_alone_goes_on_by_itself() {
    let Some(broker) = start(&Plan::default()) else { return };
    broker.topic("second", PARTITIONS, &[]);
    let one = exactly_once(&broker, Door::Plain);
    let spool_id = spool_id(&one);
    let mut two = exactly_once(&broker, Door::Plain);
    copy(&one.spool(), &two.spool());
    two.set_topic("second");
    let boxes = [(&one, TOPIC), (&two, "second")];
    let mut running = boxes.map(|(site, topic)| {
        let service = site.start();
        assert_eq!(service.status().spool_id, spool_id);
        let fleet = Fleet::start_slow(site.ingest, 4, PAUSE);
        (site, broker.read_along(topic, PARTITIONS), service, fleet)
    });
    let told = "as another box with a copy of this one's spool does (or the brokers gave up some that \
                took too long, over a slow link); stop one of the two, and give it an empty spool; all \
                records are kept and it is tried again every 60 s";
    let (fenced, sentence) = until_some("one of them is told", PATIENCE, || {
        running.iter().enumerate().find_map(|(at, (_, _, service, _))| {
            let status = service.status();
            let paused = status.kafka.state == KafkaState::Paused;
            (paused && status.sentence.contains(told)).then_some((at, status.sentence))
        })
    });
    println!("{sentence}");
    // The one that was told is the last.
    running.rotate_left(1 - fenced);
    let [(_, _, other, its_fleet), (site, reader, service, fleet)] = running;
    its_fleet.stop();
    other.stop();
    let alone = Instant::now();
    // It tries again after a minute.
    let goal = fleet.posted();
    until_some("it goes on alone", 3 * PATIENCE, || {
        (reader.witness().distinct() > goal).then_some(())
    });
    let back_after = alone.elapsed();
    let sent = fleet.stop();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    let memory = service.memory().highest;
    service.stop();
    let log = site.log();
    println!("{log}");
    let lines = log.lines().count();
    assert!(lines < 40, "{lines} lines");
    let compared = once(reader, &sent);
    Row {
        failure: "producer fenced",
        provoked: "another box with a copy of the spool, stopped again (with transactions)",
        status: vec![sentence],
        log: log.lines().map(without_time).collect(),
        compared: vec![compared],
        memory,
        back_after,
    }
    .add();
}

#[test]
fn an_outage_in_the_middle_of_a_transaction_is_one_like_any_other() {
    let Some(mut broker) = start(&Plan::default()) else { return };
    let mut site = exactly_once(&broker, Door::Plain);
    // In milliseconds; the first must be less than the second.
    site.set("kafka.socket.timeout.ms", "10000");
    site.set("kafka.transaction.timeout.ms", "15000");
    let reader = broker.read_along(TOPIC, PARTITIONS);
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 8, Duration::from_millis(20));
    let arrives = |what: &str| {
        let (start, goal) = (Instant::now(), fleet.posted());
        until_some(what, PATIENCE, || (reader.witness().distinct() > goal).then_some(()));
        println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    };
    let outage = |status: &Snapshot| status.kafka.state == KafkaState::Outage;
    arrives("all is well");
    broker.take_away();
    let status = service.until_status("an outage", outage);
    println!("{}", status.sentence);
    std::thread::sleep(Duration::from_secs(8));
    broker.give_back();
    arrives("back after it was killed");
    broker.process().signal(Signal::STOP);
    let status = service.until_status("an outage", outage);
    println!("{}", status.sentence);
    // The coordinator gives the transaction up meanwhile.
    std::thread::sleep(Duration::from_secs(10));
    broker.process().signal(Signal::CONT);
    arrives("back after it was frozen");
    let sent = fleet.stop();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    service.stop();
    let log = site.log();
    println!("{log}");
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count("Kafka is away"), count("Kafka is back after")), (2, 2), "{log}");
    once(reader, &sent);
}

/// By `check --connect` and by the status of the service, in the same words.
#[test]
fn what_transactions_lack_is_named_until_it_is_there() {
    let Some(broker) = Broker::start() else { return };
    broker.topic(TOPIC, PARTITIONS, &[]);
    let mut site = exactly_once(&broker, Door::Scram);
    site.set("log.filter", "info,waystation::forward=debug");
    let user = format!("User:{USER}");
    let reader = broker.read_along(TOPIC, PARTITIONS);
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 4, PAUSE);
    let until = |code: i32, says: &str| {
        let (right, wrong) = until_some(says, PATIENCE, || {
            let (ended, right, wrong) = asked(&site);
            (ended == code && (code == OK || wrong.contains(says))).then_some((right, wrong))
        });
        println!("exit {code}\n{right}{wrong}");
    };
    let lacks = |says: &str| {
        let status = service.until_status(says, |status| {
            status.sentence.contains(says) && status.kafka.state == KafkaState::Paused
        });
        println!("{}", status.sentence);
    };
    let flows = || {
        let goal = fleet.posted();
        until_some("records flow", PATIENCE, || (reader.witness().distinct() > goal).then_some(()));
        until_some("the status is right", PATIENCE, || {
            let state = service.status().kafka.state;
            matches!(state, KafkaState::Connected | KafkaState::CatchingUp).then_some(())
        });
    };
    let missing = format!("topic {PROGRESS:?}: the topic does not exist; create it in Kafka");
    until(69, &missing);
    lacks(&missing);
    broker.topic(PROGRESS, 1, &[]);
    flows();
    until(OK, "");
    for (rule, says) in [
        (
            ["--operation", "Write", "--transactional-id", "*"],
            "grant it Write on the transactional ids that begin with waystation-",
        ),
        (
            ["--operation", "Read", "--group", "*"],
            "grant it Read on the groups that begin with waystation-",
        ),
        (["--operation", "Read", "--topic", PROGRESS], "grant it Read on the topic"),
    ] {
        let rule = [&["--deny-principal", &user], &rule[..]].concat();
        broker.rule("--add", &rule);
        until(NO_PERMISSION, says);
        lacks(says);
        broker.rule("--remove", &rule);
        flows();
    }
    // Of the records themselves, and not of the progress topic.
    let rule = ["--deny-principal", &user, "--operation", "Write", "--topic", TOPIC];
    broker.rule("--add", &rule);
    lacks("grant it Write on the topic");
    broker.rule("--remove", &rule);
    flows();
    until(OK, "");
    let sent = fleet.stop();
    service.until_status("all is delivered", |status| status.ledger.spooled == 0);
    service.stop();
    once(reader, &sent);
}
