//! What is found of what stands in a client's way, and what is not taken for an obstacle.

use super::*;
use crate::forward::kerberos::tests::keytab;
use std::path::Path;
use std::time::Duration;

const KERBEROS: [(&str, &str); 3] = [
    ("bootstrap.servers", "127.0.0.1:9"),
    ("security.protocol", "SASL_PLAINTEXT"),
    ("sasl.kerberos.principal", "box@EXAMPLE.COM"),
];

fn properties(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn rehearsed(kafka: &[(&str, &str)]) -> Vec<Obstacle> {
    let (kafka, grace) = (properties(kafka), Duration::ZERO);
    let (box_name, max_in_flight, max_bytes_per_second) = ("depot-7".into(), 1, None);
    let (hold_after, delivery) = (grace, crate::forward::Delivery::AtLeastOnce);
    rehearse(&Config {
        kafka,
        box_name,
        delivery,
        max_in_flight,
        max_bytes_per_second,
        hold_after,
        grace,
    })
}

fn kerberos(keytab: &Path, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut all = properties(&KERBEROS);
    all.insert(KEYTAB.to_owned(), keytab.display().to_string());
    all.extend(properties(more));
    all
}

#[test]
fn a_file_that_is_missing_is_told_with_its_property_and_path() {
    let tls = [("bootstrap.servers", "127.0.0.1:9"), ("security.protocol", "SSL")];
    let found = rehearsed(&[&tls[..], &[("ssl.ca.location", "/nowhere/ca.pem")]].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].property.as_deref(), Some("ssl.ca.location"));
    assert_eq!(found[0].cause(), Some(Cause::Tls));
    assert!(found[0].says.contains("\"/nowhere/ca.pem\""), "{found:?}");
}

#[test]
fn a_file_that_is_no_certificate_is_told_with_its_property() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    fs::write(&path, "no certificate").unwrap();
    let found = rehearsed(&[
        ("bootstrap.servers", "127.0.0.1:9"),
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "u"),
        ("sasl.password", "hunter2"),
        ("ssl.ca.location", path.to_str().unwrap()),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].property.as_deref(), Some("ssl.ca.location"));
    assert!(!found[0].says.contains("hunter2"), "{found:?}");
}

#[test]
fn a_file_that_is_not_used_does_not_matter() {
    let plain = [("bootstrap.servers", "127.0.0.1:9"), ("ssl.ca.location", "/nowhere/ca.pem")];
    assert_eq!(rehearsed(&plain), []);
    assert_eq!(rehearsed(&[("security.protocol", "SSL"), ("ssl.ca.location", "/nowhere")]), []);
}

#[test]
fn a_login_that_nothing_describes_is_told_with_both_ways_out() {
    let found = rehearsed(&KERBEROS);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].cause(), Some(Cause::Login));
    for way in [KEYTAB, "sasl.mechanism"] {
        assert!(found[0].says.contains(way), "{found:?}");
    }
}

#[test]
fn what_librdkafka_refuses_without_naming_a_property_is_told_in_its_words() {
    let (none, refused) = (BTreeMap::new(), CreateError::Client("out of luck".to_owned()));
    let obstacle = Obstacle::of(&none, &refused);
    assert_eq!((obstacle.property.as_deref(), obstacle.cause()), (None, None));
    assert!(obstacle.reason().contains("out of luck"), "{}", obstacle.reason());
}

/// A keytab in which `box`, which [`KERBEROS`] asks for, is not the first one.
fn shared_keytab(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("keytab");
    fs::write(&path, keytab(&["other", "box"], "EXAMPLE.COM")).unwrap();
    path
}

#[test]
fn a_principal_that_only_kinit_finds_is_told_with_both_ways_out() {
    let empty = tempfile::tempdir().unwrap();
    let path = Some(empty.path().as_os_str());
    let shared = shared_keytab(empty.path());
    let found = no_kinit(&kerberos(&shared, &[]), path).unwrap();
    for part in ["krb5-user", "other@EXAMPLE.COM", "box@EXAMPLE.COM", "a keytab of its own"] {
        assert!(found.says.contains(part), "{found:?}");
    }
    assert_eq!(found.cause(), Some(Cause::Login));
    for without_need in [
        ("sasl.mechanism", "SCRAM-SHA-256"),
        ("sasl.mechanisms", "PLAIN"),
        ("security.protocol", "SSL"),
        (RELOGIN, "0"),
        (KINIT_COMMAND, "/opt/login"),
        (PRINCIPAL, "other@EXAMPLE.COM"),
    ] {
        assert_eq!(no_kinit(&kerberos(&shared, &[without_need]), path), None, "{without_need:?}");
    }
    assert_eq!(no_kinit(&properties(&KERBEROS), path), None);
}

#[test]
fn kinit_counts_once_it_can_be_run() {
    let dir = tempfile::tempdir().unwrap();
    let (kinit, shared) = (dir.path().join("kinit"), shared_keytab(dir.path()));
    let asked = || no_kinit(&kerberos(&shared, &[]), Some(dir.path().as_os_str()));
    fs::write(&kinit, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&kinit, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(asked().is_some());
    fs::set_permissions(&kinit, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(asked(), None);
}

#[test]
fn a_rehearsal_reaches_nobody_and_runs_no_program() {
    let dir = tempfile::tempdir().unwrap();
    let (keytab, ran) = (dir.path().join("keytab"), dir.path().join("ran"));
    fs::write(&keytab, "").unwrap();
    let command = format!("touch {}", ran.display());
    let mut all = kerberos(&keytab, &[(KINIT_COMMAND, &command)]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let servers = listener.local_addr().unwrap().to_string();
    all.insert("bootstrap.servers".to_owned(), servers);
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(rehearsed(&all), []);
    // The client is gone with all its threads by now: what it was to do it has done.
    assert!(!ran.exists());
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
