//! What `check --print` shows, and that the reference and the installed file are true.

use super::super::files::Source;
use super::super::print::to_toml;
use super::super::raw::merge;
use super::super::schema;
use super::super::value::Value;
use super::{DROP_IN, MAIN, load, load_all, route, shown};
use crate::forward::MASK;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn print_shows_each_value_with_its_origin_and_masks_secrets() {
    let main = "[spool]\nmax_size = \"1GiB\"\n[kafka]\nbootstrap.servers = \"x:1\"\n\
                sasl.password = \"hunter2\"\nssl.key.password = 'hunter2'\n\
                ssl.key.pem = \"hunter2\"\n";
    let drop_in = "\n[ingest]\nmax_connections = 5\n";
    let printed = load_all(&[main, drop_in]).unwrap().to_toml();
    for line in [
        format!("max_size = \"1GiB\"  # {MAIN}:2"),
        format!("max_connections = 5  # {DROP_IN}:3"),
        "min_free = \"256MiB\"  # default".to_owned(),
        "name = \"depot-7\"  # default: the host name".to_owned(),
        "path = \"/endpoint\"  # default".to_owned(),
        format!("bootstrap.servers = \"x:1\"  # {MAIN}:4"),
        format!("sasl.password = \"{MASK}\"  # {MAIN}:5"),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}\n{printed}");
    }
    assert!(!printed.contains("hunter2"), "{printed}");
}

/// Whatever stands under `[kafka]`, printed: names that librdkafka does not know are not for
/// the printing to judge.
fn printed(kafka: &str) -> BTreeMap<String, Value> {
    let read = |text: String| merge(&[Source { file: MAIN.into(), text }]).0;
    let raw = read(to_toml(&read(format!("[kafka]\n{kafka}\n")), "a"));
    raw.kafka.into_iter().map(|(name, found)| (name, found.value)).collect()
}

#[test]
fn a_property_that_is_also_the_beginning_of_another_is_printed_in_quotes() {
    let kafka = printed("\"a\" = 1\n\"a.b\" = 2\n\"c d\" = 3\n\"\" = 4\n\".x\" = 5");
    assert_eq!(kafka.keys().collect::<Vec<_>>(), ["", ".x", "a", "a.b", "c d"]);
}

const EXAMPLE: &str = include_str!("../../../config/waystation.example.toml");

/// With every `#name = value` line in effect.
fn whole_example() -> String {
    let commented = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| commented(rest)).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_reference_shows_the_defaults() {
    assert_eq!(shown(&load(EXAMPLE)), shown(&load("")));
}

#[test]
fn the_reference_has_every_setting_and_all_that_it_suggests_is_valid() {
    let loaded = load(&whole_example());
    assert_eq!(loaded.config.forward.kafka.len(), 8);
    for line in loaded.to_toml().lines() {
        assert!(!line.ends_with("# default") && !line.contains("# default:"), "{line}");
    }
}

#[test]
fn the_installed_file_changes_nothing() {
    let installed = include_str!("../../../config/waystation.toml");
    assert_eq!(shown(&load(installed)), shown(&load("")));
}

/// Some valid values of each setting.
fn valid_lines() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("box", vec!["name = \"a\"", "name = \"b.c_d-7\""]),
        ("ingest", vec!["listen = \"127.0.0.1:0\"", "listen = \"[::]:80\""]),
        ("ingest", vec!["max_message = 4096", "max_message = \"1MiB\""]),
        ("ingest", vec!["max_connections = 1", "max_connections = 0xff"]),
        ("ingest", vec!["header_timeout = \"100ms\"", "header_timeout = '1m 3s'"]),
        ("ingest", vec!["body_timeout = \"5m\""]),
        ("ingest", vec!["tls_certificate = \"/a\"\ntls_key = \"/b\"\ntls_client_ca = \"/c\""]),
        ("ingest", vec!["tokens = \"/t\"\nmax_requests_per_token = 7"]),
        ("ingest", vec!["max_requests_per_address = 1", "max_requests_per_address = 0"]),
        ("spool", vec!["dir = '/a \"quoted\" \\ path'", "dir = \"/tab\\tand\\nline\""]),
        ("spool", vec!["max_size = \"1TB\"", "max_size = 17000000"]),
        ("spool", vec!["min_free = \"0\"", "min_free = 0"]),
        ("spool", vec!["commit_delay = \"1s\"", "commit_delay = \"500us\""]),
        ("spool", vec!["max_pending = \"4 MB\""]),
        ("forward", vec!["delivery = \"at-least-once\"", "delivery = \"exactly-once\""]),
        ("forward", vec!["progress_topic = \"p.1\"", "in_doubt = \"repeat\""]),
        ("forward", vec!["max_in_flight = 1_000", "grace = \"0s\""]),
        ("forward", vec!["max_bytes_per_second = \"100KiB\"", "max_bytes_per_second = 0"]),
        ("log", vec!["filter = \"off\"", "filter = 'info,a::b=trace'"]),
        ("log", vec!["format = \"json\""]),
        ("kafka", vec!["client.rack = \"x\\\"y\\\\z # no comment\""]),
        ("kafka", vec!["linger.ms = 5", "linger.ms = 0x10"]),
        ("kafka", vec!["\"ssl.ca.pem\" = \"a\\nb\\n\"", "ssl.ca.pem = '''x'y'''"]),
    ]
}

fn some_configuration() -> impl Strategy<Value = String> {
    let lines = valid_lines();
    let picks = prop::collection::vec(any::<(bool, prop::sample::Index)>(), lines.len());
    let routes = prop::collection::btree_map("/[a-z]{1,3}", "[a-zA-Z0-9_-]{1,9}", 0..4);
    (picks, routes, any::<bool>()).prop_map(move |(picks, routes, keyless)| {
        let mut text = String::new();
        for table in schema::TABLES.into_iter().filter(|table| *table != "route") {
            text = text + "[" + table + "]\n";
            if table == "kafka" {
                text += "bootstrap.servers = \"x:1\"\n";
            }
            for ((_, values), (_, pick)) in
                lines.iter().zip(&picks).filter(|((of, _), (taken, _))| *of == table && *taken)
            {
                let line: &str = pick.get::<&str>(values);
                text = text + line + "\n";
            }
        }
        let more = if keyless {
            "key = \"\"\non_invalid = \"keep\""
        } else {
            "dedupe = { window = \"5s\", fields = [\"device_id\", 'sequence'] }"
        };
        routes.iter().fold(text, |text, (path, topic)| text + &route(path, topic, more))
    })
}

proptest! {
    #[test]
    fn what_is_printed_means_the_same_when_it_is_read_back(text in some_configuration()) {
        let first = load(&text);
        let second = load(&first.to_toml());
        prop_assert_eq!(shown(&first), shown(&second));
    }

    #[test]
    fn any_property_comes_back_as_it_was(name in "[a-z. \"é\\\\]{1,9}", value in "[^\0]{0,40}") {
        let toml = |text: &str| toml::Value::from(text).to_string();
        let kafka = printed(&format!("{} = {}", toml(&name), toml(&value)));
        prop_assert_eq!(kafka.get(&name), Some(&Value::Text(value)));
    }

    #[test]
    fn no_text_whatever_breaks_the_reading(
        text in r#"([\[\]a-z."'=\n#{},0-9 \\éx]|\[spool\]\n|\[\[route\]\]\n|max_size|= "){0,60}"#
    ) {
        if let Err(problems) = load_all(&[&text]) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                prop_assert!(problem.starts_with(MAIN) && !problem.contains('\n'), "{:?}", problem);
            }
        }
    }
}
