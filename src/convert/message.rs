//! The built-in message as Rust structs, generated at build time from `proto/realtime_gps.proto`.
//!
//! They hold whatever the bytes said, possible or not, and know nothing of JSON.

#[allow(clippy::pedantic, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tutorial.rs"));
}

pub use generated::{Event, FixType, Realtimegps as RealtimeGps};

/// The full name of the built-in message.
pub const MESSAGE: &str = "tutorial.REALTIMEGPS";
