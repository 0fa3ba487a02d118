//! Does the program keep its promises, asked as those who use it ask? Each file asks one question of the real
//! binary, over HTTP, by its commands, or on a disk that fails.

mod batch;
mod blackout;
mod carry;
mod catch_up;
mod clock;
mod config;
mod contract;
mod dead_commands;
mod demo;
mod disk;
mod door;
mod faults;
mod full;
mod kill;
#[path = "../medium/mod.rs"]
mod medium;
mod memory;
mod no_message;
mod openapi;
mod outage;
mod power;
#[path = "../support/preload.rs"]
mod preload;
mod refusals;
mod rehearsal;
mod repeats;
#[path = "../support/rig.rs"]
mod rig;
mod schemas;
mod set_aside;
#[path = "../support/spool.rs"]
mod spool;
mod spool_commands;
mod stop;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tmpfs.rs"]
mod tmpfs;
mod under_attack;
