//! Points in time, as protobuf counts them and as people read them.
//!
//! The message `google.protobuf.Timestamp`, and its text in RFC 3339: always in UTC with a
//! `Z`, with 0, 3, 6 or 9 digits behind the point. It knows no clock.

/// `google.protobuf.Timestamp`: seconds since 1970-01-01T00:00:00Z, and nanoseconds on top
/// of them (0 to 999,999,999, also before 1970).
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// 0001-01-01T00:00:00Z, the earliest second that the JSON mapping can write.
const EARLIEST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z, the latest.
const LATEST: i64 = 253_402_300_799;

const SECONDS_A_DAY: i64 = 86_400;

impl Timestamp {
    /// Whether the time lies in the years 1 to 9999, so that RFC 3339 can write it.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (EARLIEST..=LATEST).contains(&self.seconds) && (0..1_000_000_000).contains(&self.nanos)
    }

    /// Appends the time in RFC 3339, such as `2024-02-29T12:00:00.250Z`. The time must be
    /// [valid](Self::is_valid); any other gives some text.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (year, month, day) = date(self.seconds.div_euclid(SECONDS_A_DAY));
        let second = self.seconds.rem_euclid(SECONDS_A_DAY);
        digits(out, year, 4);
        out.push(b'-');
        digits(out, month, 2);
        out.push(b'-');
        digits(out, day, 2);
        out.push(b'T');
        digits(out, second / 3600, 2);
        out.push(b':');
        digits(out, second / 60 % 60, 2);
        out.push(b':');
        digits(out, second % 60, 2);
        let nanos = i64::from(self.nanos);
        if nanos != 0 {
            out.push(b'.');
            if nanos % 1_000_000 == 0 {
                digits(out, nanos / 1_000_000, 3);
            } else if nanos % 1_000 == 0 {
                digits(out, nanos / 1_000, 6);
            } else {
                digits(out, nanos, 9);
            }
        }
        out.push(b'Z');
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in years that begin in March, so that the leap day is the last of its year, and
/// in eras of 400 years, which are all of one length.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_AN_ERA: i64 = 146_097;
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_AN_ERA);
    let day_of_era = days.rem_euclid(DAYS_AN_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on: their starts lie on this line of 153 days in 5 months.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Appends the last `count` decimal digits of a number of 0 or more.
fn digits(out: &mut Vec<u8>, number: i64, count: usize) {
    let mut text = [b'0'; 9];
    let mut rest = number;
    for place in text[..count].iter_mut().rev() {
        *place = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
    }
    out.extend_from_slice(&text[..count]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(seconds: i64, nanos: i32) -> String {
        let mut out = Vec::new();
        Timestamp { seconds, nanos }.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        assert_eq!(text(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(text(-1, 999_000_000), "1969-12-31T23:59:59.999Z");
        assert_eq!(text(1_709_208_000, 250_000_000), "2024-02-29T12:00:00.250Z");
        assert_eq!(text(951_782_400, 1_000), "2000-02-29T00:00:00.000001Z");
        assert_eq!(text(-2_203_977_600, 1), "1900-02-28T00:00:00.000000001Z");
        assert_eq!(text(-2_203_891_200, 0), "1900-03-01T00:00:00Z");
        assert_eq!(text(EARLIEST, 0), "0001-01-01T00:00:00Z");
        assert_eq!(text(LATEST, 999_999_999), "9999-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn only_the_years_1_to_9999_are_valid() {
        let valid = |seconds, nanos| Timestamp { seconds, nanos }.is_valid();
        assert!(valid(EARLIEST, 0) && valid(LATEST, 999_999_999));
        assert!(!valid(EARLIEST - 1, 0) && !valid(LATEST + 1, 0));
        assert!(!valid(0, -1) && !valid(0, 1_000_000_000));
        assert!(!valid(i64::MIN, i32::MIN) && !valid(i64::MAX, i32::MAX));
    }

    proptest! {
        #[test]
        fn every_time_reads_back_as_it_was_written(
            seconds in 0..=LATEST,
            nanos in 0..1_000_000_000_u32,
        ) {
            let written = text(seconds, i32::try_from(nanos).unwrap());
            let read = humantime::parse_rfc3339(&written).unwrap();
            let since = read.duration_since(std::time::UNIX_EPOCH).unwrap();
            prop_assert_eq!(i64::try_from(since.as_secs()).unwrap(), seconds);
            prop_assert_eq!(since.subsec_nanos(), nanos);
        }
    }
}
