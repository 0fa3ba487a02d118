//! Where a route's message comes from: built in, or from the operator's own schema, read at the start.
//!
//! A schema is `.proto` files, compiled here without any other program, or a descriptor set as `protoc
//! --descriptor_set_out` (with `--include_imports`) or `buf build` writes it. What cannot be used is told
//! with the file and, where one is at fault, the line. It does not know how messages are converted.

use super::message::MESSAGE;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// That of `tutorial.REALTIMEGPS`.
    BuiltIn,
    /// `.proto` files.
    Proto {
        /// Those that the message and what extends it stand in.
        files: Vec<PathBuf>,
        /// Directories in which imports are looked for, in this order. Without any it is each file's own.
        include: Vec<PathBuf>,
    },
    /// A file with a `google.protobuf.FileDescriptorSet`.
    DescriptorSet(PathBuf),
}

/// Why a route's schema, message or fields cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// There is no such message.
    #[error("no message {found:?} is known; {instead}")]
    UnknownMessage {
        /// The name that was asked for.
        found: String,
        /// What to do about it: `did you mean "fleet.Trip"?`
        instead: String,
    },
    /// The message has no such field.
    #[error("the message {message} has no field {found:?}; did you mean {nearest:?}?")]
    UnknownField {
        /// The message's full name.
        message: String,
        /// The name that was asked for.
        found: String,
        /// The name most like it.
        nearest: String,
    },
    /// The field is there, and cannot be used for this.
    #[error("the field {field:?} of the message {message} is {kind}; it must be {wanted}")]
    WrongField {
        /// The message's full name.
        message: String,
        /// The field's name in it.
        field: String,
        /// What it is: `a map`.
        kind: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A `.proto` file is not right.
    #[error("{0}")]
    Proto(ProtoError),
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no descriptor set.
    #[error("{path} is not a descriptor set: {why}")]
    Set {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The schema has something that is not supported.
    #[error("{what} in {file} cannot be used: {why}")]
    Unsupported {
        /// The file, as imports name it.
        file: String,
        /// The message or field.
        what: String,
        /// What it is, and what would be right.
        why: String,
    },
}

/// What is wrong with a `.proto` file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtoError {
    /// `fleet.proto:12:5`, as far as it is known.
    pub place: Option<String>,
    /// What is wrong there.
    pub says: String,
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.says),
            None => f.write_str(&self.says),
        }
    }
}

/// Reads a schema from the disk, and finds the message in it.
pub(super) fn message(
    source: &Source,
    name: &str,
) -> Result<Option<MessageDescriptor>, SchemaError> {
    let pool = match source {
        Source::BuiltIn if name == MESSAGE => return Ok(None),
        Source::BuiltIn => {
            let instead = format!(
                "{MESSAGE:?} is built in; for another one name its schema in proto or descriptor_set"
            );
            return Err(SchemaError::UnknownMessage { found: name.to_owned(), instead });
        }
        Source::Proto { files, include } => compile(files, include)?,
        Source::DescriptorSet(path) => read_set(path)?,
    };
    match pool.get_message_by_name(name) {
        Some(message) if !message.is_map_entry() => Ok(Some(message)),
        _ => Err(unknown(&pool, name)),
    }
}

impl SchemaError {
    /// The message has no field called `found`, but perhaps one of these was meant.
    pub(super) fn unknown_field<'a>(
        message: &str,
        found: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let nearest = nearest(found, known).unwrap_or_default().to_owned();
        Self::UnknownField { message: message.to_owned(), found: found.to_owned(), nearest }
    }
}

/// The name that is most like it.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, name))
}

fn unknown(pool: &DescriptorPool, name: &str) -> SchemaError {
    let known: Vec<_> = pool.all_messages().filter(|message| !message.is_map_entry()).collect();
    let own = known.iter().map(MessageDescriptor::full_name);
    let own = own.filter(|name| !name.starts_with("google.protobuf."));
    let instead = match nearest(name, own) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => "the schema has no message".to_owned(),
    };
    SchemaError::UnknownMessage { found: name.to_owned(), instead }
}

fn compile(files: &[PathBuf], include: &[PathBuf]) -> Result<DescriptorPool, SchemaError> {
    let own: Vec<PathBuf> = files.iter().filter_map(|file| file.parent().map(Into::into)).collect();
    let include = if include.is_empty() { &own } else { include };
    // protox says of a file that is not there that it is in no include path.
    for path in files.iter().chain(include) {
        let opened = fs::File::open(path);
        opened.map_err(|source| SchemaError::Read { path: path.clone(), source })?;
    }
    let failed = |error: protox::Error| {
        SchemaError::Proto(edition(&error, include).unwrap_or_else(|| located(&error)))
    };
    let mut compiler = protox::Compiler::new(include).map_err(failed)?;
    compiler.include_imports(true);
    compiler.open_files(files).map_err(failed)?;
    Ok(compiler.descriptor_pool())
}

/// protox tells the place of an error in its debug text, `fleet.proto:12:5: why`, and only there.
fn located(error: &protox::Error) -> ProtoError {
    let says = error.to_string();
    let debug = format!("{error:?}");
    let place = debug.strip_suffix(&says).and_then(|place| place.strip_suffix(": "));
    let place = place.or_else(|| error.file().filter(|file| !says.contains(file)));
    ProtoError { place: place.map(ToOwned::to_owned), says }
}

/// To protox an edition is a word that it did not expect.
fn edition(error: &protox::Error, include: &[PathBuf]) -> Option<ProtoError> {
    let name = error.file().filter(|_| error.is_parse())?;
    let text = include.iter().find_map(|dir| fs::read_to_string(dir.join(name)).ok())?;
    let mut rest = text.as_str();
    let statement = loop {
        rest = rest.trim_start();
        rest = if let Some(comment) = rest.strip_prefix("//") {
            comment.split_once('\n').map_or("", |(_, behind)| behind)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, behind)| behind)
        } else {
            break rest;
        };
    };
    let value = statement.strip_prefix("edition")?.trim_start();
    if !value.starts_with('=') {
        return None;
    }
    let before = &text[..text.len() - statement.len()];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let says = "editions are not supported; syntax = \"proto3\" and \"proto2\" are".to_owned();
    Some(ProtoError { place: Some(format!("{name}:{line}:{column}")), says })
}

fn read_set(path: &Path) -> Result<DescriptorPool, SchemaError> {
    let read = fs::read(path);
    let bytes = read.map_err(|source| SchemaError::Read { path: path.to_owned(), source })?;
    let wrong = |why: String| SchemaError::Set { path: path.to_owned(), why };
    let pool = DescriptorPool::decode(&*bytes).map_err(|error| wrong(error.to_string()))?;
    if pool.all_messages().len() == 0 {
        return Err(wrong("no message stands in it".to_owned()));
    }
    Ok(pool)
}
