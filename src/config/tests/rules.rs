//! One test a rule: what is refused, and with which sentence.

use super::super::{LogFormat, assemble, schema};
use super::{DROP_IN, MAIN, load, load_all, problem, route};
use crate::config::schema::Setting;
use crate::forward::{Delivery, InDoubt};
use crate::ingest::{Dedupe, OnInvalid};
use std::num::NonZeroU32;
use std::time::Duration;

#[test]
fn an_empty_file_is_the_default_configuration() {
    let config = load("").config;
    assert_eq!(config.box_name, "depot-7");
    assert_eq!(config.ingest.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.ingest.max_message, 64 << 10);
    assert_eq!(config.ingest.max_connections, 1024);
    assert_eq!(config.ingest.header_timeout, Duration::from_secs(75));
    assert_eq!(config.ingest.body_timeout, Duration::from_secs(10));
    assert_eq!(config.ingest.routes.len(), 1);
    let route = &config.ingest.routes[0];
    assert_eq!((route.path.as_str(), route.topic.as_str()), ("/endpoint", "test"));
    assert_eq!(route.message, "tutorial.REALTIMEGPS");
    assert_eq!(route.key.as_deref(), Some("device_id"));
    assert_eq!(config.spool.dir.to_str(), Some("/var/lib/waystation/spool"));
    assert_eq!(config.spool.max_size, 2 << 30);
    assert_eq!(config.spool.min_free, 256 << 20);
    assert_eq!(config.spool.commit_delay, Duration::ZERO);
    assert_eq!(config.spool.max_pending, 8 << 20);
    assert!(config.forward.kafka.is_empty());
    assert_eq!(config.forward.box_name, "depot-7");
    assert_eq!(config.forward.max_in_flight, 20_000);
    assert_eq!(config.forward.grace, Duration::from_secs(5));
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:10088");
    assert_eq!((config.log.filter.as_str(), config.log.format), ("info", LogFormat::Text));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_name() {
    let says = problem("[spool]\n\nmax_sise = \"1GiB\"\n");
    assert_eq!(says, ":3: spool.max_sise is not a setting; did you mean max_size?");
    assert_eq!(problem("[injest]\n"), ":1: injest is not a setting; did you mean ingest?");
}

#[test]
fn every_problem_of_every_file_is_found_in_the_order_of_the_lines() {
    let main = "colour = 1\n[spool]\nmax_size = \"huge\"\nmin_fre = 0\n[log]\nformat = 3\n";
    let drop_in = "[ingest]\nlisten = \"here\"\n";
    let problems = load_all(&[main, drop_in]).unwrap_err();
    let starts = [
        format!("{MAIN}:1: colour is not a setting; the tables are box, "),
        format!("{MAIN}:3: spool.max_size is \"huge\"; it takes a size"),
        format!("{MAIN}:4: spool.min_fre is not a setting; did you mean min_free?"),
        format!("{MAIN}:6: log.format is 3; it takes \"text\" or \"json\""),
        format!("{DROP_IN}:2: ingest.listen is \"here\"; it takes an IP address"),
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(&start), "{problem}\n{start}");
    }
}

#[test]
fn a_line_that_is_not_toml_is_one_problem_and_the_rest_is_checked_all_the_same() {
    let problems = load_all(&["[spool]\nmax_size = 2GiB\nmin_fre = 0\n"]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].contains(":2: this line is not TOML: "), "{problems:#?}");
    assert!(problems[0].ends_with("texts, sizes and durations stand in quotes"), "{problems:#?}");
    assert!(problems[1].contains(":3: spool.min_fre is not a setting"), "{problems:#?}");
}

#[test]
fn two_problems_of_one_line_are_both_told() {
    let text = "spool = { max_sise = 1, max_size = \"huge\" }\n";
    let says = load_all(&[text]).unwrap_err().join("\n");
    assert!(says.contains("spool.max_sise is not a setting"), "{says}");
    assert!(says.contains("spool.max_size is \"huge\"; it takes a size"), "{says}");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_for_every_setting() {
    for setting in schema::SETTINGS {
        let says = problem(&format!("[{}]\n{} = 1979-05-27\n", setting.table(), setting.key()));
        let start = format!(":2: {} is a date or time; it takes ", setting.name);
        assert!(says.starts_with(&start), "{says}");
    }
    for setting in schema::ROUTE_SETTINGS {
        let others = schema::ROUTE_SETTINGS.into_iter().filter(|s| s.name != setting.name);
        let line = |s: &Setting| Some(format!("{} = \"{}\"\n", s.key(), s.default?));
        let others: String = others.filter_map(line).collect();
        let says = problem(&format!("[[route]]\n{} = [1]\n{others}", setting.key()));
        let start = format!(":2: {} is [1]; it takes ", setting.name);
        assert!(says.starts_with(&start), "{says}");
    }
}

#[test]
fn a_route_names_one_schema_and_the_message_in_it() {
    let says = |lines: &str| problem(&route("/a", "t", lines));
    let proto = "proto = [\"/p/fleet.proto\"]";
    let set = "descriptor_set = \"/p/fleet.binpb\"";
    let message = "message = \"fleet.Trip\"";
    for (lines, right) in [
        (proto.to_owned(), "route.proto needs the message's full name beside it"),
        (set.to_owned(), "route.descriptor_set needs the message's full name beside it"),
        (format!("{message}\n{proto}\n{set}"), "one of them is enough"),
        (format!("{message}\ninclude = \"/p\""), "this route has no proto"),
        (format!("{message}\nproto = []"), "route.proto is []; it takes absolute paths"),
        (format!("{message}\nproto = \"fleet.proto\""), "it takes absolute paths"),
        (format!("{message}\ndescriptor_set = [\"/a\", \"/b\"]"), "takes one file"),
        (format!("{message}\n{proto}"), "route.proto is [\"/p/fleet.proto\"]; "),
        (format!("{message}\n{set}"), "/p/fleet.binpb cannot be read: No such file"),
        (message.to_owned(), "name its schema in proto or descriptor_set"),
        ("timestamp = \"altitude\"".to_owned(), "it must be a google.protobuf.Timestamp"),
        ("timestamp = \"1\"".to_owned(), "it takes \"received\", or the path of a field"),
    ] {
        let says = says(&lines);
        assert!(says.contains(right), "{lines}: {says}");
    }
}

#[test]
fn a_schema_is_read_with_the_configuration_and_what_is_wrong_with_it_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleet.proto");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let lines = format!("message = \"fleet.Trip\"\nproto = {file:?}\ntimestamp = \"at\"");
    let text = route("/a", "t", &lines);
    write(
        "syntax = \"proto3\"; package fleet; import \"google/protobuf/timestamp.proto\";\n\
         message Trip { string line = 1; google.protobuf.Timestamp at = 2; }",
    );
    let config = load(&text).config;
    let read = &config.ingest.routes[0];
    assert_eq!((read.message.as_str(), &read.key), ("fleet.Trip", &None));
    assert_eq!(read.timestamp.as_deref(), Some("at"));
    let printed = load(&text).to_toml();
    assert!(printed.contains("\nkey = \"\"  # default\n"), "{printed}");
    assert_eq!(load(&printed).config.ingest.routes[0].key, None);
    write("syntax = \"proto3\"; package fleet;\nmessage Trip { strin line = 1; }");
    let says = problem(&text);
    assert!(says.contains("; fleet.proto:2:16: "), "{says}");
}

#[test]
fn tables_and_routes_must_be_written_as_such() {
    assert_eq!(problem("spool = 5"), ":1: spool is a table: write [spool] and its settings below");
    assert_eq!(
        problem("kafka = \"x\""),
        ":1: kafka is a table: write [kafka] and its settings below"
    );
    assert_eq!(problem("[route]\n"), ":1: route may be there many times: write [[route]]");
    assert_eq!(problem("route = [1]"), ":1: route takes tables: write [[route]]");
    assert!(problem("[spool.max_size]\n").contains("spool.max_size is a table; it takes a size"));
}

#[test]
fn how_records_are_delivered_is_one_of_two_words_and_its_topic_is_one() {
    let written = "[forward]\ndelivery = \"exactly-once\"\nprogress_topic = \"p\"\n";
    let forward = load(written).config.forward;
    let delivery = Delivery::ExactlyOnce { progress_topic: "p".into(), in_doubt: InDoubt::Pause };
    assert_eq!(forward.delivery, delivery);
    assert_eq!(load("").config.forward.delivery, Delivery::AtLeastOnce);
    let says = problem("[forward]\ndelivery = \"once\"\n");
    assert!(says.ends_with("it takes \"at-least-once\" or \"exactly-once\""), "{says}");
    let says = problem("[forward]\nin_doubt = \"skip\"\n");
    assert!(says.ends_with("it takes \"pause\" or \"repeat\""), "{says}");
    let says = problem("[forward]\nprogress_topic = \"a b\"\n");
    assert!(says.contains("forward.progress_topic is \"a b\"; Kafka takes 1 to 249"), "{says}");
}

#[test]
fn values_out_of_bounds_are_refused_with_the_bounds() {
    for (table, line, right) in [
        ("ingest", "max_message = \"2MiB\"", "from 256 bytes to \"1MiB\""),
        ("ingest", "max_connections = 0", "from 1 to 65536"),
        ("ingest", "max_connections = 99999999999999999999999999", "from 1 to 65536"),
        ("ingest", "header_timeout = \"1ms\"", "from \"100ms\" to \"5m\""),
        ("ingest", "body_timeout = \"1h\"", "from \"100ms\" to \"5m\""),
        ("spool", "max_size = \"1MiB\"", "from \"16MiB\" to \"1024TiB\""),
        ("spool", "min_free = \"2TiB\"", "from 0 bytes to \"1TiB\""),
        ("spool", "commit_delay = \"2s\"", "from \"0s\" to \"1s\""),
        ("dead", "max_size = \"2TiB\"", "from 0 bytes to \"1TiB\""),
        ("spool", "max_pending = 1", "from \"64KiB\" to \"256MiB\""),
        ("forward", "max_in_flight = -1", "from 1 to 1000000"),
        ("forward", "max_bytes_per_second = 1", "at least \"1KiB\", or 0"),
        ("forward", "grace = \"5m\"", "from \"0s\" to \"1m\""),
    ] {
        let says = problem(&format!("[{table}]\n{line}\n"));
        assert!(says.contains("; it must be ") && says.contains(right), "{says}");
    }
}

#[test]
fn dead_letters_take_a_quarter_of_the_spool_at_most() {
    let dead = |text: &str| load(text).config.dead.max_size;
    assert_eq!(dead(""), 64 << 20);
    assert_eq!(dead("[spool]\nmax_size = \"100MiB\"\n"), 25 << 20);
    assert_eq!(dead("[dead]\nmax_size = 0\n"), 0);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let says = problem("[spool]\nmax_size = \"16MiB\"\nmax_pending = \"9MiB\"\n");
    assert!(
        says.starts_with(":2: spool.max_size is \"16MiB\"; it must be at least twice"),
        "{says}"
    );
    let says = problem("[ingest]\nmax_message = \"1MiB\"\n[spool]\nmax_pending = \"1MiB\"\n");
    assert!(says.starts_with(":4: spool.max_pending is \"1MiB\"; it must be at least"), "{says}");
    let says = problem("[admin]\nlisten = \"127.0.0.1:8080\"\n");
    assert!(says.starts_with(":2: admin.listen is \"127.0.0.1:8080\"; ingest.listen"), "{says}");
    load("[ingest]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
}

#[test]
fn the_admin_listener_stays_on_loopback() {
    for address in ["0.0.0.0:10088", "10.0.0.1:10088", "[::]:10088"] {
        let says = problem(&format!("[admin]\nlisten = \"{address}\"\n"));
        assert!(says.contains("this version serves it on loopback only"), "{says}");
    }
    load("[admin]\nlisten = \"[::1]:10088\"\n");
}

#[test]
fn a_spool_directory_is_absolute() {
    assert!(problem("[spool]\ndir = \"spool\"\n").contains("it takes an absolute path"));
}

#[test]
fn a_log_filter_is_made_of_levels() {
    for filter in ["inof", "info,waystation::spool=loud", "", "spool"] {
        assert!(problem(&format!("[log]\nfilter = \"{filter}\"\n")).contains("it takes a level"));
    }
    load("[log]\nfilter = \"warn, waystation::spool=debug\"\nformat = \"json\"\n");
}

#[test]
fn the_box_has_a_legal_name_or_the_host_does() {
    assert!(problem("[box]\nname = \"depot 7\"\n").contains("it takes 1 to 63 letters"));
    assert_eq!(load("[box]\nname = \"a_b.c-1\"").config.forward.box_name, "a_b.c-1");
    for (host, found) in [(None, "unknown"), (Some("(none)"), "\"(none)\"")] {
        let problems = assemble(&MAIN.into(), &[], Vec::new(), host).unwrap_err().to_string();
        let start = format!("{MAIN}: box.name is not set and the host name is {found}; it takes");
        assert!(problems.starts_with(&start), "{problems}");
    }
}

#[test]
fn a_route_names_its_path_and_topic() {
    let says = problem("\n[[route]]\ntopic = \"a\"\n");
    assert_eq!(says, ":2: this route has no path; it takes one such as path = \"/endpoint\"");
    assert!(problem("[[route]]\npath = \"/a\"\n").starts_with(":1: this route has no topic"));
}

#[test]
fn paths_topics_messages_and_keys_are_legal() {
    for path in ["", "/", "a", "/a/", "/a//b", "/a b", "/../a", "/a?x", "/ü"] {
        let says = problem(&route(path, "t", ""));
        assert!(says.contains("; it takes a path such as \"/endpoint\""), "{says}");
    }
    assert!(problem(&route("/a/batch", "t", "")).contains("reserved for batches"));
    for topic in ["", ".", "..", "a b", "a/b", &"t".repeat(250)] {
        assert!(problem(&route("/a", topic, "")).contains("; Kafka takes 1 to 249 letters"));
    }
    let says = problem(&route("/a", "t", "message = \"a..B\""));
    assert!(says.contains(":4: route.message is \"a..B\"; it takes a message's full name"));
    assert!(problem(&route("/a", "t", "key = \"1a\"")).contains("it takes a field's path"));
    load(&route("/v1/~gps_a.b-c", &"T".repeat(249), "key = \"vehicle_id\""));
}

#[test]
fn a_message_that_is_not_known_is_refused() {
    let says = problem(&route("/a", "t", "message = \"fleet.Position\""));
    assert!(says.starts_with(":4: route.message is \"fleet.Position\"; "), "{says}");
}

#[test]
fn a_key_that_is_no_field_of_the_message_is_refused() {
    let says = problem(&route("/a", "t", "key = \"devise_id\""));
    assert!(says.starts_with(":4: route.key is \"devise_id\"; "), "{says}");
    assert!(says.contains("did you mean \"device_id\"?"), "{says}");
}

#[test]
fn every_property_that_kafka_does_not_know_or_that_breaks_the_promise_is_refused() {
    let kafka = "[kafka]\nbootstrap.server = \"x:1\"\nacks = 1\nlinger.ms = \"long\"\n";
    let says = load_all(&[kafka]).unwrap_err();
    assert_eq!(says.len(), 3, "{says:#?}");
    assert!(says[0].contains(":2: kafka.bootstrap.server is not a property"), "{says:#?}");
    assert!(says[1].contains(":3: kafka.acks = \"1\" cannot be used: "), "{says:#?}");
    assert!(says[2].contains(":4: kafka.linger.ms: "), "{says:#?}");
}

#[test]
fn a_route_has_the_default_key_another_or_none() {
    let key = |more: &str| load(&route("/a", "t", more)).config.ingest.routes[0].key.clone();
    assert_eq!(key("").as_deref(), Some("device_id"));
    assert_eq!(key("key = \"vehicle_id\"").as_deref(), Some("vehicle_id"));
    assert_eq!(key("key = \"\""), None);
}

#[test]
fn two_routes_of_one_file_cannot_have_one_path() {
    let says = problem(&(route("/a", "t", "") + &route("/a", "u", "")));
    assert_eq!(says, ":6: route.path is \"/a\"; the route at line 1 has that path already");
}

#[test]
fn a_batch_is_no_smaller_than_a_message() {
    let says = problem("[ingest]\nmax_message = \"2KiB\"\nmax_batch = \"1KiB\"\n");
    let expected = ":3: ingest.max_batch is \"1KiB\"; it must be at least \
                    ingest.max_message (\"2KiB\")";
    assert_eq!(says, expected);
}

#[test]
fn a_certificate_and_its_key_come_together_by_absolute_paths() {
    let ingest = |lines: &str| format!("[ingest]\n{lines}");
    let alone = |lines: &str| problem(&ingest(lines));
    let certificate = "tls_certificate = \"/a\"\n";
    let says = alone(certificate);
    assert_eq!(says, ":2: ingest.tls_certificate is set, and ingest.tls_key is not; set both");
    assert!(alone("tls_key = \"/a\"\n").contains("and ingest.tls_certificate is not"));
    assert!(alone("tls_client_ca = \"/a\"\n").contains("and ingest.tls_certificate is not"));
    assert!(alone("tokens = \"tokens\"\n").contains("it takes an absolute path"));
    let both = load(&ingest(&(certificate.to_owned() + "tls_key = \"/b\"\n")));
    assert_eq!(both.config.ingest.tls.unwrap().key.to_str(), Some("/b"));
    assert!(load("").config.ingest.tls.is_none());
}

#[test]
fn requests_a_second_are_a_number_and_those_of_a_token_need_tokens() {
    let limit = |lines: &str| load(&format!("[ingest]\n{lines}")).config.ingest;
    let address = |lines: &str| limit(lines).max_requests_per_address.map(NonZeroU32::get);
    assert_eq!(address(""), None);
    assert_eq!(address("max_requests_per_address = 0"), None);
    assert_eq!(address("max_requests_per_address = 50"), Some(50));
    let says = problem("[ingest]\nmax_requests_per_token = 5\n");
    assert!(says.starts_with(":2: ingest.max_requests_per_token is set, and ingest.tokens is not"));
    let both = limit("max_requests_per_token = 5\ntokens = \"/t\"");
    assert_eq!(both.max_requests_per_token.map(NonZeroU32::get), Some(5));
    assert!(problem("[ingest]\nmax_requests_per_address = \"5\"\n").contains("a whole number"));
}

#[test]
fn what_is_no_message_is_refused_unless_a_route_keeps_it() {
    let routes = |text: &str| load(text).config.ingest.routes;
    assert_eq!(routes("")[0].on_invalid, OnInvalid::Reject);
    assert_eq!(routes(&route("/a", "t", ""))[0].on_invalid, OnInvalid::Reject);
    let keep = route("/a", "t", "on_invalid = \"keep\"");
    assert_eq!(routes(&keep)[0].on_invalid, OnInvalid::Keep);
    assert_eq!(
        problem(&route("/a", "t", "on_invalid = \"drop\"")),
        ":4: route.on_invalid is \"drop\"; it takes \"reject\" or \"keep\""
    );
}

#[test]
fn repeats_are_told_by_fields_that_the_message_has_and_for_a_while() {
    let dedupe = |more: &str| load(&route("/a", "t", more)).config.ingest.routes[0].dedupe.clone();
    assert_eq!(dedupe(""), None);
    let fields = ["device_id", "fix_time"].map(str::to_owned).to_vec();
    let window = Duration::from_mins(10);
    let written = "dedupe = { fields = [\"device_id\", \"fix_time\"], window = \"10m\" }";
    assert_eq!(dedupe(written), Some(Dedupe { fields, window }));
    for (wrong, says) in [
        ("\"device_id\"", "route.dedupe is \"device_id\"; it takes { fields ="),
        ("{ fields = [], window = \"1m\" }", "route.dedupe is a table; it takes { fields ="),
        ("{ fields = [1], window = \"1m\" }", "route.dedupe is a table; it takes { fields ="),
        ("{ window = \"1m\" }", "route.dedupe is a table; it takes { fields ="),
        ("{ fields = [\"event\"] }", "route.dedupe is a table; it takes { fields ="),
        (
            "{ fields = [\"event\"], windov = \"1m\" }",
            "route.dedupe is a table; it takes { fields =",
        ),
        (
            "{ fields = [\"event\"], window = \"2d\" }",
            "of its window: it must be from \"1s\" to \"1day\"",
        ),
        (
            "{ fields = [\"evend\"], window = \"1m\" }",
            "has no field \"evend\"; did you mean \"event\"?",
        ),
    ] {
        let found = problem(&route("/a", "t", &format!("dedupe = {wrong}")));
        assert!(found.starts_with(":4: route.dedupe is ") && found.contains(says), "{found}");
    }
}
