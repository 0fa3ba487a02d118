//! The metrics, as Prometheus reads them: its text format 0.0.4, or `OpenMetrics` 1.0 for who asks.
//!
//! Names are a contract (alert rules and dashboards hang on them). Counters count since the
//! process started; the lifetime books are gauges, because a new spool starts them again. What
//! has no value at the moment (no record waits, nothing was ever delivered) has no sample rather
//! than a zero that would read as 1970. It does not know how the numbers are counted.

mod format;
mod text;

pub use format::Format;

use crate::histogram;
use crate::ledger::Ledger;
use crate::record::Millis;
use crate::status::{IngestState, KafkaState, Snapshot};
use text::{Kind, Text};

/// What the metrics need beside the snapshot.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The books as they stood when this process started.
    pub at_start: Ledger,
    /// When the oldest waiting record was received.
    pub oldest_received: Option<Millis>,
    /// When the last delivery report came.
    pub last_delivery: Option<Millis>,
    /// From the first append of a batch until it is durable.
    pub commits: histogram::Snapshot,
    /// From the head of a request until its answer.
    pub requests: histogram::Snapshot,
    /// Fields of messages that their schemas do not know.
    pub unknown_fields: u64,
    /// From handing a record to Kafka until its delivery report.
    pub deliveries: histogram::Snapshot,
}

/// All metrics in one text.
#[must_use]
pub fn render(format: Format, status: &Snapshot, input: &Input) -> String {
    let mut text = Text::new(format);
    text.family(Kind::Info, "waystation_build_info", "The program that runs; always 1.")
        .sample(&[("version", &status.version)], 1);
    records(&mut text, status, input);
    spool(&mut text, status, input);
    kafka(&mut text, status, input);
    text.family(
        Kind::Histogram,
        "waystation_request_duration_seconds",
        "From the head of a request until its answer.",
    )
    .histogram(&input.requests);
    text.finish()
}

fn records(text: &mut Text, status: &Snapshot, input: &Input) {
    let (now, then) = (&status.ledger, &input.at_start);
    let counters = [
        ("accepted", "made durable and answered with 200", now.accepted, then.accepted),
        ("delivered", "delivered, by Kafka's own report", now.delivered, then.delivered),
        ("dropped", "removed by the operator's policy", now.dropped, then.dropped),
        ("exported", "taken out by an operator's hand", now.exported, then.exported),
        ("lost", "found damaged on the medium", now.lost, then.lost),
    ];
    for (name, meaning, now, then) in counters {
        let name = format!("waystation_records_{name}_total");
        let help = format!("Records {meaning}, since the process started.");
        text.family(Kind::Counter, &name, &help).sample(&[], now.saturating_sub(then));
    }
    let mut rejected = text.family(
        Kind::Counter,
        "waystation_records_rejected_total",
        "Requests refused, by reason, since the process started.",
    );
    for (reason, count) in &status.ingest.rejected {
        rejected.sample(&[("reason", reason)], *count);
    }
    text.family(
        Kind::Counter,
        "waystation_unknown_fields_total",
        "Fields that the operator's schemas do not know, left out of the JSON, since the process started.",
    )
    .sample(&[], input.unknown_fields);
    text.family(
        Kind::Counter,
        "waystation_tls_handshakes_failed_total",
        "Connections to ingest that broke off before TLS was there, since the process started.",
    )
    .sample(&[], status.ingest.failed_handshakes);
    let mut closed = text.family(
        Kind::Counter,
        "waystation_connections_closed_total",
        "Connections of trackers that the box closed, by reason, since the process started.",
    );
    for (reason, count) in &status.ingest.closed {
        closed.sample(&[("reason", reason)], *count);
    }
    let mut invalid = text.family(
        Kind::Counter,
        "waystation_records_invalid_total",
        "Of the accepted records, those that are no messages and were kept as dead letters, since \
         the process started.",
    );
    for route in &status.routes {
        invalid.sample(&[("path", &route.path), ("topic", &route.topic)], route.invalid);
    }
    let mut repeated = text.family(
        Kind::Counter,
        "waystation_records_repeated_total",
        "Messages that had been kept before and were not kept again, since the process started.",
    );
    for route in &status.routes {
        repeated.sample(&[("path", &route.path), ("topic", &route.topic)], route.repeated);
    }
    let mut ledger = text.family(
        Kind::Gauge,
        "waystation_ledger_records",
        "The lifetime books of the spool: accepted is the sum of all other states.",
    );
    let books = [
        ("accepted", now.accepted),
        ("delivered", now.delivered),
        ("spooled", now.spooled),
        ("dead", now.dead),
        ("dropped", now.dropped),
        ("exported", now.exported),
        ("lost", now.lost),
    ];
    for (state, count) in books {
        ledger.sample(&[("state", state)], count);
    }
    text.family(
        Kind::Gauge,
        "waystation_dead_letters",
        "Records set aside because Kafka can never take them.",
    )
    .sample(&[], now.dead);
    let refusing = u64::from(status.ingest.state == IngestState::Refusing);
    text.family(Kind::Gauge, "waystation_ingest_refusing", "1 while new records are refused.")
        .sample(&[], refusing);
}

fn spool(text: &mut Text, status: &Snapshot, input: &Input) {
    let spool = &status.spool;
    let gauges = [
        ("records", "Records that wait on the disk.", spool.records),
        ("bytes", "Bytes on disk of everything in the spool's directory.", spool.disk_bytes),
        ("limit_bytes", "The limit of waystation_spool_bytes.", spool.max_bytes),
        ("segments", "Segments on disk.", spool.segments),
    ];
    for (name, help, value) in gauges {
        text.family(Kind::Gauge, &format!("waystation_spool_{name}"), help).sample(&[], value);
    }
    text.family(
        Kind::Gauge,
        "waystation_spool_oldest_record_timestamp_seconds",
        "When the oldest waiting record was received; absent while none waits.",
    )
    .time(input.oldest_received);
    text.family(
        Kind::Histogram,
        "waystation_commit_duration_seconds",
        "From the first record of a batch until it is durable.",
    )
    .histogram(&input.commits);
    let mut held = text.family(
        Kind::Gauge,
        "waystation_route_held_records",
        "Records that wait because Kafka refuses their topic.",
    );
    for route in &status.routes {
        held.sample(&[("path", &route.path), ("topic", &route.topic)], route.held);
    }
}

fn kafka(text: &mut Text, status: &Snapshot, input: &Input) {
    let kafka = &status.kafka;
    let mut holds = text.family(
        Kind::Gauge,
        "waystation_kafka_state",
        "1 for the state that holds now, else 0.",
    );
    for state in KafkaState::ALL {
        holds.sample(&[("state", state.name())], u64::from(state == kafka.state));
    }
    text.family(
        Kind::Gauge,
        "waystation_kafka_in_flight_records",
        "Records handed to Kafka whose delivery report has not come.",
    )
    .sample(&[], kafka.in_flight);
    text.family(
        Kind::Gauge,
        "waystation_kafka_last_delivery_timestamp_seconds",
        "When the last delivery report came; absent before the first.",
    )
    .time(input.last_delivery);
    text.family(
        Kind::Histogram,
        "waystation_delivery_duration_seconds",
        "From handing a record to Kafka until its delivery report.",
    )
    .histogram(&input.deliveries);
}

#[cfg(test)]
mod tests;
