//! Can an operator see, check, take out and bring in what is on a box's disk, with the service
//! running and without it?

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use support::fleet::{Fate, Fleet, device_id};
use support::kafka::Kafka;
use support::service::{Service, Site};
use support::until;

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

/// Holds the check of a part's CRC (`part::decode`), of a segment's end against its seal and of
/// the last one's against the acknowledged-through mark (`verify.rs`).
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

/// Holds, in `walk.rs`, that a segment that vanished is looked for anew, that a growing file is
/// read once more where a block is missing, and in `verify.rs` that nothing is missed behind the
/// acknowledged-through mark as it was before.
#[test]
fn beside_a_busy_service_nothing_is_called_damaged() {
    let kafka = Kafka::start();
    let site = Site::new(Some(&kafka.servers()));
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 32);
    for _ in 0..15 {
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
    said(&site, &["export", "--since", "yesterday"], 64);
    said(&site, &["ls"], 74);
    said(&site, &["verify"], 74);
    let mut wrong = Site::new(None);
    wrong.set("spool.max_size", "large");
    said(&wrong, &["verify"], 78);
}
