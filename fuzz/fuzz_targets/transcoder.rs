//! A message of one of the judge's schemas, as the first byte says: in bounded memory, and with the verdict and the
//! value that prost-reflect has for it (`tests/library/judge/`).
#![no_main]

#[path = "../../tests/library/judge/excuse.rs"]
mod excuse;
#[path = "../measured.rs"]
mod measured;
#[path = "../../tests/library/judge/schemas.rs"]
mod schemas;
#[path = "../../tests/support/value.rs"]
mod value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| schemas::any(data, |run, message| {
    measured::within(measured::POSTED, run, message);
}));
