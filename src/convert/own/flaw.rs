//! Why a message of an operator's own schema has no JSON, and where in it.
//!
//! It is made where the flaw is found, and learns its path on the way out. It knows nothing of the
//! schema but the names that it is told.

use super::super::ConvertError;

/// Characters of a text that are shown.
const SHOWN: usize = 60;

/// Why a message has no JSON. As small as a pointer: the way without one is the fast one.
#[derive(Debug)]
pub(super) struct Flaw(Box<Found>);

#[derive(Debug)]
struct Found {
    /// Names of fields, the innermost first.
    path: Vec<String>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Malformed(String),
    Impossible { found: String, expected: &'static str },
    TooLong,
}

impl Flaw {
    /// The bytes are not the message.
    pub(super) fn malformed(why: impl Into<String>) -> Self {
        Self::new(Kind::Malformed(why.into()))
    }

    /// The bytes are the message; what they say has no place in JSON.
    pub(super) fn impossible(found: impl Into<String>, expected: &'static str) -> Self {
        Self::new(Kind::Impossible { found: found.into(), expected })
    }

    /// A text of the message as it is repeated in a sentence: in quotes, and not for ever.
    pub(super) fn quoted(text: &str) -> String {
        match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{:?}...", &text[..end]),
            None => format!("{text:?}"),
        }
    }

    /// The JSON would be longer than a line may be.
    pub(super) fn too_long() -> Self {
        Self::new(Kind::TooLong)
    }

    fn new(kind: Kind) -> Self {
        Self(Box::new(Found { path: Vec::new(), kind }))
    }

    /// The same, in the field of that name.
    pub(super) fn within(mut self, field: &str) -> Self {
        self.0.path.push(field.to_owned());
        self
    }

    /// What the front door says.
    pub(super) fn into_error(self, message: &str) -> ConvertError {
        let Found { path, kind } = *self.0;
        let path: Vec<_> = path.iter().rev().map(String::as_str).collect();
        let path = path.join(".");
        match kind {
            Kind::Malformed(why) => {
                let why = if path.is_empty() { why } else { format!("{path}: {why}") };
                ConvertError::Malformed { message: message.to_owned(), why }
            }
            Kind::Impossible { found, expected } => {
                let field = if path.is_empty() { message.to_owned() } else { path };
                ConvertError::Invalid { field: field.into(), found, expected }
            }
            Kind::TooLong => ConvertError::TooLong { message: message.to_owned() },
        }
    }
}
