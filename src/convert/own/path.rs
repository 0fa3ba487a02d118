//! Which fields of a message are wanted for themselves (the Kafka key, the event time), by their paths.
//!
//! A path is names with dots between, as in the schema: `header.vehicle`. All but the last name a
//! message that can be there once. It knows no values.

use super::super::schema::SchemaError;
use super::table::{Kind, MessageId, Repeat, Shape, Tables};

/// What a path may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// A single value: a number, a text, an enum.
    Scalar,
    /// A `google.protobuf.Timestamp`.
    Time,
}

/// The wanted fields of a message and of those in it.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    children: Vec<(usize, Target)>,
}

#[derive(Debug)]
enum Target {
    /// Fields of the message there.
    Inner(Wanted),
    /// The field itself, under this number.
    Leaf(usize),
}

/// What is wanted of one field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Here<'a> {
    /// Under which number its value is wanted.
    pub leaf: Option<usize>,
    /// What is wanted of the message that it is.
    pub inner: Option<&'a Wanted>,
}

impl Wanted {
    /// What is wanted of the field at that place.
    pub(super) fn at(&self, place: usize) -> Here<'_> {
        match self.children.iter().find(|(known, _)| *known == place) {
            Some((_, Target::Leaf(number))) => Here { leaf: Some(*number), inner: None },
            Some((_, Target::Inner(wanted))) => Here { leaf: None, inner: Some(wanted) },
            None => Here::default(),
        }
    }

    /// Adds the field of that path; it is wanted under the number given back, which is `next` where it
    /// was not wanted yet.
    pub(super) fn add(
        &mut self,
        tables: &Tables,
        root: MessageId,
        path: &str,
        leaf: Leaf,
        next: usize,
    ) -> Result<usize, SchemaError> {
        let message = &tables.messages[root];
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        let names = || message.fields.iter().map(|field| field.name.as_str());
        let Some(place) = names().position(|known| known == name) else {
            return Err(SchemaError::unknown_field(&message.name, name, names()));
        };
        let field = &message.fields[place];
        let is = |kind| SchemaError::WrongField {
            message: message.name.clone(),
            field: name.to_owned(),
            kind,
            wanted: if rest.is_some() { "a message" } else { leaf.name() },
        };
        match field.repeat {
            Repeat::List => return Err(is("a list")),
            Repeat::Map => return Err(is("a map")),
            Repeat::Implicit | Repeat::Explicit => {}
        }
        let inner = match field.kind {
            Kind::Message(id) => Some((id, tables.messages[id].shape)),
            _ => None,
        };
        let here = self.children.iter_mut().find(|(known, _)| *known == place);
        match (rest, inner) {
            (Some(rest), Some((id, Shape::Object))) => {
                if let Some((_, Target::Inner(wanted))) = here {
                    return wanted.add(tables, id, rest, leaf, next);
                }
                let mut wanted = Self::default();
                let number = wanted.add(tables, id, rest, leaf, next)?;
                self.children.push((place, Target::Inner(wanted)));
                Ok(number)
            }
            (Some(_), Some(_)) => Err(is("a message whose JSON is a single value")),
            (Some(_), None) => Err(is("a single value")),
            (None, inner) => {
                let fits = match leaf {
                    Leaf::Scalar => inner.is_none(),
                    Leaf::Time => inner.is_some_and(|(_, shape)| shape == Shape::Timestamp),
                };
                if !fits {
                    return Err(is(if inner.is_some() { "a message" } else { "a single value" }));
                }
                if let Some((_, Target::Leaf(number))) = here {
                    return Ok(*number);
                }
                self.children.push((place, Target::Leaf(next)));
                Ok(next)
            }
        }
    }
}

impl Leaf {
    fn name(self) -> &'static str {
        match self {
            Self::Scalar => "a single value (a number, a text, an enum)",
            Self::Time => "a google.protobuf.Timestamp",
        }
    }
}
