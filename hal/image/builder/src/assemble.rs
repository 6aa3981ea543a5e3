//! An image from its parts.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use proplet_hal::flavour::DEBUG_WORD;
use proplet_hal::reference_values::{ReferenceValues, SnpReferenceValues, TdxReferenceValues};
use proplet_hal::snp::{GuestPolicyRule, SnpDemands};
use proplet_measure::Measurements;
use proplet_measure::snp::CpuType;

use crate::cpio::Archive;
use crate::lock::{CERTIFICATES, KERNEL, STUB};
use crate::uki::Parts;
use crate::{BuildError, deb, debug, elf, modules, uki};

/// The kernel's command line. The first process refuses any other one.
///
/// `no_timer_check` is what a kernel does by itself under KVM: the test of the timer takes a busy machine's emulation for
/// broken hardware.
pub const COMMAND_LINE: &str = "console=ttyS0 panic=-1 oops=panic quiet loglevel=3 lockdown=confidentiality \
                                module.sig_enforce=1 vsyscall=none debugfs=off slab_nomerge nohibernate \
                                random.trust_bootloader=off no_timer_check";
/// The types of CPU that measurements are given for.
pub const CPUS: &[&str] = &["EPYC-v4", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"];
/// The numbers of CPUs that measurements are given for.
pub const VCPUS: &[u32] = &[1, 2, 4, 8, 16, 32];

/// What the kernel starts.
const INIT: &str = "init";
/// Where the program is when a test image has another one started.
const REPLACED: &str = "proplet";

/// What an image is made of.
#[derive(Debug)]
pub struct Ingredients<'a> {
    /// The kernel's package.
    pub kernel: &'a [u8],
    /// The package with the stub.
    pub stub: &'a [u8],
    /// The package with certificates.
    pub certificates: &'a [u8],
    /// `proplet`, static.
    pub program: &'a [u8],
    /// The time that the image says it was made, in seconds since 1970.
    pub date: u64,
    /// Further files of test images, by path, all of them programs. A sealed image has none. One that is called
    /// `init` is started instead of the program, which is `/proplet` then.
    pub extra: &'a [(String, Vec<u8>)],
    /// Further modules of test images, by name. A sealed image has none.
    pub extra_modules: &'a [String],
    /// The packages of the debug flavour. None for the sealed one.
    pub debug: Option<&'a [debug::Package]>,
}

impl Ingredients<'_> {
    /// The command line of the image: the debug flavour's says what it is.
    fn command_line(&self) -> String {
        match self.debug {
            None => COMMAND_LINE.to_owned(),
            Some(_) => format!("{COMMAND_LINE} {DEBUG_WORD}"),
        }
    }
}

/// Puts an image together.
///
/// # Errors
/// When a part is not what it should be.
pub fn image(ingredients: &Ingredients<'_>) -> Result<Vec<u8>, BuildError> {
    let kernel = deb::files(KERNEL, ingredients.kernel, |path| {
        path.starts_with("boot/vmlinuz-") || modules::is_module(path)
    })?;
    let stub = deb::files(STUB, ingredients.stub, |path| {
        path == "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
    })?;
    let stub = stub
        .first()
        .ok_or_else(|| BuildError::package(STUB, "it has no stub"))?;
    let vmlinuz = kernel
        .iter()
        .find(|file| file.path.starts_with("boot/vmlinuz-"))
        .ok_or_else(|| BuildError::package(KERNEL, "it has no kernel"))?;
    let version = vmlinuz.path.trim_start_matches("boot/vmlinuz-");
    let mut wanted = modules::WANTED.to_vec();
    wanted.extend(ingredients.extra_modules.iter().map(String::as_str));
    let modules = modules::select(&kernel, &wanted)?;
    let archive = archive(ingredients, &modules)?.to_bytes();
    let initrd = pack(&archive)?;
    uki::assemble(&Parts {
        stub: &stub.contents,
        kernel: &vmlinuz.contents,
        initrd: &initrd,
        command_line: &ingredients.command_line(),
        version,
    })
}

fn archive(
    ingredients: &Ingredients<'_>,
    modules: &[modules::Module],
) -> Result<Archive, BuildError> {
    if let Some(reason) = elf::why_not_static(ingredients.program) {
        return Err(BuildError::Program {
            path: Path::new("the program").to_owned(),
            reason,
        });
    }
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "run", "sys", "tmp"] {
        archive.folder(folder);
    }
    let replaced = ingredients.extra.iter().any(|(path, _)| path == INIT);
    let program = if replaced { REPLACED } else { INIT };
    archive.file(program, 0o755, ingredients.program);
    archive.file("etc/hosts", 0o644, "127.0.0.1 localhost\n");
    archive.file("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    archive.link("etc/resolv.conf", "/run/resolv.conf");
    archive.file("etc/proplet/cmdline", 0o644, ingredients.command_line());
    archive.file("etc/proplet/date", 0o644, format!("{}\n", ingredients.date));
    archive.file(
        "etc/ssl/certs/ca-certificates.crt",
        0o644,
        bundle(ingredients.certificates)?,
    );
    let mut list = String::new();
    for module in modules {
        let name = format!("{}.ko", module.name);
        archive.file(
            &format!("lib/modules/{name}"),
            0o644,
            module.contents.clone(),
        );
        list.push_str(&name);
        list.push('\n');
    }
    archive.file("lib/modules/load", 0o644, list);
    for (path, contents) in ingredients.extra {
        archive.file(path, 0o755, contents.clone());
    }
    if let Some(packages) = ingredients.debug {
        debug::add(&mut archive, packages)?;
    }
    Ok(archive)
}

/// All certificates of the package, by name.
fn bundle(package: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut files = deb::files(CERTIFICATES, package, |path| {
        path.starts_with("usr/share/ca-certificates/") && path.ends_with(".crt")
    })?;
    if files.is_empty() {
        return Err(BuildError::package(CERTIFICATES, "it has no certificates"));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let mut bundle = Vec::new();
    for file in files {
        bundle.extend(file.contents);
        if bundle.last() != Some(&b'\n') {
            bundle.push(b'\n');
        }
    }
    Ok(bundle)
}

/// gzip, by a library that is Rust and pinned: other libraries and versions give other bytes.
fn pack(archive: &[u8]) -> Result<Vec<u8>, BuildError> {
    let failed = |error| BuildError::package("the archive", error);
    let mut gzip: GzEncoder<Vec<u8>> = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    gzip.write_all(archive).map_err(failed)?;
    gzip.finish().map_err(failed)
}

/// What an image measures, for a file beside it.
///
/// # Errors
/// When image or firmware cannot be measured.
pub fn measurements(
    image: &[u8],
    snp_firmware: &[u8],
    tdx_firmware: &[u8],
) -> Result<Measurements, BuildError> {
    let cpus = CPUS
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<CpuType>, _>>()?;
    Ok(Measurements::of(
        image,
        snp_firmware,
        tdx_firmware,
        &cpus,
        VCPUS,
    )?)
}

/// The same as reference values, which admit this image and nothing else: for `proplet verify` and `proplet open`,
/// and, with `proplet kbs register-reference-values`, for a key broker.
#[must_use]
pub fn reference_values(measurements: &Measurements) -> ReferenceValues {
    let bytes = |text: &str| {
        let mut bytes = [0; 48];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
    };
    let one = |text: &str| bytes(text).map(|value| BTreeSet::from([value]));
    let tdx = &measurements.tdx;
    ReferenceValues {
        snp: Some(SnpReferenceValues {
            measurements: Some(
                measurements
                    .snp
                    .iter()
                    .filter_map(|entry| bytes(&entry.measurement))
                    .collect(),
            ),
            demands: SnpDemands {
                guest_policy: [GuestPolicyRule::NoDebug, GuestPolicyRule::NoMigrationAgent].into(),
                ..SnpDemands::default()
            },
            ..SnpReferenceValues::default()
        }),
        tdx: Some(TdxReferenceValues {
            mrtd: one(&tdx.mrtd),
            rtmrs: [None, one(&tdx.rtmr1), one(&tdx.rtmr2), None],
            ..TdxReferenceValues::default()
        }),
    }
}

#[cfg(test)]
mod tests;
