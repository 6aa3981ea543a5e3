//! `import`.

use std::os::unix::fs::PermissionsExt as _;

use proplet_settings::{ApiKey, Settings, environment::Environment, secret::Secret};
use proplet_types::ExitCode;

use super::support::Desk;

const FILE: &str = "PROPLET_DOMAIN_ID=t\nPROPLET_CHANNEL_ID=c\nPROPLET_CLIENT_ID=p\nPROPLET_CLIENT_KEY=hunter2\n\
    PROPLET_MQTT_ADDRESS=tcp://broker\nPROPLET_LIVELINESS_INTERVAL=10s\nPROPLET_KBS_URI=http://kbs\n";

#[tokio::test]
async fn an_environment_file_becomes_settings_that_start() {
    let desk = Desk::new();
    desk.write("env", FILE);
    let line = "import @env --out @proplet.toml --credentials-out @credentials.toml";
    let ended = desk.run(line).await.done();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(said.contains("left out: PROPLET_KBS_URI"), "{said}");
    assert!(said.contains("heartbeat"), "{said}");
    let settings = std::fs::read_to_string(desk.path("proplet.toml")).unwrap();
    assert!(!settings.contains("hunter2"), "{settings}");
    let credentials = desk.path("credentials.toml");
    let mode = std::fs::metadata(&credentials)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let loaded = Settings::load(
        Some(&desk.path("proplet.toml")),
        Some(&credentials),
        &Environment::default(),
    );
    let identity = loaded.unwrap().identity().unwrap();
    assert_eq!(
        (identity.tenant.as_str(), identity.api_key),
        ("t", ApiKey::Given(Secret::new("hunter2")))
    );
    // Neither file is ever overwritten.
    desk.run(line).await.refused(ExitCode::Usage, "exists");
}

#[tokio::test]
async fn upstreams_file_is_imported_with_it() {
    let desk = Desk::new();
    desk.write("env", "PROPLET_TAGS=edge\n");
    desk.write(
        "config.toml",
        "[manager]\nentity_id = \"m\"\n[proplet]\nentity_id = \"p\"\napi_key = \"hunter2\"\n",
    );
    let line = "import @env --config-file @config.toml --out @out --credentials-out @secret --json";
    let json = desk.run(line).await.done().json();
    assert!(json["left_out"].as_array().unwrap().is_empty(), "{json}");
    let settings = std::fs::read_to_string(desk.path("out")).unwrap();
    assert!(settings.contains("entity_id = \"p\""), "{settings}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_its_line_and_not_repeated() {
    let desk = Desk::new();
    for (text, words) in [
        ("PROPLET_API_KEY=\"hunter2\n", "line 1"),
        ("PROPLET_MQTT_QOS=hunter2\n", "PROPLET_MQTT_QOS"),
        ("PROPLET_API_KEY=${KEY}\n", "another variable"),
    ] {
        desk.write("env", text);
        let line = "import @env --out @out --credentials-out @secret";
        let ended = desk.run(line).await.refused(ExitCode::Usage, words);
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
        assert!(!desk.path("out").exists() && !desk.path("secret").exists());
    }
}
