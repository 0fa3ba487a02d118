//! How single values are written as canonical proto3 JSON.
//!
//! Whatever is given, what is appended is one valid JSON value, and it reads back as exactly
//! the value it was. Nothing here knows a message.

/// Appends a text in quotes. Escaped is only what JSON demands (RFC 8259, section 7).
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        escape(out, byte);
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A number that is written the same way in either width: the shortest digits that read back
/// as the same number *of that width*.
pub(super) trait Float:
    Copy + Into<f64> + zmij::Float + std::fmt::Display + std::fmt::LowerExp
{
}
impl Float for f32 {}
impl Float for f64 {}

/// Appends a floating-point number as Go does: without a point when it is whole, with an
/// exponent below 1e-6 and from 1e21 on. NaN and infinities, which JSON lacks, are strings.
pub(super) fn float<F: Float>(out: &mut Vec<u8>, number: F) {
    let value: f64 = number.into();
    let size = value.abs();
    if (1e-5..1e7).contains(&size) {
        // The fast way, for what trackers measure. In this range it writes no exponent in
        // either width; from 1e8 on it may.
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(number);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if size == f64::INFINITY {
        let text: &[u8] = if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" };
        out.extend_from_slice(text);
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        out.extend_from_slice(number.to_string().as_bytes());
    } else {
        let text = format!("{number:e}");
        // Go writes the sign of a positive exponent.
        let text = if size < 1.0 { text } else { text.replace('e', "e+") };
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends an integer of at most 32 bits: a plain number.
pub(super) fn small_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an integer of 64 bits: a string, because many readers of JSON keep 53 bits only.
pub(super) fn big_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.push(b'"');
    small_integer(out, number);
    out.push(b'"');
}

/// Appends `true` or `false`.
pub(super) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-90.0, "-90"),
            (48.137_154, "48.137154"),
            (0.1, "0.1"),
            (0.000_01, "0.00001"),
            (0.000_001, "0.000001"),
            (0.000_000_9, "9e-7"),
            (1.5e-10, "1.5e-10"),
            (1e15, "1000000000000000"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| float(out, number)), text);
        }
    }

    #[test]
    fn a_float_of_32_bits_has_no_digits_that_it_never_had() {
        for (number, text) in
            [(0.1_f32, "0.1"), (13.8, "13.8"), (16_777_216.0, "16777216"), (1e-7, "1e-7")]
        {
            assert_eq!(written(|out| float(out, number)), text);
        }
    }

    #[test]
    fn control_characters_quotes_and_backslashes_are_escaped() {
        let text = "a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}é\u{2028}<&>";
        let expected = "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f\u{7f}é\u{2028}<&>\"";
        assert_eq!(written(|out| string(out, text)), expected);
    }

    proptest! {
        #[test]
        fn every_text_reads_back_as_it_was(text in any::<String>()) {
            let line = written(|out| string(out, &text));
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn every_double_reads_back_as_it_was(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = written(|out| float(out, number));
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok());
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        }

        #[test]
        fn every_float_reads_back_as_it_was(bits in any::<u32>()) {
            let number = f32::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = written(|out| float(out, number));
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok());
            prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), bits);
        }

        #[test]
        fn what_trackers_measure_has_no_exponent_and_the_fewest_digits(
            digits in 1.0..10.0_f64,
            exponent in -5..7,
        ) {
            let number = digits * 10_f64.powi(exponent);
            #[allow(clippy::cast_possible_truncation, reason = "any float in the range does")]
            let narrow = number as f32;
            // Between two shortest texts the two ways may choose differently.
            for (text, other) in [
                (written(|out| float(out, number)), number.to_string()),
                (written(|out| float(out, narrow)), narrow.to_string()),
            ] {
                prop_assert!(!text.contains('e'), "{text}");
                prop_assert_eq!(text.len(), other.len(), "{} {}", text, other);
            }
        }
    }
}
