//! What a relying party believes and expects of TDX, from the command line.

use std::collections::BTreeSet;

use proplet_hal::{
    reference_values::TdxReferenceValues,
    tdx::{TcbStatus, TdxRoot, TdxTrust},
};
use proplet_results::verify::TdxExpectations;

use super::{
    arguments::{Register, TdxExpected, TdxTrusted},
    error::CliError,
    trusted,
};

/// What is believed under this root. Options take the place of the same items of the reference values.
pub(super) fn trust(
    arguments: &TdxTrusted,
    values: Option<&TdxReferenceValues>,
    root: TdxRoot,
) -> Result<TdxTrust, CliError> {
    let mut trust =
        TdxTrust::new(root).with_collateral(trusted::collateral(&arguments.collateral)?);
    if let Some(values) = values {
        values.demand_of(&mut trust);
    }
    if !arguments.allow_tcb_status.is_empty() {
        trust.tcb_statuses = vec![TcbStatus::UpToDate];
        trust.tcb_statuses.extend(&arguments.allow_tcb_status);
    }
    if !arguments.deny_advisory.is_empty() {
        trust.denied_advisories = arguments.deny_advisory.clone();
    }
    if arguments.allow_advisory.is_some() {
        trust.allowed_advisories = arguments.allow_advisory.clone();
    }
    if !arguments.expect_mr_seam.is_empty() {
        let modules = arguments.expect_mr_seam.iter();
        trust.mr_seam = modules.map(|register| register.0).collect();
    }
    if !arguments.expect_platform.is_empty() {
        let platforms = arguments.expect_platform.iter();
        trust.platforms = platforms.map(|platform| platform.0).collect();
    }
    Ok(trust)
}

/// What is expected of the VM. Options take the place of the same items of the reference values.
pub(super) fn expectations(
    arguments: &TdxExpected,
    values: Option<&TdxReferenceValues>,
) -> TdxExpectations {
    let typed = [
        &arguments.expect_rtmr0,
        &arguments.expect_rtmr1,
        &arguments.expect_rtmr2,
        &arguments.expect_rtmr3,
    ];
    let asked = typed.iter().any(|typed| !typed.is_empty());
    let mut rtmrs = [const { Vec::new() }; 4];
    for (number, (rtmr, typed)) in rtmrs.iter_mut().zip(typed).enumerate() {
        let listed = values.and_then(|values| values.rtmrs.get(number)?.as_ref());
        *rtmr = registers(typed, listed);
    }
    TdxExpectations {
        rtmrs,
        mr_owner: registers(
            &arguments.expect_mr_owner,
            values.and_then(|values| values.mrowner.as_ref()),
        ),
        mr_config_id: registers(&[], values.and_then(|values| values.mrconfigid.as_ref())),
        refuse_other_tees: asked || !arguments.expect_mr_owner.is_empty(),
    }
}

fn registers(typed: &[Register], listed: Option<&BTreeSet<[u8; 48]>>) -> Vec<[u8; 48]> {
    if typed.is_empty() {
        return listed.into_iter().flatten().copied().collect();
    }
    typed.iter().map(|register| register.0).collect()
}
