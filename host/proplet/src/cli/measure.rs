//! What a VM image measures, computed again from the files alone: for whoever does not trust the build.

use std::path::{Path, PathBuf};

use proplet_hal::flavour::DEBUG;
use proplet_measure::{MeasureError, Measurements, snp::CpuType};
use proplet_types::Code;
use serde_json::json;

use super::{arguments::Measure, console::Console, error::CliError, files};

/// Largest image or firmware that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024 * 1024;
/// The firmwares that the image builder writes beside an image.
const SNP_FIRMWARE: &str = "OVMF.amdsev.fd";
const TDX_FIRMWARE: &str = "OVMF.inteltdx.fd";
/// The types and numbers of CPUs, when none are given.
const CPUS: &[&str] = &["EPYC-v4", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"];
const VCPUS: &[u32] = &[1, 2, 4, 8, 16, 32];

/// `proplet measure`.
pub(super) fn run(arguments: &Measure, console: &mut Console<'_>) -> Result<(), CliError> {
    let measurements = measure(arguments)?;
    if console.json {
        console.value(&json!(measurements))?;
        return Ok(());
    }
    let mut lines = vec![format!("image       sha256:{}", measurements.uki_sha256)];
    if measurements.flavour == DEBUG {
        console.note("WARNING: this is the DEBUG FLAVOUR: whoever starts it can read and change everything in it");
        lines.push("flavour     debug".to_owned());
    }
    for entry in &measurements.snp {
        let (cpu, vcpus, measurement) = (&entry.cpu, entry.vcpus, &entry.measurement);
        lines.push(format!("SEV-SNP     {measurement} {cpu}, {vcpus} CPUs"));
    }
    let tdx = &measurements.tdx;
    for (name, value) in [
        ("MRTD", &tdx.mrtd),
        ("RTMR1", &tdx.rtmr1),
        ("RTMR2", &tdx.rtmr2),
    ] {
        lines.push(format!("TDX         {value} {name}"));
    }
    console.text(&format!("{}\n", lines.join("\n")))?;
    Ok(())
}

fn measure(arguments: &Measure) -> Result<Measurements, CliError> {
    let beside = |given: &Option<PathBuf>, name: &str| {
        let path = given.clone();
        path.unwrap_or_else(|| arguments.image.with_file_name(name))
    };
    let read = |what: &str, path: &Path| files::read(what, path, MAX_FILE);
    let image = read("image", &arguments.image)?;
    let snp = read(
        "firmware for SNP",
        &beside(&arguments.snp_firmware, SNP_FIRMWARE),
    )?;
    let tdx = read(
        "firmware for TDX",
        &beside(&arguments.tdx_firmware, TDX_FIRMWARE),
    )?;
    let input = |error: MeasureError| CliError::new(Code::Input, error.to_string());
    let usual = || CPUS.iter().map(|name| name.parse()).collect();
    let cpus: Result<Vec<CpuType>, MeasureError> = match arguments.cpu.as_slice() {
        [] => usual(),
        given => Ok(given.to_vec()),
    };
    let vcpus = match arguments.vcpus.as_slice() {
        [] => VCPUS,
        given => given,
    };
    Measurements::of(&image, &snp, &tdx, &cpus.map_err(input)?, vcpus).map_err(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../hal/image/measure/tests/vectors")
            .join(name)
    }

    fn arguments() -> Measure {
        Measure {
            image: vector("image.efi"),
            snp_firmware: Some(vector("firmware.fd")),
            tdx_firmware: Some(vector("firmware.fd")),
            cpu: vec!["EPYC-Milan".parse().unwrap()],
            vcpus: vec![4],
        }
    }

    fn output(arguments: &Measure, json: bool) -> Result<String, CliError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut console = Console {
            stdin: &mut std::io::empty(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            json,
        };
        run(arguments, &mut console)?;
        Ok(String::from_utf8(stdout).unwrap())
    }

    #[test]
    fn the_measurements_are_those_of_the_reference() {
        // sev-snp-measure --mode snp --vcpus 4 --vcpu-type EPYC-Milan --ovmf firmware.fd --kernel image.efi
        let snp = "2a8d223d3c84510582a15929832508a8dfbbbffc6ad83a05d214db783ca1f445e77b82f8c32209acebf41d388233c747";
        let text = output(&arguments(), false).unwrap();
        assert!(
            text.contains(&format!("{snp} EPYC-Milan, 4 CPUs\n")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
        let json: Measurements =
            serde_json::from_str(&output(&arguments(), true).unwrap()).unwrap();
        assert_eq!(json.snp[0].measurement, snp);
        assert!(text.contains(&json.tdx.mrtd) && text.contains(&json.tdx.rtmr2));
    }

    #[test]
    fn without_a_choice_the_usual_ones_are_measured() {
        let mut arguments = arguments();
        (arguments.cpu, arguments.vcpus) = (Vec::new(), Vec::new());
        let text = output(&arguments, false).unwrap();
        assert_eq!(
            text.lines().count(),
            1 + CPUS.len() * VCPUS.len() + 3,
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_measured_is_bad_input() {
        let refused = |arguments: &Measure| {
            let error = output(arguments, false).unwrap_err();
            assert_eq!(error.code(), Code::Input);
            error.words().to_owned()
        };
        let mut other = arguments();
        other.image = vector("README.md");
        assert!(refused(&other).contains("no unified kernel image"));
        let mut other = arguments();
        other.snp_firmware = Some(vector("image.efi"));
        assert!(refused(&other).contains("firmware"));
        let mut other = arguments();
        // Beside the image, where there is none.
        other.tdx_firmware = None;
        assert!(refused(&other).contains(TDX_FIRMWARE));
        let mut other = arguments();
        other.vcpus = vec![0];
        assert!(refused(&other).contains("1 to 512"));
    }
}
