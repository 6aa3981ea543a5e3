//! What the VM's documents hold.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use proplet_hal::init_data::InitData;
use proplet_init::OperatorDocument;

use super::starting;
use super::world::{Machine, World};

/// The variables that the daemon in a VM gets.
fn environment(world: &World, name: &str) -> BTreeMap<String, String> {
    let document = OperatorDocument::parse(&world.disk(name, "operator.img")).unwrap();
    document
        .environment()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn both_sets_of_names_are_one() {
    for (tenant, entity, key) in [
        ("PROPLET_TENANT_ID", "PROPLET_ENTITY_ID", "PROPLET_API_KEY"),
        (
            "PROPLET_DOMAIN_ID",
            "PROPLET_CLIENT_ID",
            "PROPLET_CLIENT_KEY",
        ),
    ] {
        let mut world = World::new(Machine::Nothing);
        for name in ["PROPLET_TENANT_ID", "PROPLET_ENTITY_ID", "PROPLET_API_KEY"] {
            world.unset(name);
        }
        world.set(tenant, "a93fa93e");
        world.set(entity, "c902e51c");
        world.set(key, "75a0fefe");
        world.tries().fine();
        let found = environment(&world, "proplet");
        assert_eq!(found["PROPLET_TENANT_ID"], "a93fa93e");
        assert_eq!(found["PROPLET_ENTITY_ID"], "c902e51c");
        assert_eq!(found["PROPLET_API_KEY"], "75a0fefe");
        assert_eq!(found["PROPLET_CHANNEL_ID"], "channel");
        assert_eq!(found["PROPLET_MQTT_ADDRESS"], "tcp://10.0.2.2:1883");
    }
}

#[test]
fn values_with_any_character_survive() {
    for value in [
        "a|b",
        "a&b",
        r"a\b\\c\n",
        "a\"b'c'''d\"\"\"",
        "a\nb\n\n",
        "$HOME `id` $(id) !!",
        "*?[a]{b,c}~",
        "  spaces  ",
        "-n",
        "ä€😀",
        "#,;=%s",
        "\u{1}\u{7f}\t\r",
    ] {
        let mut world = World::new(Machine::Snp);
        world.set("PROPLET_API_KEY", value);
        world.set("PROPLET_DESCRIPTION", value);
        world.tries().fine();
        let found = environment(&world, "proplet");
        assert_eq!(found["PROPLET_API_KEY"], value);
        assert_eq!(found["PROPLET_DESCRIPTION"], value);
    }
}

#[test]
fn the_key_is_for_its_owner_alone() {
    let world = World::new(Machine::Nothing);
    let said = world.tries().fine();
    assert!(!said.err.contains("hunter2"), "{}", said.err);
    let vm = world.vm("proplet");
    for path in [
        vm.join("operator.img"),
        vm.join("vm"),
        vm.join("documents"),
        vm,
    ] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn all_that_upstreams_proplet_takes_is_carried_or_named() {
    let mut world = World::new(Machine::Nothing);
    let carried = [
        ("PROPLET_LOG_LEVEL", "debug"),
        ("PROPLET_MQTT_QOS", "1"),
        ("PROPLET_MQTT_KEEP_ALIVE", "20"),
        ("PROPLET_LIVELINESS_INTERVAL", "5"),
        ("PROPLET_METRICS_INTERVAL", "30"),
        ("PROPLET_ENABLE_MONITORING", "true"),
        ("PROPLET_TAGS", "a,b"),
        ("PROPLET_LOCATION", "here"),
        ("PROPLET_MANAGER_K8S_NAMESPACE", "ns"),
    ];
    for (name, value) in carried {
        world.set(name, value);
    }
    let without = [
        "PROPLET_KBS_URI",
        "PROPLET_AA_CONFIG_PATH",
        "PROPLET_INSTANCE_ID",
        "PROPLET_DIRS",
    ];
    for name in without {
        world.set(name, "x");
    }
    world.set("PROPLET_MQTT_TIMEOUT", "");
    let said = world.tries().fine().says(&without);
    assert!(
        !said.err.contains("PROPLET_MQTT_TIMEOUT"),
        "an empty one is not set"
    );
    let found = environment(&world, "proplet");
    for (name, value) in carried {
        assert_eq!(found[name], value);
    }
    for name in without {
        assert!(!found.contains_key(name), "{name}");
    }
}

#[test]
fn every_variable_of_the_daemon_is_known_here() {
    let page = fs::read_to_string(super::world::sources().join("docs/settings.md")).unwrap();
    let names: std::collections::BTreeSet<_> = page
        .split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')
        .filter(|word| word.len() > "PROPLET_".len() && word.starts_with("PROPLET_"))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let mut world = World::new(Machine::Nothing);
    for name in names {
        world.set(name, "x");
    }
    // Some of them contradict each other; none is unheard of.
    let said = world.call(&["build"]);
    assert!(!said.err.contains("is no variable"), "{}", said.err);
}

#[test]
fn files_that_variables_name_go_into_the_vm() {
    let mut world = World::new(Machine::Nothing);
    let ca = world.write("a folder/ca,1.pem", "-----BEGIN CERTIFICATE-----\n");
    world.set("PROPLET_MQTT_TLS_CA_CERT", &ca);
    world.tries().fine();
    let place = &environment(&world, "proplet")["PROPLET_MQTT_TLS_CA_CERT"];
    assert_eq!(place, "/run/proplet/operator/mqtt-ca.pem");
    assert!(
        world
            .disk("proplet", "operator.img")
            .contains("BEGIN CERTIFICATE")
    );
}

#[test]
fn the_key_broker_is_measured() {
    let mut world = World::new(Machine::Snp);
    world.set("KBS_URL", "https://kbs.example:8080/a|b&c");
    world.tries().fine();
    let init_data = InitData::parse(&world.disk("proplet", "initdata.img")).unwrap();
    let settings = init_data.file("proplet.toml").unwrap();
    assert_eq!(
        settings,
        "[kbs]\nurl = \"https://kbs.example:8080/a|b&c\"\n"
    );
    // What QEMU is told is this document's.
    let documents = fs::read_to_string(world.vm("proplet").join("documents")).unwrap();
    let digest: String = init_data
        .digest()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(
        documents.contains(&format!("digest={digest}\n")),
        "{documents}"
    );
}

#[test]
fn without_a_key_broker_that_is_said() {
    World::new(Machine::Snp)
        .tries()
        .fine()
        .says(&["no key broker", "KBS_URL"]);
}

#[test]
fn settings_of_ones_own_are_taken_byte_by_byte() {
    let text = "# mine\n[proplet]\ntenant_id = 't'\nchannel_id = 'c'\nentity_id = 'e'\n\
                [mqtt]\naddress = 'tcp://broker'\n[kbs]\nurl = 'http://10.0.2.2:8082'\nallow_http = true\n";
    let mut world = World::new(Machine::Snp);
    for name in [
        "PROPLET_TENANT_ID",
        "PROPLET_CHANNEL_ID",
        "PROPLET_ENTITY_ID",
        "PROPLET_MQTT_ADDRESS",
    ] {
        world.unset(name);
    }
    let file = world.write("my settings.toml", text);
    world.set("PROPLET_SETTINGS", &file);
    world.set("KBS_URL", "http://10.0.2.2:8082");
    world.tries().fine();
    let written = world.disk("proplet", "initdata.img");
    assert_eq!(
        InitData::parse(&written).unwrap().file("proplet.toml"),
        Some(text)
    );

    // The same document, made beforehand.
    let file = world.write("init-data.toml", &written);
    world.unset("PROPLET_SETTINGS");
    world.set("PROPLET_INIT_DATA", &file);
    world.call(&["build", "--name", "again"]).fine();
    assert_eq!(world.disk("again", "initdata.img"), written);

    world.unset("PROPLET_API_KEY");
    world
        .call(&["build", "--name", "third"])
        .refused(&["api_key_resource", "PROPLET_API_KEY"]);
}

#[test]
fn run_takes_what_build_made() {
    let mut world = World::new(Machine::Nothing);
    world.call(&["build"]).fine().says(&["digest"]);
    world.set("PROPLET_ENTITY_ID", "another");
    world.tries().fine().says(&["others than when", "build"]);
    assert_eq!(
        environment(&world, "proplet")["PROPLET_ENTITY_ID"],
        "entity"
    );
    for name in [
        "PROPLET_TENANT_ID",
        "PROPLET_CHANNEL_ID",
        "PROPLET_ENTITY_ID",
        "PROPLET_API_KEY",
        "PROPLET_MQTT_ADDRESS",
    ] {
        world.unset(name);
    }
    let said = world.tries().fine();
    assert!(!said.err.contains("others than"), "{}", said.err);
}

/// A builder whose making of documents is the last that the script sees.
const KILLS: &str = r#"#!/bin/bash
"$REAL_BUILDER" "$@" || exit
[ "$1 $2" != "vm documents" ] || { echo "$4" >"$MADE"; trap '' TERM; kill -TERM 0; }
"#;

#[test]
fn a_call_that_is_ended_leaves_no_key_behind() {
    let mut world = World::new(Machine::Nothing);
    world.call(&["build"]).fine();
    let before = files(&world);
    let builder = world.write("builder", KILLS);
    fs::set_permissions(&builder, fs::Permissions::from_mode(0o755)).unwrap();
    let made = world.path("made").to_str().unwrap().to_owned();
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    world.set("TMPDIR", elsewhere.to_str().unwrap());
    world.set("PROPLET_IMAGE_BUILDER", &builder);
    world.set("REAL_BUILDER", super::world::BUILDER);
    world.set("MADE", &made);
    let output = starting::output(world.command(&["run"]).process_group(0));
    assert!(!World::told(output).ok, "it was to be ended");
    let made = fs::read_to_string(made).unwrap();
    assert!(!std::path::Path::new(made.trim()).exists(), "{made}");
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    assert_eq!(files(&world), before);

    // One that could do nothing any more is cleaned up after.
    world.write("home/.local/state/proplet/vms/proplet/now/operator.img", "");
    world.set("PROPLET_IMAGE_BUILDER", super::world::BUILDER);
    world.tries().fine();
    assert!(!world.vm("proplet").join("now").exists());
}

fn files(world: &World) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(world.vm("proplet"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}
