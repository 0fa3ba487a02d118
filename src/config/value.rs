//! One value of a configuration file, and what it means as a size, a duration, an address.
//!
//! Each function takes any value and answers with the typed one or with what would be
//! right, as the second half of the sentence `spool.max_size is "lots"; it takes ...`. It
//! does not know which setting the value belongs to.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A value as it stands in the file. Nothing can be in a file that has no place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    /// Decimal digits with an optional sign: a number may be larger than any type.
    Number(String),
    Flag(bool),
    /// Several in brackets.
    List(Vec<Value>),
    /// Names and values, as they stand in it.
    Table(Vec<(String, Value)>),
    /// What no setting takes, by its name: `a date or time`.
    Other(&'static str),
}

/// As it is repeated in a sentence: in quotes, on one line, and not for ever.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.chars().count() > 60 => {
                write!(f, "{:?}...", text.chars().take(60).collect::<String>())
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(digits) if digits.len() > 40 => write!(f, "{}...", &digits[..40]),
            Self::Number(digits) => f.write_str(digits),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(values) => {
                let shown: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", shown.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// Units of size, the longer names first. 1000 for KB, 1024 for KiB, as IEC 80000-13 has it.
const UNITS: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// A text.
pub fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err("it takes a text in quotes".into()),
    }
}

/// Absolute paths, or one: a service has no directory of its own.
pub fn paths(value: &Value) -> Result<Vec<PathBuf>, String> {
    let values = match value {
        Value::List(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let path = |value: &Value| match value {
        Value::Text(text) => Some(PathBuf::from(text)).filter(|path| path.is_absolute()),
        _ => None,
    };
    let paths: Option<Vec<_>> = values.iter().map(path).collect();
    paths.filter(|paths| !paths.is_empty()).ok_or_else(|| {
        "it takes absolute paths, such as [\"/etc/waystation/proto/fleet.proto\"]".into()
    })
}

/// A number of bytes, with or without a unit.
pub fn size(value: &Value, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let wrong = || {
        "it takes a size such as \"2GiB\", \"64KiB\" or \"1MB\", or bytes as a whole number"
            .to_owned()
    };
    let (Value::Text(written) | Value::Number(written)) = value else { return Err(wrong()) };
    let lower = written.trim().to_ascii_lowercase();
    let (digits, factor) = UNITS
        .into_iter()
        .find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?.trim_end(), factor)))
        .unwrap_or((&lower, 1));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    bytes
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| bounds(*range.start(), *range.end(), shown_size))
}

/// A duration as humantime reads it.
pub fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let parsed = match value {
        Value::Text(text) => humantime::parse_duration(text.trim()).ok(),
        _ => None,
    };
    let wrong = || "it takes a duration with its unit, such as \"30s\" or \"500ms\"".to_owned();
    let duration = parsed.ok_or_else(wrong)?;
    let shown = |duration: Duration| format!("\"{}\"", humantime::format_duration(duration));
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(bounds(*range.start(), *range.end(), shown))
}

/// How many.
pub fn count(value: &Value, range: &RangeInclusive<usize>) -> Result<usize, String> {
    let Value::Number(digits) = value else {
        return Err("it takes a whole number without quotes".into());
    };
    digits
        .parse()
        .ok()
        .filter(|count| range.contains(count))
        .ok_or_else(|| bounds(*range.start(), *range.end(), |count| count.to_string()))
}

/// An address and a port; names are not looked up, so that a start needs no DNS.
pub fn address(value: &Value) -> Result<SocketAddr, String> {
    let address = match value {
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    address.ok_or_else(|| {
        "it takes an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"".into()
    })
}

/// An absolute path.
pub fn absolute(value: &Value) -> Result<PathBuf, String> {
    let path = PathBuf::from(text(value)?);
    let right = "it takes an absolute path: a service has no directory of its own";
    path.is_absolute().then_some(path).ok_or_else(|| right.to_owned())
}

/// Exactly representable sizes in the largest unit that divides them.
pub fn shown_size(bytes: u64) -> String {
    let whole = |(unit, shift): &(&str, u32)| {
        (bytes >= 1 << shift && bytes.trailing_zeros() >= *shift)
            .then(|| format!("\"{}{unit}\"", bytes >> shift))
    };
    [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .iter()
        .find_map(whole)
        .unwrap_or_else(|| format!("{bytes} bytes"))
}

/// What a value outside its bounds should have been.
fn bounds<T>(least: T, most: T, shown: impl Fn(T) -> String) -> String {
    format!("it must be from {} to {}", shown(least), shown(most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_value(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn sizes_are_read_with_binary_and_decimal_units_and_without() {
        let any = 0..=u64::MAX;
        for (written, bytes) in [
            ("2GiB", 2 << 30),
            ("64KiB", 64 << 10),
            ("64 kib", 64 << 10),
            ("1MB", 1_000_000),
            ("3kB", 3_000),
            ("1TiB", 1 << 40),
            ("0", 0),
            ("17", 17),
            ("17B", 17),
        ] {
            assert_eq!(size(&text_value(written), &any), Ok(bytes), "{written}");
        }
        assert_eq!(size(&Value::Number("4096".into()), &any), Ok(4096));
    }

    #[test]
    fn what_is_not_a_size_gets_an_example() {
        for written in ["", "GiB", "2G", "-1", "+1", "1.5GiB", "lots", "1 2KiB", "٣KiB"] {
            let says = size(&text_value(written), &(0..=u64::MAX)).unwrap_err();
            assert!(says.starts_with("it takes a size such as \"2GiB\""), "{written}: {says}");
        }
        assert!(size(&Value::Flag(true), &(0..=9)).unwrap_err().starts_with("it takes a size"));
    }

    #[test]
    fn a_size_out_of_bounds_or_beyond_every_number_names_the_bounds() {
        let range = 1024..=(1 << 20);
        let says = "it must be from \"1KiB\" to \"1MiB\"";
        for written in ["1023", "2MiB", "99999999999999999999", "99999999999TiB"] {
            assert_eq!(size(&text_value(written), &range).unwrap_err(), says, "{written}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_stay_in_bounds() {
        let range = Duration::ZERO..=Duration::from_secs(1);
        assert_eq!(duration(&text_value("250ms"), &range), Ok(Duration::from_millis(250)));
        assert_eq!(duration(&text_value("0ms"), &range), Ok(Duration::ZERO));
        let says = duration(&text_value("2s"), &range).unwrap_err();
        assert_eq!(says, "it must be from \"0s\" to \"1s\"");
        for wrong in [text_value("5"), text_value("soon"), Value::Number("5".into())] {
            let says = duration(&wrong, &range).unwrap_err();
            assert!(says.starts_with("it takes a duration with its unit"), "{wrong}: {says}");
        }
    }

    #[test]
    fn an_address_needs_an_ip_and_a_port() {
        assert!(address(&text_value("[::1]:80")).is_ok());
        for written in ["8080", ":8080", "localhost:8080", "0.0.0.0", "1.2.3.4:65536"] {
            assert!(address(&text_value(written)).is_err(), "{written}");
        }
    }

    #[test]
    fn a_count_is_a_number_in_bounds() {
        assert_eq!(count(&Value::Number("5".into()), &(1..=9)), Ok(5));
        for digits in ["0", "10", "-1", "99999999999999999999999"] {
            let says = count(&Value::Number(digits.into()), &(1..=9)).unwrap_err();
            assert_eq!(says, "it must be from 1 to 9", "{digits}");
        }
        assert!(count(&text_value("5"), &(1..=9)).is_err());
    }

    proptest! {
        #[test]
        fn a_size_that_is_shown_is_read_back(bytes in any::<u64>(), shift in 0_u32..41) {
            let bytes = bytes >> 41 << shift;
            let shown = shown_size(bytes);
            let written = shown.trim_matches('"').replace(" bytes", "");
            prop_assert_eq!(size(&Value::Text(written), &(0..=u64::MAX)), Ok(bytes));
        }

        #[test]
        fn no_text_breaks_the_parsers(text in ".{0,40}") {
            let value = Value::Text(text);
            let sizes = size(&value, &(0..=u64::MAX));
            let durations = duration(&value, &(Duration::ZERO..=Duration::MAX));
            let lines = [sizes.err(), durations.err(), address(&value).err()];
            for says in lines.into_iter().flatten().chain([value.to_string()]) {
                prop_assert!(!says.contains('\n'));
            }
        }
    }
}
