use proptest::prelude::*;

use super::*;
use crate::{
    secret::Secret,
    sections::{AllowList, ApiKey, Rerun},
};

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(Some(text), &Environment::default())
}

const IDENTITY: &str = r#"
[proplet]
tenant_id = "t"
channel_id = "c"
entity_id = "e"
api_key = "k"
"#;

#[test]
fn an_empty_document_gives_the_defaults() {
    let settings = parse("").unwrap();
    assert_eq!(
        settings.digest.to_string(),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(settings.mqtt.address.to_string(), "mqtt://localhost:1883");
    assert_eq!(settings.mqtt.qos, 2);
    assert_eq!(settings.heartbeat, Duration::from_secs(5));
    assert_eq!(settings.results_not_before, Duration::from_millis(50));
    assert!(settings.kbs.is_none());
    assert!(!settings.confidential.allow_unmeasured_settings);
    assert!(settings.identity().is_err());
}

#[test]
fn the_digest_covers_every_byte() {
    assert_ne!(
        parse(IDENTITY).unwrap().digest,
        parse(&format!("{IDENTITY}\n")).unwrap().digest
    );
}

#[test]
fn both_sets_of_names_are_read() {
    let old =
        "[proplet]\ndomain_id = \"t\"\nchannel_id = \"c\"\nclient_id = \"e\"\nclient_key = \"k\"";
    for text in [IDENTITY, old] {
        let identity = parse(text).unwrap().identity().unwrap();
        assert_eq!(
            (identity.tenant.as_str(), identity.entity.as_str()),
            ("t", "e")
        );
        assert_eq!(identity.api_key, ApiKey::Given(Secret::new("k")));
    }
    for names in [
        [
            "PROPLET_TENANT_ID",
            "PROPLET_CHANNEL_ID",
            "PROPLET_ENTITY_ID",
            "PROPLET_API_KEY",
        ],
        [
            "PROPLET_DOMAIN_ID",
            "PROPLET_CHANNEL_ID",
            "PROPLET_CLIENT_ID",
            "PROPLET_CLIENT_KEY",
        ],
    ] {
        let environment: Environment = names
            .iter()
            .map(|name| ((*name).to_owned(), "from-env".to_owned()))
            .collect();
        let settings = Settings::parse(None, &environment).unwrap();
        assert_eq!(settings.identity().unwrap().entity, "from-env");
        assert!(!settings.has_document);
        let settings = Settings::parse(Some(IDENTITY), &environment).unwrap();
        assert_eq!(settings.identity().unwrap().tenant, "from-env");
    }
}

#[test]
fn the_environment_does_not_reach_what_decides_about_secrets() {
    let text = "[kbs]\nurl = \"https://kbs.example\"";
    let hostile = environment(&[
        ("PROPLET_KBS_URI", "https://evil.example"),
        ("PROPLET_KBS_URL", "https://evil.example"),
        ("PROPLET_MQTT_ADDRESS", "mqtt://elsewhere"),
    ]);
    let settings = Settings::parse(Some(text), &hostile).unwrap();
    assert_eq!(settings.kbs.unwrap().url.as_str(), "https://kbs.example/");
    assert_eq!(settings.mqtt.address.host(), "elsewhere");
    assert_eq!(settings.notices.len(), 2, "{:?}", settings.notices);
    assert!(Settings::parse(None, &hostile).unwrap().kbs.is_none());
}

#[test]
fn the_document_is_where_it_was_said_to_be() {
    let named = environment(&[("PROPLET_CONFIG_FILE", "/etc/named.toml")]);
    let given = Path::new("/etc/given.toml");
    let found = |given, environment| Settings::locate(given, environment);
    assert_eq!(found(Some(given), &named).as_deref(), Some(given));
    assert_eq!(
        found(None, &named).as_deref(),
        Some(Path::new("/etc/named.toml"))
    );
    let error = Settings::load(Some(Path::new("/nonexistent/p.toml")), None, &named).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/p.toml"), "{error}");
}

#[test]
fn only_upstreams_own_file_may_be_absent_and_only_surely() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| {
        let identity = [
            ("PROPLET_TENANT_ID", "t"),
            ("PROPLET_CHANNEL_ID", "c"),
            ("PROPLET_ENTITY_ID", "e"),
            ("PROPLET_API_KEY", "k"),
            ("PROPLET_CONFIG_FILE", path.to_str().unwrap()),
        ];
        Settings::load(None, None, &environment(&identity))
    };
    for name in ["config.toml", "no/such/folder/config.toml"] {
        let settings = load(&folder.path().join(name)).unwrap();
        assert!(!settings.has_document);
        let notices = &settings.notices;
        assert!(
            notices.iter().any(|notice| notice.contains(name)),
            "{notices:?}"
        );
    }
    let refused = |path: &Path| {
        let error = load(path).unwrap_err();
        assert!(matches!(error, SettingsError::Read { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()));
    };
    refused(&folder.path().join("proplet.tmol"));
    refused(&folder.path().join("config.toml.d"));
    // There, and out of reach: whatever stands between, root and others see the same of these.
    let document = folder.path().join("proplet.toml");
    std::fs::write(&document, "").unwrap();
    refused(&document.join("config.toml"));
    let dangling = folder.path().join("config.toml");
    std::os::unix::fs::symlink(folder.path().join("away"), &dangling).unwrap();
    refused(&dangling);
    std::fs::remove_file(&dangling).unwrap();
    std::os::unix::fs::symlink(&dangling, &dangling).unwrap();
    refused(&dangling);
}

#[test]
fn a_file_that_is_no_document_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let load = || Settings::load(Some(file.path()), None, &Environment::default());
    std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
    assert!(load().unwrap_err().to_string().contains("UTF-8"));
    std::fs::write(file.path(), vec![b'#'; MAX_DOCUMENT_BYTES as usize + 1]).unwrap();
    assert!(load().unwrap_err().to_string().contains("1 MiB"));
    std::fs::write(file.path(), IDENTITY).unwrap();
    assert_eq!(load().unwrap().digest, parse(IDENTITY).unwrap().digest);
}

#[test]
fn a_misspelt_name_is_an_error_with_its_line() {
    let error = parse("[kbs]\nurl = \"https://kbs\"\nallow_htpp = true\n").unwrap_err();
    assert!(
        matches!(error, SettingsError::Syntax { line: 3, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("allow_htpp"), "{error}");
}

#[test]
fn an_error_near_a_credential_does_not_show_it() {
    for text in [
        "[proplet]\napi_key = \"topsecret\" x",
        "[proplet]\napi_key = 31337",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(
            !error.contains("topsecret") && !error.contains("31337"),
            "{error}"
        );
        assert!(error.contains("line 2"), "{error}");
    }
}

#[test]
fn plain_http_to_the_key_broker_must_be_said() {
    assert!(parse("[kbs]\nurl = \"http://kbs\"").is_err());
    assert!(parse("[kbs]\nurl = \"http://kbs\"\nallow_http = true").is_ok());
    assert!(parse("[kbs]\nurl = \"ftp://kbs\"").is_err());
    assert!(parse("[kbs]\nurl = \"https://user@kbs\"").is_err());
}

#[test]
fn values_out_of_range_are_refused() {
    for text in [
        "[mqtt]\nqos = 3",
        "[mqtt]\nkeep_alive_seconds = 0",
        "[mqtt]\nmax_packet_bytes = 1",
        "[mqtt]\nmax_result_bytes = 1",
        "[mqtt]\ninflight = 0",
        "[mqtt]\naddress = \"mqtts://b\"\nclient_cert = \"c.pem\"",
        "[mqtt]\naddress = \"mqtt://b\"\nca = \"c.pem\"",
        "[limits]\ntasks = 0",
        "[outbox]\npath = \"\"",
        "[outbox]\nrerun = \"never\"",
        "[outbox]\npath = \"p\"\nrerun = \"sometimes\"",
        "[outbox]\nplain_results = true",
        "[outbox]\npath = \"p\"\nmax_bytes = 1000",
        "[health]\nlisten = \"9092\"",
        "[health]\nlisten = \"localhost:9092\"",
        "[proplet]\nheartbeat_seconds = 0",
        "[proplet]\ntenant_id = \"a/b\"",
        "[proplet]\nentity_id = \"#\"",
        "[registry]\nrepositories = [\"ghcr.io/*/x\"]",
        "[registry]\nproxy = \"socks5://proxy:1080\"",
        "[registry]\nproxy = \"proxy:3128\"",
        "[registry]\nproxy = \"http://proxy:3128\"\nno_proxy = [\"*.corp\"]",
        "[registry]\nno_proxy = [\"corp\"]",
        "[kbs]\nurl = \"https://kbs\"\nproxy = \"http://proxy/x\"",
        "[kbs]\nurl = \"https://kbs\"\ntimeout_seconds = 0",
        "[confidential]\nrecipients = [{ kty = \"RSA\" }]",
        "[confidential]\nimage_key_types = []",
        "[confidential]\nimage_key_types = [\"key/a\"]",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn nothing_is_on_disk_or_served_unless_the_document_says_so() {
    let settings = parse("").unwrap();
    assert!(settings.outbox.path.is_none() && settings.health.is_none());
    assert!(!settings.outbox.plain_results);
    assert_eq!(settings.outbox.rerun, Rerun::Always);
    let text = "[outbox]\npath = \"/var/lib/proplet/outbox\"\nrerun = \"never\"\nplain_results = true\n\
                [health]\nlisten = \"[::1]:9092\"";
    let settings = parse(text).unwrap();
    assert_eq!(settings.outbox.rerun, Rerun::Never);
    assert!(settings.outbox.plain_results);
    assert!(settings.health.unwrap().ip().is_loopback());
}

#[test]
fn a_proxy_is_the_documents_and_its_password_is_not_shown() {
    let text = "[registry]\nproxy = \"http://user:topsecret@proxy:3128\"\nno_proxy = [\".corp\"]\n\
                [kbs]\nurl = \"https://kbs\"\nproxy = \"https://user:topsecret@other\"";
    let hostile = environment(&[("HTTPS_PROXY", "http://evil:1")]);
    let settings = Settings::parse(Some(text), &hostile).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("topsecret"), "{shown}");
    let kbs = settings.kbs.unwrap();
    assert_eq!(kbs.proxy.unwrap().to_string(), "https://other");
    let proxy = settings.registry.proxy.unwrap();
    assert_eq!(proxy.to_string(), "http://proxy:3128");
    assert!(
        Settings::parse(None, &hostile)
            .unwrap()
            .registry
            .proxy
            .is_none()
    );
}

#[test]
fn variables_that_do_not_parse_are_errors() {
    for (name, value) in [
        ("PROPLET_MQTT_QOS", "two"),
        ("PROPLET_MQTT_KEEP_ALIVE", "soon"),
        ("PROPLET_MQTT_ADDRESS", "quic://b"),
        ("PROPLET_COLLECT_SYSTEM_INFO", "perhaps"),
    ] {
        let error = Settings::parse(None, &environment(&[(name, value)])).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_allow_list_permits_what_it_names() {
    let list = |registries: &[&str], repositories: &[&str]| AllowList {
        registries: registries.iter().map(|s| (*s).to_owned()).collect(),
        repositories: repositories.iter().map(|s| (*s).to_owned()).collect(),
    };
    assert!(list(&[], &[]).permits("docker.io", "library/x"));
    assert!(list(&["ghcr.io"], &[]).permits("ghcr.io", "a/b"));
    assert!(!list(&["ghcr.io"], &[]).permits("docker.io", "a/b"));
    let folder = list(&[], &["ghcr.io/org/*", "docker.io/me/app"]);
    assert!(folder.permits("ghcr.io", "org/app"));
    assert!(folder.permits("docker.io", "me/app"));
    assert!(!folder.permits("ghcr.io", "organised/app"));
    assert!(!folder.permits("docker.io", "me/app2"));
}

proptest! {
    #[test]
    fn any_text_is_settings_or_an_error(text in "(?s).{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_environment_is_settings_or_an_error(value in ".{0,40}") {
        for name in ["PROPLET_MQTT_ADDRESS", "PROPLET_MQTT_INFLIGHT", "PROPLET_TENANT_ID"] {
            let _ = Settings::parse(None, &environment(&[(name, &value)]));
        }
    }
}

#[test]
fn certificates_come_from_where_the_document_says() {
    let settings = parse("").unwrap().attestation;
    assert_eq!(settings.timeout, Duration::from_secs(60));
    assert!(settings.certificates.is_none() && settings.certificate_service.is_none());

    let settings = parse(
        "[attestation]\ntimeout_seconds = 5\ncertificates = \"/etc/snp\"\n\
         certificates_url = \"https://kds.example/mirror\"\ncertificates_ca_pem = \"PEM\"\n\
         certificates_cache = \"/var/cache/snp\"",
    );
    let settings = settings.unwrap().attestation;
    assert_eq!(settings.timeout, Duration::from_secs(5));
    assert_eq!(settings.certificates, Some(PathBuf::from("/etc/snp")));
    let service = settings.certificate_service.unwrap();
    assert_eq!(service.url.as_str(), "https://kds.example/mirror");
    assert_eq!(service.ca_pem.as_deref(), Some("PEM"));
    assert_eq!(service.cache, Some(PathBuf::from("/var/cache/snp")));
}

#[test]
fn addresses_of_certificates_are_checked() {
    for (line, name) in [
        ("certificates_url = \"kds.example\"", "certificates_url"),
        (
            "certificates_url = \"ftp://kds.example\"",
            "certificates_url",
        ),
        (
            "certificates_url = \"https://a:b@kds.example\"",
            "certificates_url",
        ),
        (
            "certificates_url = \"https://kds.example/?a\"",
            "certificates_url",
        ),
        ("certificates_ca_pem = \"PEM\"", "certificates_ca_pem"),
        ("certificates_cache = \"/tmp\"", "certificates_cache"),
        ("timeout_seconds = 0", "timeout_seconds"),
    ] {
        let error = parse(&format!("[attestation]\n{line}")).unwrap_err();
        let place = format!("[attestation] {name}");
        assert!(error.to_string().contains(&place), "{error}");
    }
    assert!(parse("[attestation]\ncertificate = \"x\"").is_err());
}

#[test]
fn what_is_in_a_file_is_no_path_and_is_not_repeated() {
    let pem = "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\\n";
    for (table, name) in [
        ("mqtt", "client_key"),
        ("mqtt", "client_cert"),
        ("mqtt", "ca"),
        ("registry", "auth_file"),
        ("registry", "ca"),
    ] {
        let document = format!("[{table}]\n{name} = \"{pem}\"\n");
        let words = parse(&document).unwrap_err().to_string();
        assert!(words.contains("path of a file"), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
    let error = Settings::parse_with_credentials(
        Some(""),
        Some(&format!("[mqtt]\nclient_key = \"{pem}\"\n")),
        &Environment::default(),
    );
    let words = error.unwrap_err().to_string();
    assert!(
        words.contains("path of a file") && !words.contains("hunter2"),
        "{words}"
    );
    let variable = environment(&[("PROPLET_MQTT_TLS_CLIENT_KEY", "a\nhunter2")]);
    let words = Settings::parse(Some(""), &variable)
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("path of a file") && !words.contains("hunter2"),
        "{words}"
    );
}

#[test]
fn credentials_come_from_the_service_manager_when_nobody_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = file("proplet.toml", "");
    let other = file("other.toml", "[proplet]\napi_key = \"other\"\n");
    let key = |given: Option<&Path>, variables: &[(&str, &str)]| {
        let mut all = vec![("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
        all.extend(variables);
        let settings = Settings::load(Some(&config), given, &environment(&all)).unwrap();
        settings.identity.api_key
    };
    let given = |key: &str| Some(ApiKey::Given(Secret::new(key)));
    // A service may be given credentials, and none of this program's.
    assert_eq!(key(None, &[]), None);
    file(CREDENTIALS_FILE, "[proplet]\napi_key = \"loaded\"\n");
    assert_eq!(key(None, &[]), given("loaded"));
    assert_eq!(key(Some(&other), &[]), given("other"));
    let named = [("PROPLET_CREDENTIALS_FILE", other.to_str().unwrap())];
    assert_eq!(key(None, &named), given("other"));
}

#[test]
fn a_bad_document_of_the_service_manager_is_no_reason_to_go_without() {
    let folder = tempfile::tempdir().unwrap();
    let environment = environment(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    let config = folder.path().join("proplet.toml");
    std::fs::write(&config, "").unwrap();
    let load = || Settings::load(Some(&config), None, &environment).unwrap_err();
    std::fs::create_dir(folder.path().join(CREDENTIALS_FILE)).unwrap();
    assert!(matches!(load(), SettingsError::Read { .. }));
    std::fs::remove_dir(folder.path().join(CREDENTIALS_FILE)).unwrap();
    let text = "[kbs]\nurl = \"https://elsewhere\"\n";
    std::fs::write(folder.path().join(CREDENTIALS_FILE), text).unwrap();
    let words = load().to_string();
    assert!(words.contains("credentials document"), "{words}");
}
