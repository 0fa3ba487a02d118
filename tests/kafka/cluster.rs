//! Three brokers of which one is gone, and leaders that move: does that cost anything?

use crate::broker::{CLUSTERS, VERSION, jars};
use crate::process::Process;
use crate::support::fleet::Fleet;
use crate::support::reader::{Reader, consumer};
use crate::support::service::{Site, free_port};
use crate::support::{PATIENCE, mb, until, until_some};
use crate::table::{Row, without_time};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOPIC: &str = "test";
const PARTITIONS: i32 = 6;
const BROKERS: usize = 3;
/// How soon records must arrive again. The goal is 15 s, which a machine that is busy misses:
/// what it took is printed.
const SOON: Duration = Duration::from_mins(1);
/// The most memory that the service may ever have had.
const MEMORY: u64 = 64_000_000;

/// Each broker is a controller, too.
struct Cluster {
    jars: PathBuf,
    ports: Vec<u16>,
    brokers: Vec<Option<Process>>,
    admin: AdminClient<DefaultClientContext>,
    // Last: the processes write there until they are gone.
    dir: TempDir,
}

impl Cluster {
    fn start() -> Option<Self> {
        let jars = jars(VERSION)?;
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let port = |_| free_port().port();
        let ports: Vec<u16> = (0..BROKERS).map(port).collect();
        let controllers: Vec<u16> = (0..BROKERS).map(port).collect();
        let voters = controllers.iter().enumerate();
        let voters = voters.map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
        let voters = voters.collect::<Vec<_>>().join(",");
        let admin = ClientConfig::new()
            .set("bootstrap.servers", servers(&ports))
            .create()
            .expect("an admin client");
        let mut cluster = Self { jars, ports, brokers: Vec::new(), admin, dir };
        for (node, controller) in controllers.iter().enumerate() {
            let home = cluster.home(node);
            fs::create_dir(&home).unwrap();
            let port = cluster.ports[node];
            let properties = format!(
                "process.roles=broker,controller\nnode.id={node}\n\
                 controller.quorum.voters={voters}\ncontroller.listener.names=CONTROLLER\n\
                 listeners=CONTROLLER://127.0.0.1:{controller},PLAINTEXT://127.0.0.1:{port}\n\
                 log.dirs={}/data\nauto.create.topics.enable=false\n\
                 broker.heartbeat.interval.ms=500\nbroker.session.timeout.ms=2000\n\
                 log.cleaner.dedupe.buffer.size=4194304\n",
                home.display()
            );
            fs::write(home.join("server.properties"), properties).unwrap();
            let mut format = cluster.java(node);
            format.args(["kafka.tools.StorageTool", "format"]);
            format.args(["-t", CLUSTERS[0], "-c", "server.properties"]);
            let output = format.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            cluster.brokers.push(None);
            cluster.give_back(node);
        }
        cluster.topic();
        Some(cluster)
    }

    fn topic(&self) {
        let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(3));
        let topic = topic.set("min.insync.replicas", "2");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // The three agree on a controller in their own time. One that was asked for before the answer came
        // too late is there as well.
        until_some("the topic is made", 3 * PATIENCE, || {
            let made = self.admin.create_topics([&topic], &AdminOptions::new());
            let made = runtime.block_on(made);
            let exists = RDKafkaErrorCode::TopicAlreadyExists;
            let is_made = |made: &TopicResult| match made {
                Ok(_) => true,
                Err((_, error)) => *error == exists,
            };
            made.is_ok_and(|made| made.iter().all(is_made)).then_some(())
        });
        self.until_in_sync();
    }

    fn home(&self, node: usize) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    fn java(&self, node: usize) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg("-cp").arg(self.jars.join("*")).current_dir(self.home(node));
        command
    }

    /// `kill -9`.
    fn take_away(&mut self, node: usize) {
        self.brokers[node] = None;
    }

    /// Starts it; does not wait.
    fn give_back(&mut self, node: usize) {
        let mut command = self.java(node);
        command.args(["kafka.Kafka", "server.properties"]);
        self.brokers[node] = Some(Process::start("broker", &self.home(node), &command));
    }

    /// Waits until every broker has all there is.
    fn until_in_sync(&self) {
        self.until_partitions("every replica is in sync", |_, replicas| replicas == BROKERS);
    }

    /// Lets each partition be led by the broker that it was first given to.
    fn lead_as_at_first(&self) {
        let mut command = self.java(0);
        command.arg("org.apache.kafka.tools.LeaderElectionCommand");
        command.args(["--bootstrap-server", &servers(&self.ports)]);
        command.args(["--election-type", "preferred", "--all-topic-partitions"]);
        // A broker that is just back may not be known to all.
        until("the leaders are chosen", || command.output().unwrap().status.success());
    }

    /// Waits until the leader of each partition and how many have all of it are as wanted.
    fn until_partitions(&self, what: &str, holds: impl Fn(i32, usize) -> bool) {
        until(what, || {
            let known = self.admin.inner().fetch_metadata(Some(TOPIC), Duration::from_secs(2));
            known.is_ok_and(|known| {
                let partitions = known.topics()[0].partitions();
                let holds = |leader, isr: &[i32]| holds(leader, isr.len());
                partitions.len() == PARTITIONS.cast_unsigned() as usize
                    && partitions.iter().all(|part| holds(part.leader(), part.isr()))
            })
        });
    }
}

fn servers(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

#[test]
fn each_of_three_brokers_is_killed_and_leaders_move_and_nothing_is_lost_or_out_of_order() {
    let Some(mut cluster) = Cluster::start() else { return };
    let servers = servers(&cluster.ports);
    let reader = Reader::start(consumer(&servers, TOPIC, PARTITIONS, &[]));
    let site = Site::new(Some(&servers));
    let service = site.start();
    let fleet = Fleet::start_slow(site.ingest, 32, Duration::from_millis(20));
    // What is acknowledged from now on arrives soon.
    let read_on = |what: &str| {
        let (start, goal) = (Instant::now(), fleet.acknowledged() + 1);
        until_some(what, SOON, || (reader.witness().distinct() > goal).then_some(()));
        println!("{what}: read on after {:.1} s", start.elapsed().as_secs_f64());
        start.elapsed()
    };
    let (mut longest, mut status) = (read_on("all three are there"), Vec::new());
    for node in 0..BROKERS {
        cluster.take_away(node);
        let gone = i32::try_from(node).unwrap();
        cluster.until_partitions("others lead", |leader, _| leader >= 0 && leader != gone);
        longest = longest.max(read_on(&format!("broker {node} was killed")));
        status.push(service.status().sentence);
        cluster.give_back(node);
        cluster.until_in_sync();
        cluster.lead_as_at_first();
        longest = longest.max(read_on(&format!("broker {node} is back, and leads again")));
    }
    let sent = fleet.stop();
    let compared = reader.compared(&sent, PATIENCE);
    println!("{compared}");
    let memory = service.memory().highest;
    println!("memory (VmHWM): {}", mb(memory));
    assert!(memory < MEMORY, "{memory}");
    service.stop();
    Row {
        failure: "leader moved",
        provoked: "each of three brokers killed in turn, and made leader again",
        status,
        log: site.log().lines().map(without_time).collect(),
        compared: vec![compared],
        memory,
        back_after: longest,
    }
    .add();
}
