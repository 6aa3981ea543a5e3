//! `run` and the daemon's start.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use proplet_hal::InitData;
use proplet_types::ExitCode;

use super::support::{Desk, Seen};

const MODULE: &str = r#"(module
    (func (export "run") (result i32) i32.const 42)
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
    (func (export "trap") unreachable))"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("c.wasm", wat::parse_str(MODULE).unwrap());
    desk
}

#[tokio::test]
async fn a_file_runs_here() {
    let desk = desk();
    assert_eq!(desk.run("run @c.wasm").await.done().text(), "42\n");
    assert_eq!(
        desk.run("run @c.wasm --invoke add 40 2")
            .await
            .done()
            .text(),
        "42\n"
    );
    assert_eq!(
        desk.run("run @c.wasm --invoke add -- 40 -2")
            .await
            .done()
            .text(),
        "38\n"
    );
    let json = desk.run("run @c.wasm --env A=b --json").await.done().json();
    assert_eq!(json["results"], "42");
    assert!(json["usage"]["wall_ms"].is_number());
    let seen = Seen {
        terminal: true,
        ..Seen::default()
    };
    let ended = desk.run_seeing("run @c.wasm", seen).await.done();
    assert_eq!(
        (ended.text(), ended.stderr.trim_end()),
        ("42\n", "Running...")
    );
}

#[tokio::test]
async fn what_does_not_run_says_why() {
    let desk = desk();
    desk.run("run @c.wasm --invoke trap")
        .await
        .refused(ExitCode::Failed, "trap");
    desk.run("run @c.wasm --invoke none")
        .await
        .refused(ExitCode::Usage, "none");
    desk.run("run @c.wasm --invoke add 1")
        .await
        .refused(ExitCode::Usage, "1 input");
    desk.run("run @missing.wasm")
        .await
        .refused(ExitCode::Usage, "there is no file");
    desk.run("run missing.wasm")
        .await
        .refused(ExitCode::Usage, "there is no file");
    desk.write("text", "no wasm");
    desk.run("run @text")
        .await
        .refused(ExitCode::Usage, "component");
    desk.run("run @c.wasm --env novalue")
        .await
        .misused("NAME=VALUE");
    let ended = desk.run("run @c.wasm --invoke trap --json").await;
    assert_eq!(ended.json()["error"]["code"], "guest-trapped");
    assert_eq!(ended.error()["code"], "guest-trapped");
}

#[tokio::test]
async fn an_encrypted_component_needs_a_tee() {
    let desk = desk();
    // No machine that builds this has a provider, because this version has none.
    let ended = desk.run("run localhost:1/a@sha256:00 --encrypted").await;
    assert_ne!(ended.exit, ExitCode::Done);
    let image = format!("localhost:1/a@sha256:{}", "0".repeat(64));
    desk.run(&format!("run {image} --encrypted"))
        .await
        .refused(ExitCode::Failed, "encrypted tasks");
    let ended = desk.run(&format!("run {image} --encrypted --json")).await;
    assert_eq!(ended.error()["code"], "no-tee");
    desk.run("run @c.wasm --encrypted")
        .await
        .refused(ExitCode::Usage, "proplet image push");
    desk.run(&format!("run {image} --kbs-resource-path a/b/c"))
        .await
        .misused("--encrypted");
}

#[tokio::test]
async fn an_image_needs_its_registry() {
    let desk = desk();
    let registry = proplet_testkit::registry::Registry::start().await.unwrap();
    let host = registry.host();
    desk.run(&format!("image push @c.wasm {host}/c:1 --http"))
        .await
        .done();
    desk.write(
        "proplet.toml",
        format!("[registry]\nhttp_hosts = [\"{host}\"]\n"),
    );
    let ended = desk
        .run(&format!("run {host}/c:1 --config @proplet.toml"))
        .await
        .done();
    assert_eq!(ended.text(), "42\n");
    registry.shutdown().await;
    let ended = desk
        .run(&format!("--config @proplet.toml run {host}/c:1"))
        .await;
    ended.refused(ExitCode::Unavailable, &host);
}

#[tokio::test]
async fn bad_settings_start_nothing() {
    let desk = desk();
    desk.write("bad.toml", "[proplet]\nno_such_name = 1\n");
    for line in ["run @c.wasm", "daemon", ""] {
        desk.run(&format!("{line} --config @bad.toml"))
            .await
            .refused(ExitCode::Usage, "line 2");
        desk.run(&format!("{line} --config @none.toml"))
            .await
            .refused(ExitCode::Usage, "none.toml");
    }
    // Who it is on the broker must be said.
    desk.write("empty.toml", "");
    desk.run("--config @empty.toml")
        .await
        .refused(ExitCode::Usage, "PROPLET_TENANT_ID");
}

/// A service manager starts a daemon again that failed otherwise, and this one would fail again.
#[tokio::test]
async fn files_and_folders_of_the_settings_that_cannot_be_used_end_with_their_code() {
    let desk = desk();
    let place = |name: &str| format!("{:?}", desk.path(name).display().to_string());
    std::fs::create_dir(desk.path("shared")).unwrap();
    let everybodys = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(desk.path("shared"), everybodys).unwrap();
    let digest = format!("\"sha256:{}\"", "0".repeat(64));
    for (tables, setting) in [
        (
            format!(
                "[mqtt]\naddress = \"mqtts://127.0.0.1:1\"\nca = {}",
                place("none.pem")
            ),
            "[mqtt] ca",
        ),
        (
            format!("[outbox]\npath = {}", place("shared")),
            "[outbox] path",
        ),
        (
            format!("[audit]\npath = {}", place("c.wasm")),
            "[audit] path",
        ),
        (
            format!("[[plugins]]\npath = {}\ndigest = {digest}", place("c.wasm")),
            "[[plugins]]",
        ),
    ] {
        let identity = "tenant_id = \"t\"\nchannel_id = \"c\"\nentity_id = \"e\"\napi_key = \"k\"";
        desk.write("proplet.toml", format!("[proplet]\n{identity}\n{tables}\n"));
        let running = desk.run("daemon --config @proplet.toml --json");
        // One that starts after all would wait for its broker for ever.
        let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
        let ended = ended.unwrap_or_else(|_| panic!("it starts: {tables}"));
        assert_eq!(ended.exit, ExitCode::Usage, "{ended:?}");
        let error = ended.error();
        assert_eq!(error["code"], "settings", "{tables}");
        let words = error["message"].as_str().unwrap();
        assert!(words.contains(setting), "{words}");
    }
}

#[tokio::test]
async fn init_data_holds_the_settings_and_the_files_that_they_name() {
    let desk = Desk::new();
    let settings = "[mqtt]\naddress = \"mqtts://broker\"\nca = \"/run/proplet/measured/ca.pem\"\n";
    desk.write("proplet.toml", settings);
    desk.write("here.pem", "-----BEGIN CERTIFICATE-----\n");
    let make = "init-data make @proplet.toml --out @init-data.toml --json";
    let line = format!("{make} --file ca.pem=HERE")
        .replace("HERE", desk.path("here.pem").to_str().unwrap());
    let made = desk.run(&line).await.done().json();
    assert_eq!(made["files"], serde_json::json!(["ca.pem", "proplet.toml"]));
    let text = std::fs::read_to_string(desk.path("init-data.toml")).unwrap();
    let document = InitData::parse(&text).unwrap();
    assert_eq!(document.file("proplet.toml"), Some(settings));
    assert_eq!(
        document.file("ca.pem"),
        Some("-----BEGIN CERTIFICATE-----\n")
    );
    assert_eq!(made["digest"], hex::encode(document.digest()));
    let shown = desk.run("init-data show @init-data.toml --json").await;
    assert_eq!(shown.done().json(), made);

    let refused = [
        ("--file ca.pem=/nowhere", "/nowhere"),
        ("--file ../ca.pem=/dev/null", "\"../ca.pem\""),
        ("--file proplet.toml=/dev/null", "\"proplet.toml\""),
    ];
    for (arguments, words) in refused {
        let line = format!("init-data make @proplet.toml --out @other.toml {arguments}");
        let ended = desk.run(&line).await;
        ended.refused(ExitCode::Usage, words);
        assert!(!desk.path("other.toml").exists(), "{arguments}");
    }
    let ended = desk.run(&format!("{make} --file ca.pem")).await;
    assert_eq!(ended.exit, ExitCode::Usage, "{ended:?}");
    assert!(ended.stderr.contains("NAME=PATH"), "{ended:?}");
}
