//! The files of a log, wherever they are.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use proplet_audit::{
    Entry,
    verify::{Verifier, file_number},
};

use super::super::error::CliError;

/// One file.
pub(super) struct Log {
    path: PathBuf,
    name: String,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy());
        Self {
            name: name.unwrap_or_default().into_owned(),
            path,
        }
    }

    /// Has it verified.
    pub(super) fn read(
        &self,
        verifier: &mut Verifier,
        each: impl FnMut(&Entry),
    ) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::input("log", &self.path, error);
        let file = File::open(&self.path).map_err(failed)?;
        verifier
            .file(&self.name, BufReader::new(file), each)
            .map_err(failed)
    }
}

/// The files that are named, and those in the folders that are named, in the order in which they were written.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Log>, CliError> {
    let mut logs = Vec::new();
    for path in paths {
        if path.is_dir() {
            logs.extend(in_folder(path)?);
        } else {
            logs.push(Log::new(path.clone()));
        }
    }
    // Of others than ours, whoever named them knows the order.
    logs.sort_by_key(|log| file_number(&log.name).unwrap_or(u64::MAX));
    Ok(logs)
}

fn in_folder(folder: &Path) -> Result<Vec<Log>, CliError> {
    let failed = |error: std::io::Error| CliError::input("folder", folder, error);
    let mut logs = Vec::new();
    for file in folder.read_dir().map_err(failed)? {
        let log = Log::new(file.map_err(failed)?.path());
        if file_number(&log.name).is_some() {
            logs.push(log);
        }
    }
    if logs.is_empty() {
        let why = "there is no audit-NUMBER.jsonl in it";
        return Err(CliError::input("folder", folder, why));
    }
    Ok(logs)
}
