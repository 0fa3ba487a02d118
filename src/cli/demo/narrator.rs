//! Turns facts into the lines that somebody reads on a terminal.
//!
//! Every line fits into 80 columns and reads the same without colour; only bold, red and
//! green are used, which show on dark and light. Pure: it neither prints nor knows the time.

use super::ledger::Verdict;
use super::story::Note;
use crate::cli::load::figures::megabytes;
use crate::status::words::{count, thousands};
use std::path::PathBuf;

const BOLD: &str = "1";
const GOOD: &str = "1;32";
const BAD: &str = "1;31";

/// For whom the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Narrator {
    pub colour: bool,
    /// Break the verdict, which is the one long line, in two.
    pub narrow: bool,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Places {
    pub vehicles: u64,
    pub rate: u64,
    pub endpoint: String,
    pub page: String,
    pub kafka: String,
    pub directory: PathBuf,
    pub collector_pid: u32,
}

/// The numbers of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub second: u64,
    pub acknowledged: u64,
    pub read: u64,
    /// Unknown while the collector is down.
    pub spooled: Option<u64>,
    /// Bytes resident now; unknown while the collector is down.
    pub memory: Option<u64>,
    pub note: Note,
}

impl Narrator {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// At 0 s: what runs where.
    pub fn opening(self, places: &Places) -> Vec<String> {
        let fleet = format!(
            "{}, {} together",
            count(places.vehicles, "simulated vehicle"),
            count(places.rate, "message") + " a second"
        );
        let row = |name: &str, value: &str| format!("  {name:<10} {value}");
        vec![
            self.paint(BOLD, "Waystation: nothing that was acknowledged is lost"),
            String::new(),
            row("vehicles", &fleet),
            row("collector", &format!("{} (process {})", places.endpoint, places.collector_pid)),
            row("page", &places.page),
            row("Kafka", &format!("{} (built into this demo)", places.kafka)),
            row("files", &places.directory.display().to_string()),
            String::new(),
            self.paint(BOLD, Self::HEADER),
        ]
    }

    const HEADER: &str = "  time  acknowledged  from Kafka   spooled   memory";

    /// The line of one second.
    pub fn line(self, facts: Facts) -> String {
        let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        let (note, loud) = note(facts.note);
        let note = if loud { self.paint(BOLD, &note) } else { note };
        let line = format!(
            "{:>4} s{:>14}{:>12}{:>10}{:>9}  {note}",
            facts.second,
            thousands(facts.acknowledged),
            thousands(facts.read),
            or_dash(facts.spooled.map(thousands)),
            or_dash(facts.memory.map(megabytes)),
        );
        line.trim_end().to_owned()
    }

    /// What the consumer found; `memory` is the highest that the collector ever had, bytes.
    pub fn verdict(self, verdict: &Verdict, memory: u64) -> Vec<String> {
        let found = format!(
            "acknowledged {}, read from Kafka {} distinct,",
            thousands(verdict.acknowledged),
            thousands(verdict.distinct),
        );
        let rest = format!(
            "missing {}, repeated {}, highest memory {}",
            thousands(verdict.missing()),
            thousands(verdict.repeated),
            megabytes(memory),
        );
        let code = if verdict.is_good() { GOOD } else { BAD };
        let mut lines = vec![String::new()];
        if self.narrow {
            lines.extend([self.paint(code, &found), self.paint(code, &rest)]);
        } else {
            lines.push(self.paint(code, &format!("{found} {rest}")));
        }
        if verdict.sent_twice > 0 {
            let messages = count(verdict.sent_twice, "message");
            lines.push(format!(
                "({messages} twice because the vehicle had no answer and sent again)"
            ));
        }
        for name in &verdict.missing_names {
            lines.push(self.paint(BAD, &format!("missing: {name}")));
        }
        for violation in &verdict.violations {
            lines.push(self.paint(BAD, &format!("wrong: {violation}")));
        }
        let untold = verdict.violated - verdict.violations.len() as u64;
        if untold > 0 {
            lines.push(self.paint(BAD, &format!("wrong: {} more such", thousands(untold))));
        }
        lines
    }

    /// After the story's verdict, when it runs on.
    pub fn running_on(self, page: &str) -> Vec<String> {
        vec![
            format!("It runs on, with the page at {page}; Ctrl-C stops it."),
            String::new(),
            self.paint(BOLD, Self::HEADER),
        ]
    }

    /// On the way to the closing verdict.
    pub const CLOSING: &str = "        the vehicles stop; what they sent is read to the end";

    /// Where to look after a failure.
    pub fn kept(log: &std::path::Path) -> String {
        format!("The collector's log, and all its files beside it, are kept: {}", log.display())
    }
}

/// The text, at most 27 columns, and whether it stands out.
fn note(note: Note) -> (String, bool) {
    let (text, loud) = match note {
        Note::Posting => ("vehicles are posting", false),
        Note::KafkaTaken => ("Kafka is taken away", true),
        Note::KafkaAway => ("no Kafka: kept on disk", false),
        Note::Killed => ("kill -9 of the collector", true),
        Note::Restarting => ("the collector starts again", false),
        Note::Back { accepted } => {
            return (format!("back, counts {}", thousands(accepted)), true);
        }
        Note::KafkaReturns => ("Kafka returns", true),
        Note::Draining => ("the spool drains", false),
        Note::Drained => ("drained", true),
        Note::Nothing => ("", false),
    };
    (text.to_owned(), loud)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Narrator = Narrator { colour: false, narrow: true };

    fn facts() -> Facts {
        Facts {
            second: 15,
            acknowledged: 11_204,
            read: 5_980,
            spooled: Some(5_224),
            memory: Some(46_600_000),
            note: Note::Back { accepted: 11_204 },
        }
    }

    fn good() -> Verdict {
        Verdict {
            acknowledged: 18_412,
            distinct: 18_412,
            missing_names: Vec::new(),
            repeated: 23,
            sent_twice: 2,
            violations: Vec::new(),
            violated: 0,
        }
    }

    #[test]
    fn a_line_stands_under_its_columns() {
        let line = PLAIN.line(facts());
        assert_eq!(
            line,
            "  15 s        11,204       5,980     5,224    47 MB  back, counts 11,204"
        );
        let ends = |text: &str, words: &[&str]| -> Vec<usize> {
            words.iter().map(|word| text.find(word).unwrap() + word.len()).collect()
        };
        assert_eq!(
            ends(&line, &[" s", "11,204", "5,980", "5,224", "47 MB"]),
            ends(Narrator::HEADER, &["time", "acknowledged", "from Kafka", "spooled", "memory"]),
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let facts = Facts { spooled: None, memory: None, note: Note::Nothing, ..facts() };
        assert_eq!(PLAIN.line(facts), "  15 s        11,204       5,980         -        -");
    }

    #[test]
    fn the_verdict_is_one_line_for_programs_and_two_on_a_terminal() {
        let text = "acknowledged 18,412, read from Kafka 18,412 distinct, missing 0, repeated 23, \
                    highest memory 47 MB";
        let wide = Narrator { narrow: false, ..PLAIN };
        assert_eq!(wide.verdict(&good(), 46_600_000)[1], text);
        assert_eq!(PLAIN.verdict(&good(), 46_600_000)[1..3].join(" "), text);
    }

    #[test]
    fn everything_fits_into_eighty_columns() {
        let many = Verdict {
            acknowledged: 123_456_789,
            distinct: 123_456_788,
            missing_names: vec!["device 860123450000011, message 123456".to_owned()],
            repeated: 1_000_000,
            sent_twice: 1_000,
            violations: vec!["device 860123450000011, message 1: out of order".to_owned()],
            violated: 100_000,
        };
        let places = Places {
            vehicles: 300,
            rate: 750,
            endpoint: "http://127.0.0.1:65535/endpoint".to_owned(),
            page: "http://127.0.0.1:65535/".to_owned(),
            kafka: "127.0.0.1:65535".to_owned(),
            directory: "/tmp/waystation-demo-4194304-ffffffff".into(),
            collector_pid: 4_194_304,
        };
        let mut lines = PLAIN.verdict(&many, 999_000_000);
        lines.extend(PLAIN.opening(&places));
        lines.extend(PLAIN.running_on(&places.page));
        lines.push(Narrator::CLOSING.to_owned());
        for note in [
            Note::Posting,
            Note::KafkaTaken,
            Note::KafkaAway,
            Note::Killed,
            Note::Restarting,
            Note::Back { accepted: 123_456_789 },
            Note::KafkaReturns,
            Note::Draining,
            Note::Drained,
            Note::Nothing,
        ] {
            lines.push(PLAIN.line(Facts { second: 9_999, note, ..facts() }));
        }
        for line in lines {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(!line.contains('\x1b'), "{line}");
        }
    }

    #[test]
    fn colour_only_wraps_the_same_words() {
        let bright = Narrator { colour: true, ..PLAIN };
        let missing = Verdict { distinct: 18_411, ..good() };
        for (verdict, code) in [(good(), GOOD), (missing, BAD)] {
            let painted = bright.verdict(&verdict, 1).join("\n");
            assert!(painted.contains(&format!("\x1b[{code}m")), "{painted}");
            let bare = painted.replace(&format!("\x1b[{code}m"), "").replace("\x1b[0m", "");
            assert_eq!(bare, PLAIN.verdict(&verdict, 1).join("\n"));
        }
    }
}
