//! Do a box's certificate and tokens let in whom they should, when they change and when they break?
//!
//! The real program. Which connections and requests get in is asked beside the code.

use crate::support::client::{ask, post, request};
use crate::support::fleet::message;
use crate::support::service::Site;
use crate::support::until;
use hyper::header::AUTHORIZATION;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const CONFIG: i32 = 78;

/// A certificate that signs itself, and its key.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Pair {
    /// Valid for as long as that.
    fn new(days: u64) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_hours(24 * days)).into();
        Self { certificate: params.self_signed(&key).unwrap(), key }
    }
}

/// A token as the program makes one: itself, and its line.
fn token(name: &str) -> (String, String) {
    let program = env!("CARGO_BIN_EXE_waystation");
    let output = std::process::Command::new(program).args(["token", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (secret, line) = text.split_once('\n').unwrap();
    assert!(line.starts_with(&format!("{name} sha256:")), "{text}");
    (secret.to_owned(), line.trim_end().to_owned())
}

/// Posts a message over TLS by a connection of its own; nothing where the certificate is not the one.
fn posted(address: SocketAddr, trusted: &CertificateDer<'_>, token: &str) -> Option<StatusCode> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone().into_owned()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut request = post(message(0, 1).encode_to_vec().into());
    request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), stream).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        Some(sender.send_request(request).await.unwrap().status())
    })
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    tokens: PathBuf,
}

impl Files {
    /// Names them in the configuration.
    fn of(site: &mut Site) -> Self {
        let path = |name: &str| site.root().join(name);
        let files =
            Self { certificate: path("tls.crt"), key: path("tls.key"), tokens: path("tokens") };
        for (name, file) in [
            ("ingest.tls_certificate", &files.certificate),
            ("ingest.tls_key", &files.key),
            ("ingest.tokens", &files.tokens),
        ] {
            site.set(name, file.to_str().unwrap());
        }
        files
    }

    fn write(&self, pair: &Pair) {
        fs::write(&self.certificate, pair.certificate.pem()).unwrap();
        fs::write(&self.key, pair.key.serialize_pem()).unwrap();
    }
}

/// How often the log says that those from before stay in use, because of this.
fn stay(site: &Site, file: &Path, why: &str) -> usize {
    let says = format!("have changed, and those from before stay in use: {}{why}", file.display());
    site.log().matches(&says).count()
}

#[test]
fn a_file_that_breaks_leaves_the_one_from_before_in_use_and_is_told_once() {
    let mut site = Site::new(None);
    let files = Files::of(&mut site);
    let (old, new) = (Pair::new(3), Pair::new(90));
    let ((old_token, old_line), (new_token, new_line)) = (token("old"), token("new"));
    files.write(&old);
    fs::write(&files.tokens, &old_line).unwrap();
    let service = site.start();
    let ask_with = |pair: &Pair, token: &str| posted(site.ingest, pair.certificate.der(), token);
    assert_eq!(ask_with(&old, &old_token), Some(StatusCode::OK));
    assert_eq!(ask_with(&old, &new_token), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(ask_with(&new, &old_token), None);
    let ending = "the certificate expires in 2 days";
    until("the certificate's end is told", || site.log().contains(ending));

    fs::write(&files.key, new.key.serialize_pem()).unwrap();
    fs::write(&files.tokens, format!("{new_line}\nhalf a li")).unwrap();
    let no_key = ": is not the key of the certificate in ";
    until("the key is refused", || stay(&site, &files.key, no_key) > 0);
    until("the tokens are refused", || stay(&site, &files.tokens, ":2: the hash of half") > 0);
    assert_eq!(ask_with(&old, &old_token), Some(StatusCode::OK));
    assert_eq!(ask_with(&old, &new_token), Some(StatusCode::UNAUTHORIZED));

    files.write(&new);
    fs::write(&files.tokens, &new_line).unwrap();
    until("the new ones are in use", || ask_with(&new, &new_token) == Some(StatusCode::OK));
    assert_eq!(ask_with(&new, &old_token), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(ask_with(&old, &new_token), None);
    let told = (stay(&site, &files.key, ""), stay(&site, &files.tokens, ""));
    assert_eq!(told, (1, 1), "{}", site.log());
    assert_eq!(site.log().matches("the certificate expires").count(), 1, "{}", site.log());

    let failed = service.status().ingest.failed_handshakes;
    assert!(failed >= 2, "{failed}");
    let metrics = ask(site.admin, request(Method::GET, "/metrics", [].as_slice().into())).unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("waystation_tls_handshakes_failed_total "), "{metrics}");
    service.stop();
}

#[test]
fn a_start_and_a_check_with_broken_files_say_which_and_why() {
    let mut site = Site::new(None);
    let files = Files::of(&mut site);
    fs::write(&files.certificate, "").unwrap();
    fs::write(&files.tokens, "# nobody\nme\n").unwrap();
    let says = |outcome: &std::process::Output| {
        assert_eq!(outcome.status.code(), Some(CONFIG), "{outcome:?}");
        let text = String::from_utf8(outcome.stderr.clone()).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("waystation: "));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let certificate = format!("waystation: {}: holds no certificate", files.certificate.display());
    let tokens = format!("waystation: {}:2: the hash of me is none", files.tokens.display());
    let checked = says(&site.outcome("check"));
    assert_eq!(checked.len(), 2, "{checked:?}");
    assert!(checked[0].starts_with(&certificate) && checked[1].starts_with(&tokens), "{checked:?}");
    let run = says(&site.outcome("run"));
    assert_eq!(run, checked[..1]);
}

#[test]
fn a_check_warns_of_tokens_that_go_unencrypted() {
    let mut site = Site::new(None);
    let tokens = site.root().join("tokens");
    fs::write(&tokens, token("all").1).unwrap();
    site.set("ingest.tokens", tokens.to_str().unwrap());
    let warned = |site: &Site| {
        let outcome = site.outcome("check");
        assert!(outcome.status.success(), "{outcome:?}");
        String::from_utf8(outcome.stderr).unwrap()
    };
    assert_eq!(warned(&site), "");
    site.set("ingest.listen", "0.0.0.0:8080");
    let says = warned(&site);
    assert!(says.starts_with("waystation: warning: the tokens are not encrypted"), "{says}");
}
