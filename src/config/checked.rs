//! From what stands in the files to a [`Config`] in which nothing invalid can be written.
//!
//! Every rule on a value and between values is here (on routes: in `routes.rs`); nothing
//! below `config` checks a setting again. All problems are found, not only the first. It
//! does not know the disk: that a directory exists or a port is free shows at the start.

use super::checking::Checking;
use super::effective::{Config, LogConfig, LogFormat};
use super::problem::{Place, Problem};
use super::raw::{Found, RawConfig, shown_key};
use super::schema::{
    ADMIN_LISTEN, BODY_TIMEOUT, BOX_NAME, COMMIT_DELAY, DEAD_MAX_SIZE, DELIVERY, DIR, GRACE,
    HEADER_TIMEOUT, HOLD_AFTER, IN_DOUBT, LISTEN, LOG_FILTER, LOG_FORMAT, MAX_BATCH,
    MAX_BYTES_PER_SECOND, MAX_CONNECTIONS, MAX_IN_FLIGHT, MAX_MESSAGE, MAX_PENDING, MAX_QUARANTINE,
    MAX_SIZE, MIN_FREE, PROGRESS_TOPIC, Setting, WHEN_FULL,
};
use super::value::{self, Value};
use super::{doors, parts, routes};
use crate::record::Route;
use crate::{admin, dead, forward, ingest, spool};
use std::collections::BTreeMap;
use std::sync::Arc;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// `main` is the configuration file, for what is in no line; `host` the host name, if it
/// could be read.
pub fn check(raw: &RawConfig, main: &Arc<str>, host: Option<&str>) -> Result<Config, Vec<Problem>> {
    let mut checking = Checking { raw, main, problems: Vec::new() };
    match config(&mut checking, host) {
        Some(config) if checking.problems.is_empty() => Ok(config),
        _ => Err(checking.problems),
    }
}

fn config(checking: &mut Checking<'_>, host: Option<&str>) -> Option<Config> {
    let box_name = box_name(checking, host);
    let ingest = ingest(checking);
    let spool = spool(checking);
    let dead = dead(checking, spool.as_ref().map(|spool| spool.max_size));
    let forward = forward(checking, box_name.clone());
    let admin = admin(checking);
    let log = log(checking);
    if let (Some(ingest), Some(spool)) = (&ingest, &spool) {
        one_message_fits(checking, ingest.max_message, spool.max_pending);
    }
    if let (Some(ingest), Some(admin)) = (&ingest, &admin) {
        two_listeners(checking, ingest.listen, admin.listen);
    }
    let dead = dead?;
    Some(Config {
        box_name: box_name?,
        ingest: ingest::Config { letters: dead, ..ingest? },
        spool: spool?,
        dead,
        forward: forward?,
        admin: admin?,
        log: log?,
    })
}

fn box_name(checking: &mut Checking<'_>, host: Option<&str>) -> Option<String> {
    let right = "it takes 1 to 63 letters, digits, dots, hyphens and underscores";
    let legal = |name: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (1..=63).contains(&name.len()) && name.chars().all(legal)
    };
    if checking.raw.values.contains_key(BOX_NAME.name) {
        return checking.setting(&BOX_NAME, |value| {
            let name = value::text(value)?;
            legal(name).then(|| name.to_owned()).ok_or_else(|| right.to_owned())
        });
    }
    let name = host.filter(|name| legal(name)).map(ToOwned::to_owned);
    if name.is_none() {
        let host = host.map_or("unknown".to_owned(), |host| format!("{host:?}"));
        let says = format!("box.name is not set and the host name is {host}; {right}");
        checking.problem(checking.place(&BOX_NAME), says);
    }
    name
}

fn ingest(checking: &mut Checking<'_>) -> Option<ingest::Config> {
    let listen = checking.setting(&LISTEN, value::address);
    let max_message = checking.bytes(&MAX_MESSAGE, 256, MIB);
    let max_batch = checking.bytes(&MAX_BATCH, 256, 1024 * MIB);
    if let (Some(batch), Some(message)) = (max_batch, max_message)
        && batch < message
    {
        too_small(checking, (&MAX_BATCH, batch as u64), "", (&MAX_MESSAGE, message as u64));
    }
    let max_connections = checking.setting(&MAX_CONNECTIONS, |v| value::count(v, &(1..=65_536)));
    let header_timeout = checking.duration(&HEADER_TIMEOUT, 100, 300_000);
    let body_timeout = checking.duration(&BODY_TIMEOUT, 100, 300_000);
    let doors = doors::check(checking);
    let routes = routes::check(checking);
    let doors = doors?;
    Some(ingest::Config {
        listen: listen?,
        max_message: max_message?,
        max_batch: max_batch?,
        max_connections: max_connections?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        tls: doors.tls,
        tokens: doors.tokens,
        max_requests_per_address: doors.max_requests_per_address,
        max_requests_per_token: doors.max_requests_per_token,
        routes,
        letters: dead::Config::default(),
    })
}

fn spool(checking: &mut Checking<'_>) -> Option<spool::Config> {
    let dir = checking.setting(&DIR, value::absolute);
    // Two segments: one that is drained and one that is written.
    let max_size = checking.setting(&MAX_SIZE, |v| value::size(v, &(16 * MIB..=1024 * TIB)));
    let min_free = checking.setting(&MIN_FREE, |v| value::size(v, &(0..=TIB)));
    let when_full = checking.choice(
        &WHEN_FULL,
        &[
            ("reject", Some(spool::WhenFull::Reject)),
            ("drop-oldest", Some(spool::WhenFull::DropOldest)),
        ],
    );
    let max_quarantine = checking.setting(&MAX_QUARANTINE, |v| value::size(v, &(0..=TIB)));
    let commit_delay = checking.duration(&COMMIT_DELAY, 0, 1_000);
    let max_pending = checking.bytes(&MAX_PENDING, 64 * KIB, 256 * MIB);
    if let (Some(size), Some(pending)) = (max_size, max_pending)
        && size < 2 * pending as u64
    {
        too_small(checking, (&MAX_SIZE, size), "twice ", (&MAX_PENDING, pending as u64));
    }
    Some(spool::Config {
        max_size: max_size?,
        min_free: min_free?,
        when_full: when_full?,
        max_quarantine: max_quarantine?,
        commit_delay: commit_delay?,
        max_pending: max_pending?,
        ..spool::Config::new(dir?)
    })
}

/// However small the spool, the dead letters never fill it.
fn dead(checking: &mut Checking<'_>, spool: Option<u64>) -> Option<dead::Config> {
    let max_size = checking.setting(&DEAD_MAX_SIZE, |v| value::size(v, &(0..=TIB)));
    Some(dead::Config { max_size: max_size?.min(spool? / 4) })
}

fn forward(checking: &mut Checking<'_>, box_name: Option<String>) -> Option<forward::Config> {
    let delivery = delivery(checking);
    let max_in_flight = checking.setting(&MAX_IN_FLIGHT, |v| value::count(v, &(1..=1_000_000)));
    let max_bytes_per_second = checking.setting(&MAX_BYTES_PER_SECOND, |value| {
        let bytes = value::size(value, &(0..=TIB))?;
        let enough = bytes == 0 || bytes >= KIB;
        enough
            .then_some(bytes)
            .ok_or_else(|| "it must be at least \"1KiB\", or 0 for no limit".into())
    });
    let hold_after = checking.duration(&HOLD_AFTER, 1_000, 3_600_000);
    let grace = checking.duration(&GRACE, 0, 60_000);
    let kafka = kafka(checking);
    // The properties are judged even where something beside them is wrong: what stands in
    // for that does not bear on them.
    let judged = forward::Config {
        kafka,
        box_name: box_name.clone().unwrap_or_default(),
        delivery: forward::Delivery::default(),
        max_in_flight: max_in_flight.unwrap_or(1),
        max_bytes_per_second: max_bytes_per_second.filter(|bytes| *bytes > 0),
        hold_after: hold_after.unwrap_or_default(),
        grace: grace.unwrap_or_default(),
    };
    for objection in parts::kafka(&judged) {
        let found = checking.raw.kafka.get(&objection.property);
        let place = found.map_or(Place::File(Arc::clone(checking.main)), |found| {
            Place::Line(found.origin.clone())
        });
        checking.problem(place, format!("kafka.{}", objection.says.replace(char::is_control, " ")));
    }
    max_bytes_per_second?;
    Some(forward::Config {
        box_name: box_name?,
        delivery: delivery?,
        max_in_flight: max_in_flight?,
        hold_after: hold_after?,
        grace: grace?,
        ..judged
    })
}

fn delivery(checking: &mut Checking<'_>) -> Option<forward::Delivery> {
    let exactly =
        checking.choice(&DELIVERY, &[("at-least-once", Some(false)), ("exactly-once", Some(true))]);
    let progress_topic = checking.setting(&PROGRESS_TOPIC, |value| {
        let topic = value::text(value)?;
        Route::legal_topic(topic).map(|()| topic.to_owned())
    });
    let in_doubt = checking.choice(
        &IN_DOUBT,
        &[("pause", Some(forward::InDoubt::Pause)), ("repeat", Some(forward::InDoubt::Repeat))],
    );
    let (progress_topic, in_doubt) = (progress_topic?, in_doubt?);
    Some(if exactly? {
        forward::Delivery::ExactlyOnce { progress_topic, in_doubt }
    } else {
        forward::Delivery::AtLeastOnce
    })
}

fn kafka(checking: &mut Checking<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (name, Found { value, origin }) in &checking.raw.kafka {
        // A value may be a secret: what was found is told by its kind, never by itself.
        let right = "a text, a number, true or false";
        let says = match value {
            Value::Text(text) | Value::Number(text) if !text.contains('\0') => {
                properties.insert(name.clone(), text.clone());
                continue;
            }
            Value::Flag(flag) => {
                properties.insert(name.clone(), flag.to_string());
                continue;
            }
            Value::Other(kind) => format!("is {kind}; it takes {right}"),
            // What stands in it may be a secret.
            Value::List(_) => format!("is an array; it takes {right}"),
            Value::Table(_) => format!("is a table; it takes {right}"),
            _ => "holds a NUL character; it takes a text without one".to_owned(),
        };
        let says = format!("kafka.{} {says}", shown_key(name));
        checking.problem(Place::Line(origin.clone()), says);
    }
    properties
}

fn admin(checking: &mut Checking<'_>) -> Option<admin::Config> {
    let listen = checking.setting(&ADMIN_LISTEN, |value| {
        let address = value::address(value)?;
        let right = "this version serves it on loopback only, such as \"127.0.0.1:10088\"";
        address.ip().is_loopback().then_some(address).ok_or_else(|| right.to_owned())
    });
    Some(admin::Config { listen: listen? })
}

fn log(checking: &mut Checking<'_>) -> Option<LogConfig> {
    let filter = checking.setting(&LOG_FILTER, |value| log_filter(value::text(value)?));
    let format = checking
        .choice(&LOG_FORMAT, &[("text", Some(LogFormat::Text)), ("json", Some(LogFormat::Json))]);
    Some(LogConfig { filter: filter?, format: format? })
}

/// Otherwise no message of the permitted size could ever be kept.
fn one_message_fits(checking: &mut Checking<'_>, max_message: usize, max_pending: usize) {
    if max_pending < 2 * max_message {
        let (pending, message) = (max_pending as u64, max_message as u64);
        too_small(checking, (&MAX_PENDING, pending), "twice ", (&MAX_MESSAGE, message));
    }
}

/// A size that must be at least another one, or `times` that.
fn too_small(
    checking: &mut Checking<'_>,
    (setting, found): (&Setting, u64),
    times: &str,
    (other, least): (&Setting, u64),
) {
    let says = format!(
        "{} is {}; it must be at least {times}{} ({})",
        setting.name,
        value::shown_size(found),
        other.name,
        value::shown_size(least)
    );
    checking.problem(checking.place(setting), says);
}

/// Port 0 asks the system for any free port: no clash.
fn two_listeners(
    checking: &mut Checking<'_>,
    ingest: std::net::SocketAddr,
    admin: std::net::SocketAddr,
) {
    let overlap = ingest.ip().is_unspecified() || ingest.ip() == admin.ip();
    if ingest.port() == admin.port() && ingest.port() != 0 && overlap {
        let says = format!(
            "admin.listen is \"{admin}\"; ingest.listen (\"{ingest}\") has that port already"
        );
        checking.problem(checking.place(&ADMIN_LISTEN), says);
    }
}

/// `info` or `info,waystation::spool=debug`: a lone word must be a level, since tracing would
/// take `inof` for the name of a module and log nothing else.
fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let right = "it takes a level (off, error, warn, info, debug, trace), \
                 or several such as \"info,waystation::spool=debug\"";
    let known = |directive: &str| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        LEVELS.contains(&level.to_ascii_lowercase().as_str())
    };
    let text = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
    let parsed = text.parse::<tracing_subscriber::filter::Targets>().is_ok();
    (parsed && text.split(',').all(known)).then_some(text).ok_or_else(|| right.to_owned())
}
