//! A message of the built-in schema, posted as protobuf: what is asked of it stands in `src/convert/fuzzing.rs`.
#![no_main]

#[path = "../measured.rs"]
mod measured;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    measured::within(measured::POSTED, waystation::convert::fuzzing::message, data);
});
