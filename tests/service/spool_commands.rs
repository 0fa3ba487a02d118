//! Can an operator see, check, take out and bring in what is on a box's disk, with the service
//! running and without it?

use crate::preload;
use crate::support::client::{ask, request};
use crate::support::fleet::{Fate, Fleet, Sent, device_id};
use crate::support::kafka::Kafka;
use crate::support::service::{Service, Site};
use crate::support::{PATIENCE, until};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};
use waystation::control::client::Client;
use waystation::record::{RecordId, Sequence};
use waystation::status::Verdict;

/// `waystation spool <arguments>` at this place.
fn spool(site: &Site, arguments: &[&str]) -> Output {
    site.command("spool").args(arguments).output().unwrap()
}

/// The same, which must end with this code. What it wrote to standard output.
#[track_caller]
fn said(site: &Site, arguments: &[&str], code: i32) -> String {
    let output = spool(site, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of an export.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn listing(site: &Site) -> Value {
    serde_json::from_str(&said(site, &["ls", "--json"], 0)).unwrap()
}

/// So many messages, or some more, are acknowledged: which, as device and number.
fn post(site: &Site, messages: u64) -> Vec<(String, u64)> {
    let fleet = Fleet::start(site.ingest, 8);
    fleet.until_more(messages);
    let sent = fleet.stop();
    assert!(sent.refusals().is_empty(), "{:?}", sent.refusals());
    assert_eq!(sent.count(Fate::Unanswered), 0);
    let fates = sent.fates.iter().enumerate();
    fates
        .flat_map(|(device, fates)| (1..=fates.len() as u64).map(move |n| (device_id(device), n)))
        .collect()
}

/// A stopped place with the records of so many lives, each of which left a segment.
fn filled(site: &Site, lives: u64) -> u64 {
    let mut posted = 0;
    for _ in 0..lives {
        let service = site.start();
        posted += post(site, 100).len() as u64;
        service.stop();
    }
    posted
}

/// The service has nothing more to write by itself.
fn settled(site: &Site) {
    until("the marks are on the disk", || {
        let listing = listing(site);
        listing["acknowledged"] == listing["next"]
    });
}

/// Everything that could be changed in a directory: bytes, times, modes, names.
fn tree(path: &Path) -> BTreeMap<PathBuf, (u32, i128, i128, u64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        let time =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let (modified, changed) =
            (time(data.mtime(), data.mtime_nsec()), time(data.ctime(), data.ctime_nsec()));
        let bytes = if data.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if data.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, (data.mode(), modified, changed, data.ino(), bytes));
    }
    found
}

/// `run` leaves the directory as it is.
#[track_caller]
fn changes_nothing(site: &Site, run: impl FnOnce()) {
    let before = tree(&site.spool());
    run();
    let after = tree(&site.spool());
    for (path, was) in &before {
        assert_eq!(
            after.get(path).map(|is| (is.0, is.1, is.2, is.3)),
            Some((was.0, was.1, was.2, was.3)),
            "{}",
            path.display()
        );
    }
    assert!(before == after, "a file's bytes, or a new file");
}

/// The commands that only look.
fn look(site: &Site) {
    said(site, &["ls"], 0);
    said(site, &["ls", "--json"], 0);
    said(site, &["verify"], 0);
    said(site, &["export"], 0);
    said(site, &["export", "--all"], 0);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Holds `dir::held` (with `dir::lock` in its place the lock file is rewritten) and
/// `progress::read` (with `ProgressFile::open` a missing file is made).
#[test]
fn what_only_looks_changes_nothing_beside_a_running_service_or_without_one() {
    let site = Site::new(None);
    filled(&site, 2);
    changes_nothing(&site, || look(&site));
    fs::remove_file(site.spool().join("progress")).unwrap();
    changes_nothing(&site, || {
        said(&site, &["ls"], 0);
        assert!(said(&site, &["verify"], 1).contains("no readable progress"));
        said(&site, &["export"], 0);
    });
    let service = site.start();
    post(&site, 50);
    settled(&site);
    changes_nothing(&site, || look(&site));
    service.kill();
    changes_nothing(&site, || look(&site));
}

#[test]
fn an_export_is_the_same_with_the_service_running_stopped_or_killed_and_is_what_was_posted() {
    let site = Site::new(None);
    let service = site.start();
    let mut posted = post(&site, 100);
    service.stop();
    let service = site.start();
    posted.extend(post(&site, 100));
    let running = said(&site, &["export"], 0);
    service.kill();
    let killed = said(&site, &["export"], 0);
    site.start().stop();
    let stopped = said(&site, &["export"], 0);
    assert!(running == killed && killed == stopped);

    let lines = lines(&stopped);
    let sequences: Vec<_> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (0..posted.len() as u64).collect::<Vec<_>>());
    let ids: BTreeSet<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), posted.len());
    let mut exported = Vec::new();
    for line in &lines {
        let value = &line["value"];
        assert_eq!((&line["key"], line["topic"].as_str()), (&value["deviceId"], Some("test")));
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        exported.push((text("deviceId"), text("sequence").parse().unwrap()));
    }
    exported.sort_unstable();
    posted.sort_unstable();
    assert_eq!(exported, posted);
}

#[test]
fn a_part_is_exported_by_sequence_or_by_the_time_of_reception() {
    let site = Site::new(None);
    let posted = filled(&site, 2);
    let sequences = |arguments: &[&str]| -> Vec<u64> {
        let all = [&["export"], arguments].concat();
        let lines = lines(&said(&site, &all, 0));
        lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect()
    };
    assert_eq!(sequences(&["--from", "95", "--to", "105"]), (95..=105).collect::<Vec<_>>());
    assert!(sequences(&["--from", &posted.to_string()]).is_empty());
    let all = lines(&said(&site, &["export"], 0));
    let time = all[all.len() / 2]["received"].as_str().unwrap();
    let (since, until) = (sequences(&["--since", time]), sequences(&["--until", time]));
    let received =
        |sequence: &u64| all[usize::try_from(*sequence).unwrap()]["received"].as_str().unwrap();
    assert!(!since.is_empty() && !until.is_empty());
    assert!(since.iter().all(|sequence| received(sequence) >= time));
    assert!(until.iter().all(|sequence| received(sequence) < time));
    assert_eq!((since.len() + until.len()) as u64, posted);
}

/// Holds that an existing file is not replaced, and that a file appears only when it is whole.
#[test]
fn an_exported_file_is_whole_and_none_is_overwritten() {
    let site = Site::new(None);
    let posted = filled(&site, 1);
    let file = site.root().join("out.ndjson");
    let path = file.to_str().unwrap();
    said(&site, &["export", "--output", path], 0);
    let written = fs::read(&file).unwrap();
    assert_eq!(String::from_utf8_lossy(&written).lines().count() as u64, posted);
    said(&site, &["export", "--output", path, "--from", "5"], 73);
    assert_eq!(fs::read(&file).unwrap(), written);
    let names = fs::read_dir(site.root()).unwrap();
    let parts =
        names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with("part"));
    assert_eq!(parts.count(), 0);
}

/// A place in the middle of a segment's data where a part stands.
fn a_part(data: &[u8]) -> usize {
    let parts: Vec<_> = memchr::memmem::find_iter(data, &[0xF5, b'W', b'S', 0xFF]).collect();
    parts[parts.len() / 2]
}

/// Holds the comparison of a segment's end with its seal, and
/// of the last one's with the acknowledged-through mark (`verify.rs`).
#[test]
fn verify_names_the_sequences_that_a_damaged_copy_lacks() {
    let site = Site::new(None);
    let posted = filled(&site, 3);
    let segments: Vec<String> = listing(&site)["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(segments.len(), 3);
    for (place, segment) in segments.iter().enumerate() {
        for damage in ["flip", "cut", "gone", "removed"] {
            let copied = site.root().join(format!("copy-{place}-{damage}"));
            copy(&site.spool(), &copied);
            let data = copied.join(segment).join("db");
            let mut bytes = fs::read(&data).unwrap();
            let at = a_part(&bytes);
            match damage {
                "flip" => {
                    bytes[at + 40] ^= 1;
                    fs::write(&data, bytes).unwrap();
                }
                "cut" => fs::write(&data, &bytes[..at]).unwrap(),
                "gone" => fs::remove_file(&data).unwrap(),
                _ => fs::remove_dir_all(data.parent().unwrap()).unwrap(),
            }
            let dir = copied.to_str().unwrap();
            let there = spool(&site, &["export", "--dir", dir]);
            let there: BTreeSet<_> = lines(std::str::from_utf8(&there.stdout).unwrap())
                .iter()
                .map(|line| line["sequence"].as_u64().unwrap())
                .collect();
            let missing: Vec<_> =
                (0..posted).filter(|sequence| !there.contains(sequence)).collect();
            let (first, last) = (missing[0], missing[missing.len() - 1]);
            assert_eq!(missing, (first..=last).collect::<Vec<_>>(), "one gap");
            let says = said(&site, &["verify", "--dir", dir], 1).replace('\n', " ");
            let named = if first == last {
                format!("sequence {first} cannot be read")
            } else {
                format!("sequences {first} to {last} ({} records) cannot be read", missing.len())
            };
            assert!(says.contains(&named), "{damage} of {segment}: {named}, but: {says}");
        }
    }
}

/// Holds, in `walk.rs`, that a growing file is read once more where a block is missing. (What a
/// rotation, a removal and a moved mark do to one who looks is held by `tests/library/outside.rs`.)
#[test]
fn beside_a_busy_service_nothing_is_called_damaged() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    for _ in 0..12 {
        said(&site, &["ls"], 0);
        said(&site, &["verify"], 0);
        let lines = lines(&said(&site, &["export", "--all"], 0));
        let sequences: Vec<_> = lines.iter().map(|l| l["sequence"].as_u64().unwrap()).collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "in order, without a gap");
    }
    fleet.stop();
    service.stop();
}

#[test]
fn a_set_aside_segment_can_be_exported_by_its_own_directory() {
    let site = Site::new(None);
    filled(&site, 2);
    let listing = listing(&site);
    let segment = &listing["segments"][1];
    let (name, first) = (segment["name"].as_str().unwrap(), segment["first"].as_u64().unwrap());
    let aside = site.root().join(format!("{name}.1"));
    copy(&site.spool().join(name), &aside);
    let lines = lines(&said(&site, &["export", "--dir", aside.to_str().unwrap()], 0));
    let sequences: Vec<_> = lines.iter().map(|l| l["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (first..segment["end"].as_u64().unwrap()).collect::<Vec<_>>());
}

#[test]
fn the_list_says_what_each_segment_is_and_who_has_the_spool_open() {
    let site = Site::new(None);
    let posted = filled(&site, 1);
    let states = |listing: &Value| -> Vec<String> {
        let segments = listing["segments"].as_array().unwrap();
        segments.iter().map(|segment| segment["state"].as_str().unwrap().to_owned()).collect()
    };
    let stopped = listing(&site);
    assert_eq!(states(&stopped), ["sealed"]);
    assert_eq!(stopped["in_use_by"], Value::Null);
    assert_eq!(stopped["ledger"]["spooled"], posted);
    let service: Service = site.start();
    post(&site, 20);
    let running = listing(&site);
    assert_eq!(states(&running), ["sealed", "being written"]);
    assert_eq!(running["in_use_by"], service.pid().to_string());
    service.kill();
    let killed = listing(&site);
    assert_eq!(states(&killed), ["sealed", "left over"]);
    assert_eq!(killed["in_use_by"], Value::Null);
    let table = said(&site, &["ls"], 0);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("left over") && table.contains("No process has"), "{table}");
}

#[test]
fn misuse_has_a_code_of_its_own() {
    let site = Site::new(None);
    said(&site, &[], 64);
    said(&site, &["list"], 64);
    said(&site, &["export", "--remove"], 64);
    said(&site, &["export", "--remove", "--all", "-o", "x"], 64);
    said(&site, &["import", "/nowhere"], 66);
    said(&site, &["export", "--since", "yesterday"], 64);
    said(&site, &["ls"], 74);
    said(&site, &["verify"], 74);
    said(&site, &["repair"], 74);
    said(&site, &["repair", "--dry-run"], 74);
    said(&site, &["export", "--remove", "-o", "/nowhere/x"], 74);
    assert!(!site.spool().exists());
    let service = site.start();
    said(&site, &["repair"], 75);
    said(&site, &["repair", "--dry-run"], 75);
    said(&site, &["export", "--remove", "-o", "/nowhere/x"], 73);
    fs::remove_file(site.spool().join("socket")).unwrap();
    let output = spool(&site, &["export", "--remove", "-o", "/nowhere/x"]);
    // The service makes its socket again within seconds: then it is asked after all.
    assert!([Some(75), Some(73)].contains(&output.status.code()), "{output:?}");
    service.stop();
    let mut wrong = Site::new(None);
    wrong.set("spool.max_size", "large");
    said(&wrong, &["verify"], 78);
}

/// A line of an export, of a record that no vehicle would send: every form that a line has.
fn odd_line(number: u64) -> String {
    let received = 1_767_225_600_000 + number * 1000;
    let at = |forms: u64| usize::try_from(number % forms).unwrap();
    let key = ["null", "\"bus-7\"", "\"\"", r#"{"base64":"/wD+"}"#][at(4)];
    let headers = ["{}", r#"{"a":"1","b":{"base64":"/w=="}}"#, r#"[["a","1"],["a","2"]]"#][at(3)];
    let value = [r#"{"n": 1.0, "n": 2}"#, "7", r#"{"base64":"AAE="}"#, "null", r#""ü""#][at(5)];
    let clock = if number.is_multiple_of(2) { "" } else { "\"clock_synchronised\":false," };
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(received));
    format!(
        "{{\"sequence\":{number},\"id\":\"00000000deadbeef:{number}\",\"received\":\"{time}\",{clock}\"timestamp\":{},\"path\":\"/p{}\",\"topic\":\"t{}\",\"key\":{key},\"headers\":{headers},\"value\":{value}}}\n",
        received + number % 7,
        number % 3,
        number % 2
    )
}

fn odd_lines(count: u64) -> String {
    (0..count).map(odd_line).collect()
}

/// Imports the text as a file.
fn import(site: &Site, text: &str, code: i32) -> String {
    let file = site.root().join("in.ndjson");
    fs::write(&file, text).unwrap();
    said(site, &["import", file.to_str().unwrap()], code)
}

/// Holds `NewRecord.origin` and every field of a line, on both ways in.
#[test]
fn what_is_imported_is_exported_again_line_by_line_whether_a_service_runs_or_not() {
    let text = odd_lines(3_000);
    let (running, stopped) = (Site::new(None), Site::new(None));
    let service = running.start();
    import(&running, &text, 0);
    assert!(said(&running, &["export"], 0) == text);
    service.kill();
    assert!(said(&running, &["export"], 0) == text, "durable when it was said to be imported");
    import(&stopped, &text, 0);
    assert!(said(&stopped, &["export"], 0) == text);
    assert_eq!(listing(&stopped)["in_use_by"], Value::Null);
    let service = stopped.start();
    assert_eq!(service.status().ledger.accepted, 3_000);
    // Once more, behind what is there: the same ids, other sequences.
    import(&stopped, &text, 0);
    let again = said(&stopped, &["export", "--from", "3000"], 0);
    let ids = |text: &str| -> Vec<Value> {
        lines(text).into_iter().map(|mut line| line["id"].take()).collect()
    };
    assert_eq!(ids(&again), ids(&text));
    service.stop();
}

#[test]
fn records_moved_to_another_box_reach_its_kafka_with_the_ids_that_they_had() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let (from, to) = (Site::new(None), Site::new(Some(&kafka.servers())));
    let service = from.start();
    let fleet = Fleet::start(from.ingest, 8);
    fleet.until_more(300);
    let sent = fleet.stop();
    let file = from.root().join("moved.ndjson");
    let path = file.to_str().unwrap();
    said(&from, &["export", "--remove", "-o", path], 0);
    let status = service.status();
    let moved = sent.count(Fate::Acknowledged);
    assert_eq!((status.ledger.exported, status.ledger.spooled), (moved, 0));
    service.stop();
    let service = to.start();
    said(&to, &["import", path], 0);
    reader.compared(&sent, PATIENCE);
    let ids: HashSet<_> = lines(&fs::read_to_string(&file).unwrap())
        .iter()
        .map(|line| line["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(*reader.witness().ids(), ids);
    service.stop();
}

/// Holds that a removal is synced into the progress before it is answered, and the lists of ranges.
#[test]
fn what_is_exported_and_removed_is_counted_and_gone_for_good() {
    let site = Site::new(None);
    import(&site, &odd_lines(2_000), 0);
    let take = |name: &str, arguments: &[&str]| {
        let file = site.root().join(name);
        let all = [&["export", "--remove", "-o", file.to_str().unwrap()], arguments].concat();
        let says = said(&site, &all, 0);
        let taken = lines(&fs::read_to_string(&file).unwrap());
        (says, taken.iter().map(|line| line["sequence"].as_u64().unwrap()).collect::<Vec<_>>())
    };
    let ledger = |exported: u64| {
        let listing = listing(&site);
        let ledger = |name: &str| listing["ledger"][name].as_u64().unwrap();
        assert_eq!((ledger("exported"), ledger("spooled")), (exported, 2_000 - exported));
    };
    let (says, taken) = take("stopped", &["--from", "100", "--to", "199"]);
    assert_eq!(
        says,
        "Exported 100 records, sequences 100 to 199. 100 were taken out of the spool.\n"
    );
    assert_eq!(taken, (100..200).collect::<Vec<_>>());
    ledger(100);

    let service = site.start();
    let (_, taken) = take("running", &["--from", "150", "--to", "299"]);
    assert_eq!(taken, (200..300).collect::<Vec<_>>(), "what is gone is not taken twice");
    let since = "2026-01-01T00:10:00Z"; // of record 600
    let (_, taken) = take("by-time", &["--since", since, "--until", "2026-01-01T00:11:40Z"]);
    assert_eq!(taken, (600..700).collect::<Vec<_>>());
    assert_eq!(service.status().ledger.exported, 300);
    service.kill();
    ledger(300);
    let service = site.start();
    assert_eq!(service.status().ledger.exported, 300);
    let rest = lines(&said(&site, &["export"], 0));
    let rest: Vec<_> = rest.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!(rest, (0..100).chain(300..600).chain(700..2_000).collect::<Vec<_>>());
    let (_, taken) = take("rest", &[]);
    assert_eq!(taken, rest);
    let (says, taken) = take("nothing", &[]);
    assert_eq!(
        (says.as_str(), taken.len()),
        ("Exported no record. None was taken out of the spool.\n", 0)
    );
    until("the disk is freed", || listing(&site)["segments"].as_array().unwrap().is_empty());
    assert_eq!(service.status().ledger.exported, 2_000);
    service.stop();
    said(&site, &["verify"], 0);
}

/// A service whose Kafka is away, with as little handed to it as can be, and what was posted.
fn cut_off(kafka: &Kafka, messages: u64) -> (Site, Service, Sent) {
    kafka.take_away();
    let mut site = Site::new(Some(&kafka.servers()));
    site.set_number("forward.max_in_flight", 1);
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 8);
    fleet.until_more(messages);
    (site, service, fleet.stop())
}

/// Holds that a `Visit`'s hold goes with its connection, and that what is held is not handed out.
#[test]
fn a_client_that_goes_away_gives_back_what_it_held() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let (site, service, sent) = cut_off(&kafka, 100);
    let client = Client::connect(&site.spool()).unwrap();
    let (first, end) = client.hold(Sequence(0), Sequence(u64::MAX)).unwrap();
    assert!(first.0 < 50 && end.0 == sent.count(Fate::Acknowledged), "{first} to {end}");
    let another = Client::connect(&site.spool()).unwrap();
    let refused = another.hold(first, end).unwrap_err().to_string();
    assert!(refused.contains("just now"), "{refused}");
    kafka.give_back();
    service.until_status("all that is not held is delivered", |s| s.ledger.delivered == first.0);
    drop(client);
    reader.compared(&sent, PATIENCE);
    let status = service.until_status("all is delivered", |s| s.ledger.spooled == 0);
    assert_eq!(status.ledger.exported, 0);
    service.stop();
}

/// The command with these arguments, killed at one of its calls that change what lies in `under`, or
/// that write to a socket: the one of this number, after it where it is wanted so. The call's kind;
/// `None` when it ended by itself.
fn killed(
    mut command: Command,
    under: &Path,
    library: &Path,
    at: usize,
    after: bool,
) -> Option<String> {
    let hit = under.with_extension("hit");
    command.env("LD_PRELOAD", library).env("KILL_UNDER", under).env("KILL_SOCKETS", "1");
    command.env("KILL_AT", at.to_string()).env("KILL_HIT", &hit);
    if after {
        command.env("KILL_AFTER", "1");
    }
    let output = command.output().unwrap();
    if output.status.signal() != Some(9) {
        assert!(output.status.success(), "{output:?}");
        return None;
    }
    let hit = fs::read_to_string(hit).unwrap();
    Some(hit.trim_end_matches('\n').replace(|letter: char| letter.is_ascii_digit(), ""))
}

fn ids(text: &str) -> HashSet<RecordId> {
    lines(text).iter().map(|line| line["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// The calls of an export that takes records out: it asks for a hold, makes the file, and asks for
/// the removal.
const CALLS: [&str; 8] = [
    "write socket",
    "create /out-.ndjson..part",
    "write /out-.ndjson..part",
    "fsync /out-.ndjson..part",
    "link /out-.ndjson",
    "unlink /out-.ndjson..part",
    // Of the file's directory.
    "fsync ",
    "write socket",
];

/// Holds the order of `export --remove`: the file has its name before anything is taken out. Fails
/// when `take_out` removes before it exports.
#[test]
fn an_export_that_is_killed_at_any_of_its_calls_loses_no_record() {
    const EACH: u64 = 100;
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let (site, service, sent) = cut_off(&kafka, 3_000);
    let all = sent.count(Fate::Acknowledged);
    let stick = site.root().join("stick");
    fs::create_dir(&stick).unwrap();
    let library = preload::library("kill", site.root());
    let (mut first, mut exported) = (EACH, 0);
    let (mut in_files, mut taken) = (HashSet::new(), HashSet::new());
    // Each kill is that of an export of a range of its own.
    let mut strike = |at: usize, after: bool| {
        first += EACH;
        assert!(first + EACH <= all, "not every call was struck");
        service.until_status("nothing is held", |status| status.spool.held_seconds.is_none());
        let file = stick.join(format!("out-{first}.ndjson"));
        let mut command = site.command("spool");
        command.args(["export", "--remove", "--from", &first.to_string()]);
        command.args(["--to", &(first + EACH - 1).to_string(), "-o"]).arg(&file);
        let hit = killed(command, &stick, &library, at, after);
        let whole = file.exists();
        if whole {
            let text = fs::read_to_string(&file).unwrap();
            let has =
                lines(&text).iter().map(|l| l["sequence"].as_u64().unwrap()).collect::<Vec<_>>();
            assert_eq!(has, (first..first + EACH).collect::<Vec<_>>(), "{hit:?}");
            in_files.extend(ids(&text));
            let status = service
                .until_status("nothing is held any more", |s| s.spool.held_seconds.is_none());
            // It asked for the removal and was gone: the service may not have read that.
            let perhaps = after && hit.as_deref() == Some("write socket");
            if hit.is_none() || perhaps && status.ledger.exported > exported {
                taken.extend(ids(&text));
                exported += EACH;
            }
        }
        assert_eq!(service.status().ledger.exported, exported, "{hit:?}");
        (hit, whole)
    };
    for after in [false, true] {
        for (at, kind) in (1..).zip(CALLS) {
            // The file has its name after the link, and not before.
            let whole = at > 5;
            let sockets = !after || kind == "write socket";
            while sockets && strike(at, after) != (Some(kind.to_owned()), whole) {}
        }
    }
    assert_eq!(strike(CALLS.len() + 1, false), (None, true), "these were all of its calls");

    kafka.give_back();
    service.until_status("the rest is delivered", |status| status.ledger.spooled == 0);
    until("the rest is read", || reader.witness().distinct() == all - exported);
    let delivered = reader.witness().ids().clone();
    assert!(delivered.is_disjoint(&taken), "taken out, and Kafka's all the same");
    assert_eq!(delivered.union(&in_files).count() as u64, all, "each is in Kafka or in a file");
    service.stop();
}

/// From this sequence on all of the file's records are there, and nothing else.
#[track_caller]
fn has_all(site: &Site, from: u64, text: &str) {
    let found = said(site, &["export", "--from", &from.to_string()], 0);
    assert!(ids(&found) == ids(text));
}

/// Holds that what an import made durable and what it did not are whole records under their own ids,
/// wherever its client dies.
#[test]
fn an_import_that_is_killed_at_any_write_can_be_made_again_and_is_whole_then() {
    const RECORDS: u64 = 6_000;
    let site = Site::new(None);
    let service = site.start();
    let library = preload::library("kill", site.root());
    // Some batches, each of some writes: how many, the socket decides.
    let text = odd_lines(RECORDS);
    let file = site.root().join("killed.ndjson");
    fs::write(&file, &text).unwrap();
    let (mut at, mut halves) = (0, 0);
    loop {
        at += 1;
        let before = service.status().ledger.accepted;
        let mut command = site.command("spool");
        command.arg("import").arg(&file);
        if killed(command, &site.root().join("none"), &library, at, false).is_none() {
            break;
        }
        import(&site, &text, 0);
        has_all(&site, before, &text);
        halves += u64::from(service.status().ledger.accepted > before + RECORDS);
    }
    assert!(halves > 0, "a kill left a part of the lines");
    service.stop();
}

/// Fails without `Failure::Unknown`: nobody knows what became of the batch that broke off.
#[test]
fn an_import_whose_service_is_killed_can_be_made_again_and_is_whole_then() {
    let site = Site::new(None);
    let service = site.start();
    let text = odd_lines(3_000);
    let mut command = site.command("spool");
    command.args(["import", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let (early, late) = text.as_bytes().split_at(text.len() / 2);
    input.write_all(early).unwrap();
    let some = service.until_status("some are imported", |status| status.ledger.accepted > 0);
    service.kill();
    // It may be gone by then.
    drop(input.write_all(late));
    drop(input);
    let output = child.wait_with_output().unwrap();
    let says = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{says}");
    assert!(says.contains("what of those lines was imported is not known"), "{says}");
    let service = site.start();
    let ledger = service.status().ledger;
    assert!((some.ledger.accepted..3_000).contains(&ledger.accepted), "{ledger:?}");
    import(&site, &text, 0);
    has_all(&site, 0, &text);
    service.stop();
}

/// The service is killed while a client holds: what was not taken out is still there, and a client
/// whose service is gone is told so.
#[test]
fn a_service_that_is_killed_while_records_are_held_has_them_after_its_start() {
    let kafka = Kafka::start();
    let reader = kafka.read_along();
    let (site, service, sent) = cut_off(&kafka, 200);
    let client = Client::connect(&site.spool()).unwrap();
    let held = client.hold(Sequence(0), Sequence(u64::MAX)).unwrap();
    service.kill();
    let error = client.remove(&[held]).unwrap_err().to_string();
    assert!(error.contains("the connection to the service broke"), "{error}");
    let service = site.start();
    // The socket that the killed one left is made anew.
    let client = Client::connect(&site.spool()).unwrap();
    let (first, end) = client.hold(Sequence(0), Sequence(u64::MAX)).unwrap();
    let removed = client.remove(&[(first, end), (Sequence(0), first)]).unwrap();
    assert_eq!(removed, end.since(first), "what is not held is not taken out");
    let error = client.remove(&[(first, end)]).unwrap_err().to_string();
    assert!(error.contains("nothing is held"), "{error}");
    service.kill();
    let service = site.start();
    let ledger = service.status().ledger;
    assert_eq!((ledger.exported, ledger.accepted), (removed, sent.count(Fate::Acknowledged)));
    kafka.give_back();
    let rest = ledger.accepted - removed;
    service.until_status("the rest is delivered", |status| status.ledger.delivered == rest);
    until("the rest is read", || reader.witness().distinct() == rest);
    service.stop();
}

#[test]
fn a_bad_line_is_named_with_what_is_wrong_and_what_was_imported_before_it() {
    let site = Site::new(None);
    let mut bad: Vec<String> = (0..2_000).map(odd_line).collect();
    bad[1_499] = bad[1_499].replace("\"topic\":\"", "\"topic\":\"no topic: ");
    let file = site.root().join("bad.ndjson");
    fs::write(&file, bad.concat()).unwrap();
    let path = file.to_str().unwrap();
    let errors = |output: Output| String::from_utf8(output.stderr).unwrap();
    let complaint = |output: Output, so_far: &str| {
        assert_eq!(output.status.code(), Some(65), "{output:?}");
        let says = errors(output);
        assert!(says.contains("line 1500: topic: Kafka takes"), "{says}");
        assert!(says.trim_end().ends_with(so_far), "{says}");
    };
    // A file is read through first.
    complaint(spool(&site, &["import", path]), "nothing was imported");
    complaint(spool(&site, &["import", "--dry-run", path]), "nothing was imported");
    assert!(!site.spool().exists());
    // What comes by standard input cannot be.
    for (running, before) in [(false, 0), (true, 1_499)] {
        let service = running.then(|| site.start());
        let mut command = site.command("spool");
        command.args(["import", "-"]).stdin(fs::File::open(&file).unwrap());
        complaint(command.output().unwrap(), "1,499 records were imported");
        let text = lines(&said(&site, &["export", "--from", &before.to_string()], 0));
        assert_eq!(text.len(), 1_499);
        drop(service);
    }
    let says =
        said(&site, &["import", "--dry-run", site.root().join("in.ndjson").to_str().unwrap()], 66);
    assert_eq!(says, "");
}

/// A connection that breaks in the first batch says nothing of what was made durable. Fails without
/// `Failure::Unknown`: the command then says that nothing was imported.
#[test]
fn an_import_whose_connection_breaks_does_not_claim_to_know_what_was_imported() {
    let site = Site::new(None);
    fs::create_dir(site.spool()).unwrap();
    let listener = UnixListener::bind(site.spool().join("socket")).unwrap();
    let service = std::thread::spawn(move || {
        // It takes the request, and is gone before it answers.
        let read = listener.accept().unwrap().0.read(&mut [0; 4096]).unwrap();
        assert!(read > 0);
    });
    let file = site.root().join("in.ndjson");
    fs::write(&file, odd_lines(3)).unwrap();
    let output = spool(&site, &["import", file.to_str().unwrap()]);
    service.join().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.contains("from line 1 on: the connection to the service broke"), "{says}");
    assert!(says.contains("what of those lines was imported is not known"), "{says}");
    assert!(!says.contains("nothing was imported"), "{says}");
}

/// Holds that a dry run works on a shadow (`repair.rs`), and that the shadow shows a start all that
/// it looks at.
#[test]
fn a_dry_run_of_repair_changes_nothing_and_says_what_repair_then_does() {
    let site = Site::new(None);
    filled(&site, 2);
    let service = site.start();
    post(&site, 100);
    settled(&site);
    service.kill();
    let left_over = listing(&site)["segments"][2]["name"].as_str().unwrap().to_owned();
    for (number, damage) in
        ["none", "flip", "gone", "no progress", "empty segment"].into_iter().enumerate()
    {
        let mut copied = Site::new(None);
        copied.set("box.name", &format!("copy-{number}"));
        copy(&site.spool(), &copied.spool());
        let data = copied.spool().join(&left_over).join("db");
        match damage {
            "flip" => {
                let mut bytes = fs::read(&data).unwrap();
                let at = a_part(&bytes);
                bytes[at + 40] ^= 1;
                fs::write(&data, bytes).unwrap();
            }
            "gone" => fs::remove_file(&data).unwrap(),
            "no progress" => fs::remove_file(copied.spool().join("progress")).unwrap(),
            "empty segment" => {
                fs::create_dir(copied.spool().join("seg-00000000000000009999-0000")).unwrap();
            }
            _ => {}
        }
        let mut predicted = String::new();
        changes_nothing(&copied, || predicted = said(&copied, &["repair", "--dry-run"], 0));
        let done = said(&copied, &["repair"], 0);
        let predicted = predicted.replace("would be", "was").replace("would wait", "wait");
        let predicted = predicted.replace("; nothing was changed", "").replace('\n', " ");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let done = done.replace(" is kept", " was kept");
        assert_eq!(words(&predicted), words(&done), "{damage}");
        if damage == "none" {
            assert!(done.contains(&format!("{left_over} was sealed: sequences")), "{done}");
        } else if damage == "flip" || damage == "gone" {
            assert!(done.contains("counted as lost"), "{damage}: {done}");
        }
        let again = said(&copied, &["repair"], 0);
        assert!(again.contains("There is nothing to repair."), "{again}");
    }
}

/// Holds the mode of the socket, that one which cannot be made is a trouble and no more, and that it
/// is made once it can be.
#[test]
fn the_socket_is_for_the_service_and_its_group_and_comes_back_when_it_is_gone() {
    let site = Site::new(None);
    fs::create_dir_all(site.spool().join("socket")).unwrap();
    let service = site.start();
    let status = service.until_status("a trouble", |status| status.verdict == Verdict::Attention);
    assert!(status.sentence.contains("the control socket"), "{}", status.sentence);
    post(&site, 20);
    fs::remove_dir(site.spool().join("socket")).unwrap();
    service.until_status("no trouble any more", |status| !status.sentence.contains("socket"));
    let data = fs::symlink_metadata(site.spool().join("socket")).unwrap();
    assert!(data.file_type().is_socket());
    assert_eq!(data.mode() & 0o777, 0o660);
    fs::remove_file(site.spool().join("socket")).unwrap();
    until("the socket is back", || site.spool().join("socket").exists());
    let answers = |address, path: &str| {
        ask(address, request(Method::POST, path, Bytes::new())).unwrap().status
    };
    for path in ["/spool/hold", "/spool/remove", "/spool/records"] {
        assert_eq!(answers(site.admin, path).as_u16(), 404, "nothing of it over TCP");
        assert_eq!(answers(site.ingest, path).as_u16(), 404, "nothing of it over TCP");
    }
    service.stop();
    assert!(!site.spool().join("socket").exists());
}

/// Holds `place::owned`.
#[test]
fn a_spool_of_another_user_is_not_changed_without_its_service() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: giving a directory to another user needs root");
        return;
    }
    let site = Site::new(None);
    filled(&site, 1);
    std::os::unix::fs::chown(site.spool(), Some(65_534), Some(65_534)).unwrap();
    let file = site.root().join("in.ndjson");
    fs::write(&file, odd_lines(3)).unwrap();
    for arguments in [
        &["repair"][..],
        &["import", file.to_str().unwrap()],
        &["export", "--remove", "-o", "/nowhere/x"],
    ] {
        changes_nothing(&site, || {
            let output = spool(&site, arguments);
            assert_eq!(output.status.code(), Some(77), "{output:?}");
            let says = String::from_utf8(output.stderr).unwrap();
            assert!(says.contains("sudo -u nobody waystation"), "{says}");
            assert!(says.contains("export goes where nobody may write"), "{says}");
        });
    }
    said(&site, &["repair", "--dry-run"], 0);
}

#[test]
fn what_only_looks_works_on_a_read_only_mount() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    let site = Site::new(None);
    let posted = filled(&site, 2);
    let mounted = Mounted::read_only(&site.spool());
    look(&site);
    said(&site, &["repair", "--dry-run"], 0);
    assert_eq!(said(&site, &["export"], 0).lines().count() as u64, posted);
    said(&site, &["repair"], 73);
    drop(mounted);
}

/// Holds the order in `take_out`: the file is whole before anything is taken out. What is exported
/// fits the writer's buffer and not the disk, so that the failure comes at the very end.
#[test]
fn what_finds_no_room_for_its_file_is_not_taken_out() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting needs root");
        return;
    }
    let site = Site::new(None);
    import(&site, &odd_lines(2_000), 0);
    let small = site.root().join("stick");
    fs::create_dir(&small).unwrap();
    let mounted = Mounted::small(&small);
    let file = small.join("out.ndjson");
    for running in [false, true] {
        let service = running.then(|| site.start());
        let output = spool(&site, &["export", "--remove", "-o", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(73), "{output:?}");
        let says = String::from_utf8(output.stderr).unwrap();
        assert!(says.contains("No space left"), "{says}");
        drop(service);
        assert_eq!(listing(&site)["ledger"]["exported"], 0);
        assert_eq!(fs::read_dir(&small).unwrap().count(), 0, "nothing half is left");
    }
    drop(mounted);
}

/// A directory mounted onto itself, read-only, or a small file system of its own.
struct Mounted(PathBuf);

impl Mounted {
    fn read_only(dir: &Path) -> Self {
        mount(&["--bind", dir.to_str().unwrap()], dir);
        let mounted = Self(dir.to_owned());
        mount(&["-o", "remount,bind,ro"], dir);
        mounted
    }

    fn small(dir: &Path) -> Self {
        mount(&["-t", "tmpfs", "-o", "size=64k", "none"], dir);
        Self(dir.to_owned())
    }
}

fn mount(arguments: &[&str], dir: &Path) {
    let done = std::process::Command::new("mount").args(arguments).arg(dir).status();
    assert!(done.unwrap().success(), "mount {arguments:?}");
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg(&self.0).status();
        assert!(done.unwrap().success() || std::thread::panicking());
    }
}
