//! One answer of those that `check --connect` gives. It does not know who asked whom.

use super::verdict::Failure;
use crate::status::Cause;

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    Right,
    /// Nobody can tell without a record.
    Untold,
    /// It is not there, or not as it is written here.
    Away,
    /// It is there, and refuses this box.
    Refused,
}

impl Finding {
    /// What has this cause.
    pub(super) fn of(cause: Cause) -> Self {
        match cause {
            Cause::Login | Cause::Authorization => Self::Refused,
            Cause::Dns | Cause::Network | Cause::Tls | Cause::Topic | Cause::Clock => Self::Away,
        }
    }
}

/// What was asked, and what is right or wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub finding: Finding,
    /// One line, without a full stop.
    pub says: String,
}

impl Step {
    pub(super) fn right(says: impl Into<String>) -> Self {
        Self { finding: Finding::Right, says: says.into() }
    }

    pub(super) fn away(says: impl Into<String>) -> Self {
        Self { finding: Finding::Away, says: says.into() }
    }

    /// `what` failed in this way.
    pub(super) fn failed(what: &str, failure: &Failure) -> Self {
        let finding = failure.cause().map_or(Finding::Away, Finding::of);
        Self { finding, says: format!("{what}: {failure}") }
    }
}
