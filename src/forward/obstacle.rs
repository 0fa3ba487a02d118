//! What keeps a Kafka client from being made although every property is right by itself?
//!
//! Properties name files and need programs, and those come and go without the configuration
//! being changed. So an obstacle is no error of the configuration: the service starts, keeps
//! every record and tries again, and `check` tells of it beforehand. Nothing here connects.
//!
//! It deliberately does not know how sending stands still, nor where a property was written.

use super::exactly::Delivery;
use super::kafka::{self, CreateError};
use super::kerberos::{self, KEYTAB, KINIT_COMMAND, PRINCIPAL, PROTOCOL, RELOGIN};
use super::settings;
use super::{Config, RETRY};
use crate::status::Cause;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;

/// Properties whose value is the path of a file that has to be there.
const TLS_FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
];
/// The end of an id for what reaches nobody.
const CHECK: &str = "check";
/// Where a shell looks for programs when nobody told it.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Something that keeps a Kafka client from being made, or from ever logging in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// librdkafka's name of the property that it belongs to, where that can be told.
    pub property: Option<String>,
    /// A clause that begins with the property's name where there is one: what is wrong, and
    /// which hand is needed.
    pub says: String,
}

impl Obstacle {
    /// Why this client was not made.
    pub(super) fn of(properties: &BTreeMap<String, String>, error: &CreateError) -> Self {
        let known = unreadable_files(properties).into_iter().next();
        if let Some(obstacle) = known.or_else(|| no_keytab(properties)) {
            return obstacle;
        }
        let says = error.to_string();
        let named = |name: &&String| says.contains(name.as_str());
        // `ssl.key.location` rather than a shorter name that happens to be part of it.
        match properties.keys().filter(named).max_by_key(|name| name.len()).cloned() {
            Some(name) => {
                Self { says: format!("{name} cannot be used: {says}"), property: Some(name) }
            }
            None => Self { property: None, says: format!("{says}; correct what is under [kafka]") },
        }
    }

    /// Where an operator has to look.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.property.as_deref()? {
            name if name.starts_with("ssl.") => Some(Cause::Tls),
            name if name.starts_with("sasl.") || name == PROTOCOL => Some(Cause::Login),
            _ => None,
        }
    }

    /// The same as the reason of a standstill.
    pub(super) fn reason(&self) -> String {
        format!(
            "there is no Kafka client: {}; all records are kept and it is tried again every {} s",
            self.says,
            RETRY.as_secs()
        )
    }
}

/// Everything that stands in the way, as far as it can be found without connecting.
pub fn rehearse(config: &Config) -> Vec<Obstacle> {
    if config.brokers().is_none() {
        return Vec::new();
    }
    let mut properties = config.properties();
    if config.delivery != Delivery::AtLeastOnce {
        // Some properties are no match for those of transactions.
        settings::with_transactions(&mut properties, &settings::transactional_id(CHECK));
    }
    let mut found = unreadable_files(&properties);
    if found.is_empty()
        && let Err(error) = kafka::try_out(&offline(properties.clone()))
    {
        found.push(Obstacle::of(&properties, &error));
    }
    found.extend(no_kinit(&properties, std::env::var_os("PATH").as_deref()));
    found
}

/// What makes every login fail without keeping the client from being made.
pub fn no_login(config: &Config) -> Option<Obstacle> {
    config.brokers()?;
    let properties = config.properties();
    no_kinit(&properties, std::env::var_os("PATH").as_deref())
}

/// Properties for a client that reaches nobody and runs no program.
fn offline(mut properties: BTreeMap<String, String>) -> BTreeMap<String, String> {
    settings::with_brokers(&mut properties, &[]);
    if [KEYTAB, KINIT_COMMAND].iter().any(|name| properties.contains_key(*name)) {
        properties.insert(RELOGIN.to_owned(), "0".to_owned());
    }
    properties
}

fn unreadable_files(properties: &BTreeMap<String, String>) -> Vec<Obstacle> {
    let tls = TLS_FILES.into_iter().filter(|_| kerberos::protocol(properties).ends_with("ssl"));
    let keytab = Some(KEYTAB).filter(|_| kerberos::is_asked_for(properties));
    let unreadable = |name: &str| {
        // `probe` makes librdkafka look in the usual places.
        let path = properties.get(name).filter(|path| !path.is_empty() && *path != "probe")?;
        let error = open(path).err()?;
        let says = format!(
            "{name} is {path:?}, which cannot be read ({error}); put the file there, readable \
             for the service, or correct the path"
        );
        Some(Obstacle { property: Some(name.to_owned()), says })
    };
    tls.chain(keytab).filter_map(unreadable).collect()
}

/// Only a file or a directory is opened: the opening of a pipe waits for its other end.
fn open(path: &str) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        File::open(path)?;
    }
    Ok(())
}

/// A login was asked for, and none was described: librdkafka takes it for one by Kerberos.
fn no_keytab(properties: &BTreeMap<String, String>) -> Option<Obstacle> {
    let set = |name: &str| properties.get(name).is_some_and(|value| !value.is_empty());
    if !kerberos::is_asked_for(properties) || [KEYTAB, KINIT_COMMAND, RELOGIN].into_iter().any(set)
    {
        return None;
    }
    let says = format!(
        "{PROTOCOL} asks for a login, which is one by Kerberos unless sasl.mechanism is set; set \
         {KEYTAB} and sasl.kerberos.principal, or sasl.mechanism with what it needs"
    );
    Some(Obstacle { property: Some(PROTOCOL.to_owned()), says })
}

/// Where the Kerberos library cannot log in with a keytab by itself, librdkafka runs `kinit` in a
/// shell.
fn no_kinit(properties: &BTreeMap<String, String>, path: Option<&OsStr>) -> Option<Obstacle> {
    let set = |name: &str| properties.get(name).filter(|value| !value.is_empty());
    let by_library = !kerberos::environment(properties).is_empty();
    let never_run = by_library || kerberos::never_runs(properties);
    // A command of the operator's own is his to install.
    if !kerberos::is_asked_for(properties) || never_run || set(KINIT_COMMAND).is_some() {
        return None;
    }
    let keytab = set(KEYTAB)?;
    let path = path.unwrap_or(OsStr::new(USUAL_PATH));
    let runs = |file: fs::Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    if std::env::split_paths(path).any(|dir| fs::metadata(dir.join("kinit")).is_ok_and(runs)) {
        return None;
    }
    let first = kerberos::first_principal(keytab).ok().flatten().unwrap_or_default();
    let says = format!(
        "{PRINCIPAL} is {:?}, but the first one in {KEYTAB} is {first:?}, and the program kinit, which \
         finds the others, is not on PATH; give this box a keytab of its own, or install the package \
         krb5-user",
        set(PRINCIPAL).map(String::as_str).unwrap_or_default()
    );
    Some(Obstacle { property: Some(PRINCIPAL.to_owned()), says })
}

#[cfg(test)]
mod tests;
