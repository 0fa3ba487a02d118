//! Can an operator see which records are dead letters, why, and what is in them?

#[path = "support/spool.rs"]
mod spool;
mod support;

use serde_json::{Value, json};
use std::fs;
use std::process::Output;
use support::service::Site;
use waystation::dead::{self, Config, Letter, Name, Store};
use waystation::record::Millis;
use waystation::status::Verdict;

/// `waystation dead <arguments>` at this place.
fn dead(site: &Site, arguments: &[&str]) -> Output {
    site.command("dead").args(arguments).output().unwrap()
}

/// What it wrote to standard output and to standard error, where it must end with this code.
#[track_caller]
fn said(site: &Site, arguments: &[&str], code: i32) -> (String, String) {
    let output = dead(site, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, errors) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{errors}");
    (out, errors)
}

const FIRST: &[u8] = br#"{"deviceId":"a"}"#;
const SECOND: &[u8] = br#"{"deviceId":"b"}"#;

/// A place without Kafka whose only two records are dead letters.
fn place() -> (Site, Vec<Name>) {
    let site = Site::new(None);
    let mut spool = spool::open(&site.spool());
    spool::append_all(&spool, &[FIRST.to_vec(), SECOND.to_vec()]).unwrap();
    let store = Store::open(&site.spool(), Config::default());
    let mut names = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        for record in block.records() {
            let at = Millis(Millis::now().0 - 7_200_000);
            let letter = Letter::new(&block, record.sequence, "it is too large; raise it", at);
            let letter = letter.unwrap().unwrap();
            store.keep(&letter).unwrap();
            spool.reader.set_aside(record.sequence).unwrap();
            names.push(letter.name());
        }
    }
    spool.writer.close().unwrap();
    assert_eq!(spool.writer.ledger().dead, 2);
    (site, names)
}

#[test]
fn letters_are_listed_with_the_reason_and_shown_whole() {
    let (site, names) = place();
    let (text, _) = said(&site, &["ls"], 0);
    for part in [
        "       0    2 h          16  ",
        &names[1].id.to_string(),
        "2 letters: it is too large; raise it.\n",
        "2 dead letters, 8.0 KiB.\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (text, _) = said(&site, &["ls", "--json"], 0);
    let listed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["sequence"], 1);
    assert_eq!(listed[1]["reason"], "it is too large; raise it");
    let by_sequence = said(&site, &["show", "1"], 0).0;
    assert_eq!(said(&site, &["show", &names[1].id.to_string()], 0).0, by_sequence);
    for part in
        ["id          ", "topic       test\n", "key         k\n", "\n{\"deviceId\":\"b\"}\n"]
    {
        assert!(by_sequence.contains(part), "{by_sequence}");
    }
    let (_, errors) = said(&site, &["show", "7"], 1);
    assert!(errors.contains("no such dead letter"), "{errors}");
    said(&site, &["show", "x"], 64);
    // Beside a running service as well, which tells of them.
    let service = site.start();
    assert_eq!(said(&site, &["show", "1"], 0).0, by_sequence);
    let status = service.until_status("it knows them", |status| status.ledger.dead == 2);
    assert_eq!(status.verdict, Verdict::Attention);
    assert!(status.sentence.contains("2 records are dead letters"), "{}", status.sentence);
    assert!(status.sentence.contains("`waystation dead ls` says why"), "{}", status.sentence);
    service.stop();
}

#[test]
fn an_export_can_be_brought_in_elsewhere_and_leaves_the_letters_where_they_are() {
    let (site, names) = place();
    let file = site.root().join("letters.ndjson");
    let (text, _) = said(&site, &["export", "--output", file.to_str().unwrap()], 0);
    assert_eq!(text, "Exported 2 dead letters; the letters stay.\n");
    said(&site, &["export", "--output", file.to_str().unwrap()], 73);
    let lines = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["id"], names[0].id.to_string());
    assert_eq!(lines[1]["value"], json!({"deviceId": "b"}));
    let one = said(&site, &["export", "1"], 0).0;
    assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), lines[1]);
    assert_eq!(dead::list(&site.spool()).unwrap().len(), 2);
    let other = Site::new(None);
    let output = other.command("spool").arg("import").arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let spool = spool::open(&other.spool());
    assert_eq!(spool.writer.ledger().spooled, 2);
}

#[test]
fn a_damaged_letter_is_named_and_hides_no_other() {
    let (site, names) = place();
    let damaged = dead::place(&site.spool()).join(names[0].to_string());
    fs::write(&damaged, "WSDL").unwrap();
    for command in ["ls", "export"] {
        let (text, errors) = said(&site, &[command], 1);
        assert!(text.contains(&names[1].id.to_string()), "{text}");
        assert!(errors.contains(damaged.to_str().unwrap()), "{errors}");
    }
    assert_eq!(fs::read(&damaged).unwrap(), b"WSDL");
}

#[test]
fn where_there_are_none_that_is_said_and_where_there_is_no_spool_too() {
    let site = Site::new(None);
    let (_, errors) = said(&site, &["ls"], 74);
    assert!(errors.contains("there is no spool"), "{errors}");
    spool::open(&site.spool()).writer.close().unwrap();
    assert_eq!(said(&site, &["ls"], 0).0, "There are no dead letters.\n");
    assert_eq!(said(&site, &["ls", "--json"], 0).0, "");
}
