//! Single values: the text of one in JSON, to its bytes with its field's number before them.
//!
//! A number is read from its digits, not by way of a `f64`, so that none becomes another one. What is
//! wrong is said without its place, which the caller knows.

use super::super::schema::nearest;
use super::{SHOWN, shortened};
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{EnumDescriptor, Kind};
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::str::FromStr;

/// With or without the `=` at the end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Appends the value that is written as `json`, a JSON value without space around it.
pub(super) fn write(kind: &Kind, number: u32, json: &str, out: &mut Vec<u8>) -> Result<(), String> {
    macro_rules! put {
        ($type:ident, $value:expr) => {
            prost::encoding::$type::encode(number, &$value, out)
        };
    }
    match kind {
        Kind::Double => put!(double, float::<f64>(json)?),
        Kind::Float => put!(float, float::<f32>(json)?),
        Kind::Int32 => put!(int32, integer(json)?),
        Kind::Int64 => put!(int64, integer(json)?),
        Kind::Uint32 => put!(uint32, integer(json)?),
        Kind::Uint64 => put!(uint64, integer(json)?),
        Kind::Sint32 => put!(sint32, integer(json)?),
        Kind::Sint64 => put!(sint64, integer(json)?),
        Kind::Fixed32 => put!(fixed32, integer(json)?),
        Kind::Fixed64 => put!(fixed64, integer(json)?),
        Kind::Sfixed32 => put!(sfixed32, integer(json)?),
        Kind::Sfixed64 => put!(sfixed64, integer(json)?),
        Kind::Bool => put!(bool, boolean(json)?),
        Kind::String => put!(string, text(json)?),
        Kind::Bytes => put!(bytes, bytes(json)?),
        Kind::Enum(names) => put!(int32, enumeration(names, json)?),
        Kind::Message(_) => return Err("a message is no single value".to_owned()),
    }
    Ok(())
}

/// Appends the key of a map's entry, which JSON writes as a text whatever it is.
pub(super) fn write_key(
    kind: &Kind,
    number: u32,
    key: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    match kind {
        Kind::String => {
            prost::encoding::string::encode(number, &key.to_owned(), out);
            Ok(())
        }
        // What is not quoted is read as a number, or as true or false.
        _ if is_number(key) || matches!(key, "true" | "false") => write(kind, number, key, out),
        _ => Err(expected("a key that is a number, or true or false", key)),
    }
}

fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found {}", shortened(found, SHOWN))
}

/// What stands between the quotes; `None` where it has none.
fn quoted(json: &str) -> Result<Option<String>, String> {
    if !json.starts_with('"') {
        return Ok(None);
    }
    serde_json::from_str(json).map(Some).map_err(|error| super::said(&error))
}

/// The text of a number, which may stand in quotes.
fn unquoted(json: &str) -> Result<Cow<'_, str>, String> {
    Ok(quoted(json)?.map_or(Cow::Borrowed(json), Cow::Owned))
}

/// Whether it is a number as JSON writes them.
fn is_number(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    (text.starts_with('-') || is_digit(bytes.first()))
        && is_digit(bytes.last())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// A floating-point number in either width.
pub(super) trait Float: FromStr + Copy + Into<f64> {}
impl Float for f32 {}
impl Float for f64 {}

fn float<F: Float>(json: &str) -> Result<F, String> {
    let text = unquoted(json)?;
    let is_special = matches!(&*text, "NaN" | "Infinity" | "-Infinity");
    if !is_special && !is_number(&text) {
        return Err(expected("a number", json));
    }
    // Rust reads these three as they are meant.
    let number: Option<F> = text.parse().ok();
    let fits = number.filter(|number| is_special || (*number).into().is_finite());
    let bits = 8 * size_of::<F>();
    fits.ok_or_else(|| expected(&format!("a number that {bits} bits can hold"), json))
}

/// A whole number of a type's range.
trait Integer: FromStr {
    const MOST: &str;
}

impl Integer for i32 {
    const MOST: &str = "a whole number from -2147483648 to 2147483647";
}

impl Integer for u32 {
    const MOST: &str = "a whole number from 0 to 4294967295";
}

impl Integer for i64 {
    const MOST: &str = "a whole number from -9223372036854775808 to 9223372036854775807";
}

impl Integer for u64 {
    const MOST: &str = "a whole number from 0 to 18446744073709551615";
}

fn integer<I: Integer>(json: &str) -> Result<I, String> {
    let text = unquoted(json)?;
    let number = is_number(&text).then(|| {
        let plain = text.parse().ok();
        plain.or_else(|| whole(&text)?.parse().ok())
    });
    number.flatten().ok_or_else(|| expected(I::MOST, json))
}

/// The digits of a number that is written with a point or an exponent, where it is whole and of at
/// most twenty digits.
fn whole(text: &str) -> Option<String> {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (decimal, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (before, behind) = decimal.split_once('.').unwrap_or((decimal, ""));
    let digits = [before, behind].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    // Neither is longer than a message.
    let (all, behind) = (i64::try_from(digits.len()).ok()?, i64::try_from(behind.len()).ok()?);
    let dropped = all - i64::try_from(significant.len()).ok()?;
    let zeros = exponent.parse::<i64>().ok()?.checked_sub(behind)?.checked_add(dropped)?;
    let zeros = usize::try_from(zeros).ok()?;
    let significant = significant.trim_start_matches('0');
    if zeros.saturating_add(significant.len()) > 20 {
        return None;
    }
    Some(format!("{sign}{significant}{}", "0".repeat(zeros)))
}

fn boolean(json: &str) -> Result<bool, String> {
    json.parse().map_err(|_| expected("true or false", json))
}

pub(super) fn text(json: &str) -> Result<String, String> {
    quoted(json)?.ok_or_else(|| expected("a text", json))
}

fn bytes(json: &str) -> Result<Vec<u8>, String> {
    // Either alphabet.
    let text = text(json)?.replace('-', "+").replace('_', "/");
    BASE64.decode(text).map_err(|_| expected("bytes in base64", json))
}

/// Whether it is the enum of which the only value is `null`.
pub(super) fn is_null(names: &EnumDescriptor) -> bool {
    names.full_name() == "google.protobuf.NullValue"
}

fn enumeration(names: &EnumDescriptor, json: &str) -> Result<i32, String> {
    if json == "null" && is_null(names) {
        return Ok(0);
    }
    let Some(name) = quoted(json)? else { return integer(json) };
    if let Some(value) = names.get_value_by_name(&name) {
        return Ok(value.number());
    }
    let shown = shortened(&name, SHOWN);
    let values: Vec<_> = names.values().collect();
    let known = values.iter().map(prost_reflect::EnumValueDescriptor::name);
    let nearest = nearest(&shown, known).unwrap_or_default();
    let kind = names.name();
    Err(format!("{kind} has no value {shown:?}; did you mean {nearest:?}?"))
}
