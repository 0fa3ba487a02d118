//! Does it hold on the oldest Kafka that an idempotent producer can talk to?
//!
//! Before 3.0 such a producer needs a right to the cluster as a whole, which nobody who comes from
//! a newer one would think of.

use crate::broker::jars;
use crate::connect::{NO_PERMISSION, OK, asked};
use crate::process::Process;
use crate::support::fleet::Fleet;
use crate::support::reader::{Reader, consumer};
use crate::support::service::{Site, free_port};
use crate::support::{PATIENCE, until, until_some};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use waystation::status::{Cause, KafkaState};

const VERSION: &str = "0.11.0.3";
const TOPIC: &str = "test";
const PARTITIONS: i32 = 3;
/// How soon records must arrive once the right is there. The goal is 15 s, which a machine that is busy misses:
/// what it took is printed.
const SOON: Duration = Duration::from_mins(1);

/// A broker, on which what no rule allows is refused, and the `ZooKeeper` that it needs.
struct Old {
    address: SocketAddr,
    keeper: SocketAddr,
    jars: PathBuf,
    // In this order: the broker goes first, the directory last.
    broker: Option<Process>,
    zookeeper: Process,
    dir: TempDir,
}

impl Old {
    fn start() -> Option<Self> {
        let jars = jars(VERSION)?;
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (address, keeper) = (free_port(), free_port());
        let root = dir.path();
        let path = root.display();
        let zookeeper = format!(
            "dataDir={path}/zookeeper\nclientPort={}\nclientPortAddress=127.0.0.1\n\
             tickTime=500\n",
            keeper.port()
        );
        let server = format!(
            "broker.id=1\nlisteners=PLAINTEXT://{address}\nzookeeper.connect={keeper}\n\
             zookeeper.session.timeout.ms=5000\n\
             log.dirs={path}/data\nauto.create.topics.enable=false\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             authorizer.class.name=kafka.security.auth.SimpleAclAuthorizer\n"
        );
        let log4j = "log4j.rootLogger=INFO, o\nlog4j.appender.o=org.apache.log4j.ConsoleAppender\n\
                     log4j.appender.o.layout=org.apache.log4j.PatternLayout\n\
                     log4j.appender.o.layout.ConversionPattern=%d %p %c{1} %m%n\n";
        for (name, text) in [
            ("zookeeper.properties", zookeeper.as_str()),
            ("server.properties", server.as_str()),
            ("log4j.properties", log4j),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        let mut command = java(&jars);
        command.args(["org.apache.zookeeper.server.ZooKeeperServerMain", "zookeeper.properties"]);
        let mut zookeeper = Process::start("zookeeper", root, &command);
        zookeeper.until("ZooKeeper is ready", |log| log.log().contains("binding to port"));
        let mut old = Self { address, keeper, jars, broker: None, zookeeper, dir };
        // Whoever comes without a login is the broker itself, too.
        old.allow("ClusterAction", &["--cluster"]);
        old.restart();
        let address = keeper.to_string();
        let partitions = PARTITIONS.to_string();
        old.tool(
            "kafka.admin.TopicCommand",
            &[
                "--zookeeper",
                &address,
                "--create",
                "--topic",
                TOPIC,
                "--partitions",
                &partitions,
                "--replication-factor",
                "1",
            ],
        );
        for right in ["Describe", "Read", "Write"] {
            old.allow(right, &["--topic", TOPIC]);
        }
        Some(old)
    }

    /// `kill -9`, if it runs, and started again on what it left.
    fn restart(&mut self) {
        const STARTED: &str = "KafkaServer [Kafka Server 1], started";
        let expired = |old: &Self| old.zookeeper.log().matches("Expiring session").count();
        let before = expired(self);
        if self.broker.take().is_some() {
            // Until then the old one is taken to be there, and the new one does not start.
            until("the killed one is forgotten", || expired(self) > before);
        }
        let mut command = java(&self.jars);
        command.args(["kafka.Kafka", "server.properties"]);
        let mut process = Process::start("broker", self.dir.path(), &command);
        let count = |log: &str| log.matches(STARTED).count();
        let before = count(&process.log());
        process.until("the broker is ready", |broker| count(&broker.log()) > before);
        self.broker = Some(process);
    }

    fn allow(&self, right: &str, on: &[&str]) {
        let keeper = format!("zookeeper.connect={}", self.keeper);
        let rule = ["--add", "--allow-principal", "User:ANONYMOUS", "--operation", right];
        let all = [&["--authorizer-properties", &keeper], &rule[..], on].concat();
        self.tool("kafka.admin.AclCommand", &all);
    }

    fn tool(&self, class: &str, arguments: &[&str]) {
        let mut command = java(&self.jars);
        let output = command.arg(class).args(arguments).current_dir(self.dir.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{class} {arguments:?}: {output:?}");
    }
}

fn java(jars: &std::path::Path) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dlog4j.configuration=file:log4j.properties").arg("-cp").arg(jars.join("*"));
    command
}

/// Fails when `Failure::ClusterDenied` is not told from a denied topic, or leads to a new producer
/// at once.
#[test]
fn on_the_oldest_kafka_the_right_that_is_missing_is_named_and_all_goes_on_once_it_is_there() {
    let Some(mut old) = Old::start() else { return };
    let servers = old.address.to_string();
    let reader = Reader::start(consumer(&servers, TOPIC, PARTITIONS, &[]));
    let site = Site::new(Some(&servers));
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 16, Duration::from_millis(20));
    let paused =
        |what| service.until_status(what, |status| status.kafka.state == KafkaState::Paused);
    let status = paused("the right to the cluster is missing");
    println!("{}", status.sentence);
    assert!(status.sentence.contains("grant it IdempotentWrite on the cluster"), "{status:?}");
    assert_eq!(status.kafka.cause, Some(Cause::Authorization));
    // Tried again, and not said again.
    let from = status.uptime_seconds;
    until("it was tried again", || service.status().uptime_seconds > from + 11.0);
    assert_eq!(site.log().matches("nothing is sent").count(), 1, "{}", site.log());
    assert_eq!(reader.witness().distinct(), 0);
    let (code, right, wrong) = asked(&site);
    println!("check --connect: exit {code}\n{right}{wrong}");
    assert_eq!(code, NO_PERMISSION);
    assert_eq!(wrong.lines().count(), 1);
    assert!(wrong.contains("grant it IdempotentWrite on the cluster"));

    old.allow("IdempotentWrite", &["--cluster"]);
    let start = Instant::now();
    until_some("records arrive", SOON, || (reader.witness().distinct() > 100).then_some(()));
    println!("granted: records arrive after {:.1} s", start.elapsed().as_secs_f64());

    let (code, right, wrong) = asked(&site);
    println!("check --connect: exit {code}\n{right}{wrong}");
    assert_eq!((code, wrong.as_str()), (OK, ""));
    assert!(right.contains("may write to it is not told by brokers before 2.3"));
    assert!(right.ends_with("\nall that could be asked is right\n"));

    old.restart();
    let goal = reader.witness().distinct() + 500;
    until("records arrive after the broker was killed", || reader.witness().distinct() > goal);
    let sent = fleet.stop();
    println!("{}", reader.compared(&sent, PATIENCE));
    service.stop();
}
