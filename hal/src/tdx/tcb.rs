//! Intel's statuses of a platform's security versions.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// What Intel says of a platform's security versions, at the time when the collateral was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcbStatus {
    /// Nothing is known against it.
    UpToDate,
    /// Software in the VM has to do something about an advisory.
    SwHardeningNeeded,
    /// The platform's configuration has to be changed.
    ConfigurationNeeded,
    /// Both of these.
    ConfigurationAndSwHardeningNeeded,
    /// An update is missing.
    OutOfDate,
    /// An update is missing, and the configuration has to be changed.
    OutOfDateConfigurationNeeded,
    /// The platform was updated after the VM had started: start it anew.
    TdRelaunchAdvised,
    /// The same, and the configuration has to be changed.
    TdRelaunchAdvisedConfigurationNeeded,
    /// The platform's keys are not to be trusted. Always refused.
    Revoked,
}

impl TcbStatus {
    /// Each with Intel's name for it.
    const NAMES: [(Self, &'static str); 9] = [
        (Self::UpToDate, "UpToDate"),
        (Self::SwHardeningNeeded, "SWHardeningNeeded"),
        (Self::ConfigurationNeeded, "ConfigurationNeeded"),
        (
            Self::ConfigurationAndSwHardeningNeeded,
            "ConfigurationAndSWHardeningNeeded",
        ),
        (Self::OutOfDate, "OutOfDate"),
        (
            Self::OutOfDateConfigurationNeeded,
            "OutOfDateConfigurationNeeded",
        ),
        (Self::TdRelaunchAdvised, "TDRelaunchAdvised"),
        (
            Self::TdRelaunchAdvisedConfigurationNeeded,
            "TDRelaunchAdvisedConfigurationNeeded",
        ),
        (Self::Revoked, "Revoked"),
    ];
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(status, _)| status == self);
        f.write_str(name.map_or("unknown", |(_, name)| name))
    }
}

impl FromStr for TcbStatus {
    type Err = TcbStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(status, _)| *status).ok_or(TcbStatusError)
    }
}

/// A word that is no TCB status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "not a TCB status: Intel's are UpToDate, SWHardeningNeeded, ConfigurationNeeded, \
     ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded, TDRelaunchAdvised and \
     TDRelaunchAdvisedConfigurationNeeded"
)]
pub struct TcbStatusError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_intels_names() {
        for (status, name) in TcbStatus::NAMES {
            assert_eq!(status.to_string(), name);
            assert_eq!(name.parse(), Ok(status));
        }
        for wrong in ["", "uptodate", "Up To Date", "unknown"] {
            assert_eq!(wrong.parse::<TcbStatus>(), Err(TcbStatusError));
        }
    }
}
