//! How the single values of the well-known types are written: durations, points in time, field masks.
//!
//! What has no place in their JSON is refused as Go's `jsonpb` and `protojson` do. It does not know
//! where the values stand.

use super::super::Timestamp;
use super::super::json;
use super::flaw::Flaw;

/// Seconds of a `google.protobuf.Duration`, at most: 10,000 years
/// (<https://protobuf.dev/reference/protobuf/google.protobuf/#duration>).
const LONGEST: i64 = 315_576_000_000;

pub(super) fn timestamp(out: &mut Vec<u8>, time: Timestamp) -> Result<(), Flaw> {
    if !time.is_valid() {
        let found = format!("{} s and {} ns since 1970", time.seconds, time.nanos);
        return Err(Flaw::impossible(
            found,
            "a time in the years 1 to 9999, with 0 to 999999999 ns",
        ));
    }
    out.push(b'"');
    time.write(out);
    out.push(b'"');
    Ok(())
}

/// Seconds with 0, 3, 6 or 9 digits behind the point.
pub(super) fn duration(out: &mut Vec<u8>, seconds: i64, nanos: i32) -> Result<(), Flaw> {
    let in_range =
        seconds.unsigned_abs() <= LONGEST.unsigned_abs() && nanos.unsigned_abs() < 1_000_000_000;
    let one_sign = seconds.signum() * i64::from(nanos.signum()) >= 0;
    if !in_range || !one_sign {
        let found = format!("{seconds} s and {nanos} ns");
        let expected = "at most 315576000000 s, with less than a second of ns of the same sign";
        return Err(Flaw::impossible(found, expected));
    }
    out.push(b'"');
    if seconds < 0 || nanos < 0 {
        out.push(b'-');
    }
    json::small_integer(out, seconds.unsigned_abs());
    let nanos = nanos.unsigned_abs();
    let fraction = match nanos {
        0 => String::new(),
        _ if nanos.is_multiple_of(1_000_000) => format!(".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!(".{:06}", nanos / 1_000),
        _ => format!(".{nanos:09}"),
    };
    out.extend_from_slice(fraction.as_bytes());
    out.extend_from_slice(b"s\"");
    Ok(())
}

/// Appends one path of a field mask in lowerCamelCase; refused where it is no path or could not be
/// read back.
pub(super) fn mask_path(joined: &mut String, path: &str) -> Result<(), Flaw> {
    let is_name = |name: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        name.chars().all(legal)
            && !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    let mut after_underscore = false;
    let mut is_reversible = path.split('.').all(is_name);
    for character in path.chars() {
        is_reversible &= if after_underscore {
            character.is_ascii_lowercase()
        } else {
            !character.is_ascii_uppercase()
        };
        if character != '_' {
            joined.push(if after_underscore { character.to_ascii_uppercase() } else { character });
        }
        after_underscore = character == '_';
    }
    if is_reversible && !after_underscore {
        return Ok(());
    }
    Err(Flaw::impossible(
        Flaw::quoted(path),
        "paths in snake_case, with a letter behind each underscore",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting(seconds: i64, nanos: i32) -> Option<String> {
        let mut out = Vec::new();
        duration(&mut out, seconds, nanos).ok()?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn durations_are_written_in_seconds_with_as_many_digits_as_they_need() {
        for (seconds, nanos, text) in [
            (0, 0, "\"0s\""),
            (1, 0, "\"1s\""),
            (-1, -500_000_000, "\"-1.500s\""),
            (0, -1, "\"-0.000000001s\""),
            (3, 1_000, "\"3.000001s\""),
            (LONGEST, 999_999_999, "\"315576000000.999999999s\""),
            (-LONGEST, 0, "\"-315576000000s\""),
        ] {
            assert_eq!(lasting(seconds, nanos).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_duration_out_of_range_or_of_two_signs_is_refused() {
        for (seconds, nanos) in
            [(LONGEST + 1, 0), (i64::MIN, 0), (0, 1_000_000_000), (0, i32::MIN), (1, -1), (-1, 1)]
        {
            assert_eq!(lasting(seconds, nanos), None, "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_mask_is_written_in_camel_case_where_that_can_be_undone() {
        let written = |path: &str| {
            let mut out = String::new();
            mask_path(&mut out, path).ok().map(|()| out)
        };
        assert_eq!(written("a_field.other").as_deref(), Some("aField.other"));
        assert_eq!(written("_a").as_deref(), Some("A"));
        for path in ["aField", "a__b", "a_1", "a_", "a_B", "", ".", "a.", "1a", "a b", "*", "a,b"] {
            assert_eq!(written(path), None, "{path}");
        }
    }
}
