//! The guests build, ask for what they use and nothing else, and give the same bytes every time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use proplet_testkit::guests::{self, Guest, GuestName};
use wasmparser::{Encoding, Parser, Payload};

/// What Rust's standard library asks for whatever a program does.
const STANDARD: [&str; 13] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
];

/// What a guest asks for beyond that when it uses files and clocks.
const FILES: [&str; 4] = [
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
];

/// What a guest asks for beyond that when it sleeps.
const SLEEP: [&str; 1] = ["wasi:clocks/monotonic-clock"];

/// What a guest asks for beyond that when it uses the network.
const NETWORK: [&str; 10] = [
    "wasi:clocks/monotonic-clock",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// The type of a failure and the interface that holds it: types only, nothing that could be called.
const FAILURE: [&str; 2] = ["failure", "propeller:worlds/outcome"];

fn all() -> Vec<Arc<Guest>> {
    guests::build_all(&GuestName::ALL, &mut |_| {}).unwrap()
}

fn encoding(bytes: &[u8]) -> Encoding {
    match Parser::new(0).parse_all(bytes).next().unwrap().unwrap() {
        Payload::Version { encoding, .. } => encoding,
        _ => panic!("no version"),
    }
}

/// Imports and exports at the top level of a component, without their versions.
fn interface(bytes: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let bare = |name: &str| name.split('@').next().unwrap().to_owned();
    let (mut imports, mut exports, mut depth) = (BTreeSet::new(), BTreeSet::new(), 0);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                imports.extend(section.into_iter().map(|it| bare(it.unwrap().name.name)));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                exports.extend(section.into_iter().map(|it| bare(it.unwrap().name.name)));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn every_guest_is_built_in_the_order_asked_for() {
    let names: Vec<_> = all().iter().map(|guest| guest.name).collect();
    assert_eq!(names, GuestName::ALL);
    for guest in all() {
        let expected = match guest.name {
            GuestName::AddCore => Encoding::Module,
            _ => Encoding::Component,
        };
        assert_eq!(encoding(&guest.bytes), expected, "{guest:?}");
        assert_eq!(
            std::fs::read(&guest.path).unwrap(),
            guest.bytes,
            "{guest:?}"
        );
    }
}

#[test]
fn a_guest_asks_for_what_it_calls_and_nothing_else() {
    for guest in all() {
        let own: &[&str] = match guest.name {
            GuestName::AddCore => continue,
            GuestName::HelloAttest => &["attestation", "results"],
            GuestName::ConfidentialInference => &["attestation", "results", "reveal", "secrets"],
            GuestName::GreetCommand => &["inputs"],
            GuestName::Hostile => &["attestation", "audit", "inputs", "results"],
            GuestName::Dialler => &[],
            GuestName::SecretProbe => &["audit", "results", "reveal", "secrets"],
            // Never calls `reveal`, so it does not ask for it.
            GuestName::SecretHolder => &["secrets"],
            // Of the shapes that guests of others have: of this host's interfaces these, and WASI's as they come.
            GuestName::HalProbe => {
                let all = ["attestation", "clock", "crypto", "platform", "random"];
                only(&guest, &all.map(|name| format!("elastic:hal/{name}")));
                continue;
            }
            GuestName::WebClient => {
                only(&guest, &FAILURE.map(str::to_owned));
                continue;
            }
            GuestName::Files
            | GuestName::GreetServer
            | GuestName::WebServer
            | GuestName::PolicyPlugin => {
                only(&guest, &[]);
                continue;
            }
            other => panic!("{other} has no list"),
        };
        let outside: &[&str] = match guest.name {
            GuestName::Hostile => &FILES,
            GuestName::Dialler => &NETWORK,
            GuestName::SecretProbe => &SLEEP,
            _ => &[],
        };
        let expected: BTreeSet<_> = own
            .iter()
            .map(|interface| format!("propeller:confidential/{interface}"))
            .chain(
                [&STANDARD, &FAILURE[..], outside]
                    .concat()
                    .into_iter()
                    .map(str::to_owned),
            )
            .collect();
        assert_eq!(interface(&guest.bytes).0, expected, "{guest:?}");
    }
}

/// Holds what a guest asks for besides WASI against a list.
fn only(guest: &Guest, expected: &[String]) {
    let asked = interface(&guest.bytes).0.into_iter();
    let asked: Vec<_> = asked.filter(|name| !name.starts_with("wasi:")).collect();
    assert_eq!(asked, expected, "{guest:?}");
}

#[test]
fn a_guest_exports_its_task() {
    for guest in all() {
        let expected: &[&str] = match guest.name {
            GuestName::AddCore => continue,
            GuestName::GreetCommand | GuestName::Files => &["wasi:cli/run"],
            GuestName::HalProbe => &["run-attestation", "run-hal-test", "run-refusals"],
            GuestName::GreetServer | GuestName::WebServer => &["wasi:http/incoming-handler"],
            GuestName::PolicyPlugin => &["propeller:proplet-plugin/lifecycle"],
            _ => &["run"],
        };
        let exports: Vec<_> = interface(&guest.bytes).1.into_iter().collect();
        assert_eq!(exports, expected, "{guest:?}");
    }
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let name = GuestName::HelloAttest;
    let again = guests::build_into(directory.path(), &[name], &mut |_| {}).unwrap();
    assert!(again[0].bytes == guests::build(name).unwrap().bytes);
}

#[test]
fn no_path_of_this_machine_is_in_a_guest() {
    let cargo_home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap();
    for guest in all() {
        for path in [env!("CARGO_MANIFEST_DIR"), &cargo_home] {
            let found = guest
                .bytes
                .windows(path.len())
                .any(|window| window == path.as_bytes());
            assert!(!found, "{guest:?} has {path}");
        }
    }
}

#[test]
fn what_was_built_before_is_not_built_again() {
    guests::build(GuestName::GreetCommand).unwrap();
    let again = guests::build_all(&[GuestName::GreetCommand], &mut |line| {
        panic!("it was built before, but: {line}");
    });
    assert_eq!(again.unwrap().len(), 1);
}
