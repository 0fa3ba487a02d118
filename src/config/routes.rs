//! The rules on `[[route]]`: which paths, topics, messages and keys there can be.
//!
//! That two routes have one path is found when the files are merged (`raw.rs`), whether the
//! message has the key in `parts.rs`.

use super::checking::Checking;
use super::parts;
use super::problem::Place;
use super::raw::{RawRoute, Values};
use super::schema::{BUILT_IN_MESSAGE, ROUTE_KEY, ROUTE_MESSAGE, ROUTE_PATH, ROUTE_TOPIC, Setting};
use super::value::{self, Value};
use crate::ingest::RouteConfig;
use crate::record::Route;

/// The routes as written, or the default one.
pub fn check(checking: &mut Checking<'_>) -> Vec<RouteConfig> {
    let raw = checking.raw;
    if raw.routes.is_empty() {
        let text = |setting: &Setting| setting.default.unwrap_or_default().to_owned();
        return vec![RouteConfig {
            path: text(&ROUTE_PATH),
            topic: text(&ROUTE_TOPIC),
            message: text(&ROUTE_MESSAGE),
            key: Some(text(&ROUTE_KEY)),
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
    let (message, key) = (message?, key?);
    // The default key is a field of the built-in message; another message may not have it.
    let key_is_meant = raw.values.contains_key(ROUTE_KEY.name) || message == BUILT_IN_MESSAGE;
    let key = (key_is_meant && !key.is_empty()).then_some(key);
    let route = RouteConfig { path: path?, topic: topic?, message, key };
    if let Some(objection) = parts::route(&route) {
        let refused = |_: &Value| Err::<(), _>(objection.says);
        let place = place(raw, objection.setting);
        checking.value(&raw.values, objection.setting, place, refused);
    }
    Some(route)
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

fn identifiers(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    path.split('.').all(|name| {
        name.chars().all(legal)
            && !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
    })
}
