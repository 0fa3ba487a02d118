//! What is used of librdkafka's statistics; see its STATISTICS.md. It does not know for what.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub struct Statistics {
    pub tx_bytes: u64,
    pub txmsg_bytes: u64,
    /// Of an idempotent producer.
    eos: Option<Eos>,
}

#[derive(Debug, Deserialize)]
struct Eos {
    idemp_state: String,
}

impl Statistics {
    /// Whether the brokers have given the idempotent producer its number.
    pub fn is_numbered(&self) -> bool {
        self.eos.as_ref().is_some_and(|eos| eos.idemp_state == "Assigned")
    }
}
