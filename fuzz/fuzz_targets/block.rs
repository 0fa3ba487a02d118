//! The block decoder: what is asked of it stands in `src/spool/fuzzing.rs`.
#![no_main]

#[path = "../measured.rs"]
mod measured;

libfuzzer_sys::fuzz_target!(|data: &[u8]| measured::run(waystation::spool::fuzzing::block, data));
