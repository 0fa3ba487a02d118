//! How fast is a message converted: by generated code, by the tables of a schema that was read at the
//! start, and by prost-reflect, which builds the message in memory first?
//!
//!     cargo bench --bench convert
//!
//! Prints a table. What counts is the processor's time. The ways take turns in short rounds, and each
//! one's median counts, so that what else the machine does meets all of them; still only what stands in
//! one run can be compared. All read the same messages, one after another, so that none is known by
//! heart. A goal that is missed is exit code 1.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52, for people to read")]

#[allow(dead_code, reason = "each benchmark uses its own part of this")]
#[path = "spool/table.rs"]
mod table;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use table::{Goal, Table};
use waystation::convert::{Converter, Fields, MESSAGE, RealtimeGps, Source};

const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(25);

/// Messages of one schema, and their schema for prost-reflect.
struct Corpus {
    descriptor: MessageDescriptor,
    messages: Vec<Vec<u8>>,
    /// Bytes of JSON a message, on average.
    json: f64,
}

/// One way to convert a message: appends its JSON.
type Way<'a> = Box<dyn Fn(&[u8], &mut Vec<u8>) + 'a>;

fn main() -> ExitCode {
    let mut table = Table::default();
    built_in(&mut table);
    nested(&mut table);
    if table.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The built-in message, as a tracker sends it, by all ways.
fn built_in(table: &mut Table) {
    let (include, file) = (project("proto"), project("proto/realtime_gps.proto"));
    let corpus = Corpus::new(&include, "realtime_gps.proto", MESSAGE, (0..64).map(report));
    let fields = Fields { key: Some("device_id"), ..Fields::default() };
    let generated = Converter::new(&Source::BuiltIn, MESSAGE, fields).expect("the built-in schema");
    let source = Source::Proto { files: vec![file], include: vec![include] };
    let tables = Converter::new(&source, MESSAGE, fields).expect("the same, read from its file");
    let decoding: Way = Box::new(|message, _| drop(black_box(RealtimeGps::decode(message))));
    let ways = [way(&generated), way(&tables), decoding, reflection(&corpus)];
    let [generated, tables, decoded, reflected] = corpus.medians(&ways);
    corpus.row(table, "built-in message, built-in path", generated, Goal::None, generated, "");
    corpus.row(
        table,
        "  only decoded, by prost",
        decoded,
        Goal::None,
        generated,
        "the built-in path's",
    );
    corpus.row(
        table,
        "  run-time path",
        tables,
        Goal::AtLeast(0.7),
        generated,
        "the built-in path's",
    );
    corpus.row(table, "  prost-reflect", reflected, Goal::None, generated, "the built-in path's");
}

/// A day's trip with messages inside messages, lists, maps and well-known types.
fn nested(table: &mut Table) {
    let include = project("tests/fixtures/proto");
    let file = include.join("fleet/trip.proto");
    let corpus = Corpus::new(&include, "fleet/trip.proto", "fleet.Trip", (0..8).map(trip));
    let source = Source::Proto { files: vec![file], include: vec![include] };
    let fields = Fields { key: Some("trip_id"), ..Fields::default() };
    let tables = Converter::new(&source, "fleet.Trip", fields).expect("the schema of a trip");
    let [tables, reflected] = corpus.medians(&[way(&tables), reflection(&corpus)]);
    corpus.row(
        table,
        "large nested message, run-time path",
        tables,
        Goal::None,
        reflected,
        "prost-reflect's",
    );
    corpus.row(table, "  prost-reflect", reflected, Goal::None, reflected, "");
}

/// What this thread has had of a processor.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().expect("a time that is not negative")
}

fn way(converter: &Converter) -> Way<'_> {
    Box::new(|message, json| {
        black_box(converter.convert(message, json).expect("a message of the schema"));
    })
}

fn reflection(corpus: &Corpus) -> Way<'_> {
    Box::new(|message, json| {
        let message = DynamicMessage::decode(corpus.descriptor.clone(), message);
        serde_json::to_writer(json, &message.expect("a message of the schema")).expect("its JSON");
    })
}

impl Corpus {
    /// Messages that are given as JSON.
    fn new(include: &Path, file: &str, name: &str, values: impl Iterator<Item = Value>) -> Self {
        let files = protox::compile([file], [include]).expect("a schema");
        let pool = DescriptorPool::from_file_descriptor_set(files).expect("a whole schema");
        let descriptor = pool.get_message_by_name(name).expect("a message of the schema");
        let message = |value: Value| DynamicMessage::deserialize(descriptor.clone(), value);
        let values: Vec<_> = values.map(|value| message(value).expect("its fields")).collect();
        let json = |message: &DynamicMessage| serde_json::to_vec(message).expect("its JSON").len();
        let json = values.iter().map(json).sum::<usize>() as f64 / values.len() as f64;
        let messages = values.iter().map(Message::encode_to_vec).collect();
        Self { descriptor, messages, json }
    }

    /// Bytes a message, on average.
    fn wire(&self) -> f64 {
        self.messages.iter().map(Vec::len).sum::<usize>() as f64 / self.messages.len() as f64
    }

    /// Nanoseconds a message, by each of the ways: the medians of rounds that take turns.
    fn medians<const N: usize>(&self, ways: &[Way<'_>; N]) -> [f64; N] {
        let mut rounds = ways.each_ref().map(|_| Vec::new());
        // One more, which warms up and is not counted.
        for round in 0..=ROUNDS {
            for (way, rounds) in ways.iter().zip(&mut rounds) {
                let taken = self.round(way);
                if round > 0 {
                    rounds.push(taken);
                }
            }
        }
        rounds.map(|mut rounds| {
            rounds.sort_by(f64::total_cmp);
            rounds[rounds.len() / 2]
        })
    }

    fn round(&self, way: &dyn Fn(&[u8], &mut Vec<u8>)) -> f64 {
        let (start, mut converted, mut json) = (worked(), 0_u32, Vec::new());
        while worked() < start + ROUND {
            for message in &self.messages {
                json.clear();
                way(black_box(message), &mut json);
                black_box(&json);
                converted += 1;
            }
        }
        worked().saturating_sub(start).as_nanos() as f64 / f64::from(converted)
    }

    fn row(&self, table: &mut Table, what: &str, ns: f64, goal: Goal, yardstick: f64, of: &str) {
        let speed = yardstick / ns;
        let sizes = format!("{:.0} bytes to {:.0} of JSON", self.wire(), self.json);
        let beside = if of.is_empty() { sizes } else { format!("{speed:.2} of {of} speed") };
        let measured = format!("{ns:.0} ns, {:.0} MB/s of JSON", self.json / ns * 1e3);
        table.row(what, &measured, &beside, goal.met(speed));
    }
}

/// A tracker's report, with most of what the schema has.
fn report(i: u32) -> Value {
    let part = f64::from(i) / 64.0;
    json!({
        "deviceId": format!("tracker-{:05}", i * 977),
        "fixTime": format!("2024-02-29T12:{:02}:{:02}.250Z", i % 60, i * 7 % 60),
        "latitude": 53.5511 + part / 7.0,
        "longitude": 9.9937 - part / 3.0,
        "altitude": (part * 800.0).round() / 10.0,
        "speed": (part * 300.0).round() / 10.0,
        "heading": (part * 3600.0).round() / 10.0,
        "horizontalAccuracy": 2.5,
        "hdop": 0.8,
        "satellites": i % 14,
        "fixType": "FIX_3D",
        "ignition": i.is_multiple_of(2),
        "odometer": (123_456_789 + i).to_string(),
        "event": "POSITION",
        "sequence": (4_294_967_296_u64 + u64::from(i)).to_string(),
        "vehicleId": format!("HH-WS {i}"),
        "batteryVoltage": 27.6,
        "attributes": {"firmware": "2.4.1", "network": "LTE"},
    })
}

/// A trip of some twenty kilobytes of JSON.
fn trip(i: u32) -> Value {
    let position = |at: u32| {
        json!({
            "latitudeE7": 535_511_000 + at * 37, "longitudeE7": 99_937_000 - at * 11,
            "secondsSinceStart": at * 10, "speed": f64::from(at * i % 300) / 10.0,
            "heading": at * 45 % 360, "altitude": -2, "satellites": 11,
        })
    };
    let frame = |at: u32| {
        json!({
            "identifier": 0x18fe_ee00 + at, "data": "/wB9AAAAAP8=",
            "offset": format!("{}.{:03}s", at / 50, at * 20 % 1000), "extended": true,
        })
    };
    let stop = |at: u32| {
        json!({
            "where": position(at), "length": "45s", "address": format!("Straße {at}"),
            "passengers": ["2 on", "1 off"],
        })
    };
    json!({
        "tripId": format!("depot-7/2024-02-29/{i}"),
        "vehicle": {"registration": "HH-WS 17", "vin": "WDB9634031L123456", "kind": "BUS",
            "labels": {"depot": "Nord", "line": "M5"}},
        "startedAt": "2024-02-29T00:00:00Z", "endedAt": "2024-02-29T01:28:43.456Z",
        "idleTime": "61.500s",
        "positions": (0..100).map(position).collect::<Vec<_>>(),
        "stops": (0..10).map(stop).collect::<Vec<_>>(),
        "frames": (0..60).map(frame).collect::<Vec<_>>(),
        "signals": {
            "coolant": {"number": 87.5, "unit": "DEGREES_CELSIUS"}, "doors": {"state": false},
            "counter": {"counter": "-7"}, "destination": {"text": "Hafen"},
        },
        "faults": {"17": {"faults": [{"suspectParameter": 110, "severity": "RED"}]}, "3": {}},
        "person": {"name": "N. N.", "licenceNo": "B072RRE2I55", "phoneNumbers": ["+49 40 1"]},
        "consumed": 21.7, "odometerAtStart": "123456789", "private": false,
        "heightProfile": (0..120).map(|at| at * 7 % 90 - 20).collect::<Vec<i32>>(),
        "batteryVolts": (0..60).map(|at| f64::from(at % 9) / 10.0 + 27.0).collect::<Vec<_>>(),
        "fuelLevels": {"0": 0.5, "10": 0.49, "100": 0.31},
        "secondsMoving": {"true": "5262", "false": "61"},
        "extra": {"ticketing": {"sold": 12, "kinds": ["day", "single"]}, "ramp": null},
        "signature": "MEUCIA==", "endedBy": "IGNITION_OFF", "warnings": ["TAMPERED"],
    })
}
