//! The rules on who may post, and how: certificates, tokens, and how often.
//!
//! That the files are there and right shows at the start, and in `check` (`ingest` looks at them).

use super::checking::Checking;
use super::schema::{
    MAX_REQUESTS_PER_ADDRESS, MAX_REQUESTS_PER_TOKEN, Setting, TLS_CERTIFICATE, TLS_CLIENT_CA,
    TLS_KEY, TOKENS,
};
use super::value;
use crate::ingest::tls;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// See the module.
pub struct Doors {
    pub tls: Option<tls::Config>,
    pub tokens: Option<PathBuf>,
    pub max_requests_per_address: Option<NonZeroU32>,
    pub max_requests_per_token: Option<NonZeroU32>,
}

/// What is not written is none; `None` where something is a problem.
pub fn check(checking: &mut Checking<'_>) -> Option<Doors> {
    let before = checking.problems.len();
    let certificate = checking.setting(&TLS_CERTIFICATE, value::absolute);
    let key = checking.setting(&TLS_KEY, value::absolute);
    let client_ca = checking.setting(&TLS_CLIENT_CA, value::absolute);
    let tokens = checking.setting(&TOKENS, value::absolute);
    for (found, setting, other) in [
        (&certificate, &TLS_CERTIFICATE, &TLS_KEY),
        (&key, &TLS_KEY, &TLS_CERTIFICATE),
        (&client_ca, &TLS_CLIENT_CA, &TLS_CERTIFICATE),
    ] {
        if found.is_some() {
            needs(checking, setting, other);
        }
    }
    let mut limit = |setting| {
        let limit = checking.setting(setting, |v| value::count(v, &(0..=1_000_000)));
        limit.and_then(|limit| NonZeroU32::new(u32::try_from(limit).ok()?))
    };
    let max_requests_per_address = limit(&MAX_REQUESTS_PER_ADDRESS);
    let max_requests_per_token = limit(&MAX_REQUESTS_PER_TOKEN);
    if max_requests_per_token.is_some() {
        needs(checking, &MAX_REQUESTS_PER_TOKEN, &TOKENS);
    }
    let tls = certificate.zip(key);
    let tls = tls.map(|(certificate, key)| tls::Config { certificate, key, client_ca });
    let doors = Doors { tls, tokens, max_requests_per_address, max_requests_per_token };
    (checking.problems.len() == before).then_some(doors)
}

/// The one setting means nothing without the other.
fn needs(checking: &mut Checking<'_>, setting: &Setting, other: &Setting) {
    if !checking.raw.values.contains_key(other.name) {
        let says = format!("{} is set, and {} is not; set both", setting.name, other.name);
        checking.problem(checking.place(setting), says);
    }
}
