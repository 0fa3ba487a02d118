//! How does a login by Kerberos get its tickets, without a program and a shell?
//!
//! librdkafka itself runs `kinit` in a shell, and again every minute. The Kerberos library can do
//! it alone: it takes tickets with the keytab that `KRB5_CLIENT_KTNAME` names, into a cache in
//! memory, when they are needed and again before they expire. So a keytab under `[kafka]` becomes a
//! part of the environment ([`environment`]), and librdkafka is told neither of it nor of a
//! principal ([`without_kinit`]).
//!
//! One thing cannot be said in that way: which principal of a keytab that has several. The library
//! takes the first one; where another one is asked for, `kinit` is needed.
//!
//! A keytab's layout (MIT Kerberos, "Keytab file format"): `05 02`, then entries, each with its
//! length in four bytes, big-endian (negative: a hole), the number of the name's components, the
//! realm and the components, each with its length in two bytes. Only the name is read here.

use std::collections::BTreeMap;
use std::fs;
use std::io;

pub const KEYTAB: &str = "sasl.kerberos.keytab";
pub const PRINCIPAL: &str = "sasl.kerberos.principal";
pub const KINIT_COMMAND: &str = "sasl.kerberos.kinit.cmd";
/// Milliseconds; at 0 librdkafka never runs kinit.
pub const RELOGIN: &str = "sasl.kerberos.min.time.before.relogin";

pub const PROTOCOL: &str = "security.protocol";
/// The mechanism of this login; librdkafka's default.
pub const MECHANISM: &str = "GSSAPI";

pub fn is_asked_for(properties: &BTreeMap<String, String>) -> bool {
    protocol(properties).starts_with("sasl") && mechanism(properties) == MECHANISM
}

/// How the brokers are spoken to: `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
pub fn protocol(properties: &BTreeMap<String, String>) -> String {
    properties.get(PROTOCOL).map_or("plaintext", String::as_str).to_ascii_lowercase()
}

/// How the login is done where the protocol wants one. It has two names.
pub fn mechanism(properties: &BTreeMap<String, String>) -> &str {
    let names = ["sasl.mechanism", "sasl.mechanisms"];
    names.iter().find_map(|name| properties.get(*name)).map_or(MECHANISM, String::as_str)
}

/// The keytab that the Kerberos library is to use by itself; `None` where there is none, or where
/// `kinit` is needed or asked for.
fn own_keytab(properties: &BTreeMap<String, String>) -> Option<&str> {
    let set = |name: &str| properties.get(name).map(|value| value.trim()).filter(|v| !v.is_empty());
    let keytab = set(KEYTAB)?;
    // Whoever writes one of these has arranged the login in his own way.
    let arranged = set(KINIT_COMMAND).is_some() || never_runs(properties);
    let is_first = set(PRINCIPAL).is_none_or(|principal| {
        // A keytab that is not there yet is expected to be the right one.
        first_principal(keytab).ok().flatten().is_none_or(|first| is(principal, &first))
    });
    (is_asked_for(properties) && !arranged && is_first).then_some(keytab)
}

/// Whether librdkafka was told never to run kinit: somebody else sees to the tickets.
pub fn never_runs(properties: &BTreeMap<String, String>) -> bool {
    properties.get(RELOGIN).is_some_and(|value| value.trim().parse() == Ok(0_u32))
}

/// What has to stand in the environment before the first login.
pub fn environment(properties: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    own_keytab(properties).map_or_else(Vec::new, |keytab| {
        vec![
            ("KRB5_CLIENT_KTNAME", format!("FILE:{keytab}")),
            ("KRB5CCNAME", "MEMORY:waystation".to_owned()),
        ]
    })
}

/// The properties for librdkafka, which leaves the tickets to the library.
pub fn without_kinit(properties: &mut BTreeMap<String, String>) {
    if own_keytab(properties).is_some() {
        properties.remove(KEYTAB);
        properties.remove(PRINCIPAL);
        properties.insert(RELOGIN.to_owned(), "0".to_owned());
    }
}

/// Whether the keytab's principal is the one that was written, with or without its realm.
fn is(written: &str, found: &str) -> bool {
    found == written || found.rsplit_once('@').is_some_and(|(name, _)| name == written)
}

/// The principal of a keytab's first entry, as `name@REALM`; `None` when it has none, or is no
/// keytab.
pub fn first_principal(path: &str) -> io::Result<Option<String>> {
    let path = path.strip_prefix("FILE:").unwrap_or(path);
    Ok(first_of(&fs::read(path)?))
}

fn first_of(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes.strip_prefix(&[5, 2])?;
    loop {
        let len = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let entry = take(&mut rest, usize::try_from(len.unsigned_abs()).ok()?)?;
        match len {
            0 => return None, // the end
            1.. => return name_of(entry),
            _ => {} // a hole
        }
    }
}

fn name_of(mut entry: &[u8]) -> Option<String> {
    let components = u16::from_be_bytes(take(&mut entry, 2)?.try_into().ok()?);
    let mut text = || {
        let len = u16::from_be_bytes(take(&mut entry, 2)?.try_into().ok()?);
        String::from_utf8(take(&mut entry, usize::from(len))?.to_vec()).ok()
    };
    let realm = text()?;
    let names = (0..components).map(|_| text()).collect::<Option<Vec<_>>>()?;
    Some(format!("{}@{realm}", names.join("/")))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A keytab with these principals, which have one component.
    pub fn keytab(names: &[&str], realm: &str) -> Vec<u8> {
        [5, 2].into_iter().chain(names.iter().flat_map(|name| entry(&[name], realm))).collect()
    }

    /// As `ktutil` writes it: the name, its type, a time, the version and the key.
    fn entry(components: &[&str], realm: &str) -> Vec<u8> {
        let text = |text: &str| {
            let len = u16::try_from(text.len()).unwrap().to_be_bytes();
            [&len[..], text.as_bytes()].concat()
        };
        let mut entry = u16::try_from(components.len()).unwrap().to_be_bytes().to_vec();
        entry.extend(text(realm));
        for name in components {
            entry.extend(text(name));
        }
        entry.extend([0; 30]);
        [&i32::try_from(entry.len()).unwrap().to_be_bytes()[..], &entry].concat()
    }

    fn written(keytab: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let all = [("security.protocol", "SASL_PLAINTEXT"), (KEYTAB, keytab)];
        let all = all.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_keytab_tells_whose_it_is_behind_holes_too() {
        let hole = [&(-6_i32).to_be_bytes()[..], &[0; 6]].concat();
        let first = entry(&["kafka", "depot-7"], "ABC.COM");
        let file = [&[5, 2][..], &hole, &first, &entry(&["other"], "ABC.COM")].concat();
        assert_eq!(first_of(&file).as_deref(), Some("kafka/depot-7@ABC.COM"));
        for end in 0..hole.len() + 30 {
            assert_eq!(first_of(&file[..end]), None, "cut off at {end}");
        }
        assert_eq!(first_of(b"-----BEGIN CERTIFICATE-----"), None);
    }

    #[test]
    fn a_keytab_needs_no_kinit_unless_it_is_asked_for_another_of_its_principals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keytab");
        fs::write(&path, keytab(&["TEST", "second"], "A.COM")).unwrap();
        let path = path.to_str().unwrap();
        for principal in ["TEST@A.COM", "TEST", ""] {
            let mut all = written(path, &[(PRINCIPAL, principal)]);
            let set = environment(&all);
            assert_eq!(set[0], ("KRB5_CLIENT_KTNAME", format!("FILE:{path}")), "{principal}");
            without_kinit(&mut all);
            assert_eq!(all.get(RELOGIN).map(String::as_str), Some("0"));
            assert!(!all.contains_key(KEYTAB) && !all.contains_key(PRINCIPAL));
        }
        for by_hand in [(PRINCIPAL, "second@A.COM"), (KINIT_COMMAND, "x"), (RELOGIN, "0")] {
            let mut all = written(path, &[by_hand]);
            assert_eq!(environment(&all), [], "{by_hand:?}");
            let before = all.clone();
            without_kinit(&mut all);
            assert_eq!(all, before);
        }
        let scram = written(path, &[("sasl.mechanism", "SCRAM-SHA-512")]);
        assert_eq!(environment(&scram), []);
    }

    #[test]
    fn a_keytab_that_is_not_there_yet_is_taken_for_the_right_one() {
        let all = written("/nowhere/keytab", &[(PRINCIPAL, "TEST@A.COM")]);
        assert_eq!(environment(&all).len(), 2);
    }
}
