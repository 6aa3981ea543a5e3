//! Which of the kernel's modules the image has, and in which order they are loaded.
//!
//! A package of the kernel has no list of what depends on what, since that is made where it is installed. Each module
//! says it itself, so the list is made here.

use std::collections::{BTreeMap, BTreeSet};

use crate::BuildError;
use crate::deb::{PackedFile, unxz};
use crate::elf::module_info;

/// What a virtual machine needs, what attests, and what tells a press of the power button.
pub const WANTED: &[&str] = &[
    "virtio_net",
    "virtio_blk",
    "vmw_vsock_virtio_transport",
    "configfs",
    "tsm",
    "sev_guest",
    "tdx_guest",
    "button",
    "evdev",
];

/// A module, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The file.
    pub contents: Vec<u8>,
}

/// Whether a file of the kernel's package is a module.
#[must_use]
pub fn is_module(path: &str) -> bool {
    path.ends_with(".ko.xz") || path.ends_with(".ko")
}

/// These modules and all that they depend on, each after what it depends on.
///
/// # Errors
/// When one is not there or cannot be read.
pub fn select(files: &[PackedFile], wanted: &[&str]) -> Result<Vec<Module>, BuildError> {
    let mut selection = Selection {
        files: files
            .iter()
            .map(|file| (name_of(&file.path), file))
            .collect(),
        seen: BTreeSet::new(),
        modules: Vec::new(),
    };
    for name in wanted {
        selection.add(name)?;
    }
    Ok(selection.modules)
}

struct Selection<'a> {
    files: BTreeMap<String, &'a PackedFile>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Selection<'_> {
    /// Each name is looked at once, so even modules that depend on one another come to an end.
    fn add(&mut self, name: &str) -> Result<(), BuildError> {
        let name = name.replace('-', "_");
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let file = self
            .files
            .get(&name)
            .ok_or_else(|| BuildError::NoModule(name.clone()))?;
        let contents = if file.path.ends_with(".xz") {
            unxz(&file.path, &file.contents)?
        } else {
            file.contents.clone()
        };
        let info = module_info(&contents)
            .ok_or_else(|| BuildError::package(&file.path, "it is no module"))?;
        let depends = info.iter().filter(|(key, _)| key == "depends");
        for other in depends
            .flat_map(|(_, names)| names.split(','))
            .filter(|other| !other.is_empty())
        {
            self.add(other)?;
        }
        self.modules.push(Module { name, contents });
        Ok(())
    }
}

/// `kernel/drivers/net/virtio_net.ko.xz` is `virtio_net`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split_once(".ko").map_or(file, |(name, _)| name);
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::tests::xz;
    use crate::elf::tests::module;

    fn file(path: &str, depends: &str) -> PackedFile {
        PackedFile {
            path: path.to_owned(),
            contents: xz(&module(format!("depends={depends}\0").as_bytes())),
        }
    }

    #[test]
    fn modules_come_after_what_they_depend_on() {
        let files = [
            file("k/virtio_net.ko.xz", "net_failover"),
            file("k/net-failover.ko.xz", "failover"),
            file("k/failover.ko.xz", ""),
            file("k/other.ko.xz", ""),
        ];
        let names = |wanted: &[&str]| {
            let modules = select(&files, wanted).unwrap();
            modules
                .into_iter()
                .map(|module| module.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&["virtio-net"]),
            ["failover", "net_failover", "virtio_net"]
        );
        assert_eq!(
            names(&["failover", "virtio_net"]),
            ["failover", "net_failover", "virtio_net"]
        );
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let files = [
            file("a.ko.xz", "b"),
            file("c.ko.xz", "d"),
            file("d.ko.xz", "c"),
        ];
        let error = select(&files, &["a"]).unwrap_err();
        assert!(
            matches!(&error, BuildError::NoModule(name) if name == "b"),
            "{error}"
        );
        assert_eq!(
            select(&files, &["c"]).unwrap().len(),
            2,
            "each depends on the other"
        );
        let text = [PackedFile {
            path: "a.ko".to_owned(),
            contents: b"text".to_vec(),
        }];
        assert!(matches!(
            select(&text, &["a"]),
            Err(BuildError::Package { .. })
        ));
    }
}
