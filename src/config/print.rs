//! The configuration in effect, as TOML: every value with the line it came from.
//!
//! What is printed means the same when it is read back, except for secrets, which are
//! masked. It does not know whether values are right: only a checked configuration comes here.

use super::raw::{Found, RawConfig, Values};
use super::schema::{self, BOX_NAME, ROUTE_DESCRIPTOR_SET, ROUTE_KEY, ROUTE_PROTO, Setting};
use super::value::Value;
use crate::forward::{MASK, is_secret};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The whole configuration; `box_name` is the one in effect.
pub fn to_toml(raw: &RawConfig, box_name: &str) -> String {
    let mut out = String::new();
    for table in schema::TABLES {
        match table {
            "route" if raw.routes.is_empty() => route(&mut out, &Values::new()),
            "route" => raw.routes.iter().for_each(|written| route(&mut out, &written.values)),
            "kafka" => kafka(&mut out, &raw.kafka),
            _ => {
                heading(&mut out, &format!("[{table}]"));
                for setting in schema::SETTINGS.into_iter().filter(|s| s.table() == table) {
                    let host = Value::Text(box_name.to_owned());
                    let (default, origin) = match setting.name {
                        name if name == BOX_NAME.name => (Some(host), "default: the host name"),
                        _ => (setting.default_value(), "default"),
                    };
                    entry(&mut out, setting, &raw.values, default, origin);
                }
            }
        }
    }
    out
}

fn route(out: &mut String, values: &Values) {
    heading(out, "[[route]]");
    let own_schema = [&ROUTE_PROTO, &ROUTE_DESCRIPTOR_SET];
    let own_schema = own_schema.iter().any(|setting| values.contains_key(setting.name));
    for setting in schema::ROUTE_SETTINGS {
        let default = match setting.name {
            // The default key is a field of the built-in message.
            name if name == ROUTE_KEY.name && own_schema => Some(Value::Text(String::new())),
            _ => setting.default_value(),
        };
        entry(out, setting, values, default, "default");
    }
}

fn heading(out: &mut String, heading: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(heading);
    out.push('\n');
}

fn entry(out: &mut String, setting: &Setting, values: &Values, default: Option<Value>, from: &str) {
    match (values.get(setting.name), default) {
        (Some(found), _) => line(out, setting.key(), &found.value, &found.origin.to_string()),
        (None, Some(value)) => line(out, setting.key(), &value, from),
        (None, None) => {}
    }
}

fn line(out: &mut String, key: &str, value: &Value, from: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{key} = {}  # {from}", written(value));
}

/// As TOML has it.
fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Number(digits) => digits.clone(),
        Value::Flag(flag) => flag.to_string(),
        Value::List(values) => {
            let values: Vec<_> = values.iter().map(written).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(table) => {
            let entry = |(name, value): &(String, Value)| format!("{name} = {}", written(value));
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Other(kind) => format!("{kind:?}"),
    }
}

fn kafka(out: &mut String, properties: &BTreeMap<String, Found>) {
    heading(out, "[kafka]");
    let masked = Value::Text(MASK.to_owned());
    for (name, found) in properties {
        let value = if is_secret(name) { &masked } else { &found.value };
        line(out, &kafka_key(name, properties), value, &found.origin.to_string());
    }
}

/// Dotted as in librdkafka's reference. In quotes where TOML would take a property for a
/// table (`a` beside `a.b`), or where the name is not made of plain words.
fn kafka_key(name: &str, properties: &BTreeMap<String, Found>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let words = name.split('.').all(|word| !word.is_empty() && word.chars().all(plain));
    let clash = properties.keys().any(|other| {
        let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
        below(other, name) || below(name, other)
    });
    if words && !clash { name.to_owned() } else { toml::Value::from(name).to_string() }
}
