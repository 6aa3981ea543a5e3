//! What a relying party believes and demands of SNP, from the command line and reference values.

use proplet_hal::{
    reference_values::SnpReferenceValues,
    snp::{RevocationLists, SnpTrust, TrustRoots},
};

use super::{arguments::SnpTrusted, error::CliError, files};

/// What is believed under these roots. Options take the place of the same items of the reference values.
pub(super) fn trust(
    arguments: &SnpTrusted,
    values: Option<&SnpReferenceValues>,
    roots: TrustRoots,
) -> Result<SnpTrust, CliError> {
    let mut trust = SnpTrust::new(roots);
    if let Some(values) = values {
        values.demand_of(&mut trust);
    }
    if arguments.allow_report_v2 {
        trust.minimum_version = 2;
    }
    let demands = &mut trust.demands;
    if !arguments.min_tcb.is_empty() {
        demands.minimum_tcb = arguments.min_tcb.clone();
    }
    if !arguments.chip.is_empty() {
        demands.chip_ids = Some(arguments.chip.iter().copied().collect());
    }
    if !arguments.id_key.is_empty() {
        demands.id_keys = Some(arguments.id_key.iter().map(|key| key.0).collect());
    }
    if !arguments.author_key.is_empty() {
        demands.author_keys = Some(arguments.author_key.iter().map(|key| key.0).collect());
    }
    if !arguments.guest_policy.is_empty() {
        demands.guest_policy = arguments.guest_policy.iter().copied().collect();
    }
    demands.minimum_abi = arguments.min_abi.or(demands.minimum_abi);
    trust.revocation = revocation(arguments, &trust.roots)?;
    Ok(trust)
}

/// Every list that is named, verified under the roots.
fn revocation(
    arguments: &SnpTrusted,
    roots: &TrustRoots,
) -> Result<Option<RevocationLists>, CliError> {
    if arguments.crl.is_empty() {
        return Ok(None);
    }
    let mut lists = RevocationLists::default();
    for path in &arguments.crl {
        let file = files::read("revocation list", path, files::MAX_KEY_BYTES)?;
        lists
            .add(&file, roots)
            .map_err(|error| CliError::input("revocation list", path, error))?;
    }
    Ok(Some(lists))
}
