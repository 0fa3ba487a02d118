//! Which settings there are: their names and their defaults, and the nearest name to one
//! that is not a setting.
//!
//! A setting that is not listed here does not exist: it is refused in files, absent from
//! `check --print` and missing in the reference. Defaults are written as an operator would
//! write them and go through the same parsing. What values mean is `checked.rs`' to know;
//! librdkafka's own properties under `[kafka]` are librdkafka's.

use super::value::Value;

/// One setting of a table, such as `max_size` of `[spool]`.
#[derive(Debug)]
pub struct Setting {
    /// The name with its table: `spool.max_size`.
    pub name: &'static str,
    /// As it would be written in the file; `None`: found elsewhere or left out.
    pub default: Option<&'static str>,
}

impl Setting {
    const fn new(name: &'static str, default: &'static str) -> Self {
        Self { name, default: Some(default) }
    }

    /// The table that it stands in: `spool`.
    pub fn table(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(table, _)| table)
    }

    /// The name within its table: `max_size`.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    /// The default as it would be found in a file: what is a whole number stands without quotes.
    pub fn default_value(&self) -> Option<Value> {
        self.default.map(|text| match text.parse::<u64>() {
            Ok(_) => Value::Number(text.into()),
            Err(_) => Value::Text(text.into()),
        })
    }
}

pub const BOX_NAME: Setting = Setting { name: "box.name", default: None };
pub const LISTEN: Setting = Setting::new("ingest.listen", "0.0.0.0:8080");
pub const MAX_MESSAGE: Setting = Setting::new("ingest.max_message", "64KiB");
pub const MAX_BATCH: Setting = Setting::new("ingest.max_batch", "8MiB");
pub const MAX_CONNECTIONS: Setting = Setting::new("ingest.max_connections", "1024");
pub const HEADER_TIMEOUT: Setting = Setting::new("ingest.header_timeout", "75s");
pub const BODY_TIMEOUT: Setting = Setting::new("ingest.body_timeout", "10s");
pub const TLS_CERTIFICATE: Setting = Setting { name: "ingest.tls_certificate", default: None };
pub const TLS_KEY: Setting = Setting { name: "ingest.tls_key", default: None };
pub const TLS_CLIENT_CA: Setting = Setting { name: "ingest.tls_client_ca", default: None };
pub const TOKENS: Setting = Setting { name: "ingest.tokens", default: None };
pub const MAX_REQUESTS_PER_ADDRESS: Setting = Setting::new("ingest.max_requests_per_address", "0");
pub const MAX_REQUESTS_PER_TOKEN: Setting = Setting::new("ingest.max_requests_per_token", "0");
pub const DIR: Setting = Setting::new("spool.dir", "/var/lib/waystation/spool");
pub const MAX_SIZE: Setting = Setting::new("spool.max_size", "2GiB");
pub const MIN_FREE: Setting = Setting::new("spool.min_free", "256MiB");
pub const WHEN_FULL: Setting = Setting::new("spool.when_full", "reject");
pub const MAX_QUARANTINE: Setting = Setting::new("spool.max_quarantine", "64MiB");
pub const COMMIT_DELAY: Setting = Setting::new("spool.commit_delay", "0ms");
pub const MAX_PENDING: Setting = Setting::new("spool.max_pending", "8MiB");
pub const DEAD_MAX_SIZE: Setting = Setting::new("dead.max_size", "64MiB");
pub const DELIVERY: Setting = Setting::new("forward.delivery", "at-least-once");
pub const PROGRESS_TOPIC: Setting = Setting::new("forward.progress_topic", "waystation-progress");
pub const IN_DOUBT: Setting = Setting::new("forward.in_doubt", "pause");
pub const MAX_IN_FLIGHT: Setting = Setting::new("forward.max_in_flight", "20000");
pub const MAX_BYTES_PER_SECOND: Setting = Setting::new("forward.max_bytes_per_second", "0");
pub const HOLD_AFTER: Setting = Setting::new("forward.hold_after", "30s");
pub const GRACE: Setting = Setting::new("forward.grace", "5s");
pub const ADMIN_LISTEN: Setting = Setting::new("admin.listen", "127.0.0.1:10088");
pub const LOG_FILTER: Setting = Setting::new("log.filter", "info");
pub const LOG_FORMAT: Setting = Setting::new("log.format", "text");

/// Every setting outside `[[route]]` and `[kafka]`, in the order in which they are printed.
pub const SETTINGS: [&Setting; 31] = [
    &BOX_NAME,
    &LISTEN,
    &MAX_MESSAGE,
    &MAX_BATCH,
    &MAX_CONNECTIONS,
    &HEADER_TIMEOUT,
    &BODY_TIMEOUT,
    &TLS_CERTIFICATE,
    &TLS_KEY,
    &TLS_CLIENT_CA,
    &TOKENS,
    &MAX_REQUESTS_PER_ADDRESS,
    &MAX_REQUESTS_PER_TOKEN,
    &DIR,
    &MAX_SIZE,
    &MIN_FREE,
    &WHEN_FULL,
    &MAX_QUARANTINE,
    &COMMIT_DELAY,
    &MAX_PENDING,
    &DEAD_MAX_SIZE,
    &DELIVERY,
    &PROGRESS_TOPIC,
    &IN_DOUBT,
    &MAX_IN_FLIGHT,
    &MAX_BYTES_PER_SECOND,
    &HOLD_AFTER,
    &GRACE,
    &ADMIN_LISTEN,
    &LOG_FILTER,
    &LOG_FORMAT,
];

/// The message whose schema is built in.
pub const BUILT_IN_MESSAGE: &str = "tutorial.REALTIMEGPS";

pub const ROUTE_PATH: Setting = Setting::new("route.path", "/endpoint");
pub const ROUTE_TOPIC: Setting = Setting::new("route.topic", "test");
pub const ROUTE_MESSAGE: Setting = Setting::new("route.message", BUILT_IN_MESSAGE);
pub const ROUTE_PROTO: Setting = Setting { name: "route.proto", default: None };
pub const ROUTE_INCLUDE: Setting = Setting { name: "route.include", default: None };
pub const ROUTE_DESCRIPTOR_SET: Setting = Setting { name: "route.descriptor_set", default: None };
pub const ROUTE_KEY: Setting = Setting::new("route.key", "device_id");
pub const ROUTE_TIMESTAMP: Setting = Setting::new("route.timestamp", "received");
pub const ROUTE_ON_INVALID: Setting = Setting::new("route.on_invalid", "reject");
pub const ROUTE_DEDUPE: Setting = Setting { name: "route.dedupe", default: None };

/// The settings of a `[[route]]`. Together the defaults are the one route that there is
/// when none is written; a route that is written must name its path and its topic.
pub const ROUTE_SETTINGS: [&Setting; 10] = [
    &ROUTE_PATH,
    &ROUTE_TOPIC,
    &ROUTE_MESSAGE,
    &ROUTE_PROTO,
    &ROUTE_INCLUDE,
    &ROUTE_DESCRIPTOR_SET,
    &ROUTE_KEY,
    &ROUTE_TIMESTAMP,
    &ROUTE_ON_INVALID,
    &ROUTE_DEDUPE,
];

/// The tables, in the order in which they are printed.
pub const TABLES: [&str; 9] =
    ["box", "ingest", "route", "spool", "dead", "kafka", "forward", "admin", "log"];

/// The setting of that table and key.
pub fn find(table: &str, key: &str) -> Option<&'static Setting> {
    let all = SETTINGS.into_iter().chain(ROUTE_SETTINGS);
    all.into_iter().find(|setting| setting.table() == table && setting.key() == key)
}

/// What to write instead of an unknown table (or a key that stands in no table).
pub fn instead_of_table(name: &str) -> String {
    if let Some(near) = nearest(name, TABLES) {
        return format!("did you mean {near}?");
    }
    match elsewhere(name) {
        Some(setting) => format!("did you mean {}?", setting.name),
        None => format!("the tables are {}", TABLES.join(", ")),
    }
}

/// What to write instead of an unknown key of a known table.
pub fn instead_of_key(table: &str, key: &str) -> String {
    let keys = || {
        let all = SETTINGS.into_iter().chain(ROUTE_SETTINGS);
        all.filter(|setting| setting.table() == table).map(Setting::key)
    };
    if let Some(near) = nearest(key, keys()) {
        return format!("did you mean {near}?");
    }
    match elsewhere(key) {
        Some(setting) => format!("did you mean {}?", setting.name),
        None => format!("the settings of {table} are {}", keys().collect::<Vec<_>>().join(", ")),
    }
}

/// A setting of that very name in another table: it was written in the wrong place.
fn elsewhere(key: &str) -> Option<&'static Setting> {
    SETTINGS.into_iter().find(|setting| setting.key() == key)
}

/// The known name that somebody most likely meant: at most one slip in three letters.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips = (name.chars().count() / 3).max(1);
    let lower = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let same = candidate.replace('-', "_");
            (strsim::damerau_levenshtein(&lower, &same), candidate)
        })
        .filter(|(distance, _)| *distance <= slips)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_leads_to_the_nearest_name() {
        assert_eq!(instead_of_key("spool", "max_sise"), "did you mean max_size?");
        assert_eq!(instead_of_key("spool", "max-size"), "did you mean max_size?");
        assert_eq!(instead_of_key("route", "topik"), "did you mean topic?");
        assert_eq!(instead_of_table("injest"), "did you mean ingest?");
    }

    #[test]
    fn a_key_in_the_wrong_table_leads_to_the_right_one() {
        assert_eq!(instead_of_key("ingest", "commit_delay"), "did you mean spool.commit_delay?");
        assert_eq!(instead_of_table("max_in_flight"), "did you mean forward.max_in_flight?");
    }

    #[test]
    fn what_resembles_nothing_gets_the_list() {
        assert_eq!(instead_of_key("log", "colour"), "the settings of log are filter, format");
        assert!(instead_of_table("xyzzy").ends_with("kafka, forward, admin, log"));
    }

    #[test]
    fn every_setting_stands_in_a_known_table_and_is_named_once() {
        let mut names = Vec::new();
        for setting in SETTINGS.into_iter().chain(ROUTE_SETTINGS) {
            assert!(TABLES.contains(&setting.table()), "{}", setting.name);
            assert!(!names.contains(&setting.name), "{} twice", setting.name);
            names.push(setting.name);
        }
    }
}
