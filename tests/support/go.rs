//! What Go makes of messages: the fixtures as `go-json/` writes them, and the comparison of the
//! differences that there are with those that are meant.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What Go makes of one message.
#[derive(Debug, Deserialize)]
pub struct Fixture {
    pub name: String,
    message: String,
    /// Why the bytes are not taken for a message, if they are not.
    refused: Option<String>,
    /// The line of both libraries, where it is one.
    both: Option<String>,
    jsonpb: Option<Outcome>,
    protojson: Option<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Line(String),
    Error(String),
}

/// The fixtures of a file.
pub fn fixtures(lines: &str) -> Vec<Fixture> {
    lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

impl Fixture {
    /// The message as a device sends it.
    pub fn bytes(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.message).unwrap()
    }

    /// Whether Go does not even take the bytes for a message.
    pub fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// The line of the library that a receiver used before, or why it gives none.
    pub fn jsonpb(&self) -> Result<&str, &str> {
        self.gos(self.jsonpb.as_ref())
    }

    /// The line of the library of today, or why it gives none.
    pub fn protojson(&self) -> Result<&str, &str> {
        self.gos(self.protojson.as_ref())
    }

    /// Another message, with the lines that Go would give for it.
    pub fn with(self, message: &[u8], change: impl Fn(String) -> String) -> Self {
        let outcome = |outcome| match outcome {
            Outcome::Line(line) => Outcome::Line(change(line)),
            error @ Outcome::Error(_) => error,
        };
        Self {
            message: BASE64_STANDARD.encode(message),
            both: self.both.map(&change),
            jsonpb: self.jsonpb.map(outcome),
            protojson: self.protojson.map(outcome),
            ..self
        }
    }

    fn gos<'a>(&'a self, outcome: Option<&'a Outcome>) -> Result<&'a str, &'a str> {
        match (outcome, &self.both) {
            (Some(Outcome::Line(line)), _) | (None, Some(line)) => Ok(line),
            (Some(Outcome::Error(why)), _) => Err(why),
            (None, None) => Err(self.refused.as_deref().expect("neither an answer nor a refusal")),
        }
    }
}

/// Holds the differences that there are to those that are named, by the message.
pub fn assert_named<V: Debug + PartialEq>(
    differing: &BTreeMap<String, V>,
    named: &BTreeMap<String, V>,
) {
    let only = |these: &BTreeMap<String, V>, those: &BTreeMap<String, V>| {
        let other = these.iter().filter(|(name, verdict)| those.get(*name) != Some(*verdict));
        other.map(|(name, verdict)| format!("{name}: {verdict:?}")).collect::<Vec<_>>()
    };
    let (unnamed, gone) = (only(differing, named), only(named, differing));
    assert!(unnamed.is_empty(), "these differ and are not named: {unnamed:#?}");
    assert!(gone.is_empty(), "these are named and do not differ so: {gone:#?}");
}
