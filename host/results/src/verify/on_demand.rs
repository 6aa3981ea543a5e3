//! Checks of the evidence that are made only when a relying party asks for them.

use proplet_hal::verify::Verified;
use proplet_types::Check;

use super::report::Report;

/// Lists them. Those that did not hold were refused with the evidence.
pub(super) fn list(report: &mut Report, verified: &Verified) {
    for on_demand in &verified.on_demand {
        if on_demand.made {
            report.verified(on_demand.check);
        } else {
            report.not_verified(on_demand.check, left_open(on_demand.check));
        }
    }
}

/// What is not known without the check.
fn left_open(check: Check) -> &'static str {
    match check {
        Check::MinimumTcb => {
            "no minimal TCB was given, so the firmware may be old and have known holes"
        }
        Check::Revocation => {
            "no revocation list was given, so a certificate of the chain may be revoked"
        }
        Check::Chip => {
            "no list of chips was given, so the evidence may be relayed from any machine of this kind"
        }
        Check::IdKey => "no expected ID key was given",
        Check::AuthorKey => "no expected author key was given",
        Check::GuestPolicy => "no rules were given beside those about debugging and migration",
        _ => "nobody asked for it",
    }
}
