//! Bad components: whatever one does, its task ends, and what it says is sealed.

use proplet_component::policy::SECTION;
use proplet_testkit::broker::Task;
use proplet_testkit::guests::{GuestName, build};
use wasm_encoder::{CustomSection, Section as _};

use crate::scene::{Scene, adder, code};

/// In everything that a component says here.
const CANARY: &str = "CANARY-4711";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_misbehaves_ends_and_is_not_quoted() {
    let limits =
        "memory_bytes = 16777216\ncpu_ms = 300\nwall_clock_ms = 20000\noutput_bytes = 100000";
    let scene = Scene::set(limits).await;
    let built = tokio::task::spawn_blocking(|| build(GuestName::Hostile)).await;
    let component = built.unwrap().unwrap().bytes.clone();
    let image = scene.publish(&component, Some("version = 1")).await;
    let failed = "guest-failed";
    let trapped = "guest-trapped";
    let output = "limit-output";
    for (input, expected) in [
        ("fail CANARY-4711", failed),
        ("panic CANARY-4711", trapped),
        ("dance CANARY-4711", failed),
        ("read /CANARY-4711", failed),
        ("write /tmp/CANARY-4711", failed),
        ("list /proc/self/CANARY-4711", failed),
        ("publish-typed CANARY-4711 x", failed),
        ("publish-twice CANARY-4711", failed),
        ("publish-then-fail CANARY-4711", failed),
        ("publish-then-trap CANARY-4711", trapped),
        ("trap", trapped),
        ("exit 7", failed),
        ("recurse", trapped),
        ("spin", "limit-cpu"),
        ("sleep 3600000", "limit-wall-clock"),
        ("allocate 1073741824", "limit-memory"),
        ("flood-stdout 1073741824", output),
        ("flood-stderr 1073741824", output),
        ("return 1000000", output),
        ("publish-big 1000000", failed),
    ] {
        let task = Task {
            inputs: vec![input.into()],
            ..Task::encrypted(&scene.fresh("hostile"), "run", &image)
        };
        let outcome = scene.refused(input, &task, expected).await;
        let clear = format!("{}{}", outcome.results, outcome.error.clone().unwrap());
        assert!(!clear.contains(CANARY), "{input}: {clear}");
        let failure = scene.open(&outcome).failure().unwrap();
        let said = format!("{}{}", failure.error, failure.stderr);
        let quoted = input.starts_with("fail") || input.starts_with("panic");
        assert!(!quoted || said.contains(CANARY), "{input}: {said}");
    }
    assert!(!std::path::Path::new("/tmp/CANARY-4711").exists());
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_spin_are_stopped_and_give_their_place_back() {
    // Both places are taken, so nothing runs until one is given back.
    let scene = Scene::set("queue = 1").await;
    let spinner = "(module (func (export \"run\") (loop $again (br $again))))";
    let image = scene.publish(&wat::parse_str(spinner).unwrap(), None).await;
    let spin = || Task::encrypted(&scene.fresh("spin"), "run", &image);
    let spinning = [spin(), spin(), spin(), spin()];
    for task in &spinning {
        scene.services.manager.start(task).await.unwrap();
    }
    let refused = scene.answer(&spinning[3].id).await;
    assert_eq!(code("a fourth task", &refused), "queue-full");
    for task in &spinning[..3] {
        scene.services.manager.stop(task).await.unwrap();
        let outcome = scene.answer(&task.id).await;
        assert_eq!(code("a stopped task", &outcome), "stopped");
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_are_none_are_reported_to_their_owner_only() {
    let scene = Scene::set("cpu_ms = 300\nmemory_bytes = 16777216").await;
    let good = adder();
    let section = |text: &[u8]| {
        let mut component = good.clone();
        let section = CustomSection {
            name: SECTION.into(),
            data: text.into(),
        };
        section.append_to(&mut component);
        component
    };
    let mut twice = section(b"version = 1");
    twice.extend_from_slice(&section(b"version = 1")[good.len()..]);
    let invalid = "component-invalid";
    let policy = "policy-invalid";
    for (what, component, expected) in [
        (
            "the magic only",
            b"\0asm\x01\0\0\0".to_vec(),
            "export-not-found",
        ),
        ("half a header", b"\0asm\x01".to_vec(), invalid),
        (
            "a version of tomorrow",
            b"\0asm\x63\0\0\0".to_vec(),
            invalid,
        ),
        ("cut", good[..good.len() - 3].to_vec(), invalid),
        (
            "noise",
            [b"\0asm\x01\0\0\0".as_slice(), &[0xff; 4096]].concat(),
            invalid,
        ),
        (
            "a section without end",
            [good.as_slice(), &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
            invalid,
        ),
        ("a policy that is no text", section(&[0xff; 32]), policy),
        (
            "a policy that is no policy",
            section(b"version = 99"),
            policy,
        ),
        (
            "a policy with a secret word",
            section(b"version = 1\nCANARY-4711 = 1"),
            policy,
        ),
        ("a large policy", section(&vec![b'#'; 1 << 17]), policy),
        ("two policies", twice, policy),
        (
            "a start function that spins",
            wat::parse_str(
                "(module (func $f (loop $a (br $a))) (start $f) (func (export \"add\")))",
            )
            .unwrap(),
            "limit-cpu",
        ),
        (
            "memory for everybody",
            wat::parse_str("(module (memory 65536) (func (export \"add\")))").unwrap(),
            "limit-memory",
        ),
        (
            "a table for everybody",
            wat::parse_str("(module (table 4000000000 funcref) (func (export \"add\")))").unwrap(),
            invalid,
        ),
    ] {
        let image = scene.publish(&component, None).await;
        let task = Task::encrypted(&scene.fresh("none"), "add", &image);
        let outcome = scene.refused(what, &task, expected).await;
        assert!(
            !format!("{outcome:?}").contains(CANARY),
            "{what}: {outcome:?}"
        );
        if expected != policy {
            assert!(scene.open(&outcome).failure().is_some(), "{what}");
        }
    }
    scene.end().await;
}
