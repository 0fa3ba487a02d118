//! How a metric is written, in either format.
//!
//! Invariant: what is written can be read by a strict parser: each family once, with its help
//! and type before its samples, labels escaped, histograms cumulative up to `+Inf`, and `# EOF`
//! where the format wants it. It does not know which metrics there are.
//!
//! The two formats differ in three things here: `OpenMetrics` names a counter's family without
//! `_total` and an info's without `_info`, it ends in `# EOF`, and it escapes quotes in a help text.

use super::Format;
use crate::histogram::{self, BOUNDS};
use crate::record::Millis;
use std::fmt::{Display, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

pub(super) struct Text {
    format: Format,
    out: String,
}

/// A family that has begun; its samples follow.
pub(super) struct Family<'a> {
    out: &'a mut String,
    /// The name of a sample.
    name: String,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::with_capacity(8 * 1024) }
    }

    /// Begins a family; `name` is that of its samples.
    pub(super) fn family(&mut self, kind: Kind, name: &str, help: &str) -> Family<'_> {
        let (of_family, kind) = match (self.format, kind) {
            (Format::Text, Kind::Counter) => (name, "counter"),
            (Format::OpenMetrics, Kind::Counter) => {
                (name.strip_suffix("_total").unwrap_or(name), "counter")
            }
            (Format::OpenMetrics, Kind::Info) => {
                (name.strip_suffix("_info").unwrap_or(name), "info")
            }
            (Format::Text, Kind::Info) | (_, Kind::Gauge) => (name, "gauge"),
            (_, Kind::Histogram) => (name, "histogram"),
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let help =
            if self.format == Format::OpenMetrics { help.replace('"', "\\\"") } else { help };
        write(
            &mut self.out,
            format_args!("# HELP {of_family} {help}\n# TYPE {of_family} {kind}\n"),
        );
        Family { out: &mut self.out, name: name.to_owned() }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.line("", labels, value);
    }

    /// A time in seconds since 1970; no sample for none.
    pub(super) fn time(&mut self, at: Option<Millis>) {
        if let Some(Millis(millis)) = at {
            let (sign, millis) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
            self.line("", &[], format_args!("{sign}{}.{:03}", millis / 1000, millis % 1000));
        }
    }

    pub(super) fn histogram(&mut self, snapshot: &histogram::Snapshot) {
        let mut total: u64 = 0;
        for (bucket, count) in snapshot.buckets.iter().enumerate() {
            total = total.saturating_add(*count);
            // `{:?}` always shows a point, as OpenMetrics wants it: one series in either format.
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.line("_bucket", &[("le", &bound)], total);
        }
        let sum = if snapshot.sum.is_finite() { snapshot.sum.max(0.0) } else { 0.0 };
        self.line("_sum", &[], format_args!("{sum:?}"));
        self.line("_count", &[], total);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(&self.name);
        self.out.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    letter => self.out.push(letter),
                }
            }
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        write(self.out, format_args!(" {value}\n"));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Cannot happen: a `String` takes whatever is written.
    out.write_fmt(text).expect("a String takes every write");
}
