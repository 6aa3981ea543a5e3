//! `kbs`: the administration of a key broker.

use proplet_jose::jws::{EdDsaSigningKey, VerifyingKey};
use proplet_testkit::kbs::{AdminAccess, Administrator, DevKeyBroker};
use proplet_types::{Clock, ExitCode, ResourceUri, SystemClock};
use serde_json::{Map, json};

use super::support::{Desk, Seen};

/// The test vector of RFC 8410 section 10.3.
const ADMIN_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const ALLOW_ALL: &str = "package policy\ndefault allow = true\n";

/// A desk with the administrator's key, and a broker that knows it as Trustee's own compose file has it.
async fn office() -> (Desk, DevKeyBroker) {
    let desk = Desk::new();
    desk.write("admin.pem", ADMIN_KEY);
    (desk, broker(administrator()).await)
}

fn administrator() -> Administrator {
    let key = EdDsaSigningKey::from_pkcs8_pem(ADMIN_KEY).unwrap();
    Administrator::new(VerifyingKey::from_jwk(&key.public_jwk()).unwrap())
}

async fn broker(administrator: Administrator) -> DevKeyBroker {
    let access = AdminAccess::Key(administrator);
    DevKeyBroker::builder().admin(access).start().await.unwrap()
}

fn at(broker: &DevKeyBroker) -> String {
    format!("--kbs-url {} --kbs-http", broker.url())
}

fn uri() -> ResourceUri {
    "kbs:///default/key/one".parse().unwrap()
}

#[tokio::test]
async fn resources_are_set_and_deleted() {
    let (desk, broker) = office().await;
    let by_key = format!("{} --admin-key @admin.pem", at(&broker));
    desk.write("key", [7; 32]);
    let set = format!("kbs set-resource default/key/one @key {by_key}");
    let ended = desk.run(&set).await.done();
    assert_eq!(ended.text(), "set kbs:///default/key/one: 32 bytes\n");
    assert_eq!(broker.resource(&uri()).unwrap(), [7; 32]);

    let piped = format!("kbs set-resource kbs:///default/key/one - --json {by_key}");
    let seen = Seen {
        stdin: b"from a pipe",
        ..Seen::default()
    };
    let said = desk.run_seeing(&piped, seen).await.done().json();
    assert_eq!(
        said,
        json!({ "resource": "kbs:///default/key/one", "bytes": 11 })
    );
    assert_eq!(broker.resource(&uri()).unwrap(), b"from a pipe");

    let delete = format!("kbs delete-resource kbs:///default/key/one {by_key}");
    let ended = desk.run(&delete).await.done();
    assert_eq!(ended.text(), "deleted kbs:///default/key/one\n");
    assert_eq!(broker.resource(&uri()), None);
    let again = desk.run(&format!("{delete} --json")).await;
    assert_eq!(again.error()["code"], "kbs-not-found");
    assert_eq!(again.exit, ExitCode::Failed);
}

#[tokio::test]
async fn what_a_vm_says_of_itself_is_registered() {
    let (desk, broker) = office().await;
    let by_key = format!("{} --admin-key @admin.pem", at(&broker));
    // In the form in which `detect --json` prints it.
    let values = json!({ "snp_launch_measurement": ["00ff"], "snp_bootloader": [3] });
    let detected = json!({ "tee": "snp", "missing": [], "reference_values": values });
    desk.write("detect.json", detected.to_string());
    let register = format!("kbs register-reference-values @detect.json {by_key}");
    desk.run(&register).await.done();
    for (name, value) in values.as_object().unwrap() {
        assert_eq!(broker.reference_value(name).as_ref(), Some(value));
    }
    assert_eq!(broker.reference_value("tee"), None);
    let nothing = json!({ "tee": null, "reference_values": null });
    desk.write("detect.json", nothing.to_string());
    assert_eq!(desk.run(&register).await.exit, ExitCode::Usage);
}

#[tokio::test]
async fn policies_and_reference_values_are_set() {
    let (desk, broker) = office().await;
    let by_key = format!("{} --admin-key @admin.pem", at(&broker));
    desk.write("allow.rego", ALLOW_ALL);
    desk.write("odd.rego", "package policy\nallow if input.x == 1\n");
    desk.write(
        "values.toml",
        "snp_launch_measurement = [\"00ff\"]\nsnp_bootloader = 3\n",
    );

    let set = format!("kbs set-resource-policy @allow.rego {by_key}");
    let ended = desk.run(&set).await.done();
    assert!(ended.text().contains("every resource"), "{ended:?}");
    let odd = format!("kbs set-resource-policy @odd.rego {by_key}");
    desk.run(&odd).await.refused(ExitCode::Failed, "no Rego");
    let get = format!("kbs get-resource-policy {by_key}");
    assert_eq!(
        desk.run(&get).await.done().text(),
        "[\"resource-policy\"]\n"
    );
    let said = desk.run(&format!("{get} --json")).await.done().json();
    assert_eq!(said, json!({ "resource_policy": ["resource-policy"] }));

    let set = format!("kbs set-attestation-policy @odd.rego --id default_gpu --json {by_key}");
    let said = desk.run(&set).await.done().json();
    assert_eq!(said["attestation_policy"], "default_gpu");
    let kept = broker.attestation_policy("default_gpu").unwrap();
    assert_eq!(
        kept.as_bytes(),
        std::fs::read(desk.path("odd.rego")).unwrap()
    );
    assert_eq!(broker.attestation_policy("default_cpu"), None);

    let register = format!("kbs register-reference-values @values.toml {by_key}");
    let ended = desk.run(&register).await.done();
    assert!(ended.text().contains("snp_launch_measurement"), "{ended:?}");
    let registered = broker.reference_value("snp_launch_measurement");
    assert_eq!(registered, Some(json!(["00ff"])));
    let shared = format!(
        "[snp]\nmeasurements = [\"{0}\"]\nid_keys = [\"{0}\"]\n",
        "5a".repeat(48)
    );
    desk.write("values.toml", &shared);
    let ended = desk.run(&register).await.done();
    assert_eq!(ended.text(), "registered snp_launch_measurement\n");
    assert!(ended.stderr.contains("not registered"), "{ended:?}");
    let said = desk.run(&format!("{register} --json")).await.done().json();
    assert_eq!(said["complete"], false);
    desk.write("values.toml", "[other]\na = 1\n");
    desk.run(&register)
        .await
        .refused(ExitCode::Usage, "other is no reference value");
    desk.write("values.toml", [0xff]);
    desk.run(&register).await.refused(ExitCode::Usage, "UTF-8");
}

#[tokio::test]
async fn a_token_from_elsewhere_serves_until_it_ends() {
    let (desk, broker) = office().await;
    let key = EdDsaSigningKey::from_pkcs8_pem(ADMIN_KEY).unwrap();
    let now = SystemClock.now().duration_since(std::time::UNIX_EPOCH);
    let signed = |exp: u64| {
        let claims = json!({ "iss": "TrusteeInDocker", "sub": "admin", "aud": ["KBS"],
                             "role": "admin", "iat": 1, "exp": exp });
        let payload = claims.to_string();
        key.sign_compact(&Map::new(), payload.as_bytes()).unwrap() + "\n"
    };
    desk.write("good", signed(now.unwrap().as_secs() + 3600));
    desk.write("old", signed(1000));
    desk.write("opaque", "a password");
    let set = |token: &str| {
        format!(
            "kbs delete-resource default/key/one {} --admin-token-file @{token}",
            at(&broker)
        )
    };
    broker.set_resource(&uri(), b"x");
    desk.run(&set("good")).await.done();
    desk.run(&set("old"))
        .await
        .refused(ExitCode::Failed, "ended at 1970-01-01T00:16:40Z");
    desk.run(&set("opaque"))
        .await
        .refused(ExitCode::Usage, "opaque");
    desk.run(&set("absent"))
        .await
        .refused(ExitCode::Usage, "absent");
    assert_eq!(broker.counts().admin, 2);
}

#[tokio::test]
async fn what_the_key_broker_may_have_minded_is_said() {
    let (desk, _) = office().await;
    let mut strict = administrator();
    strict.audience = Some("its-kbs".to_owned());
    strict.role = "owner".to_owned();
    strict.issuer = Some("mine".to_owned());
    let broker = broker(strict).await;
    desk.write("key", [7; 32]);
    let set = |options: &str| {
        format!(
            "kbs set-resource default/key/one @key {} --admin-key @admin.pem {options}",
            at(&broker)
        )
    };
    for (options, words) in [
        ("", "the issuer (\"TrusteeInDocker\")"),
        ("--admin-issuer mine", "the audience (\"KBS\")"),
        (
            "--admin-issuer mine --admin-audience its-kbs",
            "the role (\"admin\")",
        ),
        (
            "--admin-issuer other --admin-audience its-kbs --admin-role owner",
            "the issuer (\"other\")",
        ),
    ] {
        desk.run(&set(options))
            .await
            .refused(ExitCode::Failed, words);
        assert_eq!(broker.resource(&uri()), None);
    }
    let right = "--admin-issuer mine --admin-audience its-kbs --admin-role owner";
    desk.run(&set(right)).await.done();

    let nameless = format!(
        "kbs set-resource default/key/one @key {} --no-admin-token",
        at(&broker)
    );
    desk.run(&nameless)
        .await
        .refused(ExitCode::Failed, "no administrator's token was sent");
}

#[tokio::test]
async fn an_open_key_broker_wants_no_token() {
    let desk = Desk::new();
    let broker = DevKeyBroker::start().await.unwrap();
    desk.write("key", [7; 32]);
    let line = format!("kbs set-resource default/key/one @key {}", at(&broker));
    desk.run(&line).await.misused("--admin-key");
    desk.run(&format!("{line} --no-admin-token")).await.done();
    assert_eq!(broker.resource(&uri()).unwrap(), [7; 32]);
}

#[tokio::test]
async fn nothing_empty_is_sent() {
    let (desk, broker) = office().await;
    let by_key = format!("{} --admin-key @admin.pem", at(&broker));
    desk.write("nothing", "");
    desk.write("blank", " \n");
    for line in [
        "set-resource default/key/one @nothing",
        "set-resource-policy @nothing",
        "set-resource-policy @blank",
        "set-attestation-policy @blank --id default_cpu",
        "register-reference-values @nothing",
    ] {
        let ended = desk.run(&format!("kbs {line} {by_key}")).await;
        ended.refused(ExitCode::Usage, "it is empty");
    }
    assert_eq!(broker.counts().admin, 0);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_wrong_usage() {
    let (desk, broker) = office().await;
    desk.write("key", [7; 32]);
    let set = "kbs set-resource default/key/one @key";
    desk.run(set).await.misused("--kbs-url");
    let both = format!(
        "{set} {} --admin-key @admin.pem --no-admin-token",
        at(&broker)
    );
    desk.run(&both).await.misused("cannot be used with");
    for other in ["--no-admin-token", "--admin-token-file @key"] {
        for claim in ["--admin-issuer", "--admin-audience", "--admin-role"] {
            let line = format!("{set} {} {other} {claim} x", at(&broker));
            desk.run(&line).await.misused("cannot be used with");
        }
    }
    let claim = format!("{set} {} --admin-role x", at(&broker));
    desk.run(&claim).await.misused("--admin-key");
    let plain = format!("{set} --kbs-url {} --admin-key @admin.pem", broker.url());
    desk.run(&plain)
        .await
        .refused(ExitCode::Usage, "plain http");
    let no_key = format!("{set} {} --admin-key @key", at(&broker));
    desk.run(&no_key).await.refused(ExitCode::Usage, "key");
    for path in ["default/key", "kbs://", "a/b/c/d", "a/../c"] {
        let line = format!(
            "kbs delete-resource {path} {} --no-admin-token",
            at(&broker)
        );
        desk.run(&line).await.misused("REPOSITORY/TYPE/TAG");
    }
    let elsewhere = format!(
        "kbs delete-resource kbs://elsewhere/a/b/c {} --no-admin-token",
        at(&broker)
    );
    let ended = desk.run(&format!("{elsewhere} --json")).await;
    assert_eq!(ended.error()["code"], "kbs-foreign-host");
    assert_eq!(broker.counts().admin, 0);
}
