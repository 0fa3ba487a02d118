//! Can an operator see which records are dead letters, why, and what is in them; and drop them, or have
//! them sent again?

use crate::spool;
use crate::support::kafka::Kafka;
use crate::support::service::Site;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use waystation::dead::{self, Config, Letter, Name, Store};
use waystation::ledger::Ledger;
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

const NO_SUCH: &str =
    "waystation: 7: there is no such dead letter; `waystation dead ls` lists them";
const FIRST: &[u8] = br#"{"deviceId":"a"}"#;
const SECOND: &[u8] = br#"{"deviceId":"b"}"#;

/// A place without Kafka whose only two records are dead letters.
fn place() -> (Site, Vec<Name>) {
    place_with(None)
}

fn place_with(servers: Option<&str>) -> (Site, Vec<Name>) {
    let site = Site::new(servers);
    let mut spool = spool::open(&site.spool());
    spool::append_all(&spool, &[FIRST.to_vec(), SECOND.to_vec()]).unwrap();
    let store = Store::open(&site.spool(), Config::default());
    let mut names = Vec::new();
    while let Some(block) = spool.reader.next_block().unwrap() {
        for record in block.records() {
            let at = Millis(Millis::now().0 - 7_200_000);
            let letter = Letter::new(&block, record.sequence, "it is too large; raise it", at);
            let letter = letter.unwrap().unwrap();
            store.keep(std::slice::from_ref(&letter)).unwrap();
            spool.reader.set_aside(&[record.sequence]).unwrap();
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
        "       0    2 h     16  ",
        "  refused  test\n",
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
    for command in ["show", "export"] {
        let (_, errors) = said(&site, &[command, "7"], 1);
        assert_eq!(errors.lines().next(), Some(NO_SUCH), "{errors}");
    }
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
    // They are counted, if none can be read as well.
    let text = said(&site, &["ls"], 1).0;
    assert!(text.ends_with("\n2 dead letters (1 cannot be read), 8.0 KiB.\n"), "{text}");
    fs::write(dead::place(&site.spool()).join(names[1].to_string()), "WSDL").unwrap();
    let text = said(&site, &["ls"], 1).0;
    assert_eq!(text, "2 dead letters (2 cannot be read), 8.0 KiB.\n");
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

/// The books of a stopped service.
fn books(site: &Site) -> Ledger {
    let spool = spool::open(&site.spool());
    let books = spool.writer.ledger();
    assert!(books.balances(), "{books:?}");
    books
}

fn letters(site: &Site) -> usize {
    dead::list(&site.spool()).unwrap().len()
}

#[test]
fn a_letter_is_dropped_without_a_service_and_the_command_can_be_repeated() {
    let (site, names) = place();
    let (text, _) = said(&site, &["drop", "0"], 0);
    assert_eq!(text, "Dropped one dead letter: sequence 0.\n");
    let expected = Ledger { accepted: 2, dead: 1, dropped: 1, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 1));
    let (_, errors) = said(&site, &["drop", "0"], 1);
    assert_eq!(errors.trim_end(), NO_SUCH.replace('7', "0"));
    // By its id; what is not there is in nobody's way.
    let (text, errors) = said(&site, &["drop", &names[1].id.to_string(), "7"], 1);
    assert_eq!((&*text, errors.trim_end()), ("Dropped one dead letter: sequence 1.\n", NO_SUCH));
    let expected = Ledger { accepted: 2, dropped: 2, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 0));
    assert_eq!(said(&site, &["drop", "--all"], 0).0, "There are no dead letters.\n");
    assert_eq!(said(&site, &["retry", "--all"], 0).0, "There are no dead letters.\n");
    for misuse in [&["drop"][..], &["drop", "--all", "0"], &["retry"], &["retry", "x"]] {
        said(&site, misuse, 64);
    }
}

#[test]
fn dropped_beside_a_running_service_they_want_nobodys_attention_any_more() {
    let kafka = Kafka::start();
    let (site, _) = place_with(Some(&kafka.servers()));
    let service = site.start();
    let status = service.until_status("it knows them", |status| status.ledger.dead == 2);
    assert!(status.sentence.contains("dead letters"), "{}", status.sentence);
    let (text, _) = said(&site, &["drop", "--all"], 0);
    assert_eq!(text, "Dropped 2 dead letters: sequences 0 to 1.\n");
    let status = service.until_status("all is well", |status| status.verdict == Verdict::Ok);
    assert_eq!((status.ledger.dead, status.ledger.dropped), (0, 2));
    assert!(status.sentence.contains("2 records were dropped"), "{}", status.sentence);
    for place in ["record 0", "record 1"] {
        assert!(site.log().contains(place), "the log names {place}");
    }
    assert_eq!(
        (letters(&site), said(&site, &["ls"], 0).0),
        (0, "There are no dead letters.\n".into())
    );
    service.stop();
    let expected = Ledger { accepted: 2, dropped: 2, ..Ledger::default() };
    assert_eq!(books(&site), expected);
}

#[test]
fn sent_again_beside_a_running_service_they_arrive_under_the_ids_that_they_have() {
    let kafka = Kafka::start();
    let (site, names) = place_with(Some(&kafka.servers()));
    let service = site.start();
    let (text, _) = said(&site, &["retry", "1"], 0);
    assert_eq!(
        text,
        "One dead letter is sent again, under the id that it has: sequence 1. It waits\nbehind what \
         is in the spool.\n"
    );
    let arrived = kafka.one_record();
    assert_eq!(arrived.headers["waystation-id"], names[1].id.to_string());
    assert_eq!((arrived.key.as_deref(), arrived.value.as_bytes()), (Some("k"), SECOND));
    let status = service.until_status("it is delivered", |status| status.ledger.delivered == 1);
    assert_eq!(
        (status.ledger.accepted, status.ledger.dead, status.verdict),
        (2, 1, Verdict::Attention)
    );
    said(&site, &["retry", "--all"], 0);
    let status = service.until_status("all is well", |status| status.verdict == Verdict::Ok);
    let expected = Ledger { accepted: 2, delivered: status.ledger.delivered, ..Ledger::default() };
    assert_eq!(Ledger { spooled: 0, ..status.ledger }, expected);
    service.until_status("both are delivered", |status| status.ledger.delivered == 2);
    service.stop();
    let expected = Ledger { accepted: 2, delivered: 2, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 0));
}

#[test]
fn sent_again_without_a_service_they_wait_for_the_next_one() {
    let kafka = Kafka::start();
    let (site, names) = place_with(Some(&kafka.servers()));
    let (text, _) = said(&site, &["retry", "--all"], 0);
    assert!(text.starts_with("2 dead letters are sent again, under the ids"), "{text}");
    let expected = Ledger { accepted: 2, spooled: 2, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 0));
    let service = site.start();
    service.until_status("both are delivered", |status| status.ledger.delivered == 2);
    let id = &kafka.one_record().headers["waystation-id"];
    assert!(names.iter().any(|name| name.id.to_string() == *id), "{id}");
    service.stop();
}

#[test]
fn a_letter_that_was_taken_out_by_hand_is_dead_until_the_next_drop() {
    let (site, names) = place();
    fs::remove_file(dead::place(&site.spool()).join(names[0].to_string())).unwrap();
    assert_eq!(books(&site).dead, 2);
    let (text, _) = said(&site, &["drop", "--all"], 0);
    assert_eq!(
        text,
        "Dropped one dead letter: sequence 1. One dead record was without a letter, as\nwhen somebody \
         takes the file out, and counts as dropped now.\n"
    );
    let expected = Ledger { accepted: 2, dropped: 2, ..Ledger::default() };
    assert_eq!(books(&site), expected);
}

#[test]
fn a_damaged_letter_can_be_dropped_and_not_sent_again() {
    let (site, names) = place();
    let damaged = dead::place(&site.spool()).join(names[0].to_string());
    fs::write(&damaged, "WSDL").unwrap();
    let (text, errors) = said(&site, &["retry", "--all"], 1);
    assert!(text.contains("sequence 1."), "{text}");
    assert!(errors.contains(damaged.to_str().unwrap()), "{errors}");
    let expected = Ledger { accepted: 2, spooled: 1, dead: 1, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 1));
    said(&site, &["drop", "0"], 0);
    let expected = Ledger { accepted: 2, spooled: 1, dropped: 1, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 0));
}

/// Fails without the question. (`script` gives the command a terminal.)
#[test]
fn at_a_terminal_all_of_them_leave_only_after_a_yes() {
    let (site, _) = place();
    for (answer, code, left) in [("n\n", 1, 2), ("y\n", 0, 0)] {
        let mut command = site.command("dead");
        command.args(["drop", "--all"]);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let mut script = Command::new("script");
        script.args(["-qec", &words.join(" "), "/dev/null"]);
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().unwrap();
        script.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = script.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Drop all 2 dead letters for good? [y/N]"), "{text}");
        assert_eq!((output.status.code(), letters(&site)), (Some(code), left), "{text}");
    }
}

/// Fails without `recover` in the service, and without it where a command opens the spool itself.
#[test]
fn what_a_crash_left_of_a_drop_is_done_by_the_next_start_and_by_the_next_command() {
    for by_service in [true, false] {
        let (site, names) = place();
        let spool = spool::open(&site.spool());
        // The books have let it go, and its file is still there.
        assert_eq!(spool.writer.drop_letters(&[names[0].into()], |_| Ok(1)).unwrap(), 1);
        spool.writer.close().unwrap();
        drop(spool);
        assert_eq!(letters(&site), 2);
        if by_service {
            site.start().stop();
        } else {
            let empty = site.root().join("empty");
            fs::write(&empty, "").unwrap();
            let output = site.command("spool").arg("import").arg(&empty).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        let expected = Ledger { accepted: 2, dead: 1, dropped: 1, ..Ledger::default() };
        assert_eq!((books(&site), letters(&site)), (expected, 1), "by a service: {by_service}");
    }
}

/// Fails where a letter that may have a copy is taken for one that the books have let go: it would be
/// the only one that has the record.
#[test]
fn a_letter_that_was_about_to_be_sent_again_stays_where_no_copy_is_found() {
    let (site, names) = place();
    let spool = spool::open(&site.spool());
    // Nothing was appended, and nobody said so.
    drop(spool.writer.begin_again(&[names[0].into(), names[1].into()]).unwrap());
    let left = dead::drop_letters(&site.spool(), &spool.writer, &names[..1]).unwrap();
    assert_eq!((&left.gone[..], left.complaints.len()), (&names[..1], 0), "{left:?}");
    spool.writer.close().unwrap();
    drop(spool);
    let expected = Ledger { accepted: 2, dead: 1, dropped: 1, ..Ledger::default() };
    assert_eq!((books(&site), letters(&site)), (expected, 1));
}
