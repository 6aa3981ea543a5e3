//! Reads, writes and lists files: each argument is a word and a path, `read /data/a`. Prints what came of each.
#![deny(missing_docs)]

use std::fs;
use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for argument in std::env::args().skip(1) {
        let (word, path) = argument.split_once(' ').unwrap_or((&argument, ""));
        match done(word, path) {
            Ok(what) => writeln!(out, "{argument}: {what}")?,
            Err(error) => writeln!(out, "{argument}: failed, {:?}", error.kind())?,
        }
    }
    Ok(())
}

fn done(word: &str, path: &str) -> io::Result<String> {
    match word {
        "read" => fs::read_to_string(path),
        "write" => fs::write(path, "written").map(|()| "written".to_owned()),
        "remove" => fs::remove_file(path).map(|()| "removed".to_owned()),
        "make" => fs::create_dir(path).map(|()| "made".to_owned()),
        "list" => {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names.join(" "))
        }
        // `rename /data/a /data/b`
        "rename" => {
            let (from, to) = path.split_once(' ').unwrap_or((path, ""));
            fs::rename(from, to).map(|()| "renamed".to_owned())
        }
        "link" => {
            let (from, to) = path.split_once(' ').unwrap_or((path, ""));
            fs::hard_link(from, to).map(|()| "linked".to_owned())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
