//! What does somebody see who runs `waystation check`, rightly or wrongly?
//!
//! The real program, with its exit codes and its two outputs. Single rules have their tests
//! beside the code.

use crate::preload;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const USAGE: i32 = 64;
const CONFIG: i32 = 78;

fn waystation() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waystation"));
    // A panic would show its backtrace, and the tests below would see it.
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

fn check(config: &Path, more: &[&str]) -> Output {
    waystation().arg("check").arg("--config").arg(config).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Refused with that code: nothing on standard output, only sentences on standard error.
fn refused(output: &Output, code: i32) -> Vec<&str> {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let lines: Vec<_> = text(&output.stderr).lines().collect();
    assert!(!lines.is_empty());
    lines
        .into_iter()
        .map(|line| line.strip_prefix("waystation: ").unwrap_or_else(|| panic!("{output:?}")))
        .collect()
}

fn file(dir: &Path, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join("waystation.toml");
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn an_empty_file_is_right_and_the_answer_says_that_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "");
    let output = check(&path, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let sentence = "is right; no Kafka is configured, so records are kept and wait";
    assert_eq!(text(&output.stdout), format!("{} {sentence}\n", path.display()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn the_shipped_files_are_right() {
    for name in ["waystation.toml", "waystation.example.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        assert_eq!(check(&path, &[]).status.code(), Some(0), "{name}");
    }
}

#[test]
fn every_problem_is_one_line_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "[spool]\nmax_sise = 1\nmax_size = 1\n");
    let drop_in = dir.path().join("conf.d/50-x.toml");
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    fs::write(&drop_in, "[log]\nformat = \"xml\"\n").unwrap();
    let output = check(&path, &["--print"]);
    let lines = refused(&output, CONFIG);
    let (path, drop_in) = (path.display(), drop_in.display());
    assert_eq!(
        lines,
        [
            format!("{path}:2: spool.max_sise is not a setting; did you mean max_size?"),
            format!("{path}:3: spool.max_size is 1; it must be from \"16MiB\" to \"1024TiB\""),
            format!("{drop_in}:2: log.format is \"xml\"; it takes \"text\" or \"json\""),
        ]
    );
}

#[test]
fn what_is_no_readable_file_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.toml");
    let output = check(&missing, &[]);
    let lines = refused(&output, CONFIG);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with(&format!("{}: does not exist;", missing.display())), "{lines:?}");

    let output = check(dir.path(), &[]);
    assert!(refused(&output, CONFIG)[0].contains("is a directory"));

    let output = check(&file(dir.path(), b"# \xff\xfe\n"), &[]);
    assert!(refused(&output, CONFIG)[0].contains(".toml:1: has bytes that are not UTF-8"));

    let output = check(Path::new("/dev/zero"), &[]);
    assert!(refused(&output, CONFIG)[0].contains("is larger than 1 MiB"));
}

#[test]
fn print_gives_a_configuration_that_means_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "[spool]\nmax_size = \"1GiB\"\n[kafka]\nbootstrap.servers = \"x:1\"\n\
         sasl.password = \"hunter2\"\n",
    );
    let first = check(&path, &["--print"]);
    let printed = text(&first.stdout);
    let line = format!("max_size = \"1GiB\"  # {}:2", path.display());
    assert!(printed.lines().any(|printed| printed == line), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");

    let again = dir.path().join("again.toml");
    fs::write(&again, printed).unwrap();
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap_or_default().into()).collect()
    };
    let second = check(&again, &["--print"]);
    assert_eq!(values(text(&second.stdout)), values(printed));
}

#[test]
fn without_a_kafka_there_is_nobody_to_connect_to() {
    let dir = tempfile::tempdir().unwrap();
    for kafka in ["", "[kafka]\nbootstrap.servers = \" \"\n"] {
        let output = check(&file(dir.path(), kafka), &["--connect"]);
        assert_eq!(output.status.code(), Some(CONFIG), "{output:?}");
        assert!(text(&output.stdout).contains("no Kafka is configured"), "{output:?}");
        let sentence = "there is no Kafka to ask: set bootstrap.servers under [kafka]";
        assert_eq!(text(&output.stderr), format!("waystation: {sentence}\n"));
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told_before_anybody_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "[kafka]\nbootstrap.servers = \"x:1\"\nacks = \"1\"\n");
    let output = check(&path, &["--connect"]);
    let lines = refused(&output, CONFIG);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("kafka.acks"), "{lines:?}");
}

/// One address refuses, one takes connections and never says a word, one has no such name.
#[test]
fn brokers_that_do_not_answer_are_named_each_and_cost_no_longer_than_one() {
    let dir = tempfile::tempdir().unwrap();
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = bind();
    let silent = listener.local_addr().unwrap();
    let closed = bind().local_addr().unwrap();
    // No resolver asks anybody for a name with so long a part.
    let name = "x".repeat(64);
    let path =
        file(dir.path(), format!("[kafka]\nbootstrap.servers = \"{name},{silent},{closed}\"\n"));
    let start = Instant::now();
    let output = check(&path, &["--connect"]);
    let took = start.elapsed();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let right: Vec<_> = text(&output.stdout).lines().skip(1).collect();
    assert_eq!(right, [format!("{silent}: {silent} listens")]);
    let wrong: Vec<_> = text(&output.stderr).lines().collect();
    for begin in [
        format!("waystation: {name}: the name of {name} is not known; correct bootstrap.servers"),
        format!("waystation: {closed}: no broker answers at {closed} (Connection refused"),
        format!("waystation: {silent}: "),
        "waystation: no broker lets this box in, so that none was asked for the topics".to_owned(),
    ] {
        assert_eq!(wrong.iter().filter(|line| line.starts_with(&begin)).count(), 1, "{wrong:?}");
    }
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[test]
fn a_look_up_that_does_not_end_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "[kafka]\nbootstrap.servers = \"kafka-1:9092\"\n");
    let mut command = waystation();
    command.env("LD_PRELOAD", preload::library("resolver", dir.path()));
    let start = Instant::now();
    let output = command.args(["check", "--connect", "--config"]).arg(path).output().unwrap();
    assert!(start.elapsed() < Duration::from_mins(1), "{output:?}");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let says = "waystation: kafka-1:9092: the name of kafka-1 is not known; correct \
                bootstrap.servers or the DNS (no answer within 6 s)\n";
    assert!(text(&output.stderr).starts_with(says), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    // More than a pipe holds, so that the program is still writing when the reader leaves.
    let route = |n| format!("[[route]]\npath = \"/route-{n}\"\ntopic = \"topic-{n}\"\n");
    let many = (0..3000).map(route).collect::<Vec<_>>().concat();
    let mut child = waystation()
        .args(["check", "--print", "--config"])
        .arg(file(dir.path(), many))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "[box]\n");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = waystation()
        .args(["check", "--print", "--config"])
        .arg(file(dir.path(), ""))
        .stdout(full)
        .output()
        .unwrap();
    assert!(refused(&output, 74)[0].starts_with("cannot write to standard output: "));
}

#[test]
fn misuse_is_one_sentence_and_its_own_code() {
    for (line, code) in [
        (&[][..], USAGE),
        (&["frobnicate"], USAGE),
        (&["check", "--prnt"], USAGE),
        (&["check", "--print", "--connect"], USAGE),
        (&["check", "too", "much"], USAGE),
        (&["--config"], USAGE),
        (&["status", "--jsn"], 3),
    ] {
        let output = waystation().args(line).output().unwrap();
        let lines = refused(&output, code);
        assert_eq!(lines.len(), 1, "{line:?}: {lines:?}");
        assert!(lines[0].ends_with("see waystation --help"), "{line:?}: {lines:?}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for flag in ["--help", "--version"] {
        let output = waystation().arg(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{flag}");
        assert!(text(&output.stdout).to_lowercase().contains("waystation"), "{flag}");
        assert_eq!(text(&output.stderr), "", "{flag}");
    }
}
