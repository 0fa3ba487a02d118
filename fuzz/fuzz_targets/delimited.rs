//! A batch of messages behind their lengths: what is asked of it stands in `src/ingest/fuzzing.rs`.
#![no_main]

#[path = "../measured.rs"]
mod measured;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    measured::within(measured::POSTED, waystation::ingest::fuzzing::delimited, data);
});
