//! The certificate and the key with which connections are encrypted, and whose clients' certificates
//! are taken.
//!
//! What is wrong with a file is said in one sentence that names it. Half of a new pair is never in
//! use: a key that is not the certificate's is refused. It does not know connections, nor when files
//! are read.

use super::files::{self, Fault};
use super::reload::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore, ServerConfig,
};

/// What clients may speak inside.
const PROTOCOL: &[u8] = b"http/1.1";
/// How long before its end a certificate is worth a word.
const SOON: Duration = Duration::from_hours(14 * 24);
/// How often it is.
const DAY: Duration = Duration::from_hours(24);

/// The files, all absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// PEM: the server's certificate, and behind it those between it and an authority.
    pub certificate: PathBuf,
    /// PEM: its key.
    pub key: PathBuf,
    /// PEM: the authorities of the clients' certificates; with it every client must have one.
    pub client_ca: Option<PathBuf>,
}

/// What was in the files.
#[derive(Debug)]
pub(super) struct Tls {
    pub server: Arc<ServerConfig>,
    /// After that the certificate is no longer valid. `None` where that cannot be told.
    ends: Option<SystemTime>,
}

impl Config {
    pub(super) fn source(&self) -> Source<Tls> {
        let config = self.clone();
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        Source {
            what: "the certificates",
            paths: paths.into_iter().flatten().cloned().collect(),
            load: Box::new(move || config.load()),
        }
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<Tls, Fault> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificate)?;
        let key = self.key()?;
        let unusable = |error: &Error| self.unusable(error);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                let verifier = verifier.build();
                let verifier = verifier.map_err(|error| Fault::new(file, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let ends = chain.first().and_then(|first| end_of(first, provider));
        let mut server = builder.with_single_cert(chain, key).map_err(|error| unusable(&error))?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Tls { server: Arc::new(server), ends })
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Fault> {
        let file = &self.key;
        let bytes = files::read(file)?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            let says = match error {
                // OpenSSL's two ways to say so.
                pem::Error::NoItemsFound if bytes.windows(9).any(|part| part == b"ENCRYPTED") => {
                    "is encrypted, and nobody is there to type its passphrase; openssl pkey takes \
                     it off"
                        .to_owned()
                }
                pem::Error::NoItemsFound => {
                    "holds no private key; it takes one in PEM (BEGIN PRIVATE KEY)".to_owned()
                }
                error => not_pem(&error),
            };
            Fault::new(file, says)
        })
    }

    /// Why the pair cannot be used, told of the file that is the more likely to be wrong.
    fn unusable(&self, error: &Error) -> Fault {
        let certificate = self.certificate.display();
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Fault::new(&self.key, format!("is not the key of the certificate in {certificate}"))
            }
            Error::InvalidCertificate(error) => {
                Fault::new(&self.certificate, format!("its certificate cannot be used: {error}"))
            }
            error => Fault::new(
                &self.key,
                format!(
                    "its key cannot be used: {error}; it takes ECDSA, Ed25519 or RSA from 2048 bits on"
                ),
            ),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = files::read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            let says = "holds no certificate; it takes PEM (BEGIN CERTIFICATE)";
            Err(Fault::new(file, says))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(Fault::new(file, not_pem(&error))),
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for (place, certificate) in (1..).zip(certificates(file)?) {
        roots.add(certificate).map_err(|error| {
            Fault::new(file, format!("its certificate no. {place} cannot be used: {error}"))
        })?;
    }
    Ok(roots)
}

fn not_pem(error: &pem::Error) -> String {
    format!("is not whole PEM: {error}")
}

/// Until when the certificate is valid. Nothing here reads its dates by themselves; but asked about
/// the end of time, what verifies certificates tells why not, before it looks at anything else.
fn end_of(
    certificate: &CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
) -> Option<SystemTime> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).ok()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let answer = verifier.build().ok()?.verify_client_cert(certificate, &[], end_of_time);
    let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) = answer
    else {
        return None;
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
}

impl Tls {
    /// What there is to say about the certificate's end, at this time.
    pub(super) fn ending(&self, now: SystemTime) -> Option<String> {
        let ends = self.ends?;
        let on = humantime::format_rfc3339_seconds(ends);
        if ends <= now {
            return Some(format!("the certificate has expired ({on}): clients refuse it"));
        }
        let left = ends.duration_since(now).unwrap_or_default();
        let whole_days = left.as_secs() / DAY.as_secs();
        (left < SOON).then(|| match whole_days {
            0 => format!("the certificate expires within a day ({on})"),
            1 => format!("the certificate expires in a day ({on})"),
            days => format!("the certificate expires in {days} days ({on})"),
        })
    }
}

/// Says it once a day, and at once of another certificate.
#[derive(Debug, Default)]
pub(super) struct Reminder(Option<(SystemTime, SystemTime)>);

impl Reminder {
    pub(super) fn due(&mut self, tls: &Tls, now: SystemTime) -> Option<String> {
        let says = tls.ending(now)?;
        let ends = tls.ends?;
        // A clock that was set back has no day to wait for.
        let waiting = self.0.is_some_and(|(of, said)| {
            of == ends && now.duration_since(said).is_ok_and(|since| since < DAY)
        });
        if waiting {
            return None;
        }
        self.0 = Some((ends, now));
        Some(says)
    }
}

#[cfg(test)]
mod tests;
