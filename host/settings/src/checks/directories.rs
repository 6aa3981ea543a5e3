//! `[[directories]]`: directories of this machine that plain tasks may use.

use std::path::{Component, Path, PathBuf};

use proplet_runtime::Directory;

use crate::{document, environment::Environment, error::SettingsError};

/// Directories, at most.
const MAX_DIRECTORIES: usize = 64;

const VARIABLE: &str = "PROPLET_DIRS";

/// The directories in force, and a line for the log when the environment's are not.
///
/// The environment gives directories only where the document gives none, and only on a host that takes no
/// encrypted tasks: what it says is not measured.
pub(crate) fn checked_directories(
    document: Vec<document::Directory>,
    has_key_broker: bool,
    environment: &Environment,
) -> Result<(Vec<Directory>, Option<String>), SettingsError> {
    let variable = environment.text(&[VARIABLE]);
    let ignored = |why: &str| Some(format!("{VARIABLE} is ignored: {why}"));
    if !document.is_empty() {
        let notice = variable.and_then(|_| ignored("the settings document names directories"));
        return Ok((documented(document)?, notice));
    }
    let Some(list) = variable else {
        return Ok((Vec::new(), None));
    };
    if has_key_broker {
        let why = "this host takes encrypted tasks; name directories as [[directories]] in the settings \
                   document";
        return Ok((Vec::new(), ignored(why)));
    }
    let expected = "absolute paths with colons between them, none of the kernel's";
    let wrong = || SettingsError::Variable {
        name: VARIABLE,
        expected,
    };
    let paths: Vec<&str> = list.split(':').filter(|path| !path.is_empty()).collect();
    if paths.len() > MAX_DIRECTORIES {
        return Err(wrong());
    }
    let given = |path: &str| {
        check_path(Path::new(path)).map_err(|_| wrong())?;
        Ok(Directory {
            path: PathBuf::from(path),
            name: path.to_owned(),
            // As upstream gives them.
            is_writable: true,
        })
    };
    let directories: Result<Vec<Directory>, SettingsError> = paths.into_iter().map(given).collect();
    Ok((directories?, None))
}

fn documented(document: Vec<document::Directory>) -> Result<Vec<Directory>, SettingsError> {
    let wrong = |name, why: String| SettingsError::value("directories", name, why);
    if document.len() > MAX_DIRECTORIES {
        let why = format!("{} directories; at most {MAX_DIRECTORIES}", document.len());
        return Err(wrong("path", why));
    }
    let mut directories: Vec<Directory> = Vec::with_capacity(document.len());
    for document::Directory {
        path,
        name,
        writable,
    } in document
    {
        check_path(&path).map_err(|why| wrong("path", format!("{}: {why}", path.display())))?;
        let name = match name {
            Some(name) => name,
            None => path.to_string_lossy().into_owned(),
        };
        if name.is_empty() || name.contains('\0') {
            return Err(wrong(
                "name",
                "an empty name, or a NUL character in it".to_owned(),
            ));
        }
        if directories.iter().any(|directory| directory.name == name) {
            return Err(wrong("name", format!("{name:?} is there twice")));
        }
        directories.push(Directory {
            path,
            name,
            is_writable: writable,
        });
    }
    Ok(directories)
}

/// Checks what can be known of a path without looking. Where links lead is seen when a task starts.
fn check_path(path: &Path) -> Result<(), &'static str> {
    if !path.is_absolute() {
        return Err("write an absolute path");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("write it without `..`");
    }
    if Directory::is_of_the_kernel(path) {
        return Err(
            "/proc, /sys and /dev are never given to tasks, nor is anything that they are in: memory of \
             this host, with the secrets of other tasks, can be read there",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn parsed(text: &str, dirs: &str) -> Result<Settings, SettingsError> {
        let variables = [(VARIABLE.to_owned(), dirs.to_owned())];
        Settings::parse(Some(text), &variables.into_iter().collect())
    }

    fn directory(path: &str, name: &str, is_writable: bool) -> Directory {
        Directory {
            path: path.into(),
            name: name.to_owned(),
            is_writable,
        }
    }

    #[test]
    fn directories_are_read_only_unless_they_are_not() {
        let text = "[[directories]]\npath = \"/srv/a\"\n[[directories]]\npath = \"/srv/b\"\n\
                    name = \"/out\"\nwritable = true";
        assert_eq!(
            parsed(text, "").unwrap().directories,
            [
                directory("/srv/a", "/srv/a", false),
                directory("/srv/b", "/out", true)
            ]
        );
        assert!(parsed("", "").unwrap().directories.is_empty());
    }

    #[test]
    fn the_variable_gives_directories_as_upstream_does() {
        assert_eq!(
            parsed("", "/srv/a:/srv/b").unwrap().directories,
            [
                directory("/srv/a", "/srv/a", true),
                directory("/srv/b", "/srv/b", true)
            ]
        );
    }

    #[test]
    fn the_variable_counts_neither_beside_the_document_nor_where_encrypted_tasks_run() {
        for (text, count) in [
            ("[[directories]]\npath = \"/srv/a\"", 1),
            ("[kbs]\nurl = \"https://kbs.example\"", 0),
        ] {
            let settings = parsed(text, "/srv/b").unwrap();
            assert_eq!(settings.directories.len(), count);
            let notices = settings.notices.join("\n");
            assert!(notices.contains("PROPLET_DIRS is ignored"), "{notices}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for path in [
            "a",
            "",
            "/",
            "/proc",
            "/proc/self",
            "/sys",
            "/dev/shm",
            "/srv/../proc",
        ] {
            let text = format!("[[directories]]\npath = {path:?}");
            let error = parsed(&text, "").unwrap_err().to_string();
            assert!(error.contains("[directories] path"), "{error}");
            if !path.is_empty() {
                let error = parsed("", path).unwrap_err().to_string();
                assert!(error.contains(VARIABLE), "{error}");
            }
        }
        let entry = "[[directories]]\npath = \"/srv/a\"\n";
        for text in [
            format!("{entry}{entry}"),
            format!("{entry}name = \"\""),
            format!("{entry}write = true"),
            format!("{entry}writable = \"yes\""),
            (0..65)
                .map(|n| format!("[[directories]]\npath = \"/srv/{n}\"\n"))
                .collect(),
        ] {
            parsed(&text, "").unwrap_err();
        }
    }
}
