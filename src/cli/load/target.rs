//! Where does the load go, and may it go there?
//!
//! A load generator pointed at the wrong host is an attack; so a target beyond this
//! machine is refused unless it is asked for in so many words. Addresses are looked up
//! once, at the start: what was allowed is what is posted to.

use hyper::Uri;
use std::net::{SocketAddr, ToSocketAddrs};

/// An address that was looked up and allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    /// The `Host` header: as written in the URL.
    pub host: String,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// Why a URL is no target.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{url:?} is not a URL such as http://127.0.0.1:8080/endpoint")]
    Malformed { url: String },
    #[error("{url:?}: only plain http:// is spoken here")]
    Scheme { url: String },
    #[error("cannot look up {host}: {source}")]
    Lookup { host: String, source: std::io::Error },
    #[error(
        "{host} is {address}, which is not this machine; a load generator can bring down a \
         service that others use. If it is yours to load, say --yes-not-loopback"
    )]
    NotLoopback { host: String, address: SocketAddr },
}

impl Target {
    /// Reads `url` and looks its host up (this blocks). Every address that the name has must be
    /// a loopback address unless `anywhere`.
    pub fn resolve(url: &str, anywhere: bool) -> Result<Self, TargetError> {
        let malformed = || TargetError::Malformed { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(TargetError::Scheme { url: url.to_owned() }),
            None => return Err(malformed()),
        }
        let authority = uri.authority().ok_or_else(malformed)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(80);
        let addresses: Vec<SocketAddr> = (host.as_str(), port)
            .to_socket_addrs()
            .map_err(|source| TargetError::Lookup { host: host.clone(), source })?
            .collect();
        if let Some(&address) = addresses.iter().find(|address| !address.ip().is_loopback())
            && !anywhere
        {
            return Err(TargetError::NotLoopback { host, address });
        }
        // A name of both kinds, such as localhost: servers listen on IPv4 more often.
        let address = addresses
            .iter()
            .find(|address| address.is_ipv4())
            .or(addresses.first())
            .copied()
            .ok_or_else(malformed)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { address, host: authority.as_str().to_owned(), path: path.to_owned() })
    }

    /// A path on a listener of this machine.
    pub fn local(address: SocketAddr, path: &str) -> Self {
        Self { address, host: address.to_string(), path: path.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_url_is_taken() {
        let target = Target::resolve("http://127.0.0.1:8080/endpoint?a=1", false).unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:8080", "/endpoint?a=1")
        );
        let target = Target::resolve("http://[::1]:9", false).unwrap();
        assert_eq!((target.address, target.path.as_str()), ("[::1]:9".parse().unwrap(), "/"));
        assert_eq!(Target::resolve("http://127.0.0.1/", false).unwrap().address.port(), 80);
    }

    #[test]
    fn a_target_beyond_this_machine_must_be_asked_for() {
        let url = "http://192.0.2.7:8080/endpoint";
        let error = Target::resolve(url, false).unwrap_err().to_string();
        assert!(error.contains("--yes-not-loopback"), "{error}");
        assert!(Target::resolve(url, true).is_ok());
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused_with_a_sentence() {
        assert!(matches!(
            Target::resolve("https://127.0.0.1/", false),
            Err(TargetError::Scheme { .. })
        ));
        for url in ["", "/endpoint", "127.0.0.1:8080", "http://"] {
            let refused = Target::resolve(url, false);
            assert!(matches!(refused, Err(TargetError::Malformed { .. })), "{url}: {refused:?}");
        }
    }
}
