//! One test of this program in a process of its own, which may be killed or measured.

use std::process::Command;

/// Runs the test `name` of the `module` (`module_path!()`) alone.
pub fn of(module: &str, name: &str) -> Command {
    let (_program, module) = module.split_once("::").expect("a module of the program");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::{name}"), "--nocapture"]);
    command
}
