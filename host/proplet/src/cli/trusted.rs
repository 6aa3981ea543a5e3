//! Files that say what is believed: roots, and collateral.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use proplet_hal::{
    snp::TrustRoots,
    tdx::{Collateral, MAX_COLLATERAL_FILE_LEN, TdxRoot},
};
use proplet_types::Code;

use super::{error::CliError, files};

/// More files than a folder of collateral has.
const MAX_FILES: usize = 256;

/// The roots of each vendor. Given ones of one leave those of the other as they are.
pub(super) fn roots(given: Option<&Path>) -> Result<(TrustRoots, TdxRoot), CliError> {
    let built_in =
        |error: &dyn Display| CliError::new(Code::Internal, format!("built-in roots: {error}"));
    let (tdx_root, snp_roots) = match given {
        None => (None, None),
        Some(path) => {
            let bad = |error: &dyn Display| CliError::input("roots", path, error);
            let bundle = files::read("roots", path, files::MAX_KEY_BYTES)?;
            let (tdx, rest) = TdxRoot::split_bundle(&bundle).map_err(|error| bad(&error))?;
            let snp = match (rest, &tdx) {
                (None, Some(_)) => None,
                (rest, _) => {
                    let pem = rest.unwrap_or_default();
                    let roots = TrustRoots::from_pem(pem.as_bytes());
                    Some(roots.map_err(|error| bad(&error))?)
                }
            };
            (tdx, snp)
        }
    };
    let snp_roots = match snp_roots {
        Some(roots) => roots,
        None => TrustRoots::amd().map_err(|error| built_in(&error))?,
    };
    let tdx_root = match tdx_root {
        Some(root) => root,
        None => TdxRoot::intel().map_err(|error| built_in(&error))?,
    };
    Ok((snp_roots, tdx_root))
}

/// Collateral: every file that is named, or lies in a folder that is.
pub(super) fn collateral(paths: &[PathBuf]) -> Result<Collateral, CliError> {
    let mut contents = Vec::new();
    for path in paths {
        let bad = |error: &dyn Display| CliError::input("collateral", path, error);
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
    Collateral::from_files(files).map_err(|error| CliError::new(Code::Input, error.to_string()))
}

fn read(path: &Path) -> Result<(String, Vec<u8>), CliError> {
    let bytes = files::read("collateral", path, MAX_COLLATERAL_FILE_LEN as u64)?;
    Ok((path.display().to_string(), bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: PathBuf) -> Result<Collateral, CliError> {
        collateral(&[path])
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
