//! The exit codes, one meaning each: those of `sysexits.h`, and for `status` those of
//! monitoring plugins.

/// Done; for `status`: all is well.
pub const OK: u8 = 0;
/// Something failed that has no code of its own; `demo`: a record is missing; `spool verify`:
/// damage was found.
pub const FAILURE: u8 = 1;
/// `EX_USAGE`: the command line is wrong.
pub const USAGE: u8 = 64;
/// `EX_DATAERR`: a line of an import is no record.
pub const DATA: u8 = 65;
/// `EX_NOINPUT`: the file to be imported cannot be read.
pub const NO_INPUT: u8 = 66;
/// `EX_UNAVAILABLE`: a port is taken, or nobody answers there; `check --connect`: Kafka cannot be
/// reached as it is written, or a topic is missing.
pub const UNAVAILABLE: u8 = 69;
/// `EX_SOFTWARE`: a part of the service broke.
pub const SOFTWARE: u8 = 70;
/// `EX_CANTCREAT`: the spool's directory cannot be made or written; `spool export`, `dead export`: the
/// file cannot.
pub const CANNOT_CREATE: u8 = 73;
/// `EX_IOERR`: the answer could not be written; `spool`, `dead`: the spool cannot be read.
pub const IO: u8 = 74;
/// `EX_TEMPFAIL`: another process uses the spool.
pub const SPOOL_IN_USE: u8 = 75;
/// `EX_NOPERM`: the spool is another user's to change; `check --connect`: Kafka refuses the login or
/// a right.
pub const NO_PERMISSION: u8 = 77;
/// `EX_CONFIG`: the configuration is wrong.
pub const CONFIG: u8 = 78;

/// `status`: somebody should look.
pub const STATUS_ATTENTION: u8 = 1;
/// `status`: somebody must act.
pub const STATUS_CRITICAL: u8 = 2;
/// `status`: the service cannot be reached, or the command line is wrong.
pub const STATUS_UNKNOWN: u8 = 3;
