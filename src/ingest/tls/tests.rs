//! Which files make TLS, and what is said of those that do not.

use super::*;
use crate::ingest::test_pki::{Authority, Pair};
use std::fs;

struct Files {
    config: Config,
    _dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let (certificate, key) = (file("tls.crt"), file("tls.key"));
        let files = Self { config: Config { certificate, key, client_ca: None }, _dir: dir };
        files.write(&Authority::new("a").server());
        files
    }

    fn write(&self, pair: &Pair) {
        fs::write(&self.config.certificate, &pair.certificate).unwrap();
        fs::write(&self.config.key, &pair.key).unwrap();
    }

    /// The one sentence on what is wrong, without the folder.
    fn fault(&self) -> String {
        let fault = self.config.load().unwrap_err();
        let name = fault.file.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = format!("{}/", fault.file.parent().unwrap().display());
        let says = fault.says.replace(&folder, "");
        assert!(!says.contains('\n') && fault.line.is_none());
        format!("{name}: {says}")
    }
}

#[test]
fn a_pair_of_certificate_and_key_is_taken_with_and_without_clients_certificates() {
    let mut files = Files::new();
    let tls = files.config.load().unwrap();
    assert_eq!(tls.server.alpn_protocols, [b"http/1.1"]);
    let authority = files.config.certificate.with_file_name("ca.crt");
    let two = Authority::new("a").certificate() + &Authority::new("b").certificate();
    fs::write(&authority, two).unwrap();
    files.config.client_ca = Some(authority);
    files.config.load().unwrap();
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let files = Files::new();
    fs::write(&files.config.key, Authority::new("a").server().key).unwrap();
    assert_eq!(files.fault(), "tls.key: is not the key of the certificate in tls.crt");
}

#[test]
fn each_file_that_is_broken_is_named_with_what_is_wrong() {
    let mut files = Files::new();
    let whole = Authority::new("a").server();
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let of = |certificate: &str, key: &str| {
        files.write(&Pair { certificate: certificate.into(), key: key.into() });
        files.fault()
    };
    let no_certificate = "tls.crt: holds no certificate; it takes PEM (BEGIN CERTIFICATE)";
    let no_key = "tls.key: holds no private key; it takes one in PEM (BEGIN PRIVATE KEY)";
    assert_eq!(of("", &whole.key), no_certificate);
    assert_eq!(of(&whole.key, &whole.certificate), no_certificate, "the other way round");
    assert_eq!(of(&whole.certificate, &whole.certificate), no_key);
    assert!(of(&half(&whole.certificate), &whole.key).starts_with("tls.crt: is not whole PEM: "));
    assert!(of(&whole.certificate, &half(&whole.key)).starts_with("tls.key: is not whole PEM: "));
    let secret =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert!(of(&whole.certificate, secret).contains("tls.key: is encrypted, and nobody"));
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(of(empty, &whole.key).starts_with("tls.crt: its certificate cannot be used: "));
    let no = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(of(&whole.certificate, no).starts_with("tls.key: its key cannot be used: "));
    fs::remove_file(&files.config.key).unwrap();
    assert_eq!(files.fault(), "tls.key: does not exist");

    files.write(&whole);
    let authority = files.config.certificate.with_file_name("ca.crt");
    fs::write(&authority, Authority::new("b").certificate() + empty).unwrap();
    files.config.client_ca = Some(authority);
    assert!(files.fault().starts_with("ca.crt: its certificate no. 2 cannot be used: "));
}

fn ends(days: u64) -> Tls {
    let files = Files::new();
    let ends = SystemTime::UNIX_EPOCH + DAY * u32::try_from(days).unwrap();
    files.write(&Authority::new("a").server_until(ends));
    files.config.load().unwrap()
}

fn day(days: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * days
}

#[test]
fn the_end_of_a_certificate_is_told_two_weeks_before() {
    let tls = ends(25_000);
    assert_eq!(tls.ending(day(24_986)), None);
    let says = |now| tls.ending(now).unwrap();
    let date = "(2038-06-13T00:00:00Z)";
    assert_eq!(says(day(24_990)), format!("the certificate expires in 10 days {date}"));
    assert_eq!(says(day(24_999)), format!("the certificate expires in a day {date}"));
    let hour = Duration::from_hours(1);
    assert_eq!(says(day(25_000) - hour), format!("the certificate expires within a day {date}"));
    let expired = format!("the certificate has expired {date}: clients refuse it");
    assert_eq!((says(day(25_000)), says(day(25_100))), (expired.clone(), expired));
}

#[test]
fn it_is_told_once_a_day_and_at_once_of_another() {
    let (one, other) = (ends(25_000), ends(24_995));
    let mut reminder = Reminder::default();
    let mut told = |tls, now| reminder.due(tls, now).is_some();
    let hour = Duration::from_hours(1);
    assert!(!told(&one, day(24_000)));
    assert!(told(&one, day(24_990)));
    assert!(!told(&one, day(24_990) + hour));
    assert!(told(&other, day(24_990) + hour));
    assert!(!told(&other, day(24_991)));
    assert!(told(&other, day(24_991) + hour));
    assert!(told(&other, day(24_990)), "the clock was set back");
}
