//! Waystation: an edge collector between vehicles and Kafka that loses nothing it acknowledged.
//!
//! # Layout
//!
//! The way of a record: [`ingest`] takes it over HTTP, [`convert`] turns it into JSON, [`spool`]
//! makes it durable, [`forward`] hands it to Kafka, and what Kafka can never take to [`dead`]. What
//! devices send twice [`repeats`] knows. [`admin`] only looks, at the one snapshot of
//! [`status`]; [`cli`] looks, and changes what [`control`] lets it. [`app`] builds the parts and runs them; [`config`] says how.
//! [`record`], [`ledger`] and [`histogram`] are the words that all of them share; [`line`](mod@line) is a
//! record as an export writes it.
//!
//! A module imports only from floors below its own (`tests/tidy.rs` holds it to that):
//! `app`, `cli`, `config` / `ingest`, `forward`, `admin`,
//! `control` / `dead`, `repeats` / `spool`, `convert`, `status`, `line` /
//! `record`, `ledger`, `histogram`. `ARCHITECTURE.md` tells the rest.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod convert;
pub mod dead;
pub mod forward;
pub mod histogram;
pub mod ingest;
pub mod ledger;
pub mod line;
pub mod record;
pub mod repeats;
pub mod spool;
pub mod status;
