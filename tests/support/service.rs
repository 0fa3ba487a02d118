//! The real program as a child process: its configuration, its files, its addresses, its end.
//!
//! A [`Site`] outlives the processes that run on it one after the other. No process outlives
//! its test: dropping a [`Service`] kills it.

use super::client::{ask, request};
use super::{PATIENCE, until_some};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;
use waystation::status::Snapshot;

/// Where a collector runs.
#[derive(Debug)]
pub struct Site {
    pub ingest: SocketAddr,
    pub admin: SocketAddr,
    /// Dotted names to values, both as TOML writes them.
    settings: BTreeMap<String, String>,
    environment: BTreeMap<&'static str, PathBuf>,
    /// What the program is run by, if not directly.
    under: Vec<String>,
    root: TempDir,
}

impl Site {
    /// A place with nothing in it yet; without servers no Kafka is configured.
    pub fn new(servers: Option<&str>) -> Self {
        // Beside the build, not in the system's place for temporary files: that may be memory,
        // where a sync costs nothing and a full disk is another thing.
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (ingest, admin) = (free_port(), free_port());
        let (settings, environment) = (BTreeMap::new(), BTreeMap::new());
        let mut site = Self { ingest, admin, settings, environment, under: Vec::new(), root };
        site.set("box.name", "depot-7");
        site.set("ingest.listen", &ingest.to_string());
        site.set("admin.listen", &admin.to_string());
        let spool = site.spool();
        site.set("spool.dir", spool.to_str().unwrap());
        site.set("spool.min_free", "0");
        if let Some(servers) = servers {
            site.set("kafka.bootstrap.servers", servers);
        }
        site
    }

    /// Sets one setting, by its dotted name.
    pub fn set(&mut self, name: &str, value: &str) {
        // A JSON string is a TOML basic string, too.
        self.settings.insert(name.to_owned(), serde_json::Value::from(value).to_string());
    }

    /// Sends what is posted to `/endpoint` to another topic than the default.
    pub fn set_topic(&mut self, topic: &str) {
        self.set_routes(&[("/endpoint", topic)]);
    }

    /// What is posted to each path goes to a topic of its own.
    pub fn set_routes(&mut self, routes: &[(&str, &str)]) {
        let route =
            |(path, topic): &(&str, &str)| format!("{{ path = {path:?}, topic = {topic:?} }}");
        let routes: Vec<_> = routes.iter().map(route).collect();
        self.settings.insert("route".to_owned(), format!("[{}]", routes.join(", ")));
    }

    /// What is posted to `/endpoint`, with these settings beside its topic, as TOML writes them.
    pub fn set_route(&mut self, topic: &str, settings: &str) {
        let route = format!("[{{ path = \"/endpoint\", topic = {topic:?}, {settings} }}]");
        self.settings.insert("route".to_owned(), route);
    }

    /// Sets one setting that is a number.
    pub fn set_number(&mut self, name: &str, value: u64) {
        self.settings.insert(name.to_owned(), value.to_string());
    }

    /// Sets a variable of the processes' environment.
    pub fn environment(&mut self, name: &'static str, value: PathBuf) {
        self.environment.insert(name, value);
    }

    /// Every process is run by this command, which ends in becoming the one that follows it.
    pub fn run_under(&mut self, command: &[&str]) {
        self.under = command.iter().map(|&word| word.to_owned()).collect();
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn spool(&self) -> PathBuf {
        self.root.path().join("spool")
    }

    /// Bytes that the spool's directory takes on the disk.
    pub fn spool_bytes(&self) -> u64 {
        allocated(&self.spool())
    }

    /// What every process here has written to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.root.path().join("service.log")
    }

    /// `waystation <subcommand>` with this place's configuration.
    pub fn command(&self, subcommand: &str) -> Command {
        let config = self.root.path().join("waystation.toml");
        let lines = self.settings.iter().map(|(name, value)| format!("{name} = {value}\n"));
        fs::write(&config, lines.collect::<String>()).unwrap();
        let program = std::env::var_os("WAYSTATION_BIN")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_waystation").into());
        let mut words = self.under.iter().map(OsString::from).chain([program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words);
        command.arg(subcommand).arg("--config").arg(config);
        command.stdin(Stdio::null()).env("RUST_BACKTRACE", "1").envs(&self.environment);
        command
    }

    /// Runs a subcommand that must end by itself.
    pub fn outcome(&self, subcommand: &str) -> Output {
        let mut child =
            self.command(subcommand).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = |child: &mut Child| child.try_wait().unwrap();
        let start = std::time::Instant::now();
        while ended(&mut child).is_none() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if ended(&mut child).is_none() {
            child.kill().unwrap();
            panic!("waystation {subcommand} did not end: {:?}", child.wait_with_output());
        }
        child.wait_with_output().unwrap()
    }

    /// Starts the service and does not wait for it.
    pub fn launch(&self) -> Service {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self.command("run").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Service { child, admin: self.admin }
    }

    /// Starts the service; it is ready when this returns.
    pub fn start(&self) -> Service {
        let mut service = self.launch();
        until_some("the service is ready", PATIENCE, || {
            let ended = service.child.try_wait().unwrap();
            assert!(ended.is_none(), "the service ended with {ended:?}:\n{}", self.log());
            let question = request(Method::GET, "/readyz", Bytes::new());
            ask(self.admin, question).filter(|answer| answer.status == StatusCode::OK)
        });
        service
    }
}

impl Drop for Site {
    /// Where a test failed, what the service had to say goes with it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            println!("the last lines of the service's log:\n{}", lines[last..].join("\n"));
        }
    }
}

/// A port of the loopback that is free now, below those that the kernel gives to clients:
/// otherwise a client that tries to reach a service between two of its lives could be given
/// the service's own port, and talk to itself. None is given twice: another test's service may be
/// between two of its lives as well.
pub fn free_port() -> SocketAddr {
    const PORTS: Range<u16> = 15_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(PORTS)));
    loop {
        let next = |port| Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
        let port = NEXT.fetch_update(Relaxed, Relaxed, next).unwrap_or_else(|port| port);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn allocated(path: &Path) -> u64 {
    // What is unlinked while this looks is gone, and counts nothing.
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => allocated(&entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub now: u64,
    pub highest: u64,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    child: Child,
    admin: SocketAddr,
}

impl Service {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `/status` says.
    pub fn status(&self) -> Snapshot {
        let answer = ask(self.admin, request(Method::GET, "/status", Bytes::new())).unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits until `/status` is as wanted.
    pub fn until_status(&self, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut last = None;
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            last = Some(status);
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not within {PATIENCE:?}: {what}; {last:#?}");
    }

    pub fn memory(&self) -> Memory {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        Memory { now: of("VmRSS:"), highest: of("VmHWM:") }
    }

    /// Where the kernel shows what the thread of this name does.
    pub fn thread(&self, name: &str) -> PathBuf {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let is = |path: &PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        tasks.map(|task| task.unwrap().path()).find(is).expect("the thread exists")
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal that asks it to stop.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn ended(mut self, within: Duration) -> ExitStatus {
        until_some("the service ends", within, || self.child.try_wait().unwrap())
    }

    /// SIGTERM; it must end with 0.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        let status = self.ended(PATIENCE);
        assert!(status.success(), "after SIGTERM the service ended with {status}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail when it has ended, as it should have by now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
