//! Which of librdkafka's properties must not be shown to anybody?
//!
//! Whoever prints properties asks here, so that a password that is masked in one place is not
//! to be read in another. It deliberately knows names only, never values.

use std::collections::BTreeMap;
use std::fmt;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Parts of librdkafka's names whose values are secrets; `sasl.oauthbearer.config` may hold
/// a token's claims, `ssl.key.pem` is the private key itself.
const SECRETS: [&str; 6] =
    ["password", "passphrase", "secret", "key.pem", "oauthbearer.config", "jaas"];

/// Whether the property's value must not be shown to anybody.
pub fn is_secret(property: &str) -> bool {
    let property = property.to_ascii_lowercase();
    SECRETS.iter().any(|part| property.contains(part))
}

/// Properties with their secrets masked, for `Debug`.
pub struct Masked<'a>(pub &'a BTreeMap<String, String>);

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| {
            let value = if is_secret(name) { MASK } else { value.as_str() };
            (name, value)
        });
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::Config;
    use std::time::Duration;

    #[test]
    fn keys_tokens_and_passwords_are_secrets_and_places_are_none() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.assertion.private.key.passphrase",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["ssl.key.location", "sasl.kerberos.keytab", "sasl.username", "ssl.ca.pem"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_configuration_that_is_printed_for_debugging_shows_no_secret() {
        let written = [("sasl.password", "hunter2"), ("sasl.username", "depot-7")];
        let config = Config {
            kafka: written.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            box_name: "depot-7".to_owned(),
            delivery: crate::forward::Delivery::default(),
            max_in_flight: 1,
            max_bytes_per_second: None,
            hold_after: Duration::from_secs(30),
            grace: Duration::ZERO,
        };
        for shown in [format!("{config:?}"), format!("{config:#?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(MASK) && shown.contains("\"sasl.username\": \"depot-7\""));
        }
    }
}
