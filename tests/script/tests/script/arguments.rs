//! What QEMU is started with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::{Machine, World, after};
use proplet_script_tests::Start;

/// The whole list, with what differs from run to run by its name.
fn list(world: &World, start: &Start) -> Vec<String> {
    let image = world.path("an image, with a comma").canonicalize().unwrap();
    let documents = fs::read_to_string(world.vm("proplet").join("documents")).unwrap();
    let value = |name: &str| {
        let line = documents
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.strip_prefix('=').unwrap().to_owned()
    };
    start
        .arguments
        .iter()
        .map(|argument| {
            let argument = argument.replace(image.to_str().unwrap(), "IMAGE");
            let argument = argument.replace(&value("mrconfigid"), "MRCONFIGID");
            argument.replace(&value("host_data"), "HOST_DATA")
        })
        .collect()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

const COMMON: &str = "-name proplet -nodefaults -no-user-config -display none -no-reboot -smp 4 -m 4096M \
    -kernel IMAGE/proplet.efi -chardev stdio,id=con,signal=off,logfile=console.log -serial chardev:con \
    -netdev user,id=n0,ipv6=off \
    -device virtio-net-pci,netdev=n0,romfile=,disable-legacy=on,iommu_platform=on \
    -drive if=none,id=initdata,file=initdata.img,format=raw,readonly=on \
    -device virtio-blk-pci,drive=initdata,serial=initdata,disable-legacy=on,iommu_platform=on \
    -drive if=none,id=operator,file=operator.img,format=raw,readonly=on \
    -device virtio-blk-pci,drive=operator,serial=operator,disable-legacy=on,iommu_platform=on";
const QMP: &str = " -qmp unix:qmp.sock,server=on,wait=off \
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny ";

#[test]
fn snp() {
    let world = World::new(Machine::Snp);
    world.tries().fine();
    let expected = format!(
        "{COMMON}{QMP}-accel kvm -cpu EPYC-Milan -bios IMAGE/OVMF.amdsev.fd \
         -machine q35,confidential-guest-support=sev0,memory-backend=ram1,kernel-irqchip=split,vmport=off \
         -object memory-backend-memfd,id=ram1,size=4096M,share=true,prealloc=false \
         -object sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=0x30000,kernel-hashes=on,host-data=HOST_DATA"
    );
    assert_eq!(list(&world, &world.start()), words(&expected));
}

#[test]
fn tdx() {
    let world = World::new(Machine::Tdx);
    world.tries().fine();
    let start = world.start();
    let vsock = after(&start, "-device")
        .into_iter()
        .find_map(|device| device.strip_prefix("vhost-vsock-pci,guest-cid="))
        .unwrap();
    let cid: u32 = vsock.split(',').next().unwrap().parse().unwrap();
    assert!(cid > 2, "the numbers up to 2 are not a VM's");
    let expected = format!(
        "{COMMON} -device vhost-vsock-pci,guest-cid={cid},disable-legacy=on,iommu_platform=on{QMP}\
         -accel kvm -cpu host,pmu=off -bios IMAGE/OVMF.inteltdx.fd \
         -machine q35,confidential-guest-support=tdx0,kernel-irqchip=split,hpet=off,vmport=off \
         -object {{\"qom-type\":\"tdx-guest\",\"id\":\"tdx0\",\"mrconfigid\":\"MRCONFIGID\",\
         \"quote-generation-socket\":{{\"type\":\"vsock\",\"cid\":\"2\",\"port\":\"4050\"}}}}"
    );
    assert_eq!(list(&world, &start), words(&expected));
}

#[test]
fn tdx_without_vsock_goes_on() {
    let world = World::new(Machine::Tdx);
    fs::remove_file(world.path("root/dev/vhost-vsock")).unwrap();
    world.tries().fine().says(&["no vsock", "vhost_vsock"]);
    assert!(
        !world
            .start()
            .arguments
            .iter()
            .any(|argument| argument.contains("vhost-vsock"))
    );
}

#[test]
fn emulation() {
    let world = World::new(Machine::Nothing);
    world.tries().fine();
    let expected = format!(
        "{COMMON}{QMP}-accel tcg -cpu max -bios IMAGE/OVMF.inteltdx.fd -machine q35,vmport=off"
    );
    assert_eq!(list(&world, &world.start()), words(&expected));
}

#[test]
fn sizes_are_what_the_variables_say() {
    for (ram, mebibytes) in [
        ("16384M", "16384M"),
        ("2G", "2048M"),
        ("512", "512M"),
        ("1t", "1048576M"),
    ] {
        let mut world = World::new(Machine::Snp);
        world.set("RAM", ram);
        world.set("CPU", "2");
        world.set("CPU_MODEL", "EPYC-Genoa");
        world.tries().fine();
        let start = world.start();
        assert_eq!(after(&start, "-m"), [mebibytes]);
        assert_eq!(after(&start, "-smp"), ["2"]);
        assert_eq!(after(&start, "-cpu"), ["EPYC-Genoa"]);
        assert!(after(&start, "-object")[0].contains(&format!("size={mebibytes},")));
    }
}

#[test]
fn a_disk_for_the_outbox_is_made_when_it_is_asked_for() {
    let mut world = World::new(Machine::Kvm);
    world.set("DISK_SIZE", "3G");
    world.tries().fine();
    let file = world.vm("proplet").join("outbox.img");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.len(), 3 << 30);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let start = world.start();
    assert!(
        after(&start, "-drive")
            .contains(&"if=none,id=outbox,file=outbox.img,format=raw,werror=report,rerror=report")
    );
    assert!(
        after(&start, "-device")
            .iter()
            .any(|device| device.contains("drive=outbox,serial=outbox"))
    );
    // It grows, and what is on it is not cut off.
    world.set("DISK_SIZE", "4096M");
    world.tries().fine();
    assert_eq!(fs::metadata(&file).unwrap().len(), 4 << 30);
    world.set("DISK_SIZE", "3G");
    world.tries().refused(&["DISK_SIZE", "larger already"]);
    assert_eq!(fs::metadata(&file).unwrap().len(), 4 << 30);
    // The settings name it, so the next start has it too, as it is.
    world.unset("DISK_SIZE");
    world.tries().fine();
    let starts = world.starts();
    assert_eq!(starts.len(), 3);
    assert!(
        starts
            .iter()
            .all(|start| format!("{start:?}").contains("serial=outbox"))
    );
    assert_eq!(fs::metadata(&file).unwrap().len(), 4 << 30);
}

#[test]
fn without_a_disk_there_is_none() {
    let world = World::new(Machine::Kvm);
    world.tries().fine();
    assert!(!format!("{:?}", world.start()).contains("outbox"));
    assert!(!world.vm("proplet").join("outbox.img").exists());
}

#[test]
fn the_disk_and_the_documents_go_together() {
    let mut world = World::new(Machine::Kvm);
    world.call(&["build"]).fine();
    world.set("DISK_SIZE", "64M");
    world.call(&["run"]).refused(&["DISK_SIZE", "build"]);
    world.call(&["build"]).fine();
    world.unset("DISK_SIZE");
    world.call(&["run"]).refused(&["set DISK_SIZE"]);
    assert!(world.starts().is_empty());
    world.set("DISK_SIZE", "64M");
    world.tries().fine();
}

#[test]
fn qemu_gets_no_keys() {
    let mut world = World::new(Machine::Kvm);
    world.set("PROPLET_CLIENT_KEY", "hunter2");
    world.tries().fine();
    world.call(&["run", "--name", "other"]).fine();
    let starts = world.starts();
    assert_eq!(starts.len(), 2);
    for start in starts {
        let all = format!("{start:?}");
        assert!(!all.contains("hunter2"), "{all}");
        assert!(
            !start
                .variables
                .keys()
                .any(|name| name.starts_with("PROPLET_")),
            "{all}"
        );
    }
}

#[test]
fn nobody_reaches_a_port_of_the_sealed_image() {
    let world = World::new(Machine::Snp);
    world.tries().fine();
    assert!(!format!("{:?}", world.start()).contains("hostfwd"));
}

#[test]
fn evidence_is_for_others_where_the_measured_settings_say_so() {
    let mut world = World::new(Machine::Snp);
    world.set("AGENT_PORT", "50012");
    world
        .tries()
        .refused(&["AGENT_PORT", "evidence_from_outside"]);
    assert!(world.starts().is_empty());

    let text = "[agent]\nattestation = true\nevidence_from_outside = true\n";
    let file = world.write("settings.toml", text);
    world.set("PROPLET_SETTINGS", &file);
    world.call(&["build"]).fine();
    world.set("AGENT_PORT", "50099");
    world.tries().fine().says(&["127.0.0.1:50099", "evidence"]);
    let start = world.start();
    assert_eq!(
        after(&start, "-netdev"),
        ["user,id=n0,ipv6=off,hostfwd=tcp:127.0.0.1:50099-:50010"]
    );
}

#[test]
fn paths_may_be_seen_from_where_one_is() {
    let mut world = World::new(Machine::Kvm);
    std::os::unix::fs::symlink(super::world::QEMU, world.path("a qemu")).unwrap();
    world.set("QEMU", "./a qemu");
    world.set("PROPLET_IMAGE", "an image, with a comma");
    world.tries().fine();
    world.call(&["run", "--name", "second"]).fine();
    assert_eq!(world.starts().len(), 2);
}

#[test]
fn the_debug_image_has_ssh_on_this_machine_alone() {
    let mut world = World::new(Machine::Kvm);
    world.becomes_debug();
    let keys = world.write("keys", "ssh-ed25519 AAAA me\n");
    world.set("SSH_AUTHORIZED_KEYS", &keys);
    let said = world
        .tries()
        .fine()
        .says(&["THIS IS THE DEBUG FLAVOUR", "ssh -p "]);
    let start = world.start();
    let forward = after(&start, "-netdev")[0]
        .split("hostfwd=")
        .nth(1)
        .unwrap()
        .to_owned();
    let port = forward
        .strip_prefix("tcp:127.0.0.1:")
        .unwrap()
        .strip_suffix("-:2222")
        .unwrap();
    assert!(
        said.err.contains(&format!("ssh -p {port} ")),
        "{}",
        said.err
    );
    assert!(
        !format!("{start:?}").contains("5001"),
        "no port of an interface for other programs"
    );
    let operator = world.disk("proplet", "operator.img");
    assert!(
        operator.contains("authorized_keys") && operator.contains("ssh-ed25519 AAAA me"),
        "{operator}"
    );
}
