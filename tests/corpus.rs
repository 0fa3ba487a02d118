//! Do the spool and ingest bear any bytes, as far as fuzzing has found out?
//!
//! Replays the inputs in `fuzz/corpus/`, an archive a decoder: what reaches every branch that
//! fuzzing reached, and by name what once made one panic, allocate too much or take too long.
//! What must hold for each stands in `fuzzing.rs` under `src/spool/`, `src/convert/` and `src/ingest/`.

#[path = "library/judge/excuse.rs"]
mod excuse;
#[path = "../fuzz/measured.rs"]
mod measured;
#[path = "library/judge/schemas.rs"]
mod schemas;
#[path = "support/value.rs"]
mod value;

use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use waystation::spool::fuzzing;
use waystation::{convert, ingest};

/// What an input allocates is measured for the whole process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs every input of the archive; those `named` must be among them.
fn replay(name: &str, target: fn(&[u8]), named: &[&str]) {
    replay_within(fuzzing::MEMORY, name, target, named);
}

/// Of what was posted, as little is allocated as a message may cost.
fn replay_posted(name: &str, target: fn(&[u8]), named: &[&str]) {
    replay_within(measured::POSTED, name, target, named);
}

fn replay_within(memory: usize, name: &str, target: fn(&[u8]), named: &[&str]) {
    replay_each(name, |bytes| measured::within(memory, target, bytes), named);
}

fn replay_each(name: &str, run: impl Fn(&[u8]), named: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{name}.tar.zst"));
    let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let input = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        // Shown when it fails.
        println!("{name}: {input}");
        run(&bytes);
        seen.push(input);
    }
    assert!(seen.len() >= 30, "{name}: only {seen:?}");
    for input in named {
        assert!(seen.iter().any(|seen| seen == input), "{name}: {input} is gone");
    }
}

/// Guards, all in `block.rs`: `bomb-routes` allocates 350 MB without the check against
/// `MAX_ROUTES`; `bomb-headers` as much without the `room` that `take_record` is given;
/// `bomb-count` is believed without the check against `MIN_RECORD`.
#[test]
fn any_bytes_are_taken_for_a_block_or_refused() {
    replay("block", fuzzing::block, &["bomb-count", "bomb-headers", "bomb-routes"]);
}

#[test]
fn any_bytes_are_taken_for_a_segments_file() {
    replay("recovery", fuzzing::recovery, &["seed-magics", "magics-raw"]);
}

/// Guard: `is_sound` in `progress.rs`. Without it each of these panics, or its books do not
/// balance.
#[test]
fn any_bytes_are_taken_for_the_progress_or_refused() {
    let named = ["impossible-totals", "impossible-delivered", "impossible-ranges"];
    replay("progress", fuzzing::progress, &named);
}

/// Guard: the check `possible` in `Seal::decode`.
#[test]
fn any_bytes_are_taken_for_a_seal_or_refused() {
    replay("seal", fuzzing::seal, &["impossible-records"]);
}

#[test]
fn any_bytes_are_taken_for_a_message_or_refused() {
    replay_posted("message", convert::fuzzing::message, &["seed-full"]);
}

/// Guards: `seed-null-list` panics in `prost-reflect`'s own reader; `seed-anys` and `seed-deep` end the
/// stack without `At::deeper`.
#[test]
fn any_text_is_taken_for_a_message_or_refused() {
    let named = ["seed-full", "seed-null-list", "seed-anys", "seed-deep"];
    replay_posted("json", convert::fuzzing::json, &named);
}

#[test]
fn any_bytes_are_taken_for_a_batch() {
    replay_posted("delimited", ingest::fuzzing::delimited, &[]);
}

#[test]
fn any_bytes_are_taken_for_lines() {
    replay_posted("lines", ingest::fuzzing::lines, &[]);
}

#[test]
fn any_bytes_are_taken_for_a_message_of_an_own_schema_or_refused_as_the_judge_does() {
    let run = |bytes: &[u8]| {
        schemas::any(bytes, |run, message| measured::within(measured::POSTED, run, message));
    };
    replay_each("transcoder", run, &[]);
}
