//! The keys of maps: their order, and how they are written.
//!
//! As in Go: numbers in the order of numbers, texts in that of their bytes, false before true. It does
//! not know the values.

use super::super::json;
use super::flaw::Flaw;
use super::scalar::zigzag;
use super::scan::{self, Raw};
use super::table::Kind;

/// The key of a map's entry. All keys of a map are of one kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MapKey<'b> {
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
    Text(&'b str),
}

impl<'b> MapKey<'b> {
    /// The key that was read; without one it is 0, false or empty.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "as in `scalar.rs`"
    )]
    pub(super) fn new(kind: Kind, raw: Option<Raw>, bytes: &'b [u8]) -> Result<Self, Flaw> {
        let raw = raw.unwrap_or(Raw::number(0));
        let bits = raw.bits();
        Ok(match kind {
            Kind::Text => {
                Self::Text(scan::text(raw.range().of(bytes)).map_err(|f| f.within("key"))?)
            }
            Kind::Bool => Self::Bool(bits != 0),
            Kind::Int32 | Kind::Sfixed32 => Self::Signed((bits as i32).into()),
            Kind::Sint32 => Self::Signed((zigzag(u64::from(bits as u32)) as i32).into()),
            Kind::Int64 | Kind::Sfixed64 => Self::Signed(bits as i64),
            Kind::Sint64 => Self::Signed(zigzag(bits)),
            Kind::Uint32 | Kind::Fixed32 => Self::Unsigned((bits as u32).into()),
            _ => Self::Unsigned(bits),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => json::string(out, text),
            Self::Signed(number) => json::big_integer(out, *number),
            Self::Unsigned(number) => json::big_integer(out, *number),
            Self::Bool(true) => out.extend_from_slice(b"\"true\""),
            Self::Bool(false) => out.extend_from_slice(b"\"false\""),
        }
    }
}
