//! Does it hold on Apache Kafka what it promises? Each file asks one question.
//!
//! The broker is fetched once by `fetch.sh` (the gate calls it) and started on the loopback.

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod certificates;
mod dead;
mod kerberos;
mod logins;
mod outages;
mod process;
mod tickets;
