//! How soon is a spool back: with a thousand segments, and with gigabytes?

use crate::child::{Child, Report, status};
use crate::table::{Goal, Table, ms};
use crate::{MEMORY, soon};
use prost::Message;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use waystation::cli::fleet;

const GIB: u64 = 1 << 30;

/// A spool of a thousand segments, one record each.
pub fn thousand_segments(root: &Path, table: &mut Table) {
    let dir = root.join("segments");
    Child::run("segments", &dir, &["1000"]);
    let state = drop_caches();
    let opened = Child::run("reopen", &dir, &[]);
    soon(table, "open with 1,000 segments", &opened, "open_ms", state);
    table.row("  memory", &opened.memory(), "", MEMORY.met(opened.peak()));
    fs::remove_dir_all(&dir).expect("the segments are removed");
}

/// A spool of gigabytes that was killed while it was written.
pub fn large(root: &Path, table: &mut Table) {
    let gigabytes: u64 = match std::env::var("WAYSTATION_BENCH_GB") {
        Ok(text) => text.parse().expect("WAYSTATION_BENCH_GB is a whole number"),
        Err(_) => 1,
    };
    let dir = root.join("large");
    let disk = rustix::fs::statvfs(root).expect("a file system");
    if disk.f_bavail * disk.f_frsize < (gigabytes + 2) * GIB {
        table.row(&format!("restart with {gigabytes} GiB"), "left out: no room", "", None);
        return;
    }
    let bytes = (gigabytes * GIB).to_string();
    kill_while_it_writes(&dir, &bytes);
    let what = format!("restart with {gigabytes} GiB after kill -9");
    let state = drop_caches();
    let opened = Child::run("reopen", &dir, &[]);
    soon(table, &format!("{what}: first durable append"), &opened, "durable_ms", state);
    let (open, block) = (opened.number("open_ms"), opened.number("block_ms"));
    table.row(
        "  of which open; with the first block read",
        &format!("{}; {}", ms(open), ms(block)),
        "",
        None,
    );
    table.row("  memory", &opened.memory(), "", MEMORY.met(opened.peak()));
    // The last one closed it in order: again a tail that nobody sealed.
    kill_while_it_writes(&dir, &bytes);
    over_http(root, &dir, &what, table);
    fs::remove_dir_all(&dir).expect("the large spool is removed");
}

fn kill_while_it_writes(dir: &Path, bytes: &str) {
    let mut child = Child::start("fill", dir, &[bytes]);
    let _: Report = child.report();
    std::thread::sleep(Duration::from_millis(200));
    child.kill();
}

/// The service itself, from its start to the first 200.
fn over_http(root: &Path, dir: &Path, what: &str, table: &mut Table) {
    let (ingest, admin) = (free_port(), free_port());
    let config = root.join("waystation.toml");
    let text = format!(
        "ingest.listen = '{ingest}'\nadmin.listen = '{admin}'\nspool.dir = '{}'\n\
         spool.max_size = '1TiB'\nspool.min_free = '0'\n\
         kafka.'bootstrap.servers' = '127.0.0.1:1'\nlog.filter = 'error'\n",
        dir.display()
    );
    fs::write(&config, text).expect("a configuration");
    let state = drop_caches();
    let start = Instant::now();
    let mut service = Command::new(env!("CARGO_BIN_EXE_waystation"))
        .args(["run", "--config"])
        .arg(&config)
        .stdout(Stdio::null())
        .spawn()
        .expect("the service");
    let body = fleet::vehicles(1, 7)[0].report(SystemTime::now()).encode_to_vec();
    let answer = loop {
        assert!(start.elapsed() < Duration::from_mins(1), "no answer for a minute");
        match post(ingest, &body) {
            Ok(answer) => break answer,
            Err(_) => std::thread::sleep(Duration::from_millis(1)), // not listening yet
        }
    };
    let taken = start.elapsed().as_secs_f64() * 1e3;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    table.row(
        &format!("{what}: first 200 over HTTP"),
        &ms(taken),
        state,
        Goal::AtMost(1000.0).met(taken),
    );
    // It reads ahead for Kafka meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    let pid = service.id().to_string();
    let peak = status(&pid, "VmHWM");
    table.row("  memory of the whole service", &format!("{peak} MB"), "", MEMORY.met(peak));
    service.kill().and_then(|()| service.wait()).expect("the service ran");
}

fn post(to: SocketAddr, body: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to)?;
    let head = format!(
        "POST /endpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener.and_then(|listener| listener.local_addr()).expect("a port")
}

/// Makes everything be read from the disk again; says whether it could.
fn drop_caches() -> &'static str {
    rustix::fs::sync();
    if fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
        "page cache dropped"
    } else {
        "page cache warm: dropping it needs root"
    }
}
