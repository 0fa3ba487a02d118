//! How settings are taken from what was written: one value at a time, problems collected.
//!
//! Nothing is taken that is not right, and nothing that is wrong goes untold. Which settings
//! there are and what their bounds are is the callers' to know.

use super::problem::{Place, Problem};
use super::raw::{RawConfig, Values};
use super::schema::Setting;
use super::value::{self, Value};
use std::sync::Arc;
use std::time::Duration;

/// A configuration on its way to being checked, and what is wrong so far.
#[derive(Debug)]
pub struct Checking<'a> {
    pub raw: &'a RawConfig,
    /// The configuration file, for what is in no line.
    pub main: &'a Arc<str>,
    pub problems: Vec<Problem>,
}

impl Checking<'_> {
    /// A number of bytes, both bounds included.
    pub fn bytes(&mut self, setting: &Setting, least: u64, most: u64) -> Option<usize> {
        let size = self.setting(setting, |value| value::size(value, &(least..=most)))?;
        usize::try_from(size).ok()
    }

    /// A duration, the bounds in milliseconds and included.
    pub fn duration(&mut self, setting: &Setting, least: u64, most: u64) -> Option<Duration> {
        let range = Duration::from_millis(least)..=Duration::from_millis(most);
        self.setting(setting, |value| value::duration(value, &range))
    }

    /// One of several words; those without a meaning are known, but not built yet.
    pub fn choice<T: Copy>(&mut self, setting: &Setting, words: &[(&str, Option<T>)]) -> Option<T> {
        self.setting(setting, |value| one_of(value, words))
    }

    /// A setting of the tables, or its default, parsed; `None` once it is a problem.
    pub fn setting<T>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let raw = self.raw;
        let place = self.place(setting);
        self.value(&raw.values, setting, place, parse)
    }

    /// The same among the values of a route.
    pub fn value<T>(
        &mut self,
        values: &Values,
        setting: &Setting,
        place: Place,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let written = values.get(setting.name).map(|found| found.value.clone());
        let value = written.or_else(|| setting.default_value())?;
        let parsed = parse(&value);
        parsed
            .map_err(|right| self.problem(place, format!("{} is {value}; {right}", setting.name)))
            .ok()
    }

    /// The setting's line, or the file in which it is not.
    pub fn place(&self, setting: &Setting) -> Place {
        match self.raw.values.get(setting.name) {
            Some(found) => Place::Line(found.origin.clone()),
            None => Place::File(Arc::clone(self.main)),
        }
    }

    /// Notes what is wrong.
    pub fn problem(&mut self, place: Place, says: String) {
        self.problems.push(Problem { place, says });
    }
}

/// One of several words; those without a meaning are known, but not built yet.
pub fn one_of<T: Copy>(value: &Value, words: &[(&str, Option<T>)]) -> Result<T, String> {
    let built = words.iter().filter(|(_, meaning)| meaning.is_some());
    let built: Vec<_> = built.map(|(word, _)| format!("\"{word}\"")).collect();
    let built = built.join(" or ");
    let word = words.iter().find(|(word, _)| *value == Value::Text((*word).into()));
    match word {
        Some((_, Some(meaning))) => Ok(*meaning),
        Some((_, None)) => Err(format!("that is not built yet: write {built}")),
        None => Err(format!("it takes {built}")),
    }
}
