//! `build` in a tree, with programs that stand in for cargo and for the builder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::starting;
use super::world::{BUILDER, Machine, World, sources};

/// Makes the builder, as cargo would.
const CARGO: &str = r#"#!/bin/bash
set -e
echo "cargo $*" >>"$LOG"
mkdir -p "$PWD/target/release"
cp "$STUBS/builder" "$PWD/target/release/proplet-image-builder"
"#;
/// Notes what it is asked to build, and leaves the rest to the real one.
const STUB_BUILDER: &str = r#"#!/bin/bash
set -e
[ "$1" != vm ] || exec "$REAL_BUILDER" "$@"
printf '%s|' "$@" >>"$LOG"
echo >>"$LOG"
out=
for ((i = 1; i < $#; i++)); do
    [ "${!i}" != --out ] || { i=$((i + 1)); out=${!i}; }
done
case $1 in
    program) echo "$STUBS/proplet" ;;
    firmware) mkdir -p "$out"; cp "$VECTORS/firmware.fd" "$out/OVMF.amdsev.fd"; cp "$VECTORS/firmware.fd" "$out/OVMF.inteltdx.fd" ;;
    build)
        name=proplet.efi text='{}'
        [[ " $* " != *' --flavour debug '* ]] || { name=proplet-debug.efi; text='{"flavour": "debug"}'; }
        mkdir -p "$out"
        cp "$VECTORS/image.efi" "$out/$name"
        cp "$VECTORS/firmware.fd" "$out/OVMF.amdsev.fd"
        cp "$VECTORS/firmware.fd" "$out/OVMF.inteltdx.fd"
        echo "$text" >"$out/measurements.json"
        umask >>"$LOG"
        ;;
esac
"#;

fn world() -> World {
    let mut world = World::new(Machine::Nothing);
    for (name, text) in [
        ("cargo", CARGO),
        ("builder", STUB_BUILDER),
        ("gcc", ""),
        ("g++", ""),
        ("make", ""),
        ("nasm", ""),
        ("iasl", ""),
        ("python3", ""),
        ("patch", ""),
    ] {
        let path = world.write(&format!("stubs/{name}"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(world.path("a tree/hal/image/builder")).unwrap();
    for file in [
        "hal/image/builder/Cargo.toml",
        "hal/image/image.lock",
        "hal/image/firmware/build.sh",
    ] {
        world.write(&format!("a tree/{file}"), "1");
    }
    fs::create_dir_all(world.path("a tree/hal/ubuntu/lib")).unwrap();
    for entry in fs::read_dir(sources().join("hal/ubuntu/lib")).unwrap() {
        let entry = entry.unwrap();
        let to = world.path("a tree/hal/ubuntu/lib").join(entry.file_name());
        starting::copy(&entry.path(), &to);
    }
    let script = world.path("a tree/hal/ubuntu/qemu.sh");
    starting::copy(&world.script, &script);
    world.script = script;
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (stubs, log) = (path("stubs"), path("log"));
    world.set(
        "PATH",
        &format!("{stubs}:{}", std::env::var("PATH").unwrap()),
    );
    world.set("STUBS", &stubs);
    world.set("LOG", &log);
    world.set(
        "VECTORS",
        sources()
            .join("hal/image/measure/tests/vectors")
            .to_str()
            .unwrap(),
    );
    world.set("REAL_BUILDER", BUILDER);
    world.unset("PROPLET_IMAGE");
    world.unset("PROPLET_IMAGE_BUILDER");
    world
}

fn log(world: &World) -> String {
    let tree = world.path("a tree").canonicalize().unwrap();
    let text = fs::read_to_string(world.path("log")).unwrap();
    fs::remove_file(world.path("log")).unwrap();
    text.replace(tree.to_str().unwrap(), "TREE")
        .replace(world.path("stubs").to_str().unwrap(), "STUBS")
}

const USUAL: &str = "cargo build --release --locked --quiet -p proplet-image-builder\n\
    program|--tree|TREE|--target-dir|TREE/target|\n";
const FIRMWARE: &str =
    "firmware|--lock|TREE/hal/image/image.lock|--out|TREE/target/image/firmware|\n";
const IMAGE: &str = "build|--lock|TREE/hal/image/image.lock|--tree|TREE|--program|STUBS/proplet|--firmware|\
    TREE/target/image/firmware|--out|TREE/target/image|\n0022\n";

#[test]
fn build_makes_what_is_not_there() {
    let world = world();
    world.call(&["build"]).fine();
    assert_eq!(log(&world), format!("{USUAL}{FIRMWARE}{IMAGE}"));
    // Firmware takes minutes and does not change with the program.
    world.call(&["build"]).fine();
    assert_eq!(log(&world), format!("{USUAL}{IMAGE}"));
    world.write("a tree/hal/image/image.lock", "2");
    world.call(&["build"]).fine();
    assert_eq!(log(&world), format!("{USUAL}{FIRMWARE}{IMAGE}"));
    // What was built is found without a variable.
    world.call(&["run"]).fine();
    assert!(
        world
            .start()
            .arguments
            .iter()
            .any(|argument| argument.ends_with("/target/image/proplet.efi"))
    );
}

#[test]
fn what_is_downloaded_comes_through_the_proxy_that_is_named() {
    let mut world = world();
    world.set("BUILD_PROXY", "http://user:a b@proxy:3128");
    world.call(&["build"]).fine();
    let asked = "--lock|TREE/hal/image/image.lock";
    let through = format!("{asked}|--proxy|http://user:a b@proxy:3128");
    let wanted = format!("{USUAL}{FIRMWARE}{IMAGE}").replace(asked, &through);
    assert_eq!(log(&world), wanted);
}

#[test]
fn without_a_command_it_is_both() {
    let world = world();
    world.call(&[]).fine();
    assert_eq!(log(&world), format!("{USUAL}{FIRMWARE}{IMAGE}"));
    assert_eq!(world.starts().len(), 1);
}

#[test]
fn the_debug_flavour_is_an_image_of_its_own() {
    let mut world = world();
    world.takes_ports();
    world.set("FLAVOUR", "debug");
    world.set("SSH_PORT", "");
    world
        .call(&["all"])
        .fine()
        .says(&["THIS IS THE DEBUG FLAVOUR"]);
    let log = log(&world);
    assert!(
        log.contains("|--flavour|debug|--out|TREE/target/image-debug|\n"),
        "{log}"
    );
    assert!(
        world
            .start()
            .arguments
            .iter()
            .any(|argument| argument.ends_with("image-debug/proplet-debug.efi"))
    );
}

#[test]
fn what_building_takes_is_named_before() {
    let mut world = world();
    // A machine without a compiler: bash and the usual tools alone.
    fs::create_dir(world.path("bare")).unwrap();
    for name in [
        "bash",
        "realpath",
        "dirname",
        "basename",
        "sed",
        "id",
        "grep",
        "cat",
        "sha256sum",
        "tail",
        "stat",
    ] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap())
            .map(|folder| folder.join(name))
            .find(|path| path.exists());
        std::os::unix::fs::symlink(found.unwrap(), world.path("bare").join(name)).unwrap();
    }
    let bare = world.path("bare").to_str().unwrap().to_owned();
    world.set("PATH", &bare);
    world.call(&["build"]).refused(&[
        "no cargo",
        "rustup.rs",
        "nasm",
        "iasl",
        "acpica-tools",
        "TOOLS",
    ]);
    world.is_untouched();
    world.set("PATH", &std::env::var("PATH").unwrap());
}

#[test]
fn a_build_that_fails_is_no_image() {
    let world = world();
    let path = world.write(
        "stubs/cargo",
        "#!/bin/bash\necho 'error: no' >&2\nexit 101\n",
    );
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    world.call(&["all"]).refused(&["error: no"]);
    assert!(world.starts().is_empty());
    world
        .call(&["run"])
        .refused(&["proplet-image-builder", "build"]);
}
