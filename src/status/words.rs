//! Numbers as people read them: `1,234,567`, `2 h 13 min`, `1.9 GiB`.
//!
//! Every function answers for every input: what is not finite, or negative, reads as zero. The
//! page's script writes the same forms. It does not know what the numbers count.

/// `1234567` as `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `no record`, `one record`, `12 records`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}"),
        1 => format!("one {noun}"),
        many => format!("{} {noun}s", thousands(many)),
    }
}

/// A number a second: one decimal below ten, whole above.
#[must_use]
pub fn rate(per_second: f64) -> String {
    let rate = sane(per_second);
    if rate < 9.95 && !rounded(rate * 10.0).is_multiple_of(10) {
        format!("{rate:.1}")
    } else {
        thousands(rounded(rate))
    }
}

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];

/// A length of time in its two largest units: `2 h 13 min`, `45 s`, `3 d`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    in_units(seconds, false)
}

/// A length of time that is only an estimate: `9 h`, `1 h 30 min`. The second unit is left out
/// where it would pretend to a precision that an estimate does not have.
#[must_use]
pub fn about(seconds: f64) -> String {
    in_units(seconds, true)
}

fn in_units(seconds: f64, estimate: bool) -> String {
    let seconds = rounded(sane(seconds));
    let Some(at) = UNITS.iter().position(|(size, _)| seconds >= *size) else {
        return "0 s".to_owned();
    };
    let (size, name) = UNITS[at];
    let (whole, rest) = (seconds / size, seconds % size);
    let first = format!("{} {name}", thousands(whole));
    let Some((size, name)) = UNITS.get(at + 1) else { return first };
    match rest / size {
        0 => first,
        _ if estimate && whole >= 5 => first,
        second => format!("{first} {second} {name}"),
    }
}

/// Bytes in binary units, as the configuration takes them: `512 B`, `1.9 GiB`, `412 MiB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(number: u64) -> String {
    if number < 1024 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1024.0;
    let mut names = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut name = names.next().unwrap_or_default();
    for larger in names {
        if size < 1023.5 {
            break;
        }
        size /= 1024.0;
        name = larger;
    }
    if size < 9.95 { format!("{size:.1} {name}") } else { format!("{size:.0} {name}") }
}

/// How full, from 0 to 100; 0 where there is no limit.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "a percentage")]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64 * 100.0).min(100.0) }
}

/// The text with its first letter large.
#[must_use]
pub fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn sane(number: f64) -> f64 {
    if number.is_finite() { number.max(0.0) } else { 0.0 }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`sane` went before")]
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(count(0, "record"), "no record");
        assert_eq!(count(1, "record"), "one record");
        assert_eq!(count(1_200, "record"), "1,200 records");
        for (number, text) in
            [(0.0, "0"), (0.34, "0.3"), (2.0, "2"), (9.96, "10"), (1500.4, "1,500")]
        {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn a_duration_has_at_most_two_units() {
        let cases = [
            (0.2, "0 s"),
            (45.0, "45 s"),
            (59.7, "1 min"),
            (185.0, "3 min 5 s"),
            (7_980.0, "2 h 13 min"),
            (3_600.0, "1 h"),
            (3_605.0, "1 h"),
            (200_000.0, "2 d 7 h"),
            (-5.0, "0 s"),
            (f64::NAN, "0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn an_estimate_claims_no_precision_it_lacks() {
        for (seconds, text) in [(33_000.0, "9 h"), (5_400.0, "1 h 30 min"), (400.0, "6 min")] {
            assert_eq!(about(seconds), text);
        }
    }

    #[test]
    fn bytes_use_the_units_of_the_configuration() {
        let cases = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (1_048_575, "1.0 MiB"),
            (2 << 30, "2.0 GiB"),
            (412 << 20, "412 MiB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    proptest! {
        #[test]
        fn every_number_has_a_short_text(seconds in any::<f64>(), number in any::<u64>()) {
            for text in [duration(seconds), about(seconds), rate(seconds), bytes(number)] {
                prop_assert!(!text.contains("NaN") && !text.contains("inf") && !text.starts_with('-'));
                prop_assert!(text.len() < 40, "{}", text);
            }
        }

        #[test]
        fn thousands_only_adds_commas(number in any::<u64>()) {
            prop_assert_eq!(thousands(number).replace(',', ""), number.to_string());
        }
    }
}
