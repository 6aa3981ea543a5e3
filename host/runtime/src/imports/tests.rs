use proplet_component::Policy;

use super::*;

const ALL: [&str; 6] = [
    "propeller:confidential/attestation@0.1.0",
    "propeller:confidential/audit@0.1.0",
    "propeller:confidential/inputs@0.1.0",
    "propeller:confidential/results@0.1.0",
    "propeller:confidential/secrets@0.1.0",
    "propeller:confidential/reveal@0.1.0",
];

fn policy(toml: &str) -> Grants {
    Grants::from_policy(Policy::parse(format!("version = 1\n{toml}").as_bytes()).unwrap())
}

fn imports(names: &[&str]) -> Imports {
    Imports::new(names.iter().map(|&name| name.to_owned()).collect())
}

fn refused(grants: &Grants, names: &[&str]) -> (String, String) {
    let error = imports(names).check(grants).unwrap_err();
    assert_eq!(error.code(), "import-not-granted");
    (error.to_string(), error.detail().unwrap().to_owned())
}

#[test]
fn a_plain_component_gets_no_secrets() {
    let grants = Grants::plain();
    imports(&ALL[..4]).check(&grants).unwrap();
    let (clear, all) = refused(&grants, &ALL);
    assert_eq!(all, format!("{}, {}", ALL[4], ALL[5]));
    assert!(clear.contains(ALL[4]) && clear.contains(ALL[5]), "{clear}");
}

#[test]
fn reveal_needs_a_secret_that_may_be_revealed() {
    let held = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"");
    imports(&ALL[..5]).check(&held).unwrap();
    assert_eq!(refused(&held, &ALL).1, ALL[5]);
    let shown = policy("[[secrets]]\nuri = \"kbs:///a/b/c\"\nreveal = true");
    imports(&ALL).check(&shown).unwrap();
}

#[test]
fn a_policy_without_secrets_grants_no_secrets() {
    assert_eq!(
        refused(&policy(""), &ALL).1,
        format!("{}, {}", ALL[4], ALL[5])
    );
}

#[test]
fn wasi_is_granted_closed() {
    let grants = Grants::plain();
    imports(&[
        "wasi:cli/environment@0.2.6",
        "wasi:io/streams@0.2.0",
        "wasi:clocks/wall-clock@0.2.6",
        "wasi:random/random@0.2.6",
        "wasi:filesystem/preopens@0.2.6",
        "wasi:sockets/tcp@0.2.6",
        "wasi:http/types@0.2.4",
        "wasi:http/outgoing-handler@0.2.0",
    ])
    .check(&grants)
    .unwrap();
    for import in [
        "wasi:http/incoming-handler@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi",
        "run",
        "",
    ] {
        refused(&grants, &[import]);
    }
}

#[test]
fn names_of_the_owner_stay_out_of_the_clear_text() {
    let names = [
        "acme:patients/index@1.0.0",
        "wasi:keyvalue/store@0.2.0",
        "acme:x/y",
    ];
    let (clear, all) = refused(&Grants::plain(), &names);
    assert!(
        clear.contains("wasi:keyvalue/store@0.2.0 and 2 others"),
        "{clear}"
    );
    assert!(!clear.contains("acme"), "{clear}");
    assert_eq!(all, names.join(", "));
}

#[test]
fn what_would_help_is_said_of_this_component() {
    let (plain, _) = refused(&Grants::plain(), &ALL);
    assert!(
        plain.contains("encrypt it with one under a key of the key broker"),
        "{plain}"
    );
    assert!(!plain.contains("[[secrets]]"), "{plain}");
    let (without, _) = refused(&policy(""), &ALL);
    assert!(
        without.contains("name a secret under `[[secrets]]`")
            && without.contains("set `reveal = true`"),
        "{without}"
    );
    assert!(!without.contains("encrypt"), "{without}");
    for grants in [Grants::plain(), policy("")] {
        let (clear, _) = refused(&grants, &["wasi:keyvalue/store@0.2.0"]);
        assert!(clear.contains("no policy can grant"), "{clear}");
        assert!(!clear.contains("encrypt"), "{clear}");
    }
    let (clear, all) = refused(&Grants::plain(), &["acme:a/b"]);
    assert!(clear.contains("1 interface that no policy"), "{clear}");
    assert_eq!(all, "acme:a/b");
}

#[test]
fn a_version_cannot_hide_the_owners_words() {
    let (clear, _) = refused(&Grants::plain(), &["acme:sockets/tcp@0.2.6"]);
    assert!(!clear.contains("acme"), "{clear}");
    for name in ["wasi:keyvalue/store", ALL[4].split('@').next().unwrap()] {
        for version in ["0.2.0-acme.4711", "0.2.0+acme.4711", "4711.4711.4711"] {
            let (clear, all) = refused(&Grants::plain(), &[&format!("{name}@{version}")]);
            assert!(
                !clear.contains("acme") && !clear.contains("4711"),
                "{clear}"
            );
            assert!(clear.contains(name), "{clear}");
            assert_eq!(all, format!("{name}@{version}"));
        }
    }
}
