//! The kernel's modules, in the order of the image's list.
//!
//! The list and the modules are measured with the image. A driver of a TEE refuses to load on a machine
//! without it (`ENODEV`), which is no failure: whether that is right for this machine is decided later
//! ([`crate::tee`]).

use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;
use rustix::system::finit_module;

use crate::InitError;

/// Name of the list in the modules' folder.
const LIST: &str = "load";

/// Loads the modules of a folder.
pub(crate) fn load(folder: &Path) -> Result<(), InitError> {
    let list = folder.join(LIST);
    let names = fs::read_to_string(&list).map_err(InitError::file(&list))?;
    for name in names.lines().filter(|name| !name.is_empty()) {
        let path = folder.join(name);
        let file = File::open(&path).map_err(InitError::file(&path))?;
        match finit_module(&file, c"", 0) {
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
            Err(error) => {
                return Err(InitError::Module {
                    name: name.to_owned(),
                    error: error.into(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("load"), "{error}");
        fs::write(folder.path().join(LIST), "a.ko\n").unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("a.ko"), "{error}");
        fs::write(folder.path().join("a.ko"), "no module").unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(
            matches!(&error, InitError::Module { name, .. } if name == "a.ko"),
            "{error}"
        );
    }
}
