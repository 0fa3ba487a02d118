//! Simulated vehicles: what would trackers on real streets report?
//!
//! Each vehicle starts near the middle of a real city, drives legs of streets, turns at
//! corners, stops at lights and stops, and parks with the ignition off now and then. Its
//! fields agree with each other: the position moves by speed and time along the heading,
//! the odometer grows by the same way, a parked vehicle has no speed. Everything follows
//! from a seed and the times that are passed in; nothing here reads a clock, and nothing
//! here knows how a report is sent.

use crate::convert::{Event, FixType, RealtimeGps};
use fastrand::Rng;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where fleets start: latitude and longitude of the centre, degrees; height, metres.
const CITIES: [(f64, f64, f64); 12] = [
    (52.520, 13.405, 34.0),    // Berlin
    (48.857, 2.352, 35.0),     // Paris
    (51.507, -0.128, 11.0),    // London
    (40.417, -3.704, 657.0),   // Madrid
    (59.329, 18.069, 28.0),    // Stockholm
    (47.377, 8.542, 408.0),    // Zurich
    (41.008, 28.978, 39.0),    // Istanbul
    (-1.286, 36.817, 1661.0),  // Nairobi
    (19.433, -99.133, 2240.0), // Mexico City
    (-33.869, 151.209, 19.0),  // Sydney
    (35.690, 139.692, 40.0),   // Tokyo
    (-34.604, -58.382, 25.0),  // Buenos Aires
];

/// Name, highest speed (m/s), share of stops that last, volts with the engine running.
const KINDS: [(&str, f64, f64, f32); 4] = [
    ("bus", 14.0, 0.5, 27.6),
    ("truck", 22.0, 0.15, 27.8),
    ("van", 17.0, 0.3, 14.2),
    ("tram", 13.0, 0.6, 24.9),
];

/// Metres of one degree of latitude.
const METRES_A_DEGREE: f64 = 111_320.0;
/// A vehicle turns back before it is this far from where it started, metres.
const RANGE: f64 = 12_000.0;
/// The depot around the start, metres: crossing it is an event.
const DEPOT: f64 = 400.0;
/// The longest step that is simulated; a vehicle that was silent for longer stood still.
const LONGEST_STEP: Duration = Duration::from_secs(5);
const COMFORTABLE: f64 = 1.6;
const HARSH: f64 = 4.8;

/// What a vehicle is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Doing {
    /// On its way to the next corner, `left` metres further on, or braking to a stop.
    Driving { left: f64 },
    /// Standing with the ignition on, for `left` seconds.
    Waiting { left: f64 },
    /// Standing with the ignition off, for `left` seconds.
    Parked { left: f64 },
}

/// One simulated vehicle with its tracker.
#[derive(Debug, Clone)]
pub struct Vehicle {
    device_id: String,
    /// Kind and number, as painted on its side.
    name: String,
    rng: Rng,
    home: (f64, f64, f64),
    /// Metres north and east of `home`.
    position: (f64, f64),
    top_speed: f64,
    lingers: f64,
    running_volts: f32,
    /// Metres per second.
    speed: f64,
    target: f64,
    braking: f64,
    /// Degrees clockwise from north, 0 (inclusive) to 360 (exclusive).
    heading: f64,
    course: f64,
    doing: Doing,
    odometer: f64,
    satellites: u32,
    in_depot: bool,
    sequence: u64,
    last: Option<SystemTime>,
}

/// `count` vehicles of one seed, each with a device id of its own. Two seeds give two
/// fleets that share hardly any device id.
pub fn vehicles(count: usize, seed: u64) -> Vec<Vehicle> {
    (0..count).map(|index| Vehicle::new(index, seed)).collect()
}

impl Vehicle {
    fn new(index: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (kind, top_speed, lingers, running_volts) = KINDS[index % KINDS.len()];
        let heading = rng.f64() * 360.0;
        Self {
            device_id: imei(seed, index),
            name: format!("{kind}-{:04}", index + 1),
            home: CITIES[rng.usize(..CITIES.len())],
            position: (spread(&mut rng, 5_000.0), spread(&mut rng, 5_000.0)),
            top_speed,
            lingers,
            running_volts,
            speed: 0.0,
            target: top_speed * 0.7,
            braking: COMFORTABLE,
            heading,
            course: heading,
            doing: Doing::Driving { left: 100.0 + rng.f64() * 600.0 },
            odometer: 20_000_000.0 + rng.f64() * 400_000_000.0,
            satellites: rng.u32(8..=16),
            in_depot: false,
            sequence: 0,
            last: None,
            rng,
        }
    }

    /// The tracker's id: 15 digits, as an IMEI with its check digit.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// Drives on to `now` and gives the report that the tracker sends there; its `sequence`
    /// is 1 for the first report and one more for each. A `now` before that of the last
    /// report is taken as that of the last report.
    pub fn report(&mut self, now: SystemTime) -> RealtimeGps {
        let before = self.last.unwrap_or(now);
        let now = now.max(before);
        let step = now.duration_since(before).unwrap_or_default().min(LONGEST_STEP);
        self.last = Some(now);
        let event = self.drive(step.as_secs_f64());
        self.sequence += 1;
        self.message(now, event)
    }

    /// Moves by `seconds`; says what happened on the way.
    fn drive(&mut self, seconds: f64) -> Event {
        let mut event = Event::Position;
        self.doing = match self.doing {
            Doing::Driving { left } => {
                let left = left - self.roll(seconds);
                let stopping = self.target == 0.0;
                if (stopping && self.speed > 0.0) || (!stopping && left > 0.0) {
                    Doing::Driving { left }
                } else {
                    let next = self.corner();
                    if self.target == 0.0 && self.braking >= HARSH && self.speed > 0.0 {
                        event = Event::HarshBraking;
                    }
                    next
                }
            }
            Doing::Waiting { left } if left > seconds => Doing::Waiting { left: left - seconds },
            Doing::Waiting { .. } if self.rng.f64() < 0.08 => {
                event = Event::IgnitionOff;
                Doing::Parked { left: 15.0 + self.rng.f64() * 75.0 }
            }
            Doing::Waiting { .. } => self.set_off(),
            Doing::Parked { left } if left > seconds => Doing::Parked { left: left - seconds },
            Doing::Parked { .. } => {
                event = Event::IgnitionOn;
                Doing::Waiting { left: 2.0 + self.rng.f64() * 5.0 }
            }
        };
        let in_depot = self.way_home() < DEPOT;
        if in_depot != self.in_depot && event == Event::Position && self.sequence > 0 {
            event = if in_depot { Event::GeofenceEnter } else { Event::GeofenceExit };
        }
        self.in_depot = in_depot;
        if self.rng.u8(..) < 8 {
            let next = self.satellites.saturating_add_signed(self.rng.i32(-1..=1));
            self.satellites = next.clamp(6, 19);
        }
        event
    }

    /// Speed, heading, position and odometer after `seconds` at the wheel; gives the metres
    /// driven.
    fn roll(&mut self, seconds: f64) -> f64 {
        let rate = if self.speed > self.target { self.braking } else { COMFORTABLE };
        let change = (self.target - self.speed).clamp(-rate * seconds, rate * seconds);
        self.speed = (self.speed + change).max(0.0);
        // A turn takes about three seconds, and a vehicle that stands does not turn.
        if self.speed > 0.0 {
            let off = (self.course - self.heading + 540.0).rem_euclid(360.0) - 180.0;
            let turn = off.clamp(-35.0 * seconds, 35.0 * seconds);
            self.heading = (self.heading + turn).rem_euclid(360.0) % 360.0;
        }
        let metres = self.speed * seconds;
        let (east, north) = self.heading.to_radians().sin_cos();
        self.position.0 += metres * north;
        self.position.1 += metres * east;
        self.odometer += metres;
        metres
    }

    /// At the end of a leg: wait here, brake for a stop, or take the next street.
    fn corner(&mut self) -> Doing {
        if self.target == 0.0 {
            let long = self.rng.f64() < self.lingers;
            let least = if long { 15.0 } else { 4.0 };
            return Doing::Waiting { left: least + self.rng.f64() * 15.0 };
        }
        if self.rng.f64() < 0.35 {
            self.braking = if self.rng.f64() < 0.06 { HARSH } else { COMFORTABLE };
            self.target = 0.0;
            return Doing::Driving { left: 0.0 };
        }
        self.set_off()
    }

    /// Chooses a street, its length and its speed.
    fn set_off(&mut self) -> Doing {
        self.course = if self.way_home() > RANGE {
            let (north, east) = self.position;
            (-east).atan2(-north).to_degrees().rem_euclid(360.0)
        } else {
            let bend = self.rng.f64() * 16.0 - 8.0;
            let corner = self.rng.choice([-90.0, 0.0, 0.0, 90.0]).unwrap_or(0.0);
            (self.course + corner + bend).rem_euclid(360.0)
        };
        self.braking = COMFORTABLE;
        self.target = self.top_speed * (0.45 + 0.55 * self.rng.f64());
        Doing::Driving { left: 120.0 + self.rng.f64() * 700.0 }
    }

    fn way_home(&self) -> f64 {
        self.position.0.hypot(self.position.1)
    }

    #[allow(clippy::cast_possible_truncation, reason = "measurements of a few digits")]
    #[allow(clippy::cast_sign_loss, reason = "the odometer only grows")]
    fn message(&mut self, now: SystemTime, event: Event) -> RealtimeGps {
        let (latitude, longitude, height) = self.home;
        let (north, east) = self.position;
        let narrower = latitude.to_radians().cos();
        let ignition = !matches!(self.doing, Doing::Parked { .. });
        let hdop = 0.45 + 4.0 / f64::from(self.satellites);
        let hills = 6.0 * ((north / 900.0).sin() + (east / 700.0).cos());
        let sag = if ignition { self.rng.f32() * 0.3 } else { self.running_volts * 0.1 };
        let mut message = RealtimeGps {
            device_id: self.device_id.clone(),
            latitude: Some(rounded(latitude + north / METRES_A_DEGREE, 1e7)),
            longitude: Some(rounded(longitude + east / (METRES_A_DEGREE * narrower), 1e7)),
            altitude: Some(rounded(height + hills, 10.0)),
            speed: Some(self.speed as f32),
            heading: Some(self.heading as f32 % 360.0),
            horizontal_accuracy: Some(rounded(hdop * 2.6, 10.0) as f32),
            hdop: Some(rounded(hdop, 100.0) as f32),
            satellites: Some(self.satellites),
            ignition: Some(ignition),
            odometer: Some(self.odometer as u64),
            sequence: self.sequence,
            vehicle_id: self.name.clone(),
            battery_voltage: Some(self.running_volts - sag),
            ..RealtimeGps::default()
        };
        message.set_event(event);
        let poor = if self.satellites < 7 { FixType::Fix2d } else { FixType::Fix3d };
        message.set_fix_type(if self.satellites > 15 { FixType::Differential } else { poor });
        // Named by its fields only: which crate's Timestamp it is, is the schema's affair.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let fix_time = message.fix_time.get_or_insert_with(Default::default);
        fix_time.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        fix_time.nanos = (since.subsec_millis() * 1_000_000).cast_signed();
        self.attributes(&mut message, event);
        message
    }

    /// What this tracker adds now and then.
    fn attributes(&mut self, message: &mut RealtimeGps, event: Event) {
        let mut add = |name: &str, value: String| {
            message.attributes.insert(name.to_owned(), value);
        };
        if event == Event::IgnitionOn {
            add("driver", format!("D{:04}", self.rng.u32(1..=400)));
        }
        if matches!(self.doing, Doing::Waiting { .. }) && self.name.starts_with("bus") {
            add("door", "open".to_owned());
        }
        if self.sequence % 20 == 1 && self.name.starts_with("van") {
            add("cargo_celsius", format!("{:.1}", 3.0 + self.rng.f64() * 2.0));
        }
    }
}

/// A number as a tracker with so many steps to the unit reports it.
fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Evenly between `-range` and `range`.
fn spread(rng: &mut Rng, range: f64) -> f64 {
    (rng.f64() * 2.0 - 1.0) * range
}

/// 15 digits: a maker's eight of which six come from the seed, six of the vehicle, and
/// the Luhn check digit. Distinct for up to a million vehicles.
fn imei(seed: u64, index: usize) -> String {
    let maker = Rng::with_seed(seed).u32(..1_000_000);
    let body = format!("86{maker:06}{:06}", index % 1_000_000);
    let sum: u32 = body
        .bytes()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0') * if place % 2 == 1 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests;
