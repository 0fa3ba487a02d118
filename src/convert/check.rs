//! Which values of the built-in message are impossible?
//!
//! Only what no working tracker can mean is refused, as the schema's comments state it: a
//! refused message is lost to the vehicle, an odd one that is kept can be judged later. So
//! accuracies and voltages that are not a number pass; a position that is none does not.
//! Knows nothing of how a message came or where it goes.

use super::ConvertError;
use super::message::RealtimeGps;

/// The longest `device_id`, in bytes.
const LONGEST_ID: usize = 255;

/// Refuses the first impossible value, in the order of the field numbers.
pub(super) fn check(message: &RealtimeGps) -> Result<(), ConvertError> {
    let id = &message.device_id;
    if id.is_empty() || id.len() > LONGEST_ID {
        let found = if id.is_empty() { "empty".into() } else { format!("{} bytes long", id.len()) };
        return Err(invalid("device_id", found, "a text of 1 to 255 bytes"));
    }
    if let Some(time) = &message.fix_time
        && !time.is_valid()
    {
        let found = format!("{} s and {} ns since 1970", time.seconds, time.nanos);
        let expected = "a time in the years 1 to 9999, with 0 to 999999999 ns";
        return Err(invalid("fix_time", found, expected));
    }
    within("latitude", message.latitude, 90.0, "-90 to 90 degrees")?;
    within("longitude", message.longitude, 180.0, "-180 to 180 degrees")?;
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
    use super::super::Timestamp;
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
            assert_eq!(refused(|m| m.latitude = Some(edge)), None);
            assert_eq!(refused(|m| m.longitude = Some(edge * 2.0)), None);
        }
        for edge in [0.0, -0.0, 360.0] {
            assert_eq!(refused(|m| m.heading = Some(edge)), None);
            assert_eq!(refused(|m| m.speed = Some(edge)), None);
        }
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
