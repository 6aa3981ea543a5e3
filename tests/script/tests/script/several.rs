//! Several VMs, and what becomes of them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Child;

use super::starting;
use super::world::{Machine, World, after};

fn begun(world: &World, arguments: &[&str]) -> Child {
    starting::start(&mut world.command(arguments))
}

#[test]
fn vms_that_start_at_once_have_nothing_in_common() {
    let mut world = World::new(Machine::Tdx);
    world.becomes_debug();
    let names = ["one", "two", "three", "four"];
    let children = names.map(|name| begun(&world, &["run", "--name", name]));
    for child in children {
        World::told(child.wait_with_output().unwrap()).fine();
    }
    let (mut ports, mut cids) = (BTreeSet::new(), BTreeSet::new());
    for start in world.starts() {
        ports.insert(after(&start, "-netdev")[0].to_owned());
        cids.extend(
            after(&start, "-device")
                .into_iter()
                .filter(|device| device.contains("guest-cid="))
                .map(str::to_owned),
        );
    }
    assert_eq!((ports.len(), cids.len()), (4, 4), "{ports:?} {cids:?}");
    let status = world.call(&["status"]).fine();
    for name in names {
        let line = status
            .out
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap();
        assert!(
            line.contains("running") && line.contains("tdx") && line.contains("debug"),
            "{line}"
        );
    }
    world.call(&["stop", "--all"]).fine().says(&names);
    let status = world.call(&["status"]).fine().out;
    assert!(!status.contains("running"), "{status}");
    for line in status.lines().skip(1) {
        let columns: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            columns[6..10],
            ["-", "-", "-", "-"],
            "nothing is taken: {line}"
        );
    }
}

#[test]
fn one_name_is_one_vm() {
    let world = World::new(Machine::Nothing);
    let children = [(); 3].map(|()| begun(&world, &["run"]));
    let said = children.map(|child| World::told(child.wait_with_output().unwrap()));
    assert_eq!(said.iter().filter(|said| said.ok).count(), 1, "{said:?}");
    for said in said.into_iter().filter(|said| !said.ok) {
        said.refused(&["runs already", "--name"]);
    }
    assert_eq!(world.starts().len(), 1);
}

#[test]
fn a_port_that_was_asked_for_is_that_one_or_none() {
    let mut world = World::new(Machine::Nothing);
    world.becomes_debug();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.set("SSH_PORT", &taken.local_addr().unwrap().port().to_string());
    world.call(&["run"]).refused(&["in use"]);
    assert!(world.starts().is_empty());
}

#[test]
fn a_copy_in_a_folder_each_is_a_vm_each() {
    let mut world = World::new(Machine::Nothing);
    let original = world.script.clone();
    world.set("PROPLET_TREE", super::world::sources().to_str().unwrap());
    let mut names = Vec::new();
    for (folder, entity) in [
        ("vm1", "worker-01"),
        ("vm2", "worker-02"),
        ("other/vm1", "worker-03"),
        ("v m,3", "worker-04"),
        ("_-ü9", "worker-05"),
    ] {
        let path = world.path(folder);
        fs::create_dir_all(&path).unwrap();
        starting::copy(&original, &path.join("qemu.sh"));
        world.script = path.join("qemu.sh");
        world.set("PROPLET_ENTITY_ID", entity);
        let said = world.call(&["build"]).fine();
        names.push((folder, entity, said.err));
    }
    // The variables are the last one's by now, as in a shell that exported them one after the other.
    for (folder, _, _) in &names {
        world.script = world.path(folder).join("qemu.sh");
        world.call(&["run"]).fine();
    }
    let status = world.call(&["status"]).fine().out;
    for (name, entity) in [
        ("vm1", "worker-01"),
        ("vm2", "worker-02"),
        ("vm1-2", "worker-03"),
        ("v-m-3", "worker-04"),
        ("9", "worker-05"),
    ] {
        assert!(
            status
                .lines()
                .any(|line| line.starts_with(&format!("{name} ")) && line.contains("running")),
            "{status}"
        );
        let operator = world.disk(name, "operator.img");
        assert!(
            operator.contains(&format!("\"{entity}\"")),
            "{name}: {operator}"
        );
    }
    world.script = world.path("other/vm1/qemu.sh");
    world.call(&["stop"]).fine().says(&["vm1-2 is off"]);
    // Whatever a folder is called, the name is one that --name takes.
    world.call(&["stop", "--name", "9"]).fine();
    assert_eq!(
        world
            .call(&["status"])
            .fine()
            .out
            .matches("running")
            .count(),
        3
    );
}

#[test]
fn a_copy_finds_the_tree_by_the_folders_above_it() {
    let mut world = World::new(Machine::Nothing);
    let original = super::world::sources();
    fs::create_dir_all(world.path("tree/hal/image/builder")).unwrap();
    fs::write(world.path("tree/hal/image/builder/Cargo.toml"), "").unwrap();
    std::os::unix::fs::symlink(original.join("hal/ubuntu"), world.path("tree/hal/ubuntu")).unwrap();
    fs::create_dir_all(world.path("tree/vm1")).unwrap();
    starting::copy(&world.script, &world.path("tree/vm1/qemu.sh"));
    world.script = world.path("tree/vm1/qemu.sh");
    world.call(&["build"]).fine();
    // From then on copies elsewhere find it as well.
    fs::create_dir(world.path("vm7")).unwrap();
    starting::copy(&world.script, &world.path("vm7/qemu.sh"));
    world.script = world.path("vm7/qemu.sh");
    world.call(&["build"]).fine();
    assert!(world.vm("vm7").exists());
    // One that finds nothing says what it needs.
    let mut lost = World::new(Machine::Nothing);
    starting::copy(&lost.script, &lost.path("qemu.sh"));
    lost.script = lost.path("qemu.sh");
    lost.call(&["run"]).refused(&["PROPLET_TREE"]);
    lost.script = original.join("hal/ubuntu/qemu.sh");
}

#[test]
fn a_folder_for_vms_with_a_long_name() {
    let mut world = World::new(Machine::Nothing);
    // No name of a socket below it has room in an address.
    let state = world.path(&"long".repeat(40));
    world.set("XDG_STATE_HOME", state.to_str().unwrap());
    let other = world.path("builder");
    std::os::unix::fs::symlink(super::world::BUILDER, &other).unwrap();
    // Of the current folder.
    world.set("PROPLET_IMAGE_BUILDER", "./builder");
    world.call(&["run"]).fine();
    world.call(&["stop"]).fine().says(&["proplet is off"]);
}

#[test]
fn a_command_to_type_names_the_vm() {
    let mut world = World::new(Machine::Nothing);
    world
        .call(&["measure", "--name", "two"])
        .fine()
        .says(&["build --name two'"]);
    world.call(&["build", "--name", "two"]).fine();
    world.set("PROPLET_ENTITY_ID", "other");
    world
        .call(&["run", "--name", "two"])
        .fine()
        .says(&["are others", "build --name two'"]);
}

#[test]
fn stop_presses_the_button_and_then_pulls_the_plug() {
    let mut world = World::new(Machine::Nothing);
    world.call(&["run"]).fine();
    // Follows what the VM prints, until it is off.
    let console = begun(&world, &["console"]);
    world.call(&["stop"]).fine().says(&["proplet is off"]);
    let seen = World::told(console.wait_with_output().unwrap()).fine();
    assert!(
        seen.out.contains("init: proplet 0.1.0 starts"),
        "{}",
        seen.out
    );
    assert_eq!(world.call(&["console"]).fine().out, seen.out);
    world.set("STUB_DEAF", "yes");
    world.set("STOP_SECONDS", "1");
    world.call(&["run"]).fine();
    world
        .call(&["stop"])
        .fine()
        .says(&["within 1 s", "pulling the plug", "is off"]);
    world.call(&["stop"]).refused(&["does not run"]);
}

#[test]
fn a_vm_in_the_foreground_is_one_like_others() {
    let mut world = World::new(Machine::Nothing);
    let mut foreground = begun(&world, &["run", "--foreground"]);
    while !world.call(&["status"]).fine().out.contains("running") {
        assert!(foreground.try_wait().unwrap().is_none(), "it ended");
    }
    world.call(&["run"]).refused(&["runs already"]);
    world.set("STOP_SECONDS", "5");
    world.call(&["stop"]).fine().says(&["proplet is off"]);
    foreground.wait().unwrap();
    assert!(!world.call(&["status"]).fine().out.contains("running"));
}

#[test]
fn the_console_of_the_debug_flavour_has_a_keyboard() {
    let mut world = World::new(Machine::Nothing);
    world.becomes_debug();
    world
        .call(&["run"])
        .fine()
        .says(&["SSH_AUTHORIZED_KEYS is not set"]);
    let start = world.start();
    assert_eq!(
        after(&start, "-chardev"),
        ["socket,id=con,path=console.sock,server=on,wait=off,logfile=console.log"]
    );
    world.call(&["stop"]).fine();
    let world = World::new(Machine::Nothing);
    world.call(&["run"]).fine();
    let start = world.start();
    assert_eq!(
        after(&start, "-chardev"),
        ["file,id=con,path=console.log"],
        "the sealed image is given nothing to read"
    );
}

#[test]
fn status_says_why_a_vm_switched_itself_off() {
    let world = World::new(Machine::Snp);
    assert_eq!(
        world.call(&["status"]).fine().out.lines().count(),
        1,
        "a headline alone"
    );
    world.call(&["build"]).fine();
    assert!(world.call(&["status"]).fine().out.contains("new"));
    world.call(&["run"]).fine();
    let status = world.call(&["status"]).fine().out;
    // As the reference computes it for this image, firmware, type and number of CPUs.
    let snp = "2a8d223d3c84510582a15929832508a8dfbbbffc6ad83a05d214db783ca1f445e77b82f8c32209acebf41d388233c747";
    assert!(
        status.contains("running") && status.contains(snp),
        "{status}"
    );
    world.call(&["stop"]).fine();
    let status = world.call(&["status"]).fine().out;
    assert!(
        status.contains("off") && status.contains("POWER OFF: vm-network: words"),
        "{status}"
    );
    assert!(!status.contains('\u{1b}'), "nothing that a terminal obeys");
}

#[test]
fn cpus_that_the_reference_values_lack_are_said() {
    let world = World::new(Machine::Snp);
    let values = "an image, with a comma/reference-values.toml";
    world.write(values, "[snp]\nmeasurements = []\n");
    let words = ["CPU=4", "CPU_MODEL=EPYC-Milan", "measurements.json"];
    world.call(&["measure"]).fine().says(&words);
    world.call(&["run"]).fine().says(&words);
    world.call(&["stop"]).fine();
    let snp = "2a8d223d3c84510582a15929832508a8dfbbbffc6ad83a05d214db783ca1f445e77b82f8c32209acebf41d388233c747";
    world.write(values, &format!("[snp]\nmeasurements = [\"{snp}\"]\n"));
    for command in ["measure", "run"] {
        let said = world.call(&[command]).fine();
        assert!(!said.err.contains("admits no"), "{}", said.err);
    }
}

#[test]
fn measure_says_what_a_verifier_must_see() {
    let world = World::new(Machine::Nothing);
    let before = world.call(&["measure"]).fine().says(&["no documents yet"]);
    let snp = "2a8d223d3c84510582a15929832508a8dfbbbffc6ad83a05d214db783ca1f445e77b82f8c32209acebf41d388233c747";
    assert!(before.out.contains(snp), "{}", before.out);
    for name in ["mrtd", "rtmr1", "rtmr2"] {
        assert!(
            before.out.lines().any(|line| line.starts_with(name)),
            "{}",
            before.out
        );
    }
    world.is_untouched();
    world.call(&["build"]).fine();
    let after = world.call(&["measure"]).fine();
    let documents = fs::read_to_string(world.vm("proplet").join("documents")).unwrap();
    let digest = documents
        .lines()
        .find_map(|line| line.strip_prefix("digest="))
        .unwrap();
    assert!(after.out.contains(digest), "{}", after.out);
}
