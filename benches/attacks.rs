//! What does each attack cost in memory, and in the time in which others are answered?
//!
//!     cargo bench --bench attacks
//!     cargo bench --bench attacks -- crowd bomb        (those whose name has one of the words)
//!
//! A service for each attack; well-behaved devices post to it, alone and while the attack lasts (the attackers are
//! those of `tests/service/under_attack.rs`), in turns, since a disk is not as quick at all times. Attackers,
//! devices and service share the machine's processors: of the ratio a part is theirs. Only the ratio means
//! anything, the times do not. A goal that is missed is exit code 1; attackers at the devices' own address, which
//! nothing tells from them, have none for the ratio.

#[path = "../tests/attacks/mod.rs"]
mod attacks;
#[path = "../tests/support/mod.rs"]
mod support;

use attacks::{Answers, Attack, allow_open_files, post, under};
use std::process::ExitCode;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use support::service::Site;

/// How often the devices post for how long, with and without.
const ROUNDS: u32 = 4;
const TIME: Duration = Duration::from_millis(2_500);
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
        let (mut alone, mut answers) = (Answers::default(), Answers::default());
        let (mut connections, mut bytes) = (0, 0);
        for _ in 0..ROUNDS {
            // Not counted: the service has just begun, or has an attack behind it.
            post(site.ingest, TIME / 2);
            alone.add(post(site.ingest, TIME));
            let (under_attack, deeds) = under(attack, site.ingest, || post(site.ingest, TIME));
            answers.add(under_attack);
            connections += deeds.connections.load(SeqCst);
            bytes += deeds.bytes.load(SeqCst);
        }
        let memory = service.memory().highest;
        service.stop();
        let (without, with) = (alone.p99().as_secs_f64() * 1e3, answers.p99().as_secs_f64() * 1e3);
        let ratio = with / without;
        let others = answers.others.len() + alone.others.len();
        println!(
            "| {} | {} | {} | {} | {} MB | {} | {others} | {without:.1} ms | {with:.1} ms | {ratio:.1} |",
            attack.name(),
            attack.connections(),
            connections / (ROUNDS * TIME).as_secs(),
            bytes / (ROUNDS * TIME).as_secs() / 1_000_000,
            memory / 1_000_000,
            answers.times.len(),
        );
        let slow = ratio > RATIO && !attack.is_at_the_devices_address();
        if memory >= MEMORY || slow || others > 0 {
            missed.push(attack.name());
        }
    }
    if missed.is_empty() {
        println!(
            "\nEach within {} MB and, but for attackers at the devices' address, {RATIO} times the p99, and nothing \
             but 200.",
            MEMORY / 1_000_000
        );
        ExitCode::SUCCESS
    } else {
        println!("\nMissed: {}.", missed.join(", "));
        ExitCode::FAILURE
    }
}
