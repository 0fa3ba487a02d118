//! What does an error of librdkafka's say about what the operator wrote under `[kafka]`?
//!
//! Its texts name states and functions; whoever stands beside the box wants to know which setting
//! is wrong, or whom to ask. Each rule below is a text that was provoked on Apache Kafka (by
//! `tests/kafka/logins.rs`, which holds it), and a clause that names a property or a person. What no
//! rule knows gets no advice: a wrong one is worse.
//!
//! It reads the properties, never a file and never the network.

use super::kerberos::{KEYTAB, PRINCIPAL};
use std::collections::BTreeMap;

const CA: &str = "ssl.ca.location";
/// Where the names of the first brokers stand.
pub const BOOTSTRAP: &str = "bootstrap.servers";
const CERTIFICATE: &str = "ssl.certificate.location";
const PROTOCOL: &str = "security.protocol";

/// A clause without a full stop, where anything is known.
pub fn advice(text: &str, kafka: &BTreeMap<String, String>) -> Option<String> {
    let has = |part: &str| text.contains(part);
    let is_set = |name: &str| kafka.get(name).is_some_and(|value| !value.is_empty());
    let between = |before: &str, after: &str| {
        let (_, rest) = text.split_once(before)?;
        Some(rest.split_once(after)?.0.to_owned())
    };
    if has("hostname mismatch") || has("IP address mismatch") {
        let says = "the brokers' certificate is not for the names in bootstrap.servers";
        return Some(says.to_owned());
    }
    if has("broker certificate could not be verified") || has("certificate verify failed") {
        return Some(if is_set(CA) {
            format!("the brokers' certificate is not of the authority in {CA}")
        } else {
            format!("no authority of this box has signed the brokers' certificate; set {CA}")
        });
    }
    if has("alert") && (has("bad certificate") || has("certificate required") || has("unknown ca"))
    {
        return Some(if is_set(CERTIFICATE) {
            format!("the brokers do not accept the certificate in {CERTIFICATE}")
        } else {
            format!("the brokers ask for a certificate; set {CERTIFICATE} and ssl.key.location")
        });
    }
    if has("alert") && has("certificate expired") {
        return Some(format!("the certificate in {CERTIFICATE} has expired"));
    }
    // The one or the other, by chance: the broker has no words for it.
    let without_a_word = has("closed by peer") && has("SSL_HANDSHAKE");
    if has("connecting to a PLAINTEXT broker listener") || without_a_word {
        return Some(format!(
            "the brokers do not speak TLS at that port; correct {PROTOCOL} or it"
        ));
    }
    if has("closed by peer") && has("APIVERSION_QUERY") {
        return Some(format!(
            "the brokers end each connection at its first word, as they do where {PROTOCOL} ought to \
             be SSL or SASL_SSL"
        ));
    }
    if let Some(offered) = between("broker's supported mechanisms: ", " (") {
        return Some(format!("the brokers take no such sasl.mechanism; they take {offered}"));
    }
    if has("invalid credentials with SASL mechanism") && !has("mechanism GSSAPI") {
        return Some("sasl.username or sasl.password is wrong".to_owned());
    }
    kerberos(text).or_else(|| {
        let name = between("Failed to resolve '", "'")?;
        Some(unknown(&name, BOOTSTRAP))
    })
}

/// `written` is where the name stands.
pub fn unknown(name: &str, written: &str) -> String {
    format!("the name of {name} is not known; correct {written} or the DNS")
}

/// The texts of MIT Kerberos, which GSSAPI hands on.
fn kerberos(text: &str) -> Option<String> {
    let has = |part: &str| text.contains(part);
    if !has("GSS") && !has("SASL") {
        return None;
    }
    if let Some((_, rest)) = text.split_once("Server ")
        && let Some((server, _)) = rest.split_once(" not found in Kerberos database")
    {
        return Some(format!(
            "the KDC knows no {server}; correct sasl.kerberos.service.name, or the names in \
             bootstrap.servers"
        ));
    }
    let says = if has("not found in Kerberos database") {
        format!("the KDC does not know the principal of {KEYTAB}")
    } else if has("Decrypt integrity check failed") || has("Preauthentication failed") {
        format!("the key in {KEYTAB} is not, or no longer, the principal's; write it anew")
    } else if has("Cannot contact any KDC") || has("Cannot find KDC for realm") {
        "no KDC answers; see the realm in /etc/krb5.conf, and whether it is reached".to_owned()
    } else if has("Ticket expired") {
        format!(
            "the ticket has expired, and there is no new one: no KDC answers (see the realm in \
             /etc/krb5.conf), or it does not take the key in {KEYTAB}"
        )
    } else if has("Clock skew too great") {
        "this box's clock is not the KDC's".to_owned()
    } else if has("credentials were revoked") || has("Client's entry in database has expired") {
        format!("the principal of {KEYTAB} is locked or has expired; ask who runs the KDC")
    } else if has("no suitable keys") {
        format!("{KEYTAB} has no key of {PRINCIPAL}")
    } else if has("No Kerberos credentials available") || has("No key table entry found") {
        format!("{KEYTAB} gives no ticket; it must be a keytab that the service can read")
    } else if has("mechanism GSSAPI") {
        format!("the brokers do not accept the tickets of {KEYTAB}")
    } else {
        return None;
    };
    Some(says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, set: &[&str]) -> Option<String> {
        let set = set.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        advice(text, &set)
    }

    #[test]
    fn what_depends_on_a_property_names_it_as_wrong_or_as_missing() {
        let refused = "sslv3 alert bad certificate: SSL alert number 42";
        assert!(of(refused, &[CERTIFICATE]).unwrap().contains("do not accept"));
        assert!(of(refused, &[]).unwrap().contains("set ssl.certificate.location"));
        let unknown = "certificate verify failed: broker certificate could not be verified";
        assert!(of(unknown, &[CA]).unwrap().contains("not of the authority in ssl.ca.location"));
        assert!(of(unknown, &[]).unwrap().contains("set ssl.ca.location"));
    }

    #[test]
    fn what_is_no_matter_of_a_setting_gets_no_advice() {
        for text in [
            "1/1 brokers are down",
            "localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            "no answer for 15 s",
            "",
        ] {
            assert_eq!(of(text, &[]), None, "{text}");
        }
    }
}
