//! May this client ask at all? Its address, its token and how often it comes, before anything else.
//!
//! A client is first counted by its address, so that guessing tokens is as limited as all else;
//! then its token is looked at; then it is counted by that. Whoever has no token learns nothing: not
//! even which paths there are. A batch counts as one request: what it holds is bounded elsewhere, by
//! its size and by what waits for the disk, and a device that has gathered messages in a tunnel
//! should bring them in one batch.
//!
//! It does not know what is asked for.

use super::problem::{Problem, Reason};
use super::rate::{Network, Rate};
use super::reload::Current;
use super::tokens::{Hashed, Presented, Token, Tokens};
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper::service::Service;
use std::hash::Hash;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// What a request tells of its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    network: Network,
    presented: Option<Presented>,
}

/// Says of every request of a connection who its client is.
#[derive(Debug, Clone)]
pub(super) struct Introduced<S> {
    pub service: S,
    /// `None` where nobody asks.
    pub peer: Option<SocketAddr>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Introduced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        if let Some(peer) = self.peer {
            let presented = request.headers().get(AUTHORIZATION);
            let presented = presented.map(|value| Presented::read(value.as_bytes()));
            request.extensions_mut().insert(Client { network: peer.ip().into(), presented });
        }
        self.service.call(request)
    }
}

/// A rate that all requests share.
#[derive(Debug)]
struct Shared<K> {
    per_second: NonZeroU32,
    rate: Mutex<Rate<K>>,
    since: Instant,
}

impl<K: Copy + Ord + Hash> Shared<K> {
    fn new(per_second: NonZeroU32) -> Self {
        Self { per_second, rate: Mutex::new(Rate::new(per_second)), since: Instant::now() }
    }

    fn take(&self, client: K, whose: &str) -> Result<(), Problem> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.take(client, self.since.elapsed()).map_err(|_| {
            let detail = format!("{whose} may make {} requests a second", self.per_second);
            Problem::new(Reason::TooManyRequests, detail)
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Door {
    addresses: Option<Shared<Network>>,
    tokens: Option<Arc<Current<Tokens>>>,
    by_token: Option<Shared<Hashed>>,
}

impl Door {
    pub(super) fn new(
        per_address: Option<NonZeroU32>,
        tokens: Option<Arc<Current<Tokens>>>,
        per_token: Option<NonZeroU32>,
    ) -> Self {
        let (addresses, by_token) = (per_address.map(Shared::new), per_token.map(Shared::new));
        Self { addresses, tokens, by_token }
    }

    /// Whether everybody is let in, whoever it is.
    pub(super) fn is_open(&self) -> bool {
        let Self { addresses, tokens, by_token } = self;
        addresses.is_none() && tokens.is_none() && by_token.is_none()
    }

    /// Lets a client in, or says why not.
    pub(super) fn enter(&self, client: Option<Client>) -> Result<Pass, Problem> {
        if let (Some(addresses), Some(client)) = (&self.addresses, client) {
            addresses.take(client.network, "an address")?;
        }
        let Some(tokens) = &self.tokens else { return Ok(Pass(None)) };
        let presented = client.and_then(|client| client.presented);
        let token = match presented {
            None => Err("a token is needed: Authorization: Bearer and the token"),
            Some(Presented::Other) => Err("a token is presented as Authorization: Bearer"),
            Some(Presented::Bearer(hash)) => {
                tokens.get().find(&hash).cloned().ok_or("this token is not known")
            }
        };
        let token = token.map_err(|detail| Problem::new(Reason::Unauthorized, detail))?;
        if let Some(by_token) = &self.by_token {
            by_token.take(token.hash, "a token")?;
        }
        Ok(Pass(Some(token)))
    }
}

/// A client that was let in; `None` where nobody needs a token.
#[derive(Debug, Default)]
pub(super) struct Pass(Option<Arc<Token>>);

impl Pass {
    /// Whether it is good for this route.
    pub(super) fn check(&self, path: &str) -> Result<(), Problem> {
        match &self.0 {
            Some(token) if !token.opens(path) => {
                let detail = format!("the token {} may not be used for {path}", token.name);
                Err(Problem::new(Reason::Forbidden, detail))
            }
            _ => Ok(()),
        }
    }
}
