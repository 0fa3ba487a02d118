//! What comes of each failure that Kafka, its broker and the network to it are capable of?

mod brokers;
mod network;
mod topics;
