//! Does the demo tell its story, and does its consumer miss nothing?

use std::process::{Command, Stdio};

#[test]
fn the_demo_survives_its_outage_and_its_crash_and_misses_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_waystation"))
        .args(["demo", "--for", "32s", "--vehicles", "100", "--rate", "300"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{told}", output.status);
    let verdict = told.lines().rfind(|line| line.contains("acknowledged ")).unwrap_or_default();
    let number = |name: &str| -> u64 {
        let (_, rest) = verdict.split_once(name).unwrap_or_else(|| panic!("no {name}in {told}"));
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',');
        digits.filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    // 300 a second for half a minute, but for the second in which the collector was gone.
    assert!(number("acknowledged ") > 3_000, "{told}");
    assert_eq!(number("acknowledged "), number("read from Kafka "), "{told}");
    assert_eq!(number("missing "), 0, "{told}");
    for chapter in ["kill -9", "taken away", "back"] {
        assert!(told.contains(chapter), "nothing about {chapter:?} in {told}");
    }
}
