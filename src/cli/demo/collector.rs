//! The collector as a child process: start it, look at it, kill it, stop it.
//!
//! It is the real program, with a configuration file of its own, in a process group of its
//! own so that Ctrl-C reaches only the demo, which then stops it in order. Whatever way
//! the demo ends, short of its own `kill -9`, no child is left behind.

use crate::cli::load::client::Connection;
use crate::cli::load::target::Target;
use crate::status::Snapshot;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long one look at the admin listener may take.
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks while waiting.
const BETWEEN: Duration = Duration::from_millis(25);

/// All that outlives a process of the collector: its files and its addresses.
#[derive(Debug, Clone)]
pub struct Site {
    pub ingest: SocketAddr,
    pub admin: SocketAddr,
    program: PathBuf,
    config: PathBuf,
    pub log: PathBuf,
}

/// Why there is no collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    #[error("cannot prepare the collector: {0}")]
    Prepare(io::Error),
    #[error("cannot start the collector: {0}")]
    Start(io::Error),
    #[error("the collector ended by itself ({0})")]
    Ended(ExitStatus),
    #[error("the collector was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("cannot signal the collector: {0}")]
    Signal(io::Error),
    #[error("the collector did not stop within {} s of SIGTERM and was killed", .0.as_secs())]
    NotStopped(Duration),
    #[error("after SIGTERM the collector ended with {0} instead of exit code 0")]
    StoppedBadly(ExitStatus),
}

impl Site {
    /// Chooses ports and writes the configuration into `directory`.
    pub fn prepare(directory: &Path, bootstrap: &str) -> Result<Self, CollectorError> {
        let prepare = || {
            let ingest = free_port(8080)?;
            let site = Self {
                ingest,
                admin: free_port(10_088)
                    .and_then(|admin| if admin == ingest { free_port(0) } else { Ok(admin) })?,
                program: std::env::current_exe()?,
                config: directory.join("waystation.toml"),
                log: directory.join("collector.log"),
            };
            fs::write(&site.config, site.configuration(directory, bootstrap))?;
            Ok(site)
        };
        prepare().map_err(CollectorError::Prepare)
    }

    fn configuration(&self, directory: &Path, bootstrap: &str) -> String {
        // A JSON string is a TOML basic string, too.
        let spool = serde_json::Value::from(directory.join("spool").to_string_lossy());
        format!(
            "# The collector of `waystation demo`.\n\
             [box]\nname = \"demo\"\n\n\
             [ingest]\nlisten = \"{}\"\n\n\
             [spool]\ndir = {spool}\nmin_free = \"0\"\n\n\
             [kafka]\nbootstrap.servers = \"{bootstrap}\"\n\n\
             [admin]\nlisten = \"{}\"\n",
            self.ingest, self.admin
        )
    }

    /// What the collector says of itself; `None` while nobody answers.
    pub async fn look(&self) -> Option<Snapshot> {
        let mut connection = Connection::new(Target::local(self.admin, "/status"), LOOK);
        let answer = connection.get().await.ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    async fn is_ready(&self) -> bool {
        let mut connection = Connection::new(Target::local(self.admin, "/readyz"), LOOK);
        connection.get().await.is_ok_and(|answer| answer.status.is_success())
    }

    /// The last lines of the log, which say why it ended.
    pub fn last_words(&self) -> Vec<String> {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<_> = text.lines().rev().take(5).map(str::to_owned).collect();
        lines.reverse();
        lines
    }
}

/// This port of 127.0.0.1 when it is free, else any that is. Nothing keeps it free until
/// the collector binds it; if somebody is faster, the collector's sentence says so.
fn free_port(wanted: u16) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    listener.local_addr()
}

/// Bytes, from `/proc/<pid>/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub now: u64,
    /// The most that ever was (`VmHWM`).
    pub highest: u64,
}

impl Memory {
    /// Reads the text of `/proc/<pid>/status`; a process that has ended has no such lines.
    fn parse(text: &str) -> Option<Self> {
        let kibibytes = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(Self { now: kibibytes("VmRSS:")? * 1024, highest: kibibytes("VmHWM:")? * 1024 })
    }
}

/// One process of the collector.
#[derive(Debug)]
pub struct Collector {
    child: Child,
}

impl Collector {
    /// Starts it; its output is added to the site's log.
    pub fn start(site: &Site) -> Result<Self, CollectorError> {
        let start = || {
            let log = File::options().create(true).append(true).open(&site.log)?;
            Command::new(&site.program)
                .arg("run")
                .arg("--config")
                .arg(&site.config)
                // The readiness, the watchdog and the state of a service are not this child's.
                .env_remove("NOTIFY_SOCKET")
                .env_remove("WATCHDOG_USEC")
                .env_remove("STATE_DIRECTORY")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .process_group(0)
                .spawn()
        };
        Ok(Self { child: start().map_err(CollectorError::Start)? })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `None` once it has ended.
    pub fn memory(&self) -> Option<Memory> {
        Memory::parse(&fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?)
    }

    /// Fails when it ended without having been asked.
    pub fn check(&mut self) -> Result<(), CollectorError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(CollectorError::Ended(status)),
            Err(error) => Err(CollectorError::Signal(error)),
        }
    }

    /// Waits until it can take records.
    pub async fn ready(&mut self, site: &Site, within: Duration) -> Result<(), CollectorError> {
        let start = Instant::now();
        while !site.is_ready().await {
            self.check()?;
            if start.elapsed() > within {
                return Err(CollectorError::NotReady(within));
            }
            sleep(BETWEEN).await;
        }
        Ok(())
    }

    /// `kill -9`, and gone when this returns.
    pub fn kill(&mut self) -> Result<(), CollectorError> {
        self.child.kill().map_err(CollectorError::Signal)?;
        self.child.wait().map_err(CollectorError::Signal)?;
        Ok(())
    }

    /// SIGTERM; it must end with 0 `within` that time.
    pub async fn stop(&mut self, within: Duration) -> Result<(), CollectorError> {
        self.check()?;
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| CollectorError::Signal(error.into()))?;
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(CollectorError::StoppedBadly(status)),
                Ok(None) if start.elapsed() > within => {
                    self.kill()?;
                    return Err(CollectorError::NotStopped(within));
                }
                Ok(None) => sleep(BETWEEN).await,
                Err(error) => return Err(CollectorError::Signal(error)),
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It fails when the process has ended, as it should have by now.
        drop(self.kill());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_the_addresses_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::prepare(directory.path(), "127.0.0.1:9").unwrap();
        let text = fs::read_to_string(&site.config).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["kafka"]["bootstrap"]["servers"].as_str(), Some("127.0.0.1:9"));
        assert_eq!(table["ingest"]["listen"].as_str(), Some(site.ingest.to_string().as_str()));
        assert_eq!(table["admin"]["listen"].as_str(), Some(site.admin.to_string().as_str()));
        let spool = directory.path().join("spool");
        assert_eq!(table["spool"]["dir"].as_str(), spool.to_str());
        assert_ne!(site.ingest, site.admin);
    }

    #[test]
    fn a_port_that_is_taken_is_left_alone() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        assert_ne!(free_port(address.port()).unwrap(), address);
    }

    #[test]
    fn memory_is_read_in_bytes_and_absent_for_the_dead() {
        let text = "Name:\twaystation\nVmHWM:\t   46200 kB\nVmRSS:\t   41000 kB\n";
        let memory = Memory { now: 41_000 * 1024, highest: 46_200 * 1024 };
        assert_eq!(Memory::parse(text), Some(memory));
        assert_eq!(Memory::parse("Name:\twaystation\nState:\tZ (zombie)\n"), None);
    }

    #[tokio::test]
    async fn a_collector_that_ends_by_itself_is_told_from_one_that_is_slow() {
        let directory = tempfile::tempdir().unwrap();
        let mut site = Site::prepare(directory.path(), "127.0.0.1:9").unwrap();
        site.program = "/bin/false".into();
        let mut collector = Collector::start(&site).unwrap();
        let outcome = collector.ready(&site, Duration::from_secs(20)).await;
        assert!(matches!(outcome, Err(CollectorError::Ended(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_collector_that_fails_to_stop_well_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::prepare(directory.path(), "127.0.0.1:9").unwrap();
        let child = Command::new("/bin/sleep").arg("600").spawn().unwrap();
        let mut collector = Collector { child };
        let outcome = collector.stop(Duration::from_secs(20)).await;
        assert!(matches!(outcome, Err(CollectorError::StoppedBadly(_))), "{outcome:?}");
        assert_eq!(collector.memory(), None);
        assert_eq!(site.last_words(), Vec::<String>::new());
    }
}
