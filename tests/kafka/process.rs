//! A process that lives no longer than the test program, however that ends.
//!
//! It runs under a shell that reads a pipe from here: when the pipe closes, by a drop or because
//! the test program is gone, the shell kills it.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Starts "$@", tells its number, and waits for the end of either.
const KEEPER: &str = r#"
    "$@" </dev/null & child=$!
    echo "$child" >"$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"
    (cat >/dev/null; kill -9 "$child" 2>/dev/null) 0<&3 &
    exec 3<&-
    wait "$child"
"#;

#[derive(Debug)]
pub struct Process {
    name: &'static str,
    keeper: Child,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it says goes to `dir/name.log`, behind what is there.
    pub fn start(name: &'static str, dir: &Path, command: &Command) -> Self {
        let (log, pid_file) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.pid")));
        let _ = fs::remove_file(&pid_file); // of the process before
        let open = || File::options().create(true).append(true).open(&log).unwrap();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", &format!("exec 3<&0\n{KEEPER}"), "keeper"]);
        keeper.arg(command.get_program()).args(command.get_args()).env("PID_FILE", &pid_file);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                keeper.env(name, value);
            }
        }
        keeper.current_dir(dir).stdin(Stdio::piped()).stdout(open()).stderr(open());
        let keeper = keeper.spawn().unwrap();
        let pid =
            crate::support::until_some("the process is started", crate::support::PATIENCE, || {
                fs::read_to_string(&pid_file).ok()?.trim().parse().ok().and_then(Pid::from_raw)
            });
        Self { name, keeper, pid, log }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Everything that it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `holds`; panics when it has ended before.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        crate::support::until_some(what, crate::support::PATIENCE, || {
            let ended = self.keeper.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended before {what}:\n{}", self.name, self.last_words());
            holds(self).then_some(())
        });
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    /// `kill -9`, and gone when this returns.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
    }
}
