//! The files of a log, wherever they are.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use proplet_audit::{
    Entry,
    verify::{Verifier, file_number},
};

use super::super::error::CliError;

/// Standard input, where a file is named.
const STDIN: &str = "-";

/// One file.
pub(super) struct Log {
    path: PathBuf,
    name: String,
    /// It is the first of a folder whose files are numbered anew.
    begins_folder: bool,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default().into_owned();
        Self {
            name: match name.as_str() {
                STDIN => "standard input".to_owned(),
                _ => name,
            },
            path,
            begins_folder: false,
        }
    }

    /// Has it verified, as what a receiver of an export wrote where it is that.
    pub(super) fn read(
        &self,
        verifier: &mut Verifier,
        exported: bool,
        stdin: &mut (dyn Read + Send),
        each: impl FnMut(&Entry),
    ) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::input("log", &self.path, error);
        let reader: Box<dyn BufRead + '_> = match self.path == Path::new(STDIN) {
            true => Box::new(BufReader::new(stdin)),
            false => Box::new(BufReader::new(File::open(&self.path).map_err(failed)?)),
        };
        if self.begins_folder {
            verifier.another_folder();
        }
        let read = match exported {
            true => verifier.exported(&self.name, reader, each),
            false => verifier.file(&self.name, reader, each),
        };
        read.map_err(failed)
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
    let mut numbers: Vec<_> = logs
        .iter()
        .filter_map(|log| file_number(&log.name))
        .collect();
    numbers.sort_unstable();
    if numbers.windows(2).all(|pair| pair.first() != pair.last()) {
        // Of others than ours, whoever named them knows the order.
        logs.sort_by_key(|log| file_number(&log.name).unwrap_or(u64::MAX));
    } else {
        // So does he of folders that have the same numbers.
        let mut last = None;
        for log in &mut logs {
            let number = file_number(&log.name);
            log.begins_folder = number.is_some() && number <= last;
            last = number.or(last);
        }
    }
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
    logs.sort_by_key(|log| file_number(&log.name));
    Ok(logs)
}
