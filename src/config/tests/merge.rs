//! Later files over earlier ones, and the many ways to write a Kafka property.

use super::{load, load_all, problem, route};

#[test]
fn a_later_file_changes_keys_replaces_routes_of_one_path_and_adds_others() {
    let main = "[ingest]\nmax_message = \"1KiB\"\nmax_connections = 7\n".to_owned()
        + &route("/a", "old", "key = \"vehicle_id\"")
        + &route("/b", "b", "")
        + "[kafka]\nbootstrap.servers = \"x:1\"\nlinger.ms = 9\n";
    let drop_in = "[ingest]\nmax_message = \"2KiB\"\n".to_owned()
        + &route("/c", "c", "")
        + &route("/a", "new", "")
        + "[kafka]\n\"linger.ms\" = 10\n";
    let config = load_all(&[&main, &drop_in]).unwrap().config;
    assert_eq!((config.ingest.max_message, config.ingest.max_connections), (2048, 7));
    let routes: Vec<_> =
        config.ingest.routes.iter().map(|r| format!("{} {}", r.path, r.topic)).collect();
    assert_eq!(routes, ["/a new", "/b b", "/c c"]);
    // Replaced as a whole: nothing of the earlier route shines through.
    assert_eq!(config.ingest.routes[0].key.as_deref(), Some("device_id"));
    assert_eq!(config.forward.kafka["linger.ms"], "10");
    assert_eq!(config.forward.kafka["bootstrap.servers"], "x:1");
}

#[test]
fn kafka_properties_are_dotted_or_quoted_and_of_any_plain_kind() {
    let text = "[kafka]\nbootstrap.servers = \"x:1\"\n\"client.rack\" = 'r'\n\
                socket.keepalive.enable = true\nlinger.ms = 0x10\n[kafka.sasl.kerberos]\n\
                \"service.name\" = \"kafka\"\n";
    let kafka = load(text).config.forward.kafka;
    let kafka: Vec<_> = kafka.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "bootstrap.servers=x:1",
        "client.rack=r",
        "linger.ms=16",
        "sasl.kerberos.service.name=kafka",
        "socket.keepalive.enable=true",
    ];
    assert_eq!(kafka, expected);
}

#[test]
fn kafka_properties_of_no_plain_kind_and_double_ones_are_refused() {
    let text = "[kafka]\nbootstrap.servers = [\"x:1\"]\n";
    let says = load_all(&[text]).unwrap_err().join("\n");
    assert!(says.contains(":2: kafka.bootstrap.servers is an array; it takes a text"), "{says}");
    let double = "[kafka]\nbootstrap.servers = \"x:1\"\n\"bootstrap.servers\" = \"y:1\"\n";
    assert!(problem(double).contains("kafka.bootstrap.servers is set here and at line "));
    let nul = "[kafka]\nbootstrap.servers = \"x\"\nclient.rack = \"a\\u0000\"\n";
    assert!(problem(nul).contains(":3: kafka.client.rack holds a NUL character"));
}

#[test]
fn kafka_settings_without_brokers_are_refused_since_nothing_would_be_sent() {
    let says = problem("[kafka]\nsecurity.protocol = \"SSL\"\n");
    assert!(says.contains(":2: kafka.security.protocol is set, but bootstrap.servers is not"));
    load("[kafka]\nbootstrap.servers = \"\"\nsecurity.protocol = \"SSL\"\n");
}

#[test]
fn no_problem_shows_a_secret() {
    for value in ["[\"hunter2\"]", "1.5", "\"hunter2\\u0000\"", "{ x = [\"hunter2\"] }"] {
        let says = load_all(&[&format!("[kafka]\nsasl.password = {value}\n")]).unwrap_err();
        assert!(!says.join(" ").contains("hunter2"), "{says:?}");
    }
}
