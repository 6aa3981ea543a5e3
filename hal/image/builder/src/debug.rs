//! What the debug flavour has besides: a shell, an ssh server, and words that nobody overlooks.
//!
//! All of it comes from Debian's packages, pinned by the lock file. The ssh server is the only program that is not
//! static, so its libraries come along, under the names that it looks for.

use proplet_hal::flavour;

use crate::BuildError;
use crate::cpio::Archive;
use crate::deb;

/// Where programs look for libraries of this architecture.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
/// The loader of programs that are not static, as they name it.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";
/// Libraries that are taken: those of the ssh server, by the beginning of their file names.
const WANTED: &[&str] = &[
    "libc.so.",
    "libcrypt.so.",
    "libgmp.so.",
    "libtomcrypt.so.",
    "libtommath.so.",
    "libz.so.",
];
/// What a shell, and whoever logs in, is shown.
const BANNER: &str = "\n\
    ***************************************************************************\n\
    *  DEBUG FLAVOUR of the proplet image.                                    *\n\
    *  Whoever started this VM can read and change everything in it.          *\n\
    *  Its measurement is not that of the sealed image.                       *\n\
    ***************************************************************************\n\n";

/// A package: its name in the lock file, and its bytes.
pub type Package = (String, Vec<u8>);

/// Adds what the debug flavour has to an archive.
///
/// # Errors
/// When a package is none, or lacks what is expected of it.
pub fn add(archive: &mut Archive, packages: &[Package]) -> Result<(), BuildError> {
    archive.file(
        flavour::FLAVOUR_FILE,
        0o644,
        format!("{}\n", flavour::DEBUG),
    );
    archive.file("etc/proplet/banner", 0o644, BANNER);
    archive.file(
        "etc/os-release",
        0o644,
        format!(
            "NAME=\"proplet DEBUG\"\nPRETTY_NAME=\"proplet {version}, DEBUG FLAVOUR: nothing here is confidential\"\n\
             ID=proplet\nVARIANT=\"Debug\"\nVARIANT_ID=debug\nVERSION_ID={version}\n",
            version = env!("CARGO_PKG_VERSION")
        ),
    );
    archive.file("etc/passwd", 0o644, "root:*:0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, "root:*:0:\n");
    archive.file("etc/shells", 0o644, "/bin/sh\n");
    archive.file(
        "etc/profile",
        0o644,
        "export PATH=/bin:/usr/sbin\nexport PS1='DEBUG proplet \\w # '\ncat /etc/proplet/banner\n",
    );
    archive.folder("etc/dropbear");
    archive.folder("root");
    archive.link("bin/sh", "busybox");
    archive.link("bin/proplet", "/init");
    let mut missing: Vec<&str> = WANTED.to_vec();
    missing.extend(["busybox", "dropbear", "ld-linux-x86-64.so.2"]);
    for (name, package) in packages {
        for file in deb::files(name, package, |path| place(path).is_some())? {
            if let Some(place) = place(&file.path) {
                missing.retain(|wanted| !file_name(&file.path).starts_with(wanted));
                archive.file(&place, 0o755, file.contents);
            }
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(wanted) => Err(BuildError::package(
            "the debug flavour",
            format!("none of its packages has {wanted}"),
        )),
    }
}

/// Where a file of a package goes, when it is wanted.
fn place(path: &str) -> Option<String> {
    let name = file_name(path);
    match path.rsplit_once('/').map(|(folder, _)| folder)? {
        "usr/bin" | "bin" if name == "busybox" => Some("bin/busybox".to_owned()),
        "usr/sbin" if name == "dropbear" => Some("usr/sbin/dropbear".to_owned()),
        "usr/lib/x86_64-linux-gnu" | LIBRARIES => match soname(name)? {
            loader if LOADER.ends_with(loader) => Some(LOADER.to_owned()),
            library if WANTED.iter().any(|wanted| library.starts_with(wanted)) => {
                Some(format!("{LIBRARIES}/{library}"))
            }
            _ => None,
        },
        _ => None,
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `libz.so.1.3.1` is looked for as `libz.so.1`; packages have a link of that name, and an archive needs none.
fn soname(name: &str) -> Option<&str> {
    let version = name.find(".so.")? + ".so.".len();
    let rest = name.get(version..)?;
    let end = rest.find('.').map_or(name.len(), |at| version + at);
    name.get(..end)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::deb::tests::package;

    pub(crate) fn packages() -> Vec<Package> {
        let libraries = [
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "libcrypt.so.1.1.0",
            "libgmp.so.10.5.0",
            "libtomcrypt.so.1.0.1",
            "libtommath.so.1.3.0",
            "libz.so.1.3.1",
            "libm.so.6",
        ]
        .map(|name| format!("./usr/lib/x86_64-linux-gnu/{name}"));
        let mut files: Vec<(&str, &[u8])> = libraries
            .iter()
            .map(|path| (path.as_str(), &b"library"[..]))
            .collect();
        files.extend([
            ("./usr/bin/busybox", &b"shell"[..]),
            ("./usr/sbin/dropbear", b"server"),
            ("./usr/bin/dbclient", b"not wanted"),
            ("./etc/shadow", b"not wanted"),
        ]);
        vec![("debug-all".to_owned(), package(&files))]
    }

    #[test]
    fn what_is_wanted_is_where_it_is_looked_for() {
        let mut archive = Archive::default();
        add(&mut archive, &packages()).unwrap();
        let bytes = archive.to_bytes();
        let has = |name: &str| {
            let name = format!("{name}\0");
            bytes
                .windows(name.len())
                .any(|window| window == name.as_bytes())
        };
        for name in [
            "bin/busybox",
            "usr/sbin/dropbear",
            "lib64/ld-linux-x86-64.so.2",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libgmp.so.10",
            "lib/x86_64-linux-gnu/libz.so.1",
            "etc/proplet/flavour",
            "etc/os-release",
        ] {
            assert!(has(name), "{name}");
        }
        for name in [
            "etc/shadow",
            "usr/bin/dbclient",
            "lib/x86_64-linux-gnu/libm.so.6",
        ] {
            assert!(!has(name), "{name}");
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("root:*:"), "no password");
        assert!(text.contains("DEBUG FLAVOUR") && text.contains("VARIANT_ID=debug"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |packages: &[Package]| {
            let error = add(&mut Archive::default(), packages).unwrap_err();
            error.to_string()
        };
        assert!(error(&[]).contains("libc.so."));
        let only = package(&[("./usr/bin/busybox", b"x")]);
        assert!(error(&[("debug-busybox".to_owned(), only)]).contains("libc.so."));
        assert!(error(&[("debug-x".to_owned(), b"none".to_vec())]).contains("debug-x"));
    }

    #[test]
    fn libraries_have_the_names_that_are_looked_for() {
        for (file, name) in [
            ("libz.so.1.3.1", Some("libz.so.1")),
            ("libgmp.so.10.5.0", Some("libgmp.so.10")),
            ("libc.so.6", Some("libc.so.6")),
            ("ld-linux-x86-64.so.2", Some("ld-linux-x86-64.so.2")),
            ("BIG5.so", None),
        ] {
            assert_eq!(soname(file), name, "{file}");
        }
    }
}
