//! What is refused, and that nothing was done before.

use std::fs;

use super::starting;
use super::world::{Machine, World};

#[track_caller]
fn refused(change: impl Fn(&mut World), words: &[&str]) {
    for command in ["run", "build", "all"] {
        let mut world = World::new(Machine::Nothing);
        change(&mut world);
        world.call(&[command]).refused(words);
        world.is_untouched();
    }
}

#[test]
fn what_is_missing_is_named_all_at_once() {
    for (name, words) in [
        (
            "PROPLET_TENANT_ID",
            &["PROPLET_TENANT_ID (or PROPLET_DOMAIN_ID)"][..],
        ),
        (
            "PROPLET_ENTITY_ID",
            &["PROPLET_ENTITY_ID (or PROPLET_CLIENT_ID)"],
        ),
        (
            "PROPLET_API_KEY",
            &["PROPLET_API_KEY (or PROPLET_CLIENT_KEY)"],
        ),
        ("PROPLET_CHANNEL_ID", &["PROPLET_CHANNEL_ID"]),
        ("PROPLET_MQTT_ADDRESS", &["PROPLET_MQTT_ADDRESS"]),
    ] {
        refused(|world| world.unset(name), words);
        refused(|world| world.set(name, ""), words);
        refused(|world| world.set(name, " \n\t"), words);
    }
    refused(
        |world| {
            world.unset("PROPLET_CHANNEL_ID");
            world.unset("PROPLET_API_KEY");
            world.set("RAM", "much");
        },
        &["PROPLET_CHANNEL_ID", "PROPLET_API_KEY", "RAM"],
    );
}

#[test]
fn names_that_nobody_knows_are_mistakes() {
    refused(
        |world| world.set("PROPLET_CLIENT_IDD", "x"),
        &["PROPLET_CLIENT_IDD", "docs/hal.md"],
    );
    refused(
        |world| world.set("PROPLET_CONFIG_FILE", "x"),
        &["PROPLET_CONFIG_FILE", "PROPLET_SETTINGS"],
    );
}

#[test]
fn two_names_of_one_thing_must_agree() {
    for (one, other) in [
        ("PROPLET_TENANT_ID", "PROPLET_DOMAIN_ID"),
        ("PROPLET_ENTITY_ID", "PROPLET_CLIENT_ID"),
        ("PROPLET_API_KEY", "PROPLET_CLIENT_KEY"),
    ] {
        refused(|world| world.set(other, "x"), &[one, other, "differ"]);
    }
}

#[test]
fn values_that_make_no_sense() {
    for (name, value) in [
        ("RAM", "16 GB"),
        ("RAM", "0G"),
        ("RAM", "128M"),
        ("RAM", "-m"),
        ("CPU", "0"),
        ("CPU", "513"),
        ("CPU", "four"),
        ("CPU", "4,maxcpus=8"),
        ("CPU_MODEL", "EPYC,+x"),
        ("DISK_SIZE", "40 G"),
        ("DISK_SIZE", "0"),
        ("DISK_SIZE", "7M"),
        ("DISK_SIZE", "999999999T"),
        ("RAM", "65T"),
        ("ENABLE_CVM", "cca"),
        ("ENABLE_CVM", "se"),
        ("FLAVOUR", "open"),
        ("SSH_PORT", "22222"),
        ("SSH_AUTHORIZED_KEYS", "/etc/hosts"),
        ("PROPLET_SETTINGS", "/nowhere.toml"),
        ("PROPLET_INIT_DATA", "/nowhere.toml"),
        ("PROPLET_MQTT_TLS_CA_CERT", "/nowhere.pem"),
        ("PROPLET_MQTT_TLS_CA_CERT", "/etc"),
        ("KBS_URL", "kbs.example"),
    ] {
        refused(|world| world.set(name, value), &[name]);
    }
    for port in ["0", "65536", "ssh"] {
        refused(
            |world| {
                world.becomes_debug();
                world.set("SSH_PORT", port);
            },
            &["SSH_PORT"],
        );
    }
    refused(
        |world| {
            for name in ["PROPLET_SETTINGS", "PROPLET_INIT_DATA"] {
                world.set(name, "/etc/hosts");
            }
        },
        &["PROPLET_SETTINGS and PROPLET_INIT_DATA"],
    );
}

#[test]
fn plain_http_is_for_the_user_to_write() {
    refused(
        |world| world.set("KBS_URL", "http://10.0.2.2:8082"),
        &[
            "KBS_URL",
            "PROPLET_SETTINGS",
            "url = \"http://10.0.2.2:8082\"\nallow_http = true",
        ],
    );
}

#[test]
fn a_broker_inside_the_vm_cannot_be_meant() {
    let mut world = World::new(Machine::Nothing);
    world.set("PROPLET_MQTT_ADDRESS", "tcp://localhost:1883");
    world.call(&["run"]).refused(&["10.0.2.2"]);
    assert!(world.starts().is_empty());
    assert!(!world.vm("proplet").join("operator.img").exists());
}

#[test]
fn another_key_broker_than_the_settings_is_refused() {
    let mut world = World::new(Machine::Nothing);
    let file = world.write("settings.toml", "[kbs]\nurl = 'https://one.example'\n");
    world.set("PROPLET_SETTINGS", &file);
    world.set("KBS_URL", "https://two.example");
    world
        .call(&["run"])
        .refused(&["KBS_URL", "https://one.example"]);
    world.write("settings.toml", "[kbs\n");
    world.call(&["run"]).refused(&["settings.toml", "no TOML"]);
    assert!(world.starts().is_empty());
}

#[test]
fn a_disk_that_the_settings_do_not_name_is_refused() {
    let mut world = World::new(Machine::Nothing);
    let file = world.write("settings.toml", "[kbs]\nurl = 'https://kbs.example'\n");
    world.set("PROPLET_SETTINGS", &file);
    world.set("DISK_SIZE", "1G");
    let lines = "[outbox]\npath = \"/dev/proplet/outbox\"";
    world.call(&["run"]).refused(&["DISK_SIZE", lines]);
    assert!(world.starts().is_empty());
    world.write("settings.toml", lines);
    world.tries().fine();
    assert!(format!("{:?}", world.start()).contains("serial=outbox"));
}

#[test]
fn text_that_is_none_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new(Machine::Nothing);
    let mut command = world.command(&["run"]);
    command.env("PROPLET_API_KEY", OsStr::from_bytes(b"hunter2\xff"));
    let said = World::told(starting::output(&mut command)).refused(&["PROPLET_API_KEY", "UTF-8"]);
    assert!(!said.err.contains("hunter2"), "{}", said.err);
    assert!(world.starts().is_empty());
    // Where no character of it is one, too.
    for locale in ["C", "C.UTF-8"] {
        command.env("PROPLET_API_KEY", OsStr::from_bytes(b"\xff\xfe"));
        command.env("LC_ALL", locale);
        World::told(starting::output(&mut command)).refused(&["PROPLET_API_KEY", "UTF-8"]);
    }
}

#[test]
fn arguments_that_are_none() {
    let world = World::new(Machine::Nothing);
    for (arguments, word) in [
        (&["start"][..], "unknown argument 'start'"),
        (&["run", "stop"], "one command"),
        (&["run", "--name"], "--name takes"),
        (&["run", "--name", "../x"], "no name"),
        (&["run", "--name", ""], "--name takes"),
        (&["stop", "--name="], "--name takes"),
        (&["stop", "--all", "--name", "x"], "one of the two"),
        (&["run", "--name", "a,b"], "no name"),
        (&["run", "--all"], "--all is for stop"),
        (&["stop", "--foreground"], "--foreground is for run"),
        (&["stop"], "no VM proplet"),
        (&["stop", "--name", "x"], "no VM x"),
        (&["console", "--name", "x"], "no VM x"),
    ] {
        world.call(arguments).refused(&[word]);
    }
    world.is_untouched();
    let help = world.call(&["--help"]).fine().out;
    assert!(
        help.contains("build|run|all|stop|status|console|measure"),
        "{help}"
    );
}

#[test]
fn an_image_that_is_not_there_or_another_one() {
    for file in [
        "proplet.efi",
        "OVMF.amdsev.fd",
        "OVMF.inteltdx.fd",
        "measurements.json",
    ] {
        let world = World::new(Machine::Nothing);
        fs::remove_file(world.path("an image, with a comma").join(file)).unwrap();
        world.call(&["run"]).refused(&[file, "build"]);
        world.is_untouched();
    }
    let mut world = World::new(Machine::Nothing);
    world.becomes_debug();
    world.set("FLAVOUR", "sealed");
    world
        .call(&["run"])
        .refused(&["debug flavour", "FLAVOUR is sealed"]);
    world.is_untouched();
    let mut world = World::new(Machine::Nothing);
    world.set("PROPLET_IMAGE_BUILDER", "/nowhere");
    world.call(&["run"]).refused(&["proplet-image-builder"]);
    world.is_untouched();
}

#[test]
fn a_place_for_vms_that_is_none() {
    let mut world = World::new(Machine::Nothing);
    let file = world.write("a file", "");
    for (name, value, word) in [
        ("XDG_STATE_HOME", file.as_str(), "cannot be written"),
        ("XDG_STATE_HOME", "state", "no absolute path"),
        ("HOME", "", "neither XDG_STATE_HOME nor HOME"),
    ] {
        let usual = world.path("home").to_str().unwrap().to_owned();
        world.set(name, value);
        world
            .call(&["run"])
            .refused(&[word, "XDG_STATE_HOME", "qemu.sh: "]);
        world.unset("XDG_STATE_HOME");
        world.set("HOME", &usual);
        world.is_untouched();
    }
}

#[test]
fn a_vm_that_cannot_be_noted_does_not_run() {
    let world = World::new(Machine::Nothing);
    world.call(&["build"]).fine();
    // As on a file system without room.
    std::os::unix::fs::symlink("/nowhere/vm", world.vm("proplet").join("vm")).unwrap();
    world.call(&["run"]).refused(&["cannot be written"]);
    let folder = world.vm("proplet").canonicalize().unwrap();
    let left: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder))
        .collect();
    assert!(left.is_empty(), "it runs, and nobody stops it: {left:?}");
    world.call(&["run"]).fine();
}

#[test]
fn what_qemu_says_is_shown_when_it_does_not_start() {
    let mut world = World::new(Machine::Nothing);
    world.set("STUB_ENDS", "7");
    world
        .call(&["run"])
        .refused(&["exit code 7", "stub-qemu: ends as it was told"]);
    assert!(
        !world.vm("proplet").join("vm").exists(),
        "it is not taken for a VM that runs"
    );
    world.unset("STUB_ENDS");
    world.call(&["run"]).fine();
}
