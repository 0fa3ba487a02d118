//! Do the spool, the forwarder and the conversion keep their promises, asked by their public functions? Each
//! file asks one question.

mod aside;
mod bounds;
mod child;
mod damage;
mod dead;
mod delivery;
mod elsewhere;
#[path = "../support/go.rs"]
mod go;
mod go_json;
mod go_schemas;
mod held;
mod judge;
mod kill_points;
mod leaving;
mod letters;
#[path = "../medium/mod.rs"]
mod medium;
mod outside;
#[path = "../support/preload.rs"]
mod preload;
mod refused;
mod removal;
mod repack;
#[path = "../support/rig.rs"]
mod rig;
mod rotations;
mod spool;
#[path = "../support/spool.rs"]
mod support;
#[path = "../support/tmpfs.rs"]
mod tmpfs;
#[path = "../support/value.rs"]
mod value;
