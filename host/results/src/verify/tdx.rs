//! What a relying party expects of a TDX VM.

use proplet_hal::tdx::TdxFacts;
use proplet_hal::verify::TeeFacts;
use proplet_types::Check;

use super::error::VerifyError;
use super::report::Report;

/// What is expected of a TDX VM, beside its measurement (MRTD) and init-data (MRCONFIGID).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TdxExpectations {
    /// Good values of RTMR0 to RTMR3. An empty list: any, but for RTMR1 and RTMR2, which have to be expected
    /// unless any measurement is accepted.
    pub rtmrs: [Vec<[u8; 48]>; 4],
    /// Good values of MROWNER. Empty: any.
    pub mr_owner: Vec<[u8; 48]>,
    /// Good values of MRCONFIGID, whole; an expected init-data takes their place. Empty: any.
    pub mr_config_id: Vec<[u8; 48]>,
    /// Whether evidence of another TEE fails when RTMRs or MROWNER are expected here: yes where somebody asked for
    /// TDX, no where the values are those of a file about several TEEs.
    pub refuse_other_tees: bool,
}

const RTMRS: [Check; 4] = [Check::Rtmr0, Check::Rtmr1, Check::Rtmr2, Check::Rtmr3];

impl TdxExpectations {
    /// Good values of one register, by its check. None for a check that is of no register.
    #[must_use]
    pub fn values(&self, check: Check) -> Option<&[[u8; 48]]> {
        let registers = RTMRS.iter().zip(&self.rtmrs);
        registers
            .chain([
                (&Check::MrOwner, &self.mr_owner),
                (&Check::InitData, &self.mr_config_id),
            ])
            .find(|(of, _)| **of == check)
            .map(|(_, values)| values.as_slice())
    }

    pub(super) fn check(&self, report: &mut Report, facts: &TeeFacts) -> Result<(), VerifyError> {
        let TeeFacts::Tdx(facts) = facts else {
            return if self.refuse_other_tees {
                self.check_nothing_expected()
            } else {
                Ok(())
            };
        };
        for (check, found) in registers(facts) {
            self.check_register(report, check, found)?;
        }
        // The verifier of evidence has refused what did not hold.
        report.verified(Check::TcbStatus);
        match &facts.event_log {
            Some(_) => report.verified(Check::EventLog),
            None => report.not_verified(Check::EventLog, "no event log came with the quote"),
        }
        if facts.mr_seam_checked {
            report.verified(Check::TdxModule);
        } else {
            report.not_verified(
                Check::TdxModule,
                "it is one of Intel's, no list of good ones was given",
            );
        }
        if facts.platform.checked {
            report.verified(Check::TdxPlatform);
        } else {
            report.not_verified(
                Check::TdxPlatform,
                "no list of machines was given, so the quote may be relayed from any machine of this kind",
            );
        }
        Ok(())
    }

    /// MRTD is the measurement of the firmware. What it starts is in RTMR1 and RTMR2, so without them a host
    /// of anybody's making under good firmware would pass for the measured one.
    pub(super) fn demand_boot_chain(&self, facts: &TeeFacts) -> Result<(), VerifyError> {
        let TeeFacts::Tdx(facts) = facts else {
            return Ok(());
        };
        for (check, found) in registers(facts) {
            let is_of_the_boot = matches!(check, Check::Rtmr1 | Check::Rtmr2);
            if is_of_the_boot && self.values(check).unwrap_or_default().is_empty() {
                return Err(VerifyError::NoExpectedRegister {
                    check,
                    found: hex::encode(found),
                });
            }
        }
        Ok(())
    }

    /// The init-data of a TDX VM, when there are good values for it and it is one. False when there is nothing to
    /// compare.
    pub(super) fn check_init_data(
        &self,
        report: &mut Report,
        facts: &TeeFacts,
    ) -> Result<bool, VerifyError> {
        match facts {
            TeeFacts::Tdx(facts) if !self.mr_config_id.is_empty() => {
                self.check_register(report, Check::InitData, &facts.report.mr_config_id)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn check_register(
        &self,
        report: &mut Report,
        check: Check,
        found: &[u8; 48],
    ) -> Result<(), VerifyError> {
        match self.values(check).unwrap_or_default() {
            [] => report.not_verified(check, &format!("no expected {check} was given")),
            good if good.contains(found) => report.verified(check),
            good => {
                let expected: Vec<String> = good.iter().map(hex::encode).collect();
                return Err(VerifyError::Unexpected {
                    check,
                    found: hex::encode(found),
                    expected: expected.join(" or "),
                });
            }
        }
        Ok(())
    }

    /// To pass an expectation over would look like a pass.
    fn check_nothing_expected(&self) -> Result<(), VerifyError> {
        let mut checks = RTMRS.into_iter().chain([Check::MrOwner]);
        let expected =
            checks.find(|check| self.values(*check).is_some_and(|good| !good.is_empty()));
        match expected {
            None => Ok(()),
            Some(check) => Err(VerifyError::Unexpected {
                check,
                found: "not said by evidence of this TEE".to_owned(),
                expected: "an answer; leave this expectation out".to_owned(),
            }),
        }
    }
}

fn registers(facts: &TdxFacts) -> impl Iterator<Item = (Check, &[u8; 48])> {
    let report = &facts.report;
    RTMRS
        .into_iter()
        .zip(&report.rtmrs)
        .chain([(Check::MrOwner, &report.mr_owner)])
}
