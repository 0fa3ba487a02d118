//! Compiles the built-in schema to Rust and to its description, without protoc, and notes when the
//! build was made.

use protox::prost::Message as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=proto/realtime_gps.proto");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rustc-env=WAYSTATION_BUILD_SECONDS={}", build_seconds()?);

    let schema = protox::compile(["proto/realtime_gps.proto"], ["proto"])?;
    let mut described = schema.clone();
    // The comments are for the Rust code alone.
    described.file.iter_mut().for_each(|file| file.source_code_info = None);
    let out = std::env::var_os("OUT_DIR").ok_or("cargo gives OUT_DIR")?;
    std::fs::write(Path::new(&out).join("schema.bin"), described.encode_to_vec())?;
    prost_build::Config::new()
        // Ordered, so that one message always gives the same line of JSON.
        .btree_map(["."])
        // Ours is the same message; it needs no second crate of well-known types.
        .extern_path(".google.protobuf.Timestamp", "crate::convert::Timestamp")
        .compile_fds(schema)?;
    Ok(())
}

/// Seconds since 1970 at which the build was made; `SOURCE_DATE_EPOCH`, where it is set,
/// so that a build can be repeated bit for bit.
fn build_seconds() -> Result<u64, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds").into()),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}
