//! What stands in the files, merged, each value with its line: names are known to be right,
//! values are as they were written.
//!
//! Later files go over earlier ones: tables key by key, a route over the one of the same
//! path, other routes behind. Every unknown name and every line that is not TOML is found,
//! not only the first. It does not know which values are right.

use super::files::Source;
use super::problem::{Origin, Place, Problem};
use super::schema::{self, ROUTE_PATH};
use super::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// A value and the line of its key.
#[derive(Debug, Clone)]
pub struct Found {
    pub value: Value,
    pub origin: Origin,
}

/// Values by the setting's whole name (`spool.max_size`).
pub type Values = BTreeMap<&'static str, Found>;

/// One `[[route]]`.
#[derive(Debug, Clone)]
pub struct RawRoute {
    /// Its first line.
    pub origin: Origin,
    pub values: Values,
}

/// All files, merged.
#[derive(Debug, Default)]
pub struct RawConfig {
    pub values: Values,
    /// In the order in which their paths were first mentioned.
    pub routes: Vec<RawRoute>,
    /// librdkafka's properties by their dotted names.
    pub kafka: BTreeMap<String, Found>,
    /// Lines that are not TOML. What was read of them, if anything, means nothing: that they
    /// are broken is all that is told of them.
    pub broken: Vec<Place>,
}

type Entries<'i> = DeTable<'i>;

/// Merges the files in the order given.
pub fn merge(sources: &[Source]) -> (RawConfig, Vec<Problem>) {
    let mut raw = RawConfig::default();
    let mut problems = Vec::new();
    for source in sources {
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        let mut reading = Reading { source, problems: Vec::new() };
        let mut broken: Vec<Place> = Vec::new();
        for error in errors {
            let at = error.span().map_or(source.text.len(), |span| span.start);
            let place = Place::Line(reading.origin(at));
            if !broken.contains(&place) {
                let message = error.message().replace(char::is_control, " ");
                let says = format!("this line is not TOML: {message}{}", hint(source, at));
                problems.push(Problem { place: place.clone(), says });
                broken.push(place);
            }
        }
        let file = reading.read(document.get_ref());
        problems.extend(reading.problems.into_iter().filter(|p| !broken.contains(&p.place)));
        raw.broken.append(&mut broken);
        raw.lay_over(file);
    }
    (raw, problems)
}

impl RawConfig {
    fn lay_over(&mut self, later: Self) {
        self.values.extend(later.values);
        self.kafka.extend(later.kafka);
        for route in later.routes {
            let path = route.path();
            match self.routes.iter_mut().find(|old| path.is_some() && old.path() == path) {
                Some(old) => *old = route,
                None => self.routes.push(route),
            }
        }
    }
}

impl RawRoute {
    fn path(&self) -> Option<&Value> {
        self.values.get(ROUTE_PATH.name).map(|found| &found.value)
    }
}

/// The mistake behind most lines that are not TOML: `max_size = 2GiB`.
fn hint(source: &Source, at: usize) -> &'static str {
    let line = source.text.lines().nth(line_of(source, at) - 1).unwrap_or_default();
    match line.split_once('=') {
        Some((_, value))
            if value.contains(char::is_alphabetic) && !value.contains(['"', '\'', '[', '{']) =>
        {
            "; texts, sizes and durations stand in quotes"
        }
        _ => "",
    }
}

fn line_of(source: &Source, at: usize) -> usize {
    let before = source.text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// One file on its way to a [`RawConfig`].
struct Reading<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn origin(&self, at: usize) -> Origin {
        Origin { file: Arc::clone(&self.source.file), line: line_of(self.source, at) }
    }

    fn wrong(&mut self, at: usize, says: String) {
        self.problems.push(Problem { place: Place::Line(self.origin(at)), says });
    }

    fn read(&mut self, document: &Entries<'_>) -> RawConfig {
        let mut raw = RawConfig::default();
        for (key, value) in document {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match (name, value.get_ref()) {
                ("route", DeValue::Array(routes)) => {
                    for route in routes {
                        match route.get_ref() {
                            DeValue::Table(table) => {
                                self.route(table, route.span().start, &mut raw.routes);
                            }
                            _ => self.wrong(at, "route takes tables: write [[route]]".into()),
                        }
                    }
                }
                ("route", _) => {
                    self.wrong(at, "route may be there many times: write [[route]]".into());
                }
                ("kafka", DeValue::Table(table)) => self.kafka("", table, &mut raw.kafka),
                (name, DeValue::Table(table)) if schema::TABLES.contains(&name) => {
                    self.table(name, table, &mut raw.values);
                }
                (name, _) if schema::TABLES.contains(&name) => {
                    self.wrong(
                        at,
                        format!("{name} is a table: write [{name}] and its settings below"),
                    );
                }
                (name, _) => {
                    let instead = schema::instead_of_table(name);
                    self.wrong(at, format!("{} is not a setting; {instead}", shown_key(name)));
                }
            }
        }
        raw
    }

    fn table(&mut self, table: &str, entries: &Entries<'_>, values: &mut Values) {
        for (key, value) in entries {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if let Some(setting) = schema::find(table, name) {
                let found = Found { value: plain(value.get_ref()), origin: self.origin(at) };
                values.insert(setting.name, found);
            } else {
                let instead = schema::instead_of_key(table, name);
                let name = shown_key(name);
                self.wrong(at, format!("{table}.{name} is not a setting; {instead}"));
            }
        }
    }

    fn route(&mut self, entries: &Entries<'_>, at: usize, routes: &mut Vec<RawRoute>) {
        let mut route = RawRoute { origin: self.origin(at), values: Values::new() };
        self.table("route", entries, &mut route.values);
        let path = route.path();
        let twin = routes.iter().find(|old| path.is_some() && old.path() == path);
        if let (Some(twin), Some(found)) = (twin, route.values.get(ROUTE_PATH.name)) {
            let says = format!(
                "route.path is {}; the route at line {} has that path already",
                found.value, twin.origin.line
            );
            let place = Place::Line(found.origin.clone());
            self.problems.push(Problem { place, says });
        }
        routes.push(route);
    }

    /// `sasl.kerberos.keytab = ...` is three nested tables to TOML, and one name to librdkafka.
    fn kafka(&mut self, above: &str, entries: &Entries<'_>, found: &mut BTreeMap<String, Found>) {
        for (key, value) in entries {
            let at = key.span().start;
            let name = match above {
                "" => key.get_ref().to_string(),
                above => format!("{above}.{}", key.get_ref()),
            };
            let value = match value.get_ref() {
                DeValue::Table(table) => {
                    self.kafka(&name, table, found);
                    continue;
                }
                other => plain(other),
            };
            let new = Found { value, origin: self.origin(at) };
            if let Some(old) = found.insert(name.clone(), new) {
                let (name, line) = (shown_key(&name), old.origin.line);
                self.wrong(
                    at,
                    format!("kafka.{name} is set here and at line {line}; once is enough"),
                );
            }
        }
    }
}

/// A key may be any text in quotes; shown, it is one short line.
pub fn shown_key(key: &str) -> String {
    let short: String = key.chars().take(60).collect();
    short.escape_debug().to_string()
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        // What does not fit goes on as it was written: it is out of every range anyway.
        DeValue::Integer(number) => Value::Number(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()),
        ),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Array(values) => {
            Value::List(values.iter().map(|value| plain(value.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let entries = table.iter();
            let plain =
                entries.map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())));
            Value::Table(plain.collect())
        }
    }
}
