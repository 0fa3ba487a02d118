//! Does every way of logging in deliver, from a configuration as a user writes it, and does a wrong
//! credential name itself in one sentence?

use crate::broker::{Broker, Door, PASSWORD, USER};
use crate::kerberos::{CLIENT, REALM};
use crate::support::PATIENCE;
use crate::support::fleet::{Fate, Fleet};
use crate::support::service::Site;

const RECORDS: u64 = 10_000;
const PARTITIONS: i32 = 6;

/// A site whose Kafka is behind this door.
pub fn site(broker: &Broker, door: Door, topic: &str) -> Site {
    let mut site = Site::new(Some(&broker.servers(door)));
    site.set_topic(topic);
    let file = |name: &str| broker.certificates.path(name).to_str().unwrap().to_owned();
    match door {
        Door::Plain => {}
        Door::Tls => {
            site.set("kafka.security.protocol", "SSL");
            site.set("kafka.ssl.ca.location", &file("ca.crt"));
            site.set("kafka.ssl.certificate.location", &file("client.crt"));
            site.set("kafka.ssl.key.location", &file("client.key"));
        }
        Door::Scram => {
            site.set("kafka.security.protocol", "SASL_SSL");
            site.set("kafka.ssl.ca.location", &file("ca.crt"));
            site.set("kafka.sasl.mechanism", "SCRAM-SHA-512");
            site.set("kafka.sasl.username", USER);
            site.set("kafka.sasl.password", PASSWORD);
        }
        Door::Kerberos => {
            let keytab = broker.realm.keytab_path("client");
            site.set("kafka.security.protocol", "SASL_PLAINTEXT");
            site.set("kafka.sasl.kerberos.service.name", "kafka");
            site.set("kafka.sasl.kerberos.keytab", keytab.to_str().unwrap());
            site.set("kafka.sasl.kerberos.principal", &format!("{CLIENT}@{REALM}"));
            site.environment("KRB5_CONFIG", broker.realm.krb5_conf());
            // There is neither kinit nor a shell to run it.
            site.environment("PATH", "/nowhere".into());
        }
    }
    site
}

#[test]
fn every_door_takes_ten_thousand_records_in_order() {
    let Some(broker) = Broker::start() else { return };
    for door in Door::ALL {
        let topic = format!("by-{door:?}").to_lowercase();
        broker.topic(&topic, PARTITIONS, &[]);
        let reader = broker.read_along(&topic, PARTITIONS);
        let site = site(&broker, door, &topic);
        let service = site.start();
        let fleet = Fleet::start(site.ingest, 64);
        fleet.until_more(RECORDS);
        let sent = fleet.stop();
        let compared = reader.compared(&sent, PATIENCE);
        println!("{door:?}: {compared}");
        service.stop();
    }
}

/// What is wrong, and what the status must say of it.
pub struct Wrong {
    pub what: &'static str,
    pub door: Door,
    pub settings: Vec<(&'static str, String)>,
    pub says: &'static str,
}

impl Wrong {
    /// A site at which it is wrong.
    pub fn site(&self, broker: &Broker) -> Site {
        let mut site = site(broker, self.door, "test");
        for (name, value) in &self.settings {
            site.set(&format!("kafka.{name}"), value);
        }
        site
    }
}

/// Each wrong credential. Makes the principals that they need.
pub fn wrongs(broker: &Broker) -> Vec<Wrong> {
    use Door::{Kerberos, Plain, Scram, Tls};
    let file = |name: &str| broker.certificates.path(name).to_str().unwrap().to_owned();
    let text = str::to_owned;
    broker.realm.add("other");
    broker.realm.add("gone");
    // `other` has a new key since the first of these was written.
    let (old, _) = (broker.realm.keytab("old", "other"), broker.realm.keytab("new", "other"));
    let old = old.to_str().unwrap().to_owned();
    // `gone` is no principal any more.
    let gone = broker.realm.keytab("gone", "gone").to_str().unwrap().to_owned();
    broker.realm.remove("gone");
    let wrong = |what, door, settings, says| Wrong { what, door, settings, says };
    vec![
        wrong(
            "the brokers' authority",
            Tls,
            vec![("ssl.ca.location", file("other-ca.crt"))],
            "TLS fails: the brokers' certificate is not of the authority in ssl.ca.location",
        ),
        wrong(
            "the own certificate's authority",
            Tls,
            vec![
                ("ssl.certificate.location", file("stranger.crt")),
                ("ssl.key.location", file("stranger.key")),
            ],
            "TLS fails: the brokers do not accept the certificate in ssl.certificate.location",
        ),
        wrong(
            "no certificate",
            Tls,
            vec![("ssl.certificate.location", String::new()), ("ssl.key.location", String::new())],
            "TLS fails: the brokers ask for a certificate; set ssl.certificate.location",
        ),
        wrong(
            "another's key",
            Tls,
            vec![("ssl.key.location", file("stranger.key"))],
            "ssl.key.location cannot be used",
        ),
        wrong(
            "no such file",
            Tls,
            vec![("ssl.ca.location", file("nowhere.crt"))],
            "nowhere.crt\", which cannot be read (No such file",
        ),
        wrong(
            "no TLS where the brokers speak it",
            Tls,
            vec![("security.protocol", text("PLAINTEXT"))],
            "where security.protocol ought to be SSL or SASL_SSL",
        ),
        wrong(
            "TLS where the brokers speak none",
            Plain,
            vec![("security.protocol", text("SSL")), ("ssl.ca.location", file("ca.crt"))],
            "TLS fails: the brokers do not speak TLS at that port",
        ),
        wrong(
            "the password",
            Scram,
            vec![("sasl.password", text("wrong"))],
            "it refuses the login: sasl.username or sasl.password is wrong",
        ),
        wrong(
            "the user",
            Scram,
            vec![("sasl.username", text("nobody"))],
            "it refuses the login: sasl.username or sasl.password is wrong",
        ),
        wrong(
            "the mechanism",
            Scram,
            vec![("sasl.mechanism", text("PLAIN"))],
            "the brokers take no such sasl.mechanism; they take SCRAM-SHA-512",
        ),
        wrong(
            "no such keytab",
            Kerberos,
            vec![("sasl.kerberos.keytab", file("nowhere.keytab"))],
            "it refuses the login: sasl.kerberos.keytab gives no ticket",
        ),
        wrong(
            "an old key",
            Kerberos,
            vec![("sasl.kerberos.keytab", old), ("sasl.kerberos.principal", text("other"))],
            "the key in sasl.kerberos.keytab is not, or no longer, the principal's",
        ),
        wrong(
            "a principal that is gone",
            Kerberos,
            vec![("sasl.kerberos.keytab", gone), ("sasl.kerberos.principal", text("gone"))],
            "the KDC does not know the principal of sasl.kerberos.keytab",
        ),
        wrong(
            "the brokers' service",
            Kerberos,
            vec![("sasl.kerberos.service.name", text("hdfs"))],
            "the KDC knows no hdfs/localhost@TEST.ABC.COM; correct sasl.kerberos.service.name",
        ),
    ]
}

/// Fails without the rule of `forward/advice.rs` for any of these.
#[test]
fn a_wrong_credential_of_any_kind_is_named_in_one_sentence_and_costs_no_record() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("test", 1, &[]);
    for wrong in wrongs(&broker) {
        named(&wrong.site(&broker), wrong.what, wrong.says);
    }
    let site = site(&broker, Door::Kerberos, "test");
    broker.realm.take_away();
    named(&site, "no KDC", "it refuses the login: no KDC answers; see the realm in /etc/krb5.conf");
}

/// A service of that site says so in its status, and keeps what it is given.
fn named(site: &Site, what: &str, says: &str) {
    let service = site.start();
    let fleet = Fleet::start(site.ingest, 1);
    fleet.until_more(3);
    let sent = fleet.stop().count(Fate::Acknowledged);
    let status = service.until_status(what, |status| status.sentence.contains(says));
    println!("{what}: {}", status.sentence);
    let status = service.until_status("they wait", |status| status.ledger.spooled == sent);
    assert_eq!(status.ledger.lost, 0, "{what}");
    service.stop();
}
