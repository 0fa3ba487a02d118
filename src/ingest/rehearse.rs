//! What a right configuration of ingest lacks on this box: the files that it names, as the service
//! would read them. And what works, but not as somebody may think.

use super::Config;
use super::files::Fault;
use super::tokens::Tokens;
use std::time::SystemTime;

impl Config {
    /// What is wrong with the files that it names, one fault each at the most.
    pub fn rehearse(&self) -> Vec<Fault> {
        let tls = self.tls.as_ref().and_then(|tls| tls.load().err());
        let tokens = self.tokens.as_ref();
        let tokens = tokens.and_then(|file| Tokens::load(file, &self.paths()).err());
        tls.into_iter().chain(tokens).collect()
    }

    /// Sentences on what an operator should know, beside what is wrong.
    pub fn warnings(&self) -> Vec<String> {
        let certificate = self.tls.as_ref().and_then(|tls| tls.load().ok());
        let ending = certificate.and_then(|tls| tls.ending(SystemTime::now()));
        self.readable_tokens().into_iter().chain(ending).collect()
    }

    pub(super) fn readable_tokens(&self) -> Option<String> {
        let readable = self.tls.is_none() && !self.listen.ip().is_loopback();
        (self.tokens.is_some() && readable).then(|| {
            "the tokens are not encrypted on their way, and whoever is on it can read them: set \
             ingest.tls_certificate and ingest.tls_key"
                .to_owned()
        })
    }

    /// The paths of the routes.
    pub(super) fn paths(&self) -> Vec<String> {
        self.routes.iter().map(|route| route.path.clone()).collect()
    }
}
