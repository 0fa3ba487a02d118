//! Measurements as people read them: `2.4 ms`, `47 MB`.
//!
//! Pure text; whole numbers and long times are in `status::words`. It deliberately knows
//! nothing of what is measured.

use crate::status::words::thousands;
use std::time::Duration;

/// Two or three significant figures in the unit that suits: `85 µs`, `2.4 ms`, `1.3 s`.
pub fn duration(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} µs"),
        ..1e4 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}

/// Whole megabytes of 1,000,000 bytes, rounded: `47 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands((bytes + 500_000) / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_unit_that_suits_it() {
        let texts =
            [85, 2_400, 48_200, 1_310_000].map(|micros| duration(Duration::from_micros(micros)));
        assert_eq!(texts, ["85 µs", "2.4 ms", "48 ms", "1.3 s"]);
    }

    #[test]
    fn memory_is_told_in_whole_megabytes() {
        assert_eq!([46_600_000, 1_234_000_000].map(megabytes), ["47 MB", "1,234 MB"]);
    }
}
