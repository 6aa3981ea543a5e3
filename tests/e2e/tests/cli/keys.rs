//! `keygen`, `policy check`, `detect`, and what every command has in common.

use proplet_jose::jwk::{PrivateKey, PublicKey};
use proplet_types::ExitCode;
use serde_json::Value;

use super::support::{Desk, mode};

#[tokio::test]
async fn a_key_pair_is_new_private_and_usable() {
    let desk = Desk::new();
    for (algorithm, curve) in [("p256", "P-256"), ("x25519", "X25519")] {
        let line = format!("keygen --algorithm {algorithm} --out @{algorithm}.jwk");
        let ended = desk.run(&line).await.done();
        let text = std::fs::read_to_string(desk.path(&format!("{algorithm}.jwk"))).unwrap();
        let private = PrivateKey::from_jwk(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(private.public().curve(), curve);
        assert_eq!(mode(&desk.path(&format!("{algorithm}.jwk"))), 0o600);

        let printed: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(PublicKey::from_jwk(&printed).unwrap(), *private.public());
        let beside = std::fs::read(desk.path(&format!("{algorithm}.jwk.pub"))).unwrap();
        assert_eq!(beside, ended.stdout);
        assert!(
            ended.stderr.contains(&private.public().thumbprint()),
            "{ended:?}"
        );

        let d = serde_json::from_str::<Value>(&text).unwrap()["d"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(!ended.text().contains(&d) && !ended.stderr.contains(&d));
        desk.run(&line)
            .await
            .refused(ExitCode::Usage, "is not overwritten");
        let kept = std::fs::read_to_string(desk.path(&format!("{algorithm}.jwk"))).unwrap();
        assert_eq!(kept, text);
    }
}

#[tokio::test]
async fn a_key_pair_in_json_names_its_files() {
    let desk = Desk::new();
    let key = desk.run("keygen --out @k --json").await.done().json();
    let public = PublicKey::from_jwk(&key["public"]).unwrap();
    assert_eq!(key["thumbprint"], public.thumbprint());
    assert_eq!(key["public_file"], desk.path("k.pub").to_str().unwrap());
    desk.run("keygen --out @missing/k")
        .await
        .refused(ExitCode::Usage, "cannot write");
}

#[tokio::test]
async fn policies_are_checked() {
    let desk = Desk::new();
    let text = "version = 1\nexports = [\"classify\"]\nhosts = [\"api.example\"]\nmetrics = true\n[limits]\ncpu_ms = 100\n\
                [[secrets]]\nuri = \"kbs:///default/model/iris\"\nreveal = true\n";
    desk.write("policy.toml", text);
    let ended = desk.run("policy check @policy.toml").await.done();
    for words in [
        "sha256:",
        "kbs:///default/model/iris, which it may see",
        "classify",
        "host      api.example",
        "metrics   shown to whoever starts a task",
        "cpu_ms = 100",
    ] {
        assert!(ended.text().contains(words), "{words}: {ended:?}");
    }
    let json = desk
        .run("policy check @policy.toml --json")
        .await
        .done()
        .json();
    assert_eq!(json["policy"]["exports"][0], "classify");
    assert_eq!(json["policy"]["hosts"][0], "api.example");
    assert_eq!(json["policy"]["metrics"], true);
    assert_eq!(
        json["policy_digest"],
        proplet_types::Digest::of(text.as_bytes()).to_string()
    );
    desk.write("bad.toml", "version = 1\nsecret = 1\n");
    desk.run("policy check @bad.toml")
        .await
        .refused(ExitCode::Usage, "bad.toml");
    desk.run("policy check @missing.toml")
        .await
        .refused(ExitCode::Usage, "missing.toml");
}

#[tokio::test]
async fn a_policy_that_asks_for_an_image_key_is_refused() {
    let desk = Desk::new();
    let secret = "version = 1\n[[secrets]]\nuri = \"kbs:///default/key/module\"\n";
    let readers = "version = 1\nrecipients_resource = \"kbs:///default/KEY/readers\"\n";
    for (text, field) in [(secret, "`secrets`"), (readers, "`recipients_resource`")] {
        desk.write("policy.toml", text);
        let ended = desk.run("policy check @policy.toml").await;
        ended.refused(ExitCode::Usage, field);
        let other = "policy check @policy.toml --image-key-types image,module";
        desk.run(other).await.done();
    }
    let none = "policy check @policy.toml --image-key-types a/b";
    desk.run(none).await.misused("--image-key-types");
}

#[tokio::test]
async fn detection_says_what_it_found() {
    let desk = Desk::new();
    let ended = desk.run("detect").await.done();
    assert!(ended.text().contains("AMD SEV Detection:"), "{ended:?}");
    assert!(ended.text().contains("TEE: "), "{ended:?}");
    let json = desk.run("detect --json").await.done().json();
    assert!(json["dev_sev_guest"].is_boolean() && json["summary"].is_string());
}

#[tokio::test]
async fn help_is_a_result_and_misuse_is_not() {
    let desk = Desk::new();
    for line in [
        "--help",
        "open --help",
        "image encrypt --help",
        "run --help",
    ] {
        let ended = desk.run(line).await.done();
        assert!(ended.text().contains("Exit codes:"), "{line}");
    }
    let ended = desk.run("--version").await.done();
    assert!(ended.text().starts_with("proplet "), "{ended:?}");
    desk.run("fly").await.misused("unrecognized subcommand");
    desk.run("keygen").await.misused("--out");
    let error = desk.run("keygen --json").await;
    assert_eq!(error.exit, ExitCode::Usage);
    assert_eq!(error.error()["code"], "usage");
    assert_eq!(error.error()["exit"], 2);
}
