//! How single values are written as canonical proto3 JSON.
//!
//! Whatever is given, what is appended is one valid JSON value, and it reads back as exactly
//! the value it was. Nothing here knows a message.

/// Appends a text in quotes. Escaped is what JSON demands (RFC 8259, section 7), and what Go's
/// `encoding/json` escapes besides, so that its JSON can stand in a page and in a script: `<`, `>`,
/// `&`, U+2028 and U+2029.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    // Without a branch for each byte: nearly no text has one of these.
    let any = bytes.iter().fold(false, |any, byte| any | MAY_BE_ESCAPED[usize::from(*byte)]);
    if any { string_escaped(out, bytes) } else { word(out, text) }
}

/// Appends a text in quotes that has nothing to escape.
pub(super) fn word(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Bytes that are escaped, or may be the first of a character that is.
const MAY_BE_ESCAPED: [bool; 256] = {
    let (mut table, mut control, mut others) = ([false; 256], 0, b"\"\\<>&\xe2".as_slice());
    while control < b' ' {
        table[control as usize] = true;
        control += 1;
    }
    while let [other, rest @ ..] = others {
        table[*other as usize] = true;
        others = rest;
    }
    table
};

fn string_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !MAY_BE_ESCAPED[usize::from(byte)] {
            continue;
        }
        let (character, length) = match bytes[at..] {
            [0xe2, 0x80, 0xa8, ..] => (0x2028, 3),
            [0xe2, 0x80, 0xa9, ..] => (0x2029, 3),
            [0xe2, ..] => continue,
            _ => (u16::from(byte), 1),
        };
        out.extend_from_slice(&bytes[written..at]);
        escape(out, character);
        written = at + length;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, character: u16) {
    let [high, low] = character.to_be_bytes();
    let short = match (high, low) {
        (0, b'"' | b'\\') => low,
        (0, b'\n') => b'n',
        (0, b'\r') => b'r',
        (0, b'\t') => b't',
        (0, 0x08) => b'b',
        (0, 0x0c) => b'f',
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u");
            for digit in [high >> 4, high & 0xf, low >> 4, low & 0xf] {
                out.push(HEX[usize::from(digit)]);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// A number that is written the same way in either width: the shortest digits that read back
/// as the same number *of that width*; where two are equally near, the even one, as Go does and
/// `std` does not.
pub(super) trait Float: Copy + Into<f64> + zmij::Float {}
impl Float for f32 {}
impl Float for f64 {}

/// Appends a floating-point number as Go does: without a point when it is whole, with an
/// exponent below 1e-6 and from 1e21 on. NaN and infinities, which JSON lacks, are strings.
pub(super) fn float<F: Float>(out: &mut Vec<u8>, number: F) {
    let value: f64 = number.into();
    let size = value.abs();
    let mut buffer = zmij::Buffer::new();
    if (1e-5..1e7).contains(&size) {
        // The fast way, for what trackers measure. In this range it writes no exponent in
        // either width; from 1e8 on it may.
        plain(out, buffer.format_finite(number));
    } else if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if size == f64::INFINITY {
        let text: &[u8] = if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" };
        out.extend_from_slice(text);
    } else {
        let text = buffer.format_finite(number);
        match text.split_once('e') {
            None => plain(out, text),
            Some((digits, exponent)) => scientific(out, digits, exponent),
        }
    }
}

fn plain(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// Appends a number that is given with an exponent, and without one where Go writes none. A
/// millionth is 1e-6 in either width, though the float is less than the double.
fn scientific(out: &mut Vec<u8>, digits: &str, exponent: &str) {
    let digits = digits.strip_suffix(".0").unwrap_or(digits);
    let (small, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => (true, exponent),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    // What zmij writes behind the `e` and the sign is a number of at most three digits.
    let exponent: usize = exponent.parse().unwrap();
    if exponent > if small { 6 } else { 20 } {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(if small { b"e-" } else { b"e+" });
        small_integer(out, exponent);
        return;
    }
    let (sign, digits) = digits.split_at(usize::from(digits.starts_with('-')));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = |count| std::iter::repeat_n(b'0', count);
    out.extend_from_slice(sign.as_bytes());
    if small {
        out.extend_from_slice(b"0.");
        out.extend(zeros(exponent.saturating_sub(1)));
    }
    out.extend_from_slice(whole.as_bytes());
    out.extend_from_slice(fraction.as_bytes());
    if !small {
        // zmij writes an exponent only where the number is whole: its digits end before the point.
        out.extend(zeros(exponent.saturating_sub(fraction.len())));
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

/// Makes an object of the members written since `start`: each stands behind a comma, and
/// the first one's place is where the brace belongs.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
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
        for (number, text) in [
            (0.1_f32, "0.1"),
            (13.8, "13.8"),
            (16_777_216.0, "16777216"),
            (1e-7, "1e-7"),
            (-1.5e13, "-15000000000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
        ] {
            assert_eq!(written(|out| float(out, number)), text);
        }
    }

    #[test]
    fn a_millionth_has_no_exponent_in_either_width() {
        assert_eq!(written(|out| float(out, 1e-6_f64)), "0.000001");
        assert_eq!(written(|out| float(out, 1e-6_f32)), "0.000001");
        assert_eq!(written(|out| float(out, -1e-6_f32)), "-0.000001");
        assert_eq!(written(|out| float(out, 1e-6_f32.next_down())), "9.999999e-7");
    }

    #[test]
    fn of_two_shortest_texts_that_are_equally_near_the_even_one_is_written() {
        for (number, text) in [
            (5.0 / 8_388_608.0, "5.960464477539062e-7"),
            (33.0 / 4_194_304.0, "0.000007867813110351562"),
            (10_000_000.0 + 1.0 / 1024.0, "10000000.000976562"),
        ] {
            assert_eq!(written(|out| float(out, number)), text);
        }
        assert_eq!(written(|out| float(out, 16.0_f32 + 1.0 / 128.0)), "16.007812");
    }

    #[test]
    fn what_json_cannot_hold_is_escaped() {
        let text = "a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1f}\u{7f}é";
        let expected = "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0000\\u001f\u{7f}é\"";
        assert_eq!(written(|out| string(out, text)), expected);
    }

    #[test]
    fn what_go_escapes_for_pages_and_scripts_is_escaped_too() {
        let text = "<&>\u{2027}\u{2028}\u{2029}\u{202a}€";
        let expected = "\"\\u003c\\u0026\\u003e\u{2027}\\u2028\\u2029\u{202a}€\"";
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
