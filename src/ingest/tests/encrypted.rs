//! Who gets through TLS, with which certificate, and what becomes of the others?

use super::super::test_pki::{Authority, HOST, Pair};
use super::*;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Ingest with a certificate.
struct Encrypted {
    running: Running,
    files: tempfile::TempDir,
}

impl Encrypted {
    fn start(pair: &Pair, client_ca: Option<&Authority>, change: fn(&mut Config)) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name);
        write(files.path(), pair);
        let client_ca = client_ca.map(|authority| {
            fs::write(path("ca.crt"), authority.certificate()).unwrap();
            path("ca.crt")
        });
        let tls = tls::Config { certificate: path("tls.crt"), key: path("tls.key"), client_ca };
        let running = start(|config, _| {
            config.tls = Some(tls);
            change(config);
        });
        Self { running, files }
    }

    async fn connect(&self, trust: &Trust<'_>) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let tcp = TcpStream::connect(self.running.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(trust.config()));
        let tls = connector.connect(HOST.try_into().unwrap(), tcp).await?;
        Ok(Client(BufReader::new(tls)))
    }

    /// Whether a message is kept that comes by a connection of its own.
    async fn takes(&self, trust: &Trust<'_>) -> bool {
        let Ok(mut client) = self.connect(trust).await else { return false };
        let stream = client.0.get_mut();
        // With TLS 1.3 a client learns only now that its certificate was not taken.
        let sent = stream.write_all(&post(&message(|_| ()))).await.is_ok();
        let mut begin = [0; 12];
        let read = stream.read_exact(&mut begin).await.is_ok();
        assert!(!read || begin == *b"HTTP/1.1 200");
        sent && read
    }

    async fn failed(&self, handshakes: u64) {
        in_time(async {
            while self.running.stats.failed_handshakes() != handshakes {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

fn write(dir: &Path, pair: &Pair) {
    fs::write(dir.join("tls.crt"), &pair.certificate).unwrap();
    fs::write(dir.join("tls.key"), &pair.key).unwrap();
}

/// What a client believes, and what it shows of itself.
struct Trust<'a> {
    version: &'static SupportedProtocolVersion,
    authority: &'a Authority,
    shows: Option<&'a Pair>,
}

impl<'a> Trust<'a> {
    fn new(authority: &'a Authority) -> Self {
        Self { version: &TLS13, authority, shows: None }
    }

    fn config(&self) -> ClientConfig {
        let certificates = |pem: &str| -> Vec<_> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
        };
        let mut roots = RootCertStore::empty();
        roots.add(certificates(&self.authority.certificate()).remove(0)).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots);
        let Some(pair) = self.shows else { return builder.with_no_client_auth() };
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(certificates(&pair.certificate), key).unwrap()
    }
}

#[tokio::test]
async fn both_versions_of_tls_carry_messages() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::start(&authority.server(), None, |_| ());
    for version in VERSIONS {
        let trust = Trust { version, ..Trust::new(&authority) };
        let mut client = encrypted.connect(&trust).await.unwrap();
        let spoken = client.0.get_ref().get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
        for _ in 0..2 {
            assert_eq!(client.exchange(post(&message(|_| ()))).await.status, 200);
        }
    }
    assert_eq!(encrypted.running.stats.failed_handshakes(), 0);
    assert_eq!(encrypted.running.stop().await.len(), 4);
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (one, other) = (Authority::new("a"), Authority::new("b"));
    let encrypted = Encrypted::start(&one.server(), None, |_| ());
    let mut old = encrypted.connect(&Trust::new(&one)).await.unwrap();
    write(encrypted.files.path(), &other.server());
    in_time(async { while !encrypted.takes(&Trust::new(&other)).await {} }).await;
    assert!(!encrypted.takes(&Trust::new(&one)).await);
    assert_eq!(old.exchange(post(&message(|_| ()))).await.status, 200);
    encrypted.running.stop().await;
}

#[tokio::test]
async fn half_of_a_new_pair_is_never_shown() {
    let (one, other) = (Authority::new("a"), Authority::new("b"));
    let encrypted = Encrypted::start(&one.server(), None, |_| ());
    let new = other.server();
    fs::write(encrypted.files.path().join("tls.crt"), &new.certificate).unwrap();
    for _ in 0..50 {
        assert!(encrypted.takes(&Trust::new(&one)).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fs::write(encrypted.files.path().join("tls.key"), &new.key).unwrap();
    in_time(async { while !encrypted.takes(&Trust::new(&other)).await {} }).await;
    encrypted.running.stop().await;
}

#[tokio::test]
async fn where_clients_must_have_a_certificate_only_those_of_the_authority_get_in() {
    let (authority, devices, stranger) =
        (Authority::new("server"), Authority::new("devices"), Authority::new("devices"));
    let encrypted = Encrypted::start(&authority.server(), Some(&devices), |_| ());
    let (right, wrong) = (devices.server(), stranger.server());
    for (shows, gets_in) in [(Some(&right), true), (Some(&wrong), false), (None, false)] {
        for version in VERSIONS {
            let trust = Trust { version, shows, ..Trust::new(&authority) };
            assert_eq!(encrypted.takes(&trust).await, gets_in, "{version:?}");
        }
    }
    encrypted.failed(4).await;
    // Whom it trusts is read anew, too.
    fs::write(encrypted.files.path().join("ca.crt"), stranger.certificate()).unwrap();
    let trust = |shows| Trust { shows: Some(shows), ..Trust::new(&authority) };
    in_time(async { while !encrypted.takes(&trust(&wrong)).await {} }).await;
    assert!(!encrypted.takes(&trust(&right)).await);
    encrypted.running.stop().await;
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_counted_and_harms_nobody() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::start(&authority.server(), None, |_| ());
    let mut plain = encrypted.running.connect().await;
    plain.send(post(&message(|_| ()))).await;
    let mut alert = Vec::new();
    in_time(plain.0.read_to_end(&mut alert)).await.unwrap();
    // An alert, and not a word in plain text.
    assert_eq!(alert.first(), Some(&21), "{alert:?}");
    // It was read, since what a client goes on to send does not break the connection.
    plain.send("more").await;
    plain.send("more").await;
    drop(plain);
    drop(encrypted.running.connect().await);
    encrypted.failed(2).await;
    assert!(encrypted.takes(&Trust::new(&authority)).await);
    assert_eq!(encrypted.running.accepted(), 1);
    encrypted.running.stop().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_end_holds_up_nobody_else_and_has_a_limit() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::start(&authority.server(), None, |_| ());
    let silent = encrypted.running.connect().await;
    while encrypted.running.stats.connections() != 1 {
        tokio::task::yield_now().await;
    }
    assert!(encrypted.takes(&Trust::new(&authority)).await);
    // Nor does it hold up the stop.
    let stopping = Instant::now();
    encrypted.running.stop().await;
    assert!(stopping.elapsed() < GRACE);
    assert_eq!(in_time(silent.closed()).await, "");

    let encrypted =
        Encrypted::start(&authority.server(), None, |config| config.header_timeout = SHORT);
    assert_eq!(in_time(encrypted.running.connect().await.closed()).await, "");
    encrypted.failed(1).await;
    encrypted.running.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_why_it_is_refused_inside_of_tls() {
    let authority = Authority::new("a");
    let encrypted = Encrypted::start(&authority.server(), None, |_| ());
    for version in VERSIONS {
        let trust = Trust { version, ..Trust::new(&authority) };
        let mut client = encrypted.connect(&trust).await.unwrap();
        client.send("POST /endpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 600000\r\n\r\n").await;
        client.send(vec![0; 600_000]).await;
        client.0.get_mut().flush().await.unwrap();
        assert_problem(&client.receive(true).await, 413, "too-large");
        // Nor is the connection broken when it goes on.
        for _ in 0..3 {
            client.send(vec![0; 1000]).await;
            client.0.get_mut().flush().await.unwrap();
        }
    }
    encrypted.running.stop().await;
}
