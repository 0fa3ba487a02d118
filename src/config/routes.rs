//! The rules on `[[route]]`: which paths, topics, messages and keys there can be.
//!
//! That two routes have one path is found when the files are merged (`raw.rs`), whether the
//! message has the key in `parts.rs`.

use super::checking::{Checking, one_of};
use super::parts;
use super::problem::Place;
use super::raw::{RawRoute, Values};
use super::schema::{
    BUILT_IN_MESSAGE, ROUTE_DEDUPE, ROUTE_DESCRIPTOR_SET, ROUTE_INCLUDE, ROUTE_KEY, ROUTE_MESSAGE,
    ROUTE_ON_INVALID, ROUTE_PATH, ROUTE_PROTO, ROUTE_TIMESTAMP, ROUTE_TOPIC, Setting,
};
use super::value::{self, Value};
use crate::convert::Source;
use crate::ingest::{Dedupe, OnInvalid, RouteConfig};
use crate::record::Route;
use std::path::PathBuf;
use std::time::Duration;

/// What stands for the time of reception.
const RECEIVED: &str = "received";

/// The routes as written, or the default one.
pub fn check(checking: &mut Checking<'_>) -> Vec<RouteConfig> {
    let raw = checking.raw;
    if raw.routes.is_empty() {
        let text = |setting: &Setting| setting.default.unwrap_or_default().to_owned();
        return vec![RouteConfig {
            path: text(&ROUTE_PATH),
            topic: text(&ROUTE_TOPIC),
            source: Source::BuiltIn,
            message: text(&ROUTE_MESSAGE),
            key: Some(text(&ROUTE_KEY)),
            timestamp: None,
            on_invalid: OnInvalid::default(),
            dedupe: None,
        }];
    }
    raw.routes.iter().filter_map(|route| check_one(checking, route)).collect()
}

fn check_one(checking: &mut Checking<'_>, raw: &RawRoute) -> Option<RouteConfig> {
    for required in [&ROUTE_PATH, &ROUTE_TOPIC] {
        if !raw.values.contains_key(required.name) {
            let says = format!(
                "this route has no {}; it takes one such as {} = \"{}\"",
                required.key(),
                required.key(),
                required.default.unwrap_or_default()
            );
            checking.problem(Place::Line(raw.origin.clone()), says);
        }
    }
    let mut read = |setting: &Setting, rule: fn(&str) -> Result<(), String>| {
        let owned = |value: &Value| {
            let text = value::text(value)?;
            rule(text).map(|()| text.to_owned())
        };
        checking.value(&raw.values, setting, place(raw, setting), owned)
    };
    let path = read(&ROUTE_PATH, legal_path);
    let topic = read(&ROUTE_TOPIC, Route::legal_topic);
    let message = read(&ROUTE_MESSAGE, legal_message);
    let key = read(&ROUTE_KEY, legal_key);
    let timestamp = read(&ROUTE_TIMESTAMP, legal_time);
    let words = [("reject", Some(OnInvalid::Reject)), ("keep", Some(OnInvalid::Keep))];
    let at = place(raw, &ROUTE_ON_INVALID);
    let on_invalid =
        checking.value(&raw.values, &ROUTE_ON_INVALID, at, |value| one_of(value, &words));
    let written = raw.values.contains_key(ROUTE_DEDUPE.name);
    let at = place(raw, &ROUTE_DEDUPE);
    let dedupe = checking.value(&raw.values, &ROUTE_DEDUPE, at, dedupe);
    let source = source(checking, raw);
    if written && dedupe.is_none() {
        return None;
    }
    let (message, key, source) = (message?, key?, source?);
    // The default key is a field of the built-in message; another message may not have it.
    let key_is_meant = raw.values.contains_key(ROUTE_KEY.name) || source == Source::BuiltIn;
    let key = (key_is_meant && !key.is_empty()).then_some(key);
    let timestamp = timestamp.filter(|path| path != RECEIVED);
    let route = RouteConfig {
        path: path?,
        topic: topic?,
        source,
        message,
        key,
        timestamp,
        on_invalid: on_invalid?,
        dedupe,
    };
    if let Some(objection) = parts::route(&route) {
        let refused = |_: &Value| Err::<(), _>(objection.says);
        let place = place(raw, objection.setting);
        checking.value(&raw.values, objection.setting, place, refused);
    }
    Some(route)
}

/// Where the message's schema comes from.
fn source(checking: &mut Checking<'_>, raw: &RawRoute) -> Option<Source> {
    let mut read = |setting: &Setting| {
        let is_written = raw.values.contains_key(setting.name);
        let paths = || checking.value(&raw.values, setting, place(raw, setting), value::paths);
        is_written.then(paths)
    };
    let (proto, include, set) =
        (read(&ROUTE_PROTO), read(&ROUTE_INCLUDE), read(&ROUTE_DESCRIPTOR_SET));
    let mut wrong = |setting: &Setting, says: &str| {
        let says = format!("{} {says}", setting.name);
        checking.problem(place(raw, setting), says);
        None
    };
    if matches!(include, Some(Some(_))) && proto.is_none() {
        return wrong(
            &ROUTE_INCLUDE,
            "is where the imports of route.proto are; this route has no proto",
        );
    }
    let own = if proto.is_some() { &ROUTE_PROTO } else { &ROUTE_DESCRIPTOR_SET };
    if (proto.is_some() || set.is_some()) && !raw.values.contains_key(ROUTE_MESSAGE.name) {
        return wrong(
            own,
            "needs the message's full name beside it, such as message = \"fleet.Trip\"",
        );
    }
    match (proto, set) {
        (Some(_), Some(_)) => wrong(
            &ROUTE_DESCRIPTOR_SET,
            "and route.proto both name a schema; one of them is enough",
        ),
        (Some(files), None) => {
            let include = include.unwrap_or_else(|| Some(Vec::new()))?;
            Some(Source::Proto { files: files?, include })
        }
        (None, Some(paths)) => match <[PathBuf; 1]>::try_from(paths?) {
            Ok([path]) => Some(Source::DescriptorSet(path)),
            Err(_) => wrong(&ROUTE_DESCRIPTOR_SET, "takes one file"),
        },
        (None, None) => Some(Source::BuiltIn),
    }
}

/// `{ fields = ["device_id", "sequence"], window = "10m" }`.
fn dedupe(value: &Value) -> Result<Dedupe, String> {
    let right = || {
        "it takes { fields = [\"device_id\", \"sequence\"], window = \"10m\" }: fields that tell \
         messages apart, and how long a repeat is known"
            .to_owned()
    };
    let Value::Table(table) = value else { return Err(right()) };
    let (mut fields, mut window) = (None, None);
    for (name, value) in table {
        match (name.as_str(), value) {
            ("fields", Value::List(list)) => {
                let legal = |value: &Value| match value {
                    Value::Text(text) if identifiers(text) => Some(text.clone()),
                    _ => None,
                };
                fields = list.iter().map(legal).collect::<Option<Vec<_>>>();
            }
            ("window", value) => {
                let range = Duration::from_secs(1)..=Duration::from_hours(24);
                let of_window = |why| format!("of its window: {why}");
                window = Some(value::duration(value, &range).map_err(of_window)?);
            }
            _ => return Err(right()),
        }
    }
    match (fields, window) {
        (Some(fields), Some(window)) if !fields.is_empty() => Ok(Dedupe { fields, window }),
        _ => Err(right()),
    }
}

fn place(raw: &RawRoute, setting: &Setting) -> Place {
    let values: &Values = &raw.values;
    let origin = values.get(setting.name).map_or(&raw.origin, |found| &found.origin);
    Place::Line(origin.clone())
}

/// Characters that no client and no proxy writes in two ways (RFC 3986, unreserved).
fn legal_path(path: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(legal);
    let segments = path.strip_prefix('/').map(|rest| rest.split('/').all(segment));
    if segments != Some(true) || path.len() > 200 {
        return Err("it takes a path such as \"/endpoint\": a slash, then letters, digits and \
                    -._~, at most 200, without a slash at the end"
            .into());
    }
    if path.ends_with("/batch") {
        return Err("a last segment \"batch\" is reserved for batches of the path before it".into());
    }
    Ok(())
}

/// A full name of protobuf's grammar: identifiers with dots between.
fn legal_message(message: &str) -> Result<(), String> {
    if identifiers(message) {
        return Ok(());
    }
    Err(format!("it takes a message's full name, such as \"{BUILT_IN_MESSAGE}\""))
}

fn legal_key(key: &str) -> Result<(), String> {
    if key.is_empty() || identifiers(key) {
        return Ok(());
    }
    Err("it takes a field's path, such as \"device_id\" or \"header.vehicle\", or \"\" for none"
        .into())
}

fn legal_time(path: &str) -> Result<(), String> {
    if identifiers(path) {
        return Ok(());
    }
    Err(format!("it takes {RECEIVED:?}, or the path of a field such as \"fix_time\""))
}

fn identifiers(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    path.split('.').all(|name| {
        name.chars().all(legal)
            && !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
    })
}
