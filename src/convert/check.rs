//! Which values of the built-in message are impossible?
//!
//! Only what no working tracker can mean is refused, as the schema's comments state it: a
//! refused message is lost to the vehicle, an odd one that is kept can be judged later. So
//! accuracies and voltages that are not a number pass; a position that is none does not, nor half of
//! one. Nothing here asks a clock, since the box's own may be the one that is wrong: a `fix_time` is
//! impossible when no tracker's clock can read so, whatever the time is now (see [`CLOCKS`]).
//! Knows nothing of how a message came or where it goes.

use super::ConvertError;
use super::message::RealtimeGps;
use super::timestamp::Timestamp;
use std::ops::RangeInclusive;

/// The longest `device_id`, in bytes.
const LONGEST_ID: usize = 255;

/// What a tracker's clock can read, in seconds since 1970: what 32 bits hold, which is up to
/// 2106-02-07. That begins with the 0 that a tracker without a fix sends, and takes in 1980-01-06,
/// where a GPS receiver begins to count; a day less, for those that subtract their time zone from a
/// 0. Beyond it are milliseconds taken for seconds, numbers that overflowed, and bytes of something
/// else.
const CLOCKS: RangeInclusive<i64> = -86_400..=u32::MAX as i64;
/// 0001-01-01T00:00:00Z, which stands for "none" in several languages (Go, .NET).
const NO_TIME: Timestamp = Timestamp { seconds: -62_135_596_800, nanos: 0 };

/// Refuses the first impossible value, in the order of the field numbers.
pub(super) fn check(message: &RealtimeGps) -> Result<(), ConvertError> {
    let id = &message.device_id;
    if id.is_empty() || id.len() > LONGEST_ID {
        let found = if id.is_empty() { "empty".into() } else { format!("{} bytes long", id.len()) };
        return Err(invalid("device_id", found, "a text of 1 to 255 bytes"));
    }
    if let Some(time) = &message.fix_time
        && *time != NO_TIME
        && !(time.is_valid() && CLOCKS.contains(&time.seconds))
    {
        let found = format!("{} s and {} ns since 1970", time.seconds, time.nanos);
        let expected = "a time from 1969-12-31 to 2106-02-07, with 0 to 999999999 ns";
        return Err(invalid("fix_time", found, expected));
    }
    within("latitude", message.latitude, 90.0, "-90 to 90 degrees")?;
    within("longitude", message.longitude, 180.0, "-180 to 180 degrees")?;
    let missing = |field, expected| Err(invalid(field, "missing".into(), expected));
    match (message.latitude, message.longitude) {
        (Some(_), None) => return missing("longitude", "there, since latitude is"),
        (None, Some(_)) => return missing("latitude", "there, since longitude is"),
        _ => {}
    }
    not_negative("speed", message.speed)?;
    if let Some(heading) = message.heading
        && !(0.0..=360.0).contains(&heading)
    {
        return Err(invalid("heading", heading.to_string(), "0 to 360 degrees"));
    }
    not_negative("horizontal_accuracy", message.horizontal_accuracy)?;
    not_negative("hdop", message.hdop)?;
    not_negative("battery_voltage", message.battery_voltage)
}

/// Refuses an angle that is not a number, or further from 0 than `limit`.
fn within(
    field: &'static str,
    angle: Option<f64>,
    limit: f64,
    expected: &'static str,
) -> Result<(), ConvertError> {
    match angle {
        Some(angle) if !(-limit..=limit).contains(&angle) => {
            Err(invalid(field, angle.to_string(), expected))
        }
        _ => Ok(()),
    }
}

/// Refuses what is below 0; NaN, which some trackers send for "unknown", is not.
fn not_negative(field: &'static str, value: Option<f32>) -> Result<(), ConvertError> {
    match value {
        Some(value) if value < 0.0 => Err(invalid(field, value.to_string(), "0 or more")),
        _ => Ok(()),
    }
}

fn invalid(field: &'static str, found: String, expected: &'static str) -> ConvertError {
    ConvertError::Invalid { field: field.into(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn message() -> RealtimeGps {
        RealtimeGps { device_id: "t-1".into(), ..RealtimeGps::default() }
    }

    /// The field that is refused after `change`, if one is.
    fn refused(change: impl FnOnce(&mut RealtimeGps)) -> Option<&'static str> {
        let mut message = message();
        change(&mut message);
        match check(&message) {
            Ok(()) => None,
            Err(ConvertError::Invalid { field: Cow::Borrowed(field), .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_the_schema_rules_out_is_refused_by_the_name_of_its_field() {
        assert_eq!(refused(|m| m.device_id.clear()), Some("device_id"));
        assert_eq!(refused(|m| m.device_id = "x".repeat(256)), Some("device_id"));
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        assert_eq!(refused(|m| m.fix_time = time(0, -1)), Some("fix_time"));
        assert_eq!(refused(|m| m.fix_time = time(i64::MAX, 0)), Some("fix_time"));
        for latitude in [90.000_001, -91.0, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(|m| m.latitude = Some(latitude)), Some("latitude"));
        }
        for longitude in [180.5, -181.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(refused(|m| m.longitude = Some(longitude)), Some("longitude"));
        }
        for heading in [-0.1, 360.1, f32::NAN, f32::INFINITY] {
            assert_eq!(refused(|m| m.heading = Some(heading)), Some("heading"));
        }
        assert_eq!(refused(|m| m.speed = Some(-1.0)), Some("speed"));
        assert_eq!(refused(|m| m.horizontal_accuracy = Some(-1.0)), Some("horizontal_accuracy"));
        assert_eq!(refused(|m| m.hdop = Some(-1.0)), Some("hdop"));
        assert_eq!(refused(|m| m.battery_voltage = Some(-1.0)), Some("battery_voltage"));
    }

    #[test]
    fn the_edges_of_every_range_are_taken() {
        assert_eq!(refused(|m| m.device_id = "x".repeat(255)), None);
        for edge in [90.0, -90.0, 0.0, -0.0] {
            let at =
                |m: &mut RealtimeGps| (m.latitude, m.longitude) = (Some(edge), Some(edge * 2.0));
            assert_eq!(refused(at), None);
        }
        for edge in [0.0, -0.0, 360.0] {
            assert_eq!(refused(|m| m.heading = Some(edge)), None);
            assert_eq!(refused(|m| m.speed = Some(edge)), None);
        }
    }

    #[test]
    fn half_a_position_is_refused_by_the_name_of_what_is_missing() {
        assert_eq!(refused(|m| m.latitude = Some(1.0)), Some("longitude"));
        assert_eq!(refused(|m| m.longitude = Some(1.0)), Some("latitude"));
        let error = check(&RealtimeGps { latitude: Some(0.0), ..message() }).unwrap_err();
        let says = "longitude is missing; it must be there, since latitude is";
        assert_eq!(error.to_string(), says);
        // What is there is looked at first.
        assert_eq!(refused(|m| m.latitude = Some(91.0)), Some("latitude"));
    }

    #[test]
    fn what_trackers_without_a_fix_send_for_a_time_is_taken_and_what_no_clock_reads_is_not() {
        let time = |seconds: i64, nanos| {
            refused(|m| m.fix_time = Some(Timestamp { seconds, nanos })).is_none()
        };
        let day = 86_400;
        let gps_begins = 315_964_800;
        for none in [0, -14 * 3600, 12 * 3600, gps_begins, gps_begins + 1024 * 7 * day] {
            assert!(time(none, 0), "{none}");
        }
        assert!(time(-62_135_596_800, 0) && !time(-62_135_596_800, 1), "none, and none but that");
        assert!(time(-day, 0) && !time(-day - 1, 999_999_999));
        assert!(time(u32::MAX.into(), 999_999_999) && !time(i64::from(u32::MAX) + 1, 0));
        let milliseconds = 1_700_000_000_000;
        assert!(!time(milliseconds, 0) && !time(i32::MIN.into(), 0));
    }

    #[test]
    fn a_measurement_that_is_odd_but_harmless_is_taken() {
        assert_eq!(refused(|m| m.altitude = Some(f64::NAN)), None);
        assert_eq!(refused(|m| m.hdop = Some(f32::INFINITY)), None);
        assert_eq!(refused(|m| m.battery_voltage = Some(f32::NAN)), None);
        assert_eq!(refused(|m| m.event = 99), None);
        assert_eq!(refused(|m| m.fix_type = -1), None);
    }

    #[test]
    fn the_error_says_what_was_found_and_what_would_be_right() {
        let error = check(&RealtimeGps { latitude: Some(91.0), ..message() }).unwrap_err();
        assert_eq!(error.to_string(), "latitude is 91; it must be -90 to 90 degrees");
    }
}
