//! The metrics, read back by a small parser that is stricter than Prometheus' own.

use super::*;
use crate::histogram::{BOUNDS, Histogram};
use crate::status::example::snapshot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Each family must come once, HELP then TYPE then its samples; names, labels and numbers must be
/// well formed; no series may come twice.
fn parse(text: &str, format: Format) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut open: Option<String> = None;
    let mut series = BTreeSet::new();
    assert!(text.ends_with('\n'));
    let body = match format {
        Format::Text => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("ends in EOF"),
    };
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(words.ends_with('.'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("TYPE");
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, typed);
            assert!(!families.contains_key(name), "{name} comes twice");
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), samples: vec![] });
            open = Some(name.to_owned());
            continue;
        }
        let (name, labels, value) = sample(line);
        assert!(series.insert((name.clone(), labels.clone())), "{line} comes twice");
        let family = open.as_ref().expect("a sample belongs to a family");
        let of_family = families.get_mut(family).unwrap();
        let suffix =
            name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{name} in {family}"));
        let allowed: &[&str] = match (of_family.kind.as_str(), format) {
            ("counter", Format::OpenMetrics) => &["_total"],
            ("info", Format::OpenMetrics) => &["_info"],
            ("histogram", _) => &["_bucket", "_sum", "_count"],
            ("counter" | "gauge", _) => &[""],
            (other, _) => panic!("{other}"),
        };
        assert!(allowed.contains(&suffix), "{line}");
        of_family.samples.push((suffix.to_owned(), labels, value));
    }
    families
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(name.starts_with("waystation_"), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let mut text = String::new();
            let mut letters = after.char_indices();
            rest = loop {
                match letters.next().expect("a closing quote") {
                    (_, '\\') => match letters.next().unwrap().1 {
                        'n' => text.push('\n'),
                        letter @ ('\\' | '"') => text.push(letter),
                        other => panic!("escape {other}"),
                    },
                    (at, '"') => break &after[at + 1..],
                    (_, letter) => text.push(letter),
                }
            };
            assert!(labels.insert(label.to_owned(), text).is_none());
            match rest.split_at(1) {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("one space").parse().expect("a number");
    (name.to_owned(), labels, value)
}

fn full() -> (Snapshot, Input) {
    let mut status = snapshot();
    status.ledger.lost = 2;
    status.routes[0].path = "/a\"b\\c\nd".to_owned();
    let commits = Histogram::default();
    for micros in [100, 400, 400, 30_000_000] {
        commits.observe(Duration::from_micros(micros));
    }
    let input = Input {
        at_start: Ledger {
            accepted: 18_000_000,
            delivered: 18_000_000,
            lost: 2,
            ..Ledger::default()
        },
        oldest_received: Some(Millis(1_777_889_472_045)),
        last_delivery: Some(Millis(1_777_889_472_345)),
        commits: commits.snapshot(),
        ..Input::default()
    };
    (status, input)
}

fn value(families: &BTreeMap<String, Family>, family: &str, label: Option<&str>) -> f64 {
    let samples = &families.get(family).unwrap_or_else(|| panic!("no {family}")).samples;
    let found = samples.iter().find(|(_, labels, _)| match label {
        None => labels.is_empty(),
        Some(label) => labels.values().any(|value| value == label),
    });
    found.unwrap_or_else(|| panic!("no {label:?} in {family}")).2
}

#[test]
#[allow(clippy::float_cmp, reason = "whole numbers and decimal fractions come back as they went")]
fn every_promised_metric_is_there_and_well_formed() {
    let (status, input) = full();
    let families = parse(&render(Format::Text, &status, &input), Format::Text);
    assert_eq!(value(&families, "waystation_records_accepted_total", None), 412_007.0);
    assert_eq!(value(&families, "waystation_records_lost_total", None), 0.0);
    assert_eq!(value(&families, "waystation_records_rejected_total", Some("malformed")), 12.0);
    assert_eq!(value(&families, "waystation_tls_handshakes_failed_total", None), 7.0);
    assert_eq!(value(&families, "waystation_connections_closed_total", Some("silent")), 41.0);
    assert_eq!(value(&families, "waystation_ledger_records", Some("delivered")), 18_412_007.0);
    assert_eq!(families["waystation_ledger_records"].samples.len(), 7);
    assert_eq!(value(&families, "waystation_spool_bytes", None), 8_912_896.0);
    assert_eq!(value(&families, "waystation_spool_limit_bytes", None), 2_147_483_648.0);
    assert_eq!(value(&families, "waystation_dead_letters", None), 0.0);
    assert_eq!(value(&families, "waystation_kafka_state", Some("connected")), 1.0);
    assert_eq!(value(&families, "waystation_kafka_state", Some("outage")), 0.0);
    let oldest = value(&families, "waystation_spool_oldest_record_timestamp_seconds", None);
    assert_eq!(oldest, 1_777_889_472.045);
    assert_eq!(value(&families, "waystation_build_info", Some("0.1.0")), 1.0);
    for name in ["commit", "request", "delivery"] {
        assert_eq!(families[&format!("waystation_{name}_duration_seconds")].kind, "histogram");
    }
}

#[test]
fn openmetrics_names_families_its_own_way_and_carries_the_same_samples() {
    let (status, input) = full();
    let open = parse(&render(Format::OpenMetrics, &status, &input), Format::OpenMetrics);
    let text = parse(&render(Format::Text, &status, &input), Format::Text);
    assert_eq!(open["waystation_records_accepted"].kind, "counter");
    assert_eq!(open["waystation_build"].kind, "info");
    let full_names = |families: BTreeMap<String, Family>| {
        let mut all = Vec::new();
        for (family, found) in families {
            for (suffix, labels, value) in found.samples {
                all.push(format!("{family}{suffix} {labels:?} {value}"));
            }
        }
        all.sort();
        all
    };
    assert_eq!(full_names(open), full_names(text));
}

#[test]
#[allow(clippy::float_cmp, reason = "counts come back as they went")]
fn a_histogram_is_cumulative_up_to_infinity() {
    let (status, input) = full();
    let families = parse(&render(Format::Text, &status, &input), Format::Text);
    let samples = &families["waystation_commit_duration_seconds"].samples;
    let buckets: Vec<_> = samples.iter().filter(|(suffix, ..)| suffix == "_bucket").collect();
    assert_eq!(buckets.len(), BOUNDS.len() + 1);
    assert!(buckets.is_sorted_by(|a, b| a.2 <= b.2));
    assert_eq!((buckets[0].1["le"].as_str(), buckets[0].2), ("0.00025", 1.0));
    assert_eq!((buckets[1].1["le"].as_str(), buckets[1].2), ("0.0005", 3.0));
    assert_eq!((buckets[BOUNDS.len()].1["le"].as_str(), buckets[BOUNDS.len()].2), ("+Inf", 4.0));
    assert_eq!(
        samples.last().map(|(suffix, _, count)| (suffix.as_str(), *count)),
        Some(("_count", 4.0))
    );
    let (_, _, sum) = samples.iter().find(|(suffix, ..)| suffix == "_sum").unwrap();
    assert!((sum - 30.000_9).abs() < 1e-9, "{sum}");
}

#[test]
fn a_label_comes_back_as_it_went_however_odd() {
    let (status, input) = full();
    let families = parse(&render(Format::Text, &status, &input), Format::Text);
    let (_, labels, _) = &families["waystation_route_held_records"].samples[0];
    assert_eq!(labels["path"], "/a\"b\\c\nd");
}

#[test]
fn what_has_no_value_has_no_sample() {
    let families = parse(&render(Format::Text, &snapshot(), &Input::default()), Format::Text);
    assert!(families["waystation_kafka_last_delivery_timestamp_seconds"].samples.is_empty());
    assert!(families["waystation_spool_oldest_record_timestamp_seconds"].samples.is_empty());
}
