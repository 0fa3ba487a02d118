//! How a single value is written, by its type: the bits or the bytes that were read, as JSON.
//!
//! It does not know fields.

use super::super::json;
use super::flaw::Flaw;
use super::scan::{self, Raw};
use super::table::{Enum, Kind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Appends a value. Texts and bytes stand in the bytes of their message.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "protobuf's rule: of a varint that is too large for its field the low bits count"
)]
pub(super) fn write(
    out: &mut Vec<u8>,
    enums: &[Enum],
    kind: Kind,
    raw: Raw,
    bytes: &[u8],
) -> Result<(), Flaw> {
    let bits = raw.bits();
    match kind {
        Kind::Double => json::float(out, f64::from_bits(bits)),
        Kind::Float => json::float(out, f32::from_bits(bits as u32)),
        Kind::Int32 | Kind::Sfixed32 => json::small_integer(out, bits as i32),
        Kind::Uint32 | Kind::Fixed32 => json::small_integer(out, bits as u32),
        Kind::Sint32 => json::small_integer(out, zigzag(u64::from(bits as u32)) as i32),
        Kind::Int64 | Kind::Sfixed64 => json::big_integer(out, bits as i64),
        Kind::Uint64 | Kind::Fixed64 => json::big_integer(out, bits),
        Kind::Sint64 => json::big_integer(out, zigzag(bits)),
        Kind::Bool => json::boolean(out, bits != 0),
        Kind::Text => json::string(out, scan::text(raw.range().of(bytes))?),
        Kind::Bytes => base64(out, raw.range().of(bytes)),
        Kind::Enum(id) => match enums[id].name(bits as i32) {
            Some(name) => out.extend_from_slice(name),
            None => json::small_integer(out, bits as i32),
        },
        // Those are written by `transcode.rs`.
        Kind::Message(_) => {}
    }
    Ok(())
}

/// Whether a value of a field without presence counts as unset. -0 is not 0, as in Go.
#[allow(clippy::cast_possible_truncation, reason = "of a value of 32 bits those count")]
pub(super) fn is_default(kind: Kind, raw: Raw) -> bool {
    match kind {
        Kind::Text | Kind::Bytes | Kind::Message(_) => raw.range().is_empty(),
        Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Enum(_) => raw.bits() as u32 == 0,
        _ => raw.bits() == 0,
    }
}

/// A signed number that was written so that small negative ones are short.
#[allow(clippy::cast_possible_wrap, reason = "the half of a u64 is an i64")]
pub(super) fn zigzag(bits: u64) -> i64 {
    (bits >> 1) as i64 ^ -((bits & 1) as i64)
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // There is room for all of it: four characters for each three bytes that have begun.
    let written = BASE64_STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'"');
}
