//! Which machine is asked for what, and what the script does.

use super::world::{Machine, World, after};

/// What the script does.
enum Does {
    /// Starts a VM in this mode, with this accelerator.
    Starts(&'static str, &'static str),
    /// Refuses, with these words.
    Refuses(&'static [&'static str]),
}
use Does::{Refuses, Starts};

const NO_KVM: &str = "neither vmx nor svm";

#[test]
fn each_mode_on_each_machine() {
    let none_snp: &[&str] = &["SEV-SNP cannot be used", "sev_snp", "/dev/sev"];
    let none_tdx: &[&str] = &["TDX cannot be used", "tdx_host_platform", "kvm_intel"];
    let no_plain: &[&str] = &["SEV-SNP cannot be used", "plain SEV", "no report"];
    let table = [
        (Machine::Snp, "auto", Starts("snp", "kvm")),
        (Machine::Snp, "snp", Starts("snp", "kvm")),
        (Machine::Snp, "sev", Starts("snp", "kvm")),
        (Machine::Snp, "tdx", Refuses(none_tdx)),
        (Machine::Snp, "none", Starts("none", "kvm")),
        (Machine::PlainSev, "auto", Starts("none", "kvm")),
        (
            Machine::PlainSev,
            "snp",
            Refuses(&["SEV-SNP cannot be used", "sev_snp"]),
        ),
        (Machine::PlainSev, "sev", Refuses(no_plain)),
        (Machine::PlainSev, "tdx", Refuses(none_tdx)),
        (Machine::PlainSev, "none", Starts("none", "kvm")),
        (Machine::Tdx, "auto", Starts("tdx", "kvm")),
        (Machine::Tdx, "tdx", Starts("tdx", "kvm")),
        (Machine::Tdx, "snp", Refuses(none_snp)),
        (Machine::Tdx, "sev", Refuses(no_plain)),
        (Machine::Tdx, "none", Starts("none", "kvm")),
        (Machine::Kvm, "auto", Starts("none", "kvm")),
        (Machine::Kvm, "snp", Refuses(none_snp)),
        (Machine::Kvm, "sev", Refuses(no_plain)),
        (Machine::Kvm, "tdx", Refuses(none_tdx)),
        (Machine::Kvm, "none", Starts("none", "kvm")),
        (Machine::KvmDeviceAlone, "auto", Starts("none", "tcg")),
        (
            Machine::KvmDeviceAlone,
            "snp",
            Refuses(&[NO_KVM, "sev_snp"]),
        ),
        (Machine::KvmDeviceAlone, "sev", Refuses(no_plain)),
        (
            Machine::KvmDeviceAlone,
            "tdx",
            Refuses(&[NO_KVM, "tdx_host_platform"]),
        ),
        (Machine::KvmDeviceAlone, "none", Starts("none", "tcg")),
        (Machine::Nothing, "auto", Starts("none", "tcg")),
        (Machine::Nothing, "snp", Refuses(&[NO_KVM, "sev_snp"])),
        (Machine::Nothing, "sev", Refuses(no_plain)),
        (
            Machine::Nothing,
            "tdx",
            Refuses(&[NO_KVM, "tdx_host_platform"]),
        ),
        (Machine::Nothing, "none", Starts("none", "tcg")),
    ];
    for (machine, asked, does) in table {
        let mut world = World::new(machine);
        world.set("ENABLE_CVM", asked);
        let said = world.tries();
        match does {
            Starts(mode, accel) => {
                let said = said.fine();
                let start = world.start();
                let machine_argument = after(&start, "-machine")[0];
                let found = match machine_argument {
                    text if text.contains("=sev0") => "snp",
                    text if text.contains("=tdx0") => "tdx",
                    _ => "none",
                };
                assert_eq!(
                    (found, after(&start, "-accel")[0]),
                    (mode, accel),
                    "{machine:?} {asked}"
                );
                if accel == "tcg" {
                    said.says(&["no KVM", NO_KVM]);
                }
            }
            Refuses(words) => {
                said.refused(words);
                world.is_untouched();
            }
        }
    }
}

#[test]
fn without_a_tee_it_is_said_what_that_means() {
    let none = "encrypted tasks will be refused";
    World::new(Machine::Nothing)
        .tries()
        .fine()
        .says(&["neither SEV-SNP nor TDX", none]);
    World::new(Machine::PlainSev)
        .tries()
        .fine()
        .says(&["plain SEV, which is not used", none]);
    let world = World::new(Machine::Snp);
    world.write("root/sys/module/kvm_amd/parameters/sev_snp", "N\n");
    world.tries().fine().says(&["its CPU has SEV-SNP", none]);
}

#[test]
fn a_kernel_may_say_one_for_yes() {
    let world = World::new(Machine::Snp);
    world.write("root/sys/module/kvm_amd/parameters/sev_snp", "1\n");
    world.tries().fine();
    assert!(after(&world.start(), "-machine")[0].contains("sev0"));
}

#[test]
fn a_tee_that_is_there_is_not_left_out_silently() {
    for (machine, device) in [
        (Machine::Snp, "dev/sev"),
        (Machine::Snp, "dev/kvm"),
        (Machine::Tdx, "dev/kvm"),
    ] {
        let world = World::new(machine);
        std::fs::remove_file(world.path("root").join(device)).unwrap();
        world
            .tries()
            .refused(&["which this machine has", device, "ENABLE_CVM=none"]);
        world.is_untouched();
    }
}

#[test]
fn qemus_version_decides() {
    for (machine, version, enough) in [
        (Machine::Snp, "9.0.4", false),
        (Machine::Snp, "9.1.0", true),
        (Machine::Snp, "10.0.13", true),
        (Machine::Tdx, "10.0.13", false),
        (Machine::Tdx, "9.20.0", false),
        (Machine::Tdx, "10.1.0", true),
        (Machine::Kvm, "7.2.0", true),
    ] {
        let mut world = World::new(machine);
        world.set("STUB_VERSION", version);
        let said = world.tries();
        if enough {
            said.fine();
        } else {
            said.refused(&[version.rsplit_once('.').unwrap().0, "Debian 13", "tools.sh"]);
            world.is_untouched();
        }
    }
    let mut world = World::new(Machine::Kvm);
    world.set("QEMU", "/nowhere/qemu");
    world
        .tries()
        .refused(&["/nowhere/qemu", "apt-get install qemu-system-x86"]);
    world.set("QEMU", "/bin/true");
    world.tries().refused(&["does not say which version"]);
    let mut world = World::new(Machine::Snp);
    world.set("QEMU", "/nowhere/qemu");
    let said = world.tries().refused(&["there is no QEMU"]);
    assert!(!said.err.contains("takes 9.1"), "{}", said.err);
    world.set("TOOLS", "/nowhere/tools");
    let said = world.tries().refused(&["TOOLS (/nowhere/tools)"]);
    assert!(!said.err.contains("apt-get"), "{}", said.err);
}

#[test]
fn the_machine_says_which_bit_means_encrypted() {
    let mut world = World::new(Machine::Snp);
    world.set(
        "STUB_SEV",
        r#"{"return": {"cbitpos": 47, "reduced-phys-bits": 1}}"#,
    );
    world.tries().fine();
    let start = world.start();
    assert!(
        start
            .arguments
            .iter()
            .any(|argument| argument.contains("cbitpos=47,")),
        "{start:?}"
    );

    // Where neither QEMU nor the CPU knows, nothing is guessed.
    let mut world = World::new(Machine::Snp);
    world.set(
        "STUB_SEV",
        r#"{"error": {"class": "GenericError", "desc": "SEV is not enabled in KVM"}}"#,
    );
    world.set("PROPLET_IMAGE_BUILDER", "/bin/false");
    world
        .tries()
        .refused(&["cbitpos", "SEV is not enabled in KVM"]);
    world.is_untouched();
}
