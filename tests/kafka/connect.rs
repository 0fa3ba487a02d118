//! Does `check --connect` tell beforehand what the service would meet: nothing where all is right, and
//! otherwise the step that is wrong, in the words that the status has for it?

use crate::broker::{Broker, Door, USER};
use crate::logins::{Wrong, site, wrongs};
use crate::support::service::{Site, free_port};
use crate::support::{PATIENCE, until_some};

pub const OK: i32 = 0;
const UNAVAILABLE: i32 = 69;
pub const NO_PERMISSION: i32 = 77;
const CONFIG: i32 = 78;
const PARTITIONS: i32 = 3;

/// The exit code, what is right and what is wrong.
pub fn asked(site: &Site) -> (i32, String, String) {
    let output = site.command("check").arg("--connect").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// It says so in one line, as a problem, and ends with that code.
fn wrong(site: &Site, what: &str, says: &str, code: i32) {
    let (ended, right, wrong) = asked(site);
    let said = format!("{what}: exit {ended}\n{right}{wrong}");
    println!("{said}");
    assert_eq!(ended, code, "{said}");
    assert_eq!(wrong.lines().filter(|line| line.contains(says)).count(), 1, "{says} in {said}");
    assert!(wrong.lines().all(|line| line.starts_with("waystation: ")), "{said}");
    assert!(!right.contains("all is right"), "{said}");
    assert!(!site.spool().exists(), "{said}");
}

#[test]
fn every_door_is_found_right_with_the_service_and_without_it_and_nothing_is_sent() {
    let Some(broker) = Broker::start() else { return };
    broker.topic("test", PARTITIONS, &[]);
    for door in Door::ALL {
        let site = site(&broker, door, "test");
        let server = broker.servers(door);
        let mut expected = vec![format!("{server}: the name is known: "), " listens".to_owned()];
        expected.extend(match door {
            Door::Plain => vec!["Kafka answers".to_owned()],
            Door::Tls => vec!["TLS is right".to_owned()],
            Door::Scram => vec![
                "TLS is right".to_owned(),
                format!("the login of {USER} by SCRAM-SHA-512 is taken"),
            ],
            Door::Kerberos => {
                vec!["the login of TEST@TEST.ABC.COM by GSSAPI is taken".to_owned()]
            }
        });
        expected
            .push("topic \"test\": it is there, and this box's user may write to it".to_owned());
        expected.push("this box's user may be an idempotent producer".to_owned());
        expected.push("all is right: Kafka takes this box's records".to_owned());
        let all_right = |when: &str| {
            let (code, right, wrong) = asked(&site);
            println!("{door:?}, {when}: exit {code}\n{right}{wrong}");
            assert_eq!((code, wrong.as_str()), (OK, ""));
            // Each on a line of its own, in this order, and no others but the first one.
            let lines: Vec<_> = right.lines().skip(1).collect();
            assert_eq!(lines.len(), expected.len(), "{right}");
            for (line, part) in lines.iter().zip(&expected) {
                assert!(line.contains(part), "{part} in {line}");
            }
        };
        all_right("without a service");
        assert!(!site.spool().exists());
        let service = site.start();
        all_right("beside a service");
        service.stop();
    }
    // The cluster calls itself by another name than the one that is written.
    let mut by_number = site(&broker, Door::Plain, "test");
    let localhost = broker.servers(Door::Plain);
    by_number.set("kafka.bootstrap.servers", &localhost.replace("localhost", "127.0.0.1"));
    let (code, right, wrong) = asked(&by_number);
    println!("by number: exit {code}\n{right}{wrong}");
    assert!(right.contains(&format!("{localhost} (broker 1): Kafka answers")), "{right}{wrong}");
    assert_eq!(code, OK);
    assert_eq!(broker.taken("test", PARTITIONS), 0);
}

#[test]
fn what_is_wrong_is_named_in_the_words_of_the_status() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("test", 1, &[]);
    for credential in wrongs(&broker) {
        let Wrong { what, says, .. } = credential;
        let (says, code) = match what {
            // Found before anybody is asked.
            "no such keytab" => ("nowhere.keytab\", which cannot be read (No such file", CONFIG),
            "no such file" | "another's key" => (says, CONFIG),
            _ if says.starts_with("TLS") || says.starts_with("where") => (says, UNAVAILABLE),
            _ => (says, NO_PERMISSION),
        };
        wrong(&credential.site(&broker), what, says, code);
    }
    let plain = || site(&broker, Door::Plain, "test");
    let mut unknown = plain();
    // No resolver asks anybody for a name with so long a part.
    let name = format!("{}.example.com", "x".repeat(64));
    unknown.set("kafka.bootstrap.servers", &format!("{name}:9092"));
    let says = format!("the name of {name} is not known; correct bootstrap.servers or the DNS");
    wrong(&unknown, "no such name", &says, UNAVAILABLE);
    let mut closed = plain();
    let address = free_port().to_string();
    closed.set("kafka.bootstrap.servers", &address);
    let says = format!("{address}: no broker answers at {address} (Connection refused");
    wrong(&closed, "nobody listens", &says, UNAVAILABLE);
    closed.set("kafka.bootstrap.servers", &format!("{address},{}", broker.servers(Door::Plain)));
    wrong(&closed, "one of two does not listen", &says, UNAVAILABLE);
    let missing = site(&broker, Door::Plain, "nowhere");
    let says = "topic \"nowhere\": the topic does not exist; create it in Kafka";
    wrong(&missing, "no such topic", says, UNAVAILABLE);
    let site = site(&broker, Door::Kerberos, "test");
    broker.realm.take_away();
    let says = "it refuses the login: no KDC answers; see the realm in /etc/krb5.conf";
    wrong(&site, "no KDC", says, NO_PERMISSION);
}

#[test]
fn a_right_that_lacks_is_named_until_it_is_granted() {
    let Some(broker) = Broker::start() else { return };
    broker.topic("test", 1, &[]);
    let site = site(&broker, Door::Scram, "test");
    let user = format!("User:{USER}");
    let until = |what: &str, code: i32, says: &str| {
        // A rule takes its moment to reach the broker.
        let (right, wrong) = until_some(what, PATIENCE, || {
            let (ended, right, wrong) = asked(&site);
            (ended == code && (code == OK || wrong.contains(says))).then_some((right, wrong))
        });
        println!("{what}: exit {code}\n{right}{wrong}");
    };
    let denied = "topic \"test\": this box's user may not write to the topic; grant it Write on \
                  the topic";
    // With a rule for it a topic is no longer everybody's, not even to be seen.
    let hides = ["--deny-principal", &user, "--operation", "Write", "--topic", "test"];
    broker.rule("--add", &hides);
    until("a topic that is not to be seen", NO_PERMISSION, denied);
    let shows = ["--allow-principal", &user, "--operation", "Describe", "--topic", "test"];
    broker.rule("--add", &shows);
    until("a topic that is only to be seen", NO_PERMISSION, denied);
    broker.rule("--remove", &hides);
    broker.rule("--remove", &shows);
    until("no rule for the topic", OK, "");

    // Since 3.0 whoever may write to any topic has the right to the cluster.
    let no_topic = ["--deny-principal", &user, "--operation", "Write", "--topic", "*"];
    let cluster = ["--deny-principal", &user, "--operation", "IdempotentWrite", "--cluster"];
    broker.rule("--add", &no_topic);
    broker.rule("--add", &cluster);
    let lacks = "may be an idempotent producer is told once it may write to a topic";
    until("no right to the cluster", NO_PERMISSION, lacks);
    broker.rule("--remove", &no_topic);
    broker.rule("--remove", &cluster);
    until("no rule for the cluster", OK, "");
    assert_eq!(broker.taken("test", 1), 0);
}
