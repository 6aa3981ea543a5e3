//! A way to quotes with the TDX module asked beside it.
//!
//! The quoting service is given a TDREPORT by this process, which compares the two. By other ways the kernel takes
//! the TDREPORT itself, so here the module is asked once more: before and after the quote, because a program in
//! the VM may extend a register meanwhile, which is no fault of the host's.

use super::kind::Raw;
use super::local::RTMRS;
use super::way::{Way, WayError};
use crate::device::TD_REPORT_LEN;
use crate::tdx::provider::{KernelReports, QuotingError, TdReports};

/// A way to quotes, and where this VM's own TDREPORTs come from.
pub struct Compared {
    way: Box<dyn Way>,
    reports: Box<dyn TdReports>,
}

impl Compared {
    /// A way, beside the kernel's device.
    #[must_use]
    pub fn with_kernel(way: impl Way) -> Self {
        Self::with(way, KernelReports)
    }

    /// A way, beside another device.
    #[must_use]
    pub fn with(way: impl Way, reports: impl TdReports) -> Self {
        Self {
            way: Box::new(way),
            reports: Box::new(reports),
        }
    }

    /// What the module says, where this process may ask it: a kernel can have the way and not the device.
    fn td_report(&self, data: &[u8; 64]) -> Result<Option<Box<[u8; TD_REPORT_LEN]>>, WayError> {
        match self.reports.td_report(data) {
            Ok(report) => Ok(Some(Box::new(report))),
            Err(QuotingError::NoDevice { .. } | QuotingError::NoPermission { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Way for Compared {
    fn name(&self) -> &'static str {
        self.way.name()
    }

    fn attempt(&self, report_data: &[u8; 64]) -> Result<Raw, WayError> {
        let before = self.td_report(report_data)?;
        let mut raw = self.way.attempt(report_data)?;
        let Some(before) = before else {
            return Ok(raw);
        };
        let after = self.td_report(report_data)?;
        if after.as_ref().and_then(|after| after.get(RTMRS)) != before.get(RTMRS) {
            return Err(QuotingError::Extended.into());
        }
        raw.td_report = after;
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use proplet_types::Code;
    use rustix::io::Errno;

    use super::*;

    struct Quotes;

    impl Way for Quotes {
        fn name(&self) -> &'static str {
            "quotes"
        }

        fn attempt(&self, _: &[u8; 64]) -> Result<Raw, WayError> {
            Ok(Raw {
                evidence: vec![1],
                ..Raw::default()
            })
        }
    }

    /// Gives each of these in its turn.
    struct Reports(Mutex<Vec<Result<u8, QuotingError>>>);

    impl TdReports for Reports {
        fn td_report(&self, _: &[u8; 64]) -> Result<[u8; TD_REPORT_LEN], QuotingError> {
            let filled = self.0.lock().unwrap().remove(0)?;
            Ok([filled; TD_REPORT_LEN])
        }
    }

    fn ask(reports: Vec<Result<u8, QuotingError>>) -> Result<Raw, WayError> {
        let way = Compared::with(Quotes, Reports(Mutex::new(reports)));
        assert_eq!(way.name(), "quotes");
        way.attempt(&[7; 64])
    }

    #[test]
    fn the_module_is_asked_beside_the_way() {
        let raw = ask(vec![Ok(3), Ok(3)]).unwrap();
        assert_eq!(raw.td_report.unwrap()[..], [3; TD_REPORT_LEN]);
        assert_eq!(raw.evidence, [1]);
    }

    #[test]
    fn a_machine_without_the_device_is_not_compared() {
        let path = || PathBuf::from("/dev/tdx_guest");
        for (errno, denied) in [(Errno::NOENT, false), (Errno::ACCESS, true)] {
            let (path, error) = (path(), errno.into());
            let error = match denied {
                true => QuotingError::NoPermission { path, error },
                false => QuotingError::NoDevice { path, error },
            };
            assert_eq!(ask(vec![Err(error)]).unwrap().td_report, None);
        }
    }

    #[test]
    fn a_register_that_is_extended_meanwhile_is_a_reason_to_ask_again() {
        let error = ask(vec![Ok(3), Ok(4)]).unwrap_err();
        assert_eq!(error, QuotingError::Extended.into());
        assert!(error.is_retryable() && error.code() == Code::TeeBusy);
        let gone = QuotingError::NoDevice {
            path: PathBuf::from("/dev/tdx_guest"),
            error: Errno::NOENT.into(),
        };
        assert_eq!(
            ask(vec![Ok(3), Err(gone)]),
            Err(QuotingError::Extended.into())
        );
    }

    #[test]
    fn a_module_that_gives_none_is_a_failure() {
        let error = QuotingError::NoReport {
            error: Errno::IO.into(),
        };
        assert_eq!(ask(vec![Err(error.clone())]), Err(error.into()));
    }
}
