//! A real Apache Kafka on the loopback, made for the tests and gone with them.
//!
//! One node, its own controller, with a door for every way of logging in that fleets use. Whoever comes
//! through the plain door may do anything; on the others access rules count, and what no rule
//! names is allowed.

use super::certificates::Certificates;
use super::kerberos::{BROKER, REALM, Realm};
use super::process::Process;
use crate::support::PATIENCE;
use crate::support::reader::{self, Reader};
use crate::support::service::free_port;
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// As `fetch.sh` takes it.
pub const VERSION: &str = "4.1.1";
/// A cluster's id is a random number in base64: the first one here, and another one.
pub const CLUSTERS: [&str; 2] = ["V2F5c3RhdGlvbi10ZXN0cw", "QW5vdGhlci1jbHVzdGVyLQ"];
/// Whom the SCRAM door knows.
pub const USER: &str = "collector";
pub const PASSWORD: &str = "a secret";

/// A way of logging in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    Plain,
    /// TLS, with a certificate of the client's.
    Tls,
    /// A password, in TLS.
    Scram,
    Kerberos,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Tls, Self::Scram, Self::Kerberos];

    /// The listener's name.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Tls => "TLS",
            Self::Scram => "SCRAM",
            Self::Kerberos => "KERBEROS",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Self::Plain => "PLAINTEXT",
            Self::Tls => "SSL",
            Self::Scram => "SASL_SSL",
            Self::Kerberos => "SASL_PLAINTEXT",
        }
    }
}

/// What may be otherwise than in most tests.
#[derive(Debug)]
pub struct Plan<'a> {
    /// How long Kerberos tickets last.
    pub tickets: &'a str,
    /// A door that clients are told to find at another port: of something that stands before it.
    pub far: Option<(Door, u16)>,
    /// Where its data lie, if not beside everything else.
    pub data: Option<&'a Path>,
    /// Lines of its configuration besides.
    pub settings: &'a str,
    /// It has the processor when nobody else wants it, as if it were another machine.
    pub yields: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { tickets: "10h", far: None, data: None, settings: "", yields: false }
    }
}

/// One broker, and what it needs.
#[derive(Debug)]
pub struct Broker {
    pub certificates: Certificates,
    pub realm: Realm,
    /// Where it listens, and where clients are told to find it.
    ports: BTreeMap<Door, u16>,
    advertised: BTreeMap<Door, u16>,
    controller: u16,
    jars: PathBuf,
    data: PathBuf,
    settings: String,
    yields: bool,
    /// How often its disks were emptied: then both ids are others.
    life: usize,
    process: Option<Process>,
    // Last: the processes write there until they are gone.
    dir: TempDir,
}

/// Where the jars of a version are; `None`, with a line that the gate counts, where they were not fetched.
pub fn jars(version: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let jars = target.join("kafka").join(version);
    if jars.is_dir() {
        return Some(jars);
    }
    println!("skipped: there is no {}; tests/kafka/fetch.sh fetches it", jars.display());
    None
}

impl Broker {
    /// Running, with all doors; tickets last for ten hours.
    pub fn start() -> Option<Self> {
        Self::start_as(&Plan::default())
    }

    pub fn start_with_tickets(lifetime: &str) -> Option<Self> {
        Self::start_as(&Plan { tickets: lifetime, ..Plan::default() })
    }

    pub fn start_as(plan: &Plan<'_>) -> Option<Self> {
        let jars = jars(VERSION)?;
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let certificates = Certificates::make(dir.path());
        let realm = Realm::start(dir.path(), plan.tickets);
        let ports: BTreeMap<_, _> = Door::ALL.map(|door| (door, free_port().port())).into();
        let mut advertised = ports.clone();
        advertised.extend(plan.far);
        let mut broker = Self {
            certificates,
            realm,
            ports,
            advertised,
            controller: free_port().port(),
            jars,
            data: plan.data.unwrap_or(dir.path()).join("data"),
            settings: plan.settings.to_owned(),
            yields: plan.yields,
            life: 0,
            process: None,
            dir,
        };
        let log4j = "appenders=o\nappender.o.type=Console\nappender.o.name=o\n\
                     appender.o.layout.type=PatternLayout\n\
                     appender.o.layout.pattern=%d %p %c{1} %m%n\n\
                     rootLogger.level=INFO\nrootLogger.appenderRef.o.ref=o\n";
        fs::write(broker.dir.path().join("log4j2.properties"), log4j).unwrap();
        broker.format();
        broker.give_back();
        Some(broker)
    }

    /// Makes its disks a new cluster's.
    fn format(&self) {
        fs::write(self.dir.path().join("server.properties"), self.properties()).unwrap();
        let user = format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]");
        let cluster = CLUSTERS[self.life];
        self.tool(
            "kafka.tools.StorageTool",
            &[
                "format",
                "--standalone",
                "-t",
                cluster,
                "-c",
                "server.properties",
                "--add-scram",
                &user,
            ],
        );
    }

    /// Comes back, on empty disks: as another cluster, with another number, without topics.
    pub fn give_back_empty(&mut self) {
        assert!(self.process.is_none(), "it was taken away");
        fs::remove_dir_all(&self.data).unwrap();
        self.life += 1;
        self.format();
        self.give_back();
    }

    /// A copy of its disks, to be put back later.
    pub fn back_up(&self) {
        assert!(self.process.is_none(), "it was taken away");
        copy(&self.data, &self.dir.path().join(BACKUP));
    }

    /// Its disks are again as they were when it was backed up.
    pub fn restore(&self) {
        assert!(self.process.is_none(), "it was taken away");
        fs::remove_dir_all(&self.data).unwrap();
        copy(&self.dir.path().join(BACKUP), &self.data);
    }

    /// Another node of the cluster, reached by brokers only: running until it is dropped.
    pub fn start_follower(&self) -> Process {
        let (controller, port) = (self.controller, free_port().port());
        let data = self.dir.path().join("follower");
        let properties = format!(
            "process.roles=broker\nnode.id={FOLLOWER}\nlog.dirs={}\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\nlisteners=PLAIN://127.0.0.1:{port}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT\n\
             inter.broker.listener.name=PLAIN\n{COMMON}",
            data.display()
        );
        fs::write(self.dir.path().join("follower.properties"), properties).unwrap();
        let format = ["format", "-t", CLUSTERS[self.life], "-c", "follower.properties"];
        let format = [&format[..], &["--no-initial-controllers"]].concat();
        self.tool("kafka.tools.StorageTool", &format);
        let mut command = self.java();
        command.args(["kafka.Kafka", "follower.properties"]);
        let mut process = Process::start("follower", self.dir.path(), &command);
        process.until("the follower is ready", |node| node.log().contains(STARTED));
        process
    }

    /// Its number.
    pub fn node(&self) -> i32 {
        i32::try_from(self.life + 1).unwrap()
    }

    /// `host:port` of a door, as clients are told.
    pub fn servers(&self, door: Door) -> String {
        format!("localhost:{}", self.advertised[&door])
    }

    /// Where it listens itself.
    pub fn port(&self, door: Door) -> u16 {
        self.ports[&door]
    }

    /// `kill -9`.
    pub fn take_away(&mut self) {
        self.process = None;
    }

    /// Starts it, on what it left; ready when this returns.
    pub fn give_back(&mut self) {
        let mut command = self.java();
        command.args(["kafka.Kafka", "server.properties"]);
        let mut process = Process::start("broker", self.dir.path(), &command);
        let before = process.log().matches(STARTED).count();
        process
            .until("the broker is ready", |broker| broker.log().matches(STARTED).count() > before);
        self.process = Some(process);
    }

    /// The running broker, for signals.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Begins to read a topic, through the plain door.
    pub fn read_along(&self, topic: &str, partitions: i32) -> Reader {
        self.read_some(topic, 0..partitions)
    }

    /// Begins to read these partitions of a topic.
    pub fn read_some(&self, topic: &str, partitions: Range<i32>) -> Reader {
        let servers = self.servers(Door::Plain);
        Reader::start(reader::consumer_of(&servers, topic, partitions, &[]))
    }

    /// Begins to read what a topic takes from now on.
    pub fn read_from_now(&self, topic: &str, partitions: i32) -> Reader {
        let servers = self.servers(Door::Plain);
        let consumer = reader::consumer_of(&servers, topic, 0..0, &[]);
        let end = |partition| {
            let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
            (partition, Offset::Offset(end))
        };
        reader::assign(&consumer, topic, (0..partitions).map(end).collect::<Vec<_>>().into_iter());
        Reader::start(consumer)
    }

    /// How many records the topic has ever taken.
    pub fn taken(&self, topic: &str, partitions: i32) -> i64 {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.servers(Door::Plain))
            .create()
            .unwrap();
        let highest = |partition| consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1;
        (0..partitions).map(highest).sum()
    }

    /// Runs one of Kafka's own commands.
    pub fn tool(&self, class: &str, arguments: &[&str]) {
        let output = self.java().arg(class).args(arguments).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {arguments:?}: {said}");
    }

    fn java(&self) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new("chrt");
        command.args([if self.yields { "--idle" } else { "--other" }, "0", "java"]);
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-Dlog4j2.configurationFile=log4j2.properties");
        command.arg(format!("-Djava.security.krb5.conf={}", self.realm.krb5_conf().display()));
        command.arg("-cp").arg(self.jars.join("*")).current_dir(dir);
        command
    }

    fn properties(&self) -> String {
        let controller = self.controller;
        let (data, node) = (self.data.display(), self.node());
        let doors = |ports: &BTreeMap<Door, u16>, host: &str| {
            let of = |(door, port): (&Door, &u16)| format!("{}://{host}:{port}", door.name());
            ports.iter().map(of).collect::<Vec<_>>().join(",")
        };
        let listeners = doors(&self.ports, "127.0.0.1");
        let advertised = doors(&self.advertised, "localhost");
        let protocols = Door::ALL.map(|door| format!("{}:{}", door.name(), door.protocol()));
        let protocols = protocols.join(",");
        let mut all = format!(
            "process.roles=broker,controller\nnode.id={node}\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=CONTROLLER://127.0.0.1:{controller},{listeners}\n\
             advertised.listeners={advertised}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}\n\
             inter.broker.listener.name=PLAIN\n\
             log.dirs={data}\nauto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             {COMMON}"
        );
        for door in ["tls", "scram"] {
            let of = format!("listener.name.{door}.ssl");
            let store = |name: &str| self.certificates.path(name).display().to_string();
            let files = format!(
                "{of}.keystore.type=PEM\n{of}.keystore.location={}\n\
                 {of}.truststore.type=PEM\n{of}.truststore.location={}\n",
                store("broker.pem"),
                store("ca.crt")
            );
            all.push_str(&files);
        }
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let keytab = self.realm.keytab_path("broker");
        let logins = format!(
            "listener.name.tls.ssl.client.auth=required\n\
             listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.scram.scram-sha-512.sasl.jaas.config={module} required;\n\
             listener.name.kerberos.sasl.enabled.mechanisms=GSSAPI\n\
             listener.name.kerberos.sasl.kerberos.service.name=kafka\n\
             listener.name.kerberos.gssapi.connections.max.reauth.ms={REAUTHENTICATION}\n\
             listener.name.kerberos.gssapi.sasl.jaas.config=\
             com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true \
             keyTab=\"{}\" principal=\"{BROKER}@{REALM}\";\n",
            keytab.display()
        );
        all.push_str(&logins);
        all.push_str(&self.settings);
        all
    }
}

/// Milliseconds after which a client has to show a ticket anew, as long as the ticket lasts anyway:
/// otherwise a connection that stays open never notices that it has expired.
const REAUTHENTICATION: u32 = 5_000;
/// Of every node.
const COMMON: &str = "broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=2000\n\
     log.cleaner.dedupe.buffer.size=4194304\n\
     authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
     allow.everyone.if.no.acl.found=true\nsuper.users=User:ANONYMOUS\n";
/// Where a copy of its disks lies.
const BACKUP: &str = "backup";
/// The follower's number.
pub const FOLLOWER: i32 = 9;
/// What a broker logs when it takes connections.
const STARTED: &str = "Kafka Server started";

/// What was never written of a file takes no room in the copy either.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).args([from, to]).status();
    assert!(copied.unwrap().success());
}
