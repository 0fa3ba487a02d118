//! What does each attack cost in memory, and in the time in which others are answered?
//!
//!     cargo bench --bench attacks
//!     cargo bench --bench attacks -- crowd bomb        (those whose name has one of the words)
//!
//! A service for each attack; well-behaved devices post to it, first alone, then while the attack lasts (the
//! attackers are those of `tests/service/under_attack.rs`). Attackers, devices and service share the machine's
//! processors: of the ratio a part is theirs. Only the ratio means anything, the times do not. A goal that is
//! missed is exit code 1.

#[path = "../tests/attacks/mod.rs"]
mod attacks;
#[path = "../tests/support/mod.rs"]
mod support;

use attacks::{Attack, allow_open_files, post, under};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::service::Site;

/// How long the devices post, with and without.
const TIME: Duration = Duration::from_secs(5);
/// The goals: bytes of memory, and how many times as long 99 of 100 answers may take.
const MEMORY: u64 = 80_000_000;
const RATIO: f64 = 5.0;

fn main() -> ExitCode {
    allow_open_files();
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |attack: &Attack| {
        let name = attack.name().to_lowercase();
        words.is_empty() || words.iter().any(|word| name.contains(&word.to_lowercase()))
    };
    println!(
        "| attack | connections | connects/s | MB/s | memory | answers | not 200 | p99 without | p99 | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for attack in Attack::ALL.into_iter().filter(wanted) {
        let site = Site::new(None);
        let service = site.start();
        // The first answers are those of a service that has just begun.
        post(site.ingest, TIME / 5);
        let mut alone = post(site.ingest, TIME);
        let (mut answers, deeds) = under(attack, site.ingest, || post(site.ingest, TIME));
        let memory = service.memory().highest;
        service.stop();
        let (without, with) = (alone.p99().as_secs_f64() * 1e3, answers.p99().as_secs_f64() * 1e3);
        let ratio = with / without;
        let others = answers.others.len() + alone.others.len();
        println!(
            "| {} | {} | {} | {} | {} MB | {} | {others} | {without:.1} ms | {with:.1} ms | {ratio:.1} |",
            attack.name(),
            attack.connections(),
            deeds.connections.load(SeqCst) / TIME.as_secs(),
            deeds.bytes.load(SeqCst) / TIME.as_secs() / 1_000_000,
            memory / 1_000_000,
            answers.times.len(),
        );
        if memory >= MEMORY || ratio > RATIO || others > 0 {
            missed.push(attack.name());
        }
    }
    if missed.is_empty() {
        println!(
            "\nEach within {} MB and {RATIO} times the p99, and nothing but 200.",
            MEMORY / 1_000_000
        );
        ExitCode::SUCCESS
    } else {
        println!("\nMissed: {}.", missed.join(", "));
        ExitCode::FAILURE
    }
}
