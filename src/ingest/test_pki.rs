//! Certificates for tests, made anew each time.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::time::SystemTime;

/// One that certificates are signed by.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What the certificates of servers are for.
pub(super) const HOST: &str = "box.test";

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// For a server, or for a client that does not care what its own is for.
    pub(super) fn server(&self) -> Pair {
        self.signed(&CertificateParams::new([HOST.to_owned()]).unwrap())
    }

    pub(super) fn server_until(&self, end: SystemTime) -> Pair {
        let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
        params.not_after = end.into();
        self.signed(&params)
    }

    fn signed(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}
