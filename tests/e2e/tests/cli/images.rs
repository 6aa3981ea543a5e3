//! `image encrypt`, `image push` and `image inspect`.

use std::path::Path;

use proplet_component::policy::{Policy, Recipients};
use proplet_image::layout;
use proplet_jose::jws::{EdDsaSigningKey, VerifyingKey};
use proplet_testkit::kbs::{AdminAccess, Administrator, DevKeyBroker};
use proplet_testkit::ports::free_address;
use proplet_testkit::registry::{Access, Registry};
use proplet_types::{Digest, ExitCode};

use super::support::{Desk, mode};

const MODULE: &str = r#"(module
    (import "env" "tick" (func))
    (func (export "run") (result i32) i32.const 42))"#;
const KEY_ID: &str = "kbs:///default/key/hello";
/// The test vector of RFC 8410 section 10.3.
const ADMIN_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("c.wasm", wat::parse_str(MODULE).unwrap());
    desk
}

#[tokio::test]
async fn the_policy_that_is_printed_stands_alone_and_a_key_broker_takes_it() {
    let desk = desk();
    desk.write("kek", [7; 32]);
    let secret = "version = 1\n[[secrets]]\nuri = \"kbs:///default/data/iris\"\n";
    desk.write("policy.toml", secret);
    let broker = DevKeyBroker::start().await.unwrap();
    for way in ["passport", "additional-evidence"] {
        let line = |folder: &str, more: &str| {
            format!(
                "image encrypt @c.wasm --key-id {KEY_ID} --policy @policy.toml --key @kek \
                 --layout @{way}-{folder} --print-kbs-policy {way} {more}"
            )
        };
        let ended = desk.run(&line("text", "--kbs-policy-tee snp")).await.done();
        let policy = ended.text().to_owned();
        assert!(policy.contains("tees := {\"snp\"}\n"), "{policy}");
        let folder = desk.path(&format!("{way}-text"));
        let image = layout::read(&folder, Some("latest"), 1 << 20).unwrap();
        assert!(policy.contains(&image.digest().to_string()), "{policy}");
        for said in ["component  sha256:", "image      sha256:"] {
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
        }
        desk.write("policy.rego", &policy);
        let set = format!(
            "kbs set-resource-policy @policy.rego --kbs-url {} --kbs-http --no-admin-token",
            broker.url()
        );
        desk.run(&set).await.done();

        let made = desk.run(&line("json", "--json")).await.done().json();
        let policy = made["kbs_policy"].as_str().unwrap();
        for digest in ["component_digest", "image_digest"] {
            assert!(policy.contains(made[digest].as_str().unwrap()), "{policy}");
        }
        assert!(policy.contains("tees := {\"snp\", \"tdx\"}\n"), "{policy}");
    }
    let odd = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --key @kek --layout @odd --kbs-policy-tee snp"
    );
    assert_eq!(desk.run(&odd).await.exit, ExitCode::Usage);
}

fn has_secret(text: &str, key: &Path) -> bool {
    text.contains(&hex::encode(std::fs::read(key).unwrap()))
}

#[tokio::test]
async fn a_component_is_encrypted_into_a_folder_and_inspected() {
    let desk = desk();
    desk.write("policy.toml", "version = 1\nexports = [\"run\"]\n");
    let reader = desk.keygen("reader").await;
    let line = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --policy @policy.toml --recipient @reader.pub \
         --layout @image --key-out @kek --json"
    );
    let ended = desk.run(&line).await.done();
    let made = ended.json();
    assert_eq!(made["key_id"], KEY_ID);
    assert_eq!(made["key_uploaded"], false);
    assert_eq!(std::fs::read(desk.path("kek")).unwrap().len(), 32);
    assert_eq!(mode(&desk.path("kek")), 0o600);
    assert!(!has_secret(ended.text(), &desk.path("kek")));

    let artifact = layout::read(&desk.path("image"), Some("latest"), 1 << 20).unwrap();
    assert_eq!(made["image_digest"], artifact.digest().to_string());
    assert_eq!(
        artifact.manifest().unwrap().layer.media_type,
        "application/wasm+encrypted"
    );

    let seen = desk.run("image inspect @image").await.done();
    assert!(
        seen.text()
            .contains(&format!("key {KEY_ID}, wrapped with A256GCM")),
        "{seen:?}"
    );
    assert!(!seen.text().contains("component "), "{seen:?}");
    let opened = desk
        .run("image inspect @image --key @kek --json")
        .await
        .done()
        .json();
    let component = &opened["component"];
    assert_eq!(component["digest"], made["component_digest"]);
    assert_eq!(component["policy_digest"], made["policy_digest"]);
    assert_eq!(component["policy"]["recipients"][0], reader.thumbprint());
    assert_eq!(component["policy"]["exports"][0], "run");
    assert_eq!(component["imports"][0], "env");
    let text = desk.run("image inspect @image --key @kek").await.done();
    assert!(
        text.text()
            .contains(&format!("  recipient {}", reader.thumbprint())),
        "{text:?}"
    );
}

#[tokio::test]
async fn the_policy_in_the_component_is_the_one_given() {
    let desk = desk();
    let policy = "# kept as it is\nversion = 1\n";
    desk.write("policy.toml", policy);
    desk.write("kek", [7; 32]);
    let line = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --policy @policy.toml --layout @image --key @kek \
         --name mine --json"
    );
    let made = desk.run(&line).await.done().json();
    assert_eq!(
        made["policy_digest"],
        Digest::of(policy.as_bytes()).to_string()
    );
    layout::read(&desk.path("image"), Some("mine"), 1 << 20).unwrap();
    let line = format!("image encrypt @c.wasm --key-id {KEY_ID} --layout @bare --key @kek");
    let ended = desk.run(&line).await.done();
    assert!(ended.text().contains("policy     none"), "{ended:?}");
    assert!(ended.text().contains("key broker not told"), "{ended:?}");

    // What is encrypted already has a policy in it, if it has one.
    let embedded = Policy::embed(&wat::parse_str(MODULE).unwrap(), policy.as_bytes()).unwrap();
    desk.write("c.wasm", embedded);
    let ended = desk.run(&line.replace("@bare", "@bare2")).await.done();
    assert!(!ended.text().contains("policy     none"), "{ended:?}");
    let twice = line.replace("@bare", "@bare3 --policy @policy.toml");
    desk.run(&twice)
        .await
        .refused(ExitCode::Usage, "has a policy already");
}

#[tokio::test]
async fn what_cannot_be_encrypted_is_refused_before_anything_is_written() {
    let desk = desk();
    desk.write("text", "no wasm");
    desk.write("bad.toml", "version = 2\n");
    desk.write("short", [1; 31]);
    desk.write("long", [1; 33]);
    desk.write("kept", "mine");
    desk.keygen("reader").await;
    let cases = [
        ("@text", "--key-out @kek", "text"),
        ("@missing", "--key-out @kek", "missing"),
        ("@c.wasm", "--key-out @kek --policy @bad.toml", "bad.toml"),
        (
            "@c.wasm",
            "--key-out @kek --recipient @reader",
            "a private key",
        ),
        ("@c.wasm", "--key-out @kept", "is not overwritten"),
        ("@c.wasm", "--key @short", "32 bytes"),
        ("@c.wasm", "--key @long", "32 bytes"),
        (
            "@c.wasm",
            "--key-out @kek --kbs-url https://localhost --admin-key @text",
            "Ed25519",
        ),
    ];
    for (component, options, words) in cases {
        let line = format!("image encrypt {component} --key-id {KEY_ID} --layout @image {options}");
        desk.run(&line).await.refused(ExitCode::Usage, words);
        assert!(
            !desk.path("image").exists() && !desk.path("kek").exists(),
            "{options}"
        );
    }
    assert_eq!(std::fs::read(desk.path("kept")).unwrap(), b"mine");

    let line = format!("image encrypt @c.wasm --key-id {KEY_ID} --key-out @kek");
    desk.run(&line).await.misused("--layout");
    let both = format!("{line} --layout @image --push localhost/a:b");
    desk.run(&both).await.misused("cannot be used with");
    let keyless = format!("image encrypt @c.wasm --key-id {KEY_ID} --layout @image");
    desk.run(&keyless).await.misused("--key-out");
    let half = format!("{line} --layout @image --kbs-url https://localhost");
    desk.run(&half).await.misused("--admin-key");
    desk.run("image encrypt @c.wasm --key-id default/key --layout @i --key-out @k")
        .await
        .misused("--key-id");
}

#[tokio::test]
async fn keys_of_images_and_secrets_are_kept_apart() {
    let desk = desk();
    let policy = "version = 1\n[[secrets]]\nuri = \"kbs:///default/key/other\"\n";
    desk.write("policy.toml", policy);
    let bare = "image encrypt @c.wasm --layout @image --key-out @kek";
    let secret = format!("{bare} --key-id kbs:///default/data/known");
    desk.run(&secret)
        .await
        .refused(ExitCode::Usage, "of type `key`");
    let granted = format!("{bare} --key-id {KEY_ID} --policy @policy.toml");
    let ended = desk.run(&granted).await;
    ended.refused(ExitCode::Usage, "kbs:///default/key/other cannot be given");
    // Also when the policy is in the component already.
    let module = wat::parse_str(MODULE).unwrap();
    desk.write(
        "with.wasm",
        Policy::embed(&module, policy.as_bytes()).unwrap(),
    );
    let embedded = granted
        .replace("@c.wasm", "@with.wasm")
        .replace(" --policy @policy.toml", "");
    let ended = desk.run(&embedded).await;
    ended.refused(ExitCode::Usage, "kbs:///default/key/other cannot be given");
    assert!(!desk.path("image").exists() && !desk.path("kek").exists());

    // Hosts can be set to other types.
    let types = "--image-key-types data";
    desk.run(&format!("{granted} {types}"))
        .await
        .refused(ExitCode::Usage, "of type `data`");
    desk.run(&format!("{secret} --policy @policy.toml {types}"))
        .await
        .done();
    // Whoever holds the key opens the image, whatever hosts do.
    desk.run("image inspect @image --key @kek").await.done();
}

#[tokio::test]
async fn another_key_does_not_open_an_image() {
    let desk = desk();
    let line = format!("image encrypt @c.wasm --key-id {KEY_ID} --layout @image --key-out @kek");
    desk.run(&line).await.done();
    desk.write("other", [9; 32]);
    desk.run("image inspect @image --key @other")
        .await
        .refused(ExitCode::Failed, "key");
    desk.write("short", [9; 16]);
    desk.run("image inspect @image --key @short")
        .await
        .refused(ExitCode::Usage, "32 bytes");
    desk.run("image inspect @image --name none")
        .await
        .refused(ExitCode::Failed, "none");
    desk.run("image inspect @image/blobs")
        .await
        .refused(ExitCode::Usage, "oci-layout");
    desk.run("image inspect ///")
        .await
        .refused(ExitCode::Usage, "///");
}

#[tokio::test]
async fn images_are_pushed_and_found_again() {
    let desk = desk();
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    let line =
        format!("image encrypt @c.wasm --key-id {KEY_ID} --layout @image --key-out @kek --json");
    let made = desk.run(&line).await.done().json();
    let pushed = desk
        .run(&format!("image push @image {host}/a:1 --http --json"))
        .await
        .done()
        .json();
    assert_eq!(pushed["image_digest"], made["image_digest"]);
    assert_eq!(pushed["encrypted"], true);
    let pinned = pushed["image"].as_str().unwrap();
    let seen = desk
        .run(&format!("image inspect {pinned} --key @kek --http --json"))
        .await
        .done()
        .json();
    assert_eq!(seen["component"]["digest"], made["component_digest"]);
    desk.run(&format!("image inspect {pinned} --http"))
        .await
        .done();

    // Straight to the registry.
    let line =
        format!("image encrypt @c.wasm --key-id {KEY_ID} --push {host}/b:1 --key @kek --http");
    let ended = desk.run(&line).await.done();
    assert!(
        ended
            .text()
            .contains(&format!("pushed as  {host}/b@sha256:")),
        "{ended:?}"
    );

    // Plain, with a warning.
    let ended = desk
        .run(&format!("image push @c.wasm {host}/c:1 --http"))
        .await
        .done();
    assert!(ended.stderr.contains("not encrypted"), "{ended:?}");
    let seen = desk
        .run(&format!("image inspect {host}/c:1 --http"))
        .await
        .done();
    assert!(seen.text().contains("encryption  none"), "{seen:?}");
    assert!(seen.text().contains("exports     run"), "{seen:?}");
    desk.run(&format!("image inspect {host}/c:1 --http --key @kek"))
        .await
        .refused(ExitCode::Failed, "not encrypted");
}

#[tokio::test]
async fn images_are_taken_from_folders_and_archives_of_other_tools() {
    let desk = desk();
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    let line =
        format!("image encrypt @c.wasm --key-id {KEY_ID} --layout @image --key-out @kek --json");
    let made = desk.run(&line).await.done().json();
    let image = layout::read(&desk.path("image"), None, 1 << 20).unwrap();

    // As `skopeo copy … dir:` and `… oci-archive:` write it.
    let folder = desk.path("dir");
    std::fs::create_dir(&folder).unwrap();
    desk.write("dir/version", "Directory Transport Version: 1.1\n");
    desk.write("dir/manifest.json", image.manifest_bytes());
    for blob in [image.config(), image.layer()] {
        let name = proplet_types::Digest::of(blob).hex();
        desk.write(&format!("dir/{name}"), blob);
    }
    let archive = std::fs::File::create(desk.path("image.tar")).unwrap();
    let mut archive = tar::Builder::new(archive);
    archive.append_dir_all(".", desk.path("image")).unwrap();
    archive.finish().unwrap();

    for (number, source) in ["dir", "image.tar"].into_iter().enumerate() {
        let seen = desk
            .run(&format!("image inspect @{source} --key @kek --json"))
            .await
            .done()
            .json();
        assert_eq!(seen["image_digest"], made["image_digest"], "{source}");
        assert_eq!(seen["component"]["digest"], made["component_digest"]);
        let pushed = desk
            .run(&format!(
                "image push @{source} {host}/a:{number} --http --json"
            ))
            .await
            .done()
            .json();
        assert_eq!(pushed["image_digest"], made["image_digest"], "{source}");
        assert_eq!(pushed["encrypted"], true);
    }

    // What is neither is told apart.
    desk.run("image inspect @c.wasm")
        .await
        .refused(ExitCode::Usage, "no image");
    std::fs::create_dir(desk.path("empty")).unwrap();
    for command in ["image inspect @empty", "image push @empty localhost/a:b"] {
        desk.run(command)
            .await
            .refused(ExitCode::Usage, "oci-layout");
    }
    let archive = std::fs::File::create(desk.path("saved.tar")).unwrap();
    let mut archive = tar::Builder::new(archive);
    archive
        .append_path_with_name(desk.path("dir/version"), "manifest.json")
        .unwrap();
    archive.finish().unwrap();
    desk.run("image inspect @saved.tar")
        .await
        .refused(ExitCode::Usage, "docker save");
}

#[tokio::test]
async fn credential_helpers_are_asked_for_their_registries() {
    let desk = desk();
    let access = |name: &str| Access::Basic {
        username: name.to_owned(),
        password: "hunter2-hunter2".to_owned(),
    };
    let registry = Registry::start_with(access("robot")).await.unwrap();
    let other = Registry::start().await.unwrap();
    let (host, public) = (registry.host(), other.host());
    desk.helper(&format!("{host} robot hunter2-hunter2\n"));
    let push = |to: &str| format!("image push @c.wasm {to}/c:1 --http --auth-file @config.json");
    let stored = serde_json::json!({"auths": {host.clone(): {}}, "credsStore": "test"});
    let configs = [
        serde_json::json!({"credHelpers": {host.clone(): "test"}}),
        serde_json::json!({"credsStore": "test"}),
        stored.clone(),
    ];
    for config in configs {
        desk.write("config.json", config.to_string());
        let ended = desk.run(&push(&host)).await.done();
        assert!(!format!("{ended:?}").contains("hunter2"), "{config}");
        let line = format!("image inspect {host}/c:1 --http --auth-file @config.json");
        desk.run(&line).await.done();
        // One that has nothing for a registry leaves it without credentials.
        desk.run(&push(&public)).await.done();
    }

    // An identity token comes under a name of its own, and is no use for this registry.
    desk.write("bin/answers", format!("{host} <token> hunter2-hunter2\n"));
    let ended = desk.run(&push(&host)).await;
    ended.refused(ExitCode::Usage, "identity token");
    desk.write("bin/answers", "");
    let ended = desk.run(&push(&host)).await;
    ended.refused(ExitCode::Failed, "refused access");
    // No answer at all: the script cannot read its list.
    std::fs::remove_file(desk.path("bin/answers")).unwrap();
    let ended = desk.run(&push(&host)).await;
    ended.refused(ExitCode::Usage, "credential helper");
    for name in ["missing", "../test", ""] {
        let config = serde_json::json!({"credHelpers": {host.clone(): name}});
        desk.write("config.json", config.to_string());
        let ended = desk.run(&push(&host)).await;
        match name {
            "" => ended.refused(ExitCode::Failed, "refused access"),
            name => ended.refused(ExitCode::Usage, name),
        };
    }
}

#[tokio::test]
async fn registries_refuse_and_are_unavailable() {
    let desk = desk();
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    // TLS is what is spoken unless the command line says otherwise.
    let ended = desk.run(&format!("image push @c.wasm {host}/c:1")).await;
    ended.refused(ExitCode::Unavailable, "unavailable");
    let ended = desk
        .run(&format!("image inspect {host}/none:1 --http"))
        .await;
    ended.refused(ExitCode::Failed, "none");
    desk.write("text", "no wasm");
    let ended = desk
        .run(&format!("image push @text {host}/c:1 --http"))
        .await;
    ended.refused(ExitCode::Usage, "WebAssembly");
    let ended = desk
        .run(&format!("image push @missing {host}/c:1 --http"))
        .await;
    ended.refused(ExitCode::Usage, "missing");
    let ended = desk
        .run(&format!(
            "image push @c.wasm {host}/c:1 --http --auth-file @text"
        ))
        .await;
    ended.refused(ExitCode::Usage, "text");
    registry.shutdown().await;
    let ended = desk
        .run(&format!("image push @c.wasm {host}/c:1 --http --json"))
        .await;
    assert_eq!(ended.exit, ExitCode::Unavailable);
    assert_eq!(ended.error()["code"], "registry-unavailable");
}

#[tokio::test]
async fn the_key_goes_to_the_broker_before_the_image_goes_anywhere() {
    let desk = desk();
    desk.write("admin.pem", ADMIN_KEY);
    let admin = EdDsaSigningKey::from_pkcs8_pem(ADMIN_KEY).unwrap();
    let key = VerifyingKey::from_jwk(&admin.public_jwk()).unwrap();
    let access = AdminAccess::Key(Administrator::new(key));
    let broker = DevKeyBroker::builder().admin(access).start().await.unwrap();
    let line = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --layout @image --key-out @kek --kbs-url {} \
         --admin-key @admin.pem",
        broker.url()
    );
    desk.run(&line).await.refused(ExitCode::Usage, "http");
    assert!(!desk.path("kek").exists() && !desk.path("image").exists());

    let ended = desk.run(&format!("{line} --kbs-http")).await.done();
    assert!(ended.text().contains("key broker has the key"), "{ended:?}");
    let kept = broker.resource(&KEY_ID.parse().unwrap()).unwrap();
    assert_eq!(kept, std::fs::read(desk.path("kek")).unwrap());

    let stranger = EdDsaSigningKey::generate().unwrap();
    assert_ne!(stranger.public_jwk(), admin.public_jwk());
    drop(broker);
    let broker = DevKeyBroker::builder()
        .admin(AdminAccess::Nobody)
        .start()
        .await
        .unwrap();
    let line = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --layout @image2 --key-out @kek2 --kbs-url {} \
         --admin-key @admin.pem --kbs-http",
        broker.url()
    );
    // The key that was made is not lost, and the error says what to do with it.
    desk.run(&line)
        .await
        .refused(ExitCode::Failed, "run again with `--key");
    assert!(desk.path("kek2").exists() && !desk.path("image2").exists());
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_unavailable() {
    let desk = desk();
    desk.write("admin.pem", ADMIN_KEY);
    desk.write("kek", [1; 32]);
    let host = free_address().unwrap();
    let line = format!(
        "image encrypt @c.wasm --key-id {KEY_ID} --layout @image --key @kek --kbs-url http://{host} \
         --admin-key @admin.pem --kbs-http --kbs-timeout 2 --json"
    );
    let ended = desk.run(&line).await;
    assert_eq!(ended.exit, ExitCode::Unavailable, "{ended:?}");
    assert_eq!(ended.error()["code"], "kbs-unavailable");
}

#[test]
fn recipients_of_an_embedded_policy_are_read_back() {
    let text = "version = 1\n[[recipients]]\nkty = \"OKP\"\ncrv = \"X25519\"\n\
                x = \"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo\"\n";
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert!(matches!(policy.recipients, Recipients::Keys(keys) if keys.len() == 1));
}
