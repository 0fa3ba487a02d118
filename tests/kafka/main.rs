//! Does it hold on Apache Kafka what it promises? Each file asks one question.
//!
//! The broker is fetched once by `fetch.sh` (the gate calls it) and started on the loopback.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod broker;
mod certificates;
mod cluster;
mod connect;
mod dead;
mod exactly;
mod held;
mod kerberos;
mod logins;
mod old;
#[path = "../support/preload.rs"]
mod preload;
mod process;
mod relay;
mod scene;
mod table;
mod tickets;
#[path = "../support/tmpfs.rs"]
mod tmpfs;
mod verdicts;
