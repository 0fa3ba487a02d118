//! Does `waystation check` find what this box lacks for Kafka before the service misses it?
//!
//! The real program, against configurations whose every value is right by itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONFIG: i32 = 78;

/// With a PATH of that one directory.
fn check(dir: &Path, kafka: &str, path: &Path) -> Output {
    let config = dir.join("waystation.toml");
    fs::write(&config, format!("[kafka]\nbootstrap.servers = \"127.0.0.1:9\"\n{kafka}")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_waystation"))
        .args(["check", "--config"])
        .arg(config)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The one complaint, without the program's name and the configuration's path.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(CONFIG), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.split_once("waystation.toml").unwrap().1.trim_end().to_owned()
}

#[test]
fn a_certificate_that_is_missing_is_a_complaint_about_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    let kafka = format!("security.protocol = \"SSL\"\nssl.ca.location = {ca:?}\n");
    let says = complaint(&check(dir.path(), &kafka, dir.path()));
    let begins = format!(":4: kafka.ssl.ca.location is {ca:?}, which cannot be read (");
    assert!(says.starts_with(&begins), "{says}");
}

#[test]
fn a_key_that_librdkafka_cannot_use_is_a_complaint_about_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("box.key");
    fs::write(&key, "no key").unwrap();
    let kafka = format!("security.protocol = \"SSL\"\nssl.key.location = {key:?}\n");
    let says = complaint(&check(dir.path(), &kafka, dir.path()));
    assert!(says.starts_with(":4: kafka.ssl.key.location cannot be used: "), "{says}");
}

/// One entry of a keytab for `name@EXAMPLE.COM`, with a key of zeros: the name's components, its
/// realm, its type, a time, the key's version, its kind and itself.
fn entry(name: &str) -> Vec<u8> {
    let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let key = [&[0, 0, 0, 1], &[0; 4][..], &[1, 0, 18, 0, 32], &[0; 32]].concat();
    let entry = [vec![0, 1], text("EXAMPLE.COM"), text(name), key].concat();
    [&u32::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat()
}

#[test]
fn only_a_principal_that_is_not_the_first_in_its_keytab_needs_kinit() {
    let dir = tempfile::tempdir().unwrap();
    let keytab = dir.path().join("box.keytab");
    fs::write(&keytab, [vec![5, 2], entry("box"), entry("second")].concat()).unwrap();
    let kafka = |principal: &str| {
        format!(
            "security.protocol = \"SASL_PLAINTEXT\"\nsasl.kerberos.keytab = {keytab:?}\n\
             sasl.kerberos.principal = \"{principal}@EXAMPLE.COM\"\n"
        )
    };
    let says = complaint(&check(dir.path(), &kafka("second"), dir.path()));
    assert!(says.starts_with(":5: kafka.sasl.kerberos.principal is "), "{says}");
    assert!(says.contains("\"box@EXAMPLE.COM\"") && says.contains("krb5-user"), "{says}");
    let right = check(dir.path(), &kafka("box"), dir.path());
    assert!(right.status.success() && right.stderr.is_empty(), "{right:?}");
}

#[test]
fn two_names_of_the_brokers_are_a_complaint_about_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let says = complaint(&check(dir.path(), "metadata.broker.list = \"b:1\"\n", dir.path()));
    assert!(says.starts_with(":3: kafka.metadata.broker.list is another name of "), "{says}");
}
