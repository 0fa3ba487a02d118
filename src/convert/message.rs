//! The built-in message as Rust structs, generated at build time from `proto/realtime_gps.proto`.
//!
//! They hold whatever the bytes said, possible or not, and know nothing of JSON. Beside them stands the
//! message's description, for what reads it by its schema.

use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::sync::LazyLock;

#[allow(clippy::pedantic, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/tutorial.rs"));
}

pub use generated::{Event, FixType, Realtimegps as RealtimeGps};

/// The full name of the built-in message.
pub const MESSAGE: &str = "tutorial.REALTIMEGPS";

/// The built-in message as its schema describes it.
pub(super) static DESCRIPTION: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    const SCHEMA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/schema.bin"));
    // The build script wrote it of the very schema that this message is generated from.
    let pool = DescriptorPool::decode(SCHEMA).expect("the built-in schema");
    // Likewise.
    pool.get_message_by_name(MESSAGE).expect("the built-in message")
});
