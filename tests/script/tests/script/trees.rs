//! Which folders the script takes code from without being told.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use super::starting;
use super::world::{Machine, World, sources};

/// The other parts of the script, which note that they were taken.
fn parts(world: &World, folder: &str) {
    for name in ["variables", "machine", "image", "vm"] {
        let path = sources().join(format!("hal/ubuntu/lib/{name}.sh"));
        let text = fs::read_to_string(path).unwrap();
        let noted = format!("{text}\n: >'{}'\n", world.path("taken").display());
        world.write(&format!("{folder}/{name}.sh"), &noted);
    }
}

/// A user whose copy of the script lies in a folder below a tree.
fn below_a_tree() -> World {
    let mut world = World::new(Machine::Nothing);
    world.write("tree/hal/image/builder/Cargo.toml", "");
    parts(&world, "tree/hal/ubuntu/lib");
    copied(&mut world, "tree/vm1");
    world
}

fn copied(world: &mut World, folder: &str) {
    fs::create_dir_all(world.path(folder)).unwrap();
    let script = world.path(folder).join("qemu.sh");
    starting::copy(&sources().join("hal/ubuntu/qemu.sh"), &script);
    world.script = script;
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn was_taken(world: &World) -> bool {
    let taken = world.path("taken");
    let was = taken.exists();
    if was {
        fs::remove_file(taken).unwrap();
    }
    was
}

#[test]
fn a_tree_above_that_others_may_change_is_not_taken() {
    let weak = [
        ("tree", 0o1777),
        ("tree", 0o757),
        ("tree/hal", 0o777),
        ("tree/hal/ubuntu", 0o777),
        ("tree/hal/ubuntu/lib", 0o777),
        ("tree/hal/ubuntu/lib/variables.sh", 0o666),
        ("tree/hal/ubuntu/lib/vm.sh", 0o606),
    ];
    for (path, bits) in weak {
        let world = below_a_tree();
        world.call(&["build"]).fine();
        assert!(was_taken(&world), "taken where it is this user's");
        // Not remembered either, which is what it was.
        mode(&world.path(path), bits);
        let said = world.call(&["build", "--name", "second"]);
        said.refused(&["others than you", "PROPLET_TREE"]);
        assert!(!was_taken(&world), "{path} {bits:o}");
        assert!(!world.vm("second").exists());
    }
}

#[test]
fn a_tree_of_somebody_else_is_not_taken() {
    let others: [fn(&Path) -> std::io::Result<()>; 2] = [
        |path| chown(path, Some(65534), Some(65534)),
        // A group with whom it may.
        |path| {
            chown(path, None, Some(65534))?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o775))
        },
    ];
    for give_away in others {
        for path in [
            "tree",
            "tree/hal/ubuntu/lib",
            "tree/hal/ubuntu/lib/machine.sh",
        ] {
            let world = below_a_tree();
            if give_away(&world.path(path)).is_err() {
                // Only root gives files away.
                return;
            }
            world.call(&["build"]).refused(&["others than you"]);
            assert!(!was_taken(&world), "{path}");
        }
    }
}

#[test]
fn the_tree_that_was_remembered_is_taken_instead() {
    let mut world = World::new(Machine::Nothing);
    world.write("mine/hal/image/builder/Cargo.toml", "");
    parts(&world, "mine/hal/ubuntu/lib");
    copied(&mut world, "mine/vm1");
    world.call(&["build"]).fine();
    assert!(was_taken(&world));
    // Another user's, where all may write, above a copy of this user's.
    world.write("all/hal/image/builder/Cargo.toml", "");
    world.write("all/hal/ubuntu/lib/variables.sh", "exit 7\n");
    mode(&world.path("all"), 0o1777);
    copied(&mut world, "all/vm2");
    world.call(&["build"]).fine().says(&["others than you"]);
    assert!(was_taken(&world), "the remembered one");
    assert!(world.vm("vm2").exists());
    // One that is named is meant.
    mode(&world.path("mine"), 0o777);
    let tree = world.path("mine").to_str().unwrap().to_owned();
    world.set("PROPLET_TREE", &tree);
    world.call(&["build", "--name", "named"]).fine();
    assert!(was_taken(&world));
}

#[test]
fn parts_beside_the_script_are_taken_from_nobody_else() {
    for (path, bits) in [("all/lib", 0o777), ("all/lib/image.sh", 0o666)] {
        let mut world = World::new(Machine::Nothing);
        parts(&world, "all/lib");
        copied(&mut world, "all");
        world.call(&["build"]).fine();
        assert!(was_taken(&world));
        mode(&world.path(path), bits);
        let said = world.call(&["build", "--name", "second"]);
        said.refused(&["others than you may change", "chmod go-w"]);
        assert!(!was_taken(&world), "{path}");
    }
}
