//! Do the reports of a simulated vehicle agree with each other and with the schema?

use super::*;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::BTreeSet;

fn at(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_secs_f64(seconds)
}

/// Reports of one vehicle, `gap` seconds apart.
fn ride(seed: u64, index: usize, gap: f64, count: u32) -> Vec<RealtimeGps> {
    let mut vehicle = Vehicle::new(index, seed);
    (0..count).map(|turn| vehicle.report(at(f64::from(turn) * gap))).collect()
}

/// Metres and bearing from one report to the next.
fn way(from: &RealtimeGps, to: &RealtimeGps) -> (f64, f64) {
    let north = (to.latitude() - from.latitude()) * METRES_A_DEGREE;
    let narrower = to.latitude().to_radians().cos();
    let east = (to.longitude() - from.longitude()) * METRES_A_DEGREE * narrower;
    (north.hypot(east), east.atan2(north).to_degrees().rem_euclid(360.0))
}

proptest! {
    #[test]
    fn every_report_is_one_that_the_schema_allows(seed: u64, index in 0_usize..500, gap in 0.1..8.0) {
        let mut last = None;
        for (turn, report) in ride(seed, index, gap, 300).into_iter().enumerate() {
            prop_assert_eq!(report.sequence, turn as u64 + 1);
            prop_assert!((-90.0..=90.0).contains(&report.latitude()));
            prop_assert!((-180.0..=180.0).contains(&report.longitude()));
            prop_assert!((0.0..360.0).contains(&report.heading()));
            prop_assert!((0.0..30.0).contains(&report.speed()));
            prop_assert!((9.0..30.0).contains(&report.battery_voltage()));
            prop_assert!(report.ignition() || report.speed() == 0.0);
            prop_assert!(last <= report.odometer);
            last = report.odometer;
            let bytes = report.encode_to_vec();
            prop_assert_eq!(RealtimeGps::decode(bytes.as_slice()).unwrap(), report);
        }
    }

    #[test]
    fn a_vehicle_is_where_its_speed_and_heading_took_it(seed: u64, index in 0_usize..500) {
        for pair in ride(seed, index, 1.0, 400).windows(2) {
            let (metres, bearing) = way(&pair[0], &pair[1]);
            prop_assert!((metres - f64::from(pair[1].speed())).abs() < 0.2, "{metres} {pair:?}");
            if metres > 5.0 {
                let off = (bearing - f64::from(pair[1].heading()) + 540.0) % 360.0 - 180.0;
                prop_assert!(off.abs() < 3.0, "moved to {bearing}, heading {:?}", pair[1].heading);
            }
        }
    }
}

#[test]
fn one_seed_gives_one_fleet() {
    let report = |seed| -> Vec<_> {
        vehicles(20, seed).iter_mut().map(|vehicle| vehicle.report(at(0.0))).collect()
    };
    assert_eq!(report(7), report(7));
    assert_ne!(report(7), report(8));
}

#[test]
fn no_two_vehicles_share_a_device_id() {
    let ids: BTreeSet<_> =
        vehicles(3_000, 1).iter().map(|vehicle| vehicle.device_id().to_owned()).collect();
    assert_eq!(ids.len(), 3_000);
    assert!(ids.iter().all(|id| id.len() == 15));
}

#[test]
fn a_device_id_carries_the_check_digit_of_an_imei() {
    let mut digits: Vec<u32> = imei(3, 41).chars().filter_map(|digit| digit.to_digit(10)).collect();
    digits.reverse();
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(place, digit)| digit * if place % 2 == 1 { 2 } else { 1 })
        .map(|value| value / 10 + value % 10)
        .sum();
    assert_eq!(sum % 10, 0);
}

#[test]
fn within_an_hour_a_fleet_drives_stops_parks_and_brakes_hard() {
    let mut seen = BTreeSet::new();
    let (mut moving, mut standing, mut with_attributes) = (0, 0, 0);
    for index in 0..40 {
        for report in ride(5, index, 1.0, 3_600) {
            seen.insert(report.event);
            moving += u32::from(report.speed() > 0.0);
            standing += u32::from(report.speed() == 0.0);
            with_attributes += u32::from(!report.attributes.is_empty());
        }
    }
    let all = [
        Event::Position,
        Event::IgnitionOn,
        Event::IgnitionOff,
        Event::HarshBraking,
        Event::GeofenceEnter,
        Event::GeofenceExit,
    ];
    assert_eq!(seen, all.into_iter().map(i32::from).collect());
    assert!(moving > standing && standing > moving / 10, "{moving} moving, {standing} not");
    assert!(with_attributes > 0 && with_attributes < moving, "{with_attributes}");
}

#[test]
fn a_clock_that_is_set_back_does_not_turn_a_ride_around() {
    let mut vehicle = Vehicle::new(0, 9);
    let first = vehicle.report(at(100.0));
    let second = vehicle.report(at(50.0));
    assert_eq!(second.sequence, 2);
    assert_eq!(second.fix_time, first.fix_time);
    assert_eq!(second.latitude, first.latitude);
}
