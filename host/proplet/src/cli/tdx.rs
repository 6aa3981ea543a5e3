//! What a relying party believes and expects of TDX, from the command line.

use std::{collections::BTreeSet, fs, path::Path};

use proplet_hal::{
    reference_values::TdxReferenceValues,
    tdx::{Collateral, MAX_COLLATERAL_FILE_LEN, TcbStatus, TdxRoot, TdxTrust},
};
use proplet_results::verify::TdxExpectations;

use super::{
    arguments::{Register, TdxExpected, TdxTrusted},
    error::CliError,
    files,
};

/// More files than a folder of collateral has.
const MAX_FILES: usize = 256;

/// What is believed under this root. Options take the place of the same items of the reference values.
pub(super) fn trust(
    arguments: &TdxTrusted,
    values: Option<&TdxReferenceValues>,
    root: TdxRoot,
) -> Result<TdxTrust, CliError> {
    let mut trust = TdxTrust::new(root).with_collateral(collateral(arguments)?);
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

/// Every file that is named, or lies in a folder that is.
fn collateral(arguments: &TdxTrusted) -> Result<Collateral, CliError> {
    let mut contents = Vec::new();
    for path in &arguments.collateral {
        let bad = |error: &dyn std::fmt::Display| CliError::input("collateral", path, error);
        if !path.is_dir() {
            contents.push(read(path)?);
            continue;
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| bad(&error))? {
            let entry = entry.map_err(|error| bad(&error))?.path();
            let hidden = entry
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && entry.is_file() {
                names.push(entry);
            }
            if names.len() > MAX_FILES {
                return Err(bad(&format!("there are more than {MAX_FILES} files in it")));
            }
        }
        if names.is_empty() {
            return Err(bad(&"there is no file in it"));
        }
        names.sort();
        for name in names {
            contents.push(read(&name)?);
        }
    }
    let files = contents
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    Collateral::from_files(files)
        .map_err(|error| CliError::new(proplet_types::Code::Input, error.to_string()))
}

fn read(path: &Path) -> Result<(String, Vec<u8>), CliError> {
    let bytes = files::read("collateral", path, MAX_COLLATERAL_FILE_LEN as u64)?;
    Ok((path.display().to_string(), bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn of(path: PathBuf) -> Result<TdxTrust, CliError> {
        let arguments = TdxTrusted {
            collateral: vec![path],
            allow_tcb_status: Vec::new(),
            deny_advisory: Vec::new(),
            allow_advisory: None,
            expect_mr_seam: Vec::new(),
            expect_platform: Vec::new(),
        };
        trust(&arguments, None, TdxRoot::intel().unwrap())
    }

    #[test]
    fn a_folder_is_read_whole_and_a_bad_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let empty = of(path.clone()).unwrap_err();
        assert!(empty.words().contains("no file in it"), "{empty:?}");

        fs::write(path.join(".hidden"), "not looked at").unwrap();
        fs::create_dir(path.join("folder")).unwrap();
        let root = TdxRoot::intel().unwrap();
        let hex: String = root
            .der()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        fs::write(path.join("bad.json"), hex).unwrap();
        let bad = of(path.clone()).unwrap_err();
        assert!(bad.words().contains("bad.json"), "{bad:?}");

        let absent = of(path.join("absent")).unwrap_err();
        assert!(absent.words().contains("absent"), "{absent:?}");
    }
}
