//! The real administrator's client.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proplet_jose::jws::{EdDsaSigningKey, VerifyingKey};
use proplet_kbs::admin::{AdminAuth, AdminClient, AdminKey};
use proplet_kbs::{KbsClient, KbsError};
use proplet_types::ResourceUri;
use serde_json::{Map, json};

use crate::kbs::{AdminAccess, Administrator, DevKeyBroker, Policy, TestClock};
use crate::tee::FakeSnp;

/// The test vector of RFC 8410 section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";

fn uri() -> ResourceUri {
    "kbs:///default/key/one".parse().unwrap()
}

fn key() -> AdminKey {
    AdminKey::from_pem(KEY).unwrap()
}

fn administrator() -> Administrator {
    let key = EdDsaSigningKey::from_pkcs8_pem(KEY).unwrap();
    Administrator::new(VerifyingKey::from_jwk(&key.public_jwk()).unwrap())
}

async fn broker(administrator: Administrator) -> DevKeyBroker {
    let access = AdminAccess::Key(administrator);
    DevKeyBroker::builder().admin(access).start().await.unwrap()
}

/// The code of what a TEE gets: empty for the resource.
async fn outcome(broker: &DevKeyBroker) -> &'static str {
    let client = KbsClient::new(broker.config(), Arc::new(FakeSnp::new())).unwrap();
    match client.resource(&uri()).await {
        Ok(_) => "",
        Err(error) => error.code().as_str(),
    }
}

#[tokio::test]
async fn the_owner_administers() {
    let broker = broker(administrator()).await;
    let admin = |auth| AdminClient::new(broker.config(), auth).unwrap();
    let owner = admin(AdminAuth::Key(key()));

    owner.set_resource(&uri(), b"the resource").await.unwrap();
    assert_eq!(
        broker.resource(&uri()).as_deref(),
        Some(&b"the resource"[..])
    );
    assert_eq!(outcome(&broker).await, "");
    owner
        .set_resource_policy("package policy\n\ndefault allow = false\n")
        .await
        .unwrap();
    assert_eq!(outcome(&broker).await, "kbs-denied");
    owner
        .set_resource_policy("package policy\ndefault allow = true")
        .await
        .unwrap();
    assert_eq!(outcome(&broker).await, "");
    let rego = "package policy\nallow if input.x == 1";
    assert!(
        owner.set_resource_policy(rego).await.is_err(),
        "it is not evaluated"
    );
    owner.delete_resource(&uri()).await.unwrap();
    assert_eq!(
        owner.delete_resource(&uri()).await.unwrap_err().code(),
        "kbs-not-found"
    );
    assert_eq!(outcome(&broker).await, "kbs-not-found");

    let stranger = AdminKey::new(EdDsaSigningKey::generate().unwrap());
    for auth in [AdminAuth::None, AdminAuth::Key(stranger)] {
        let error = admin(auth).set_resource(&uri(), b"x").await.unwrap_err();
        assert_eq!(error.code(), "kbs-admin-refused");
    }
}

/// What is wrong with a token is refused, and named as what it may have been.
#[tokio::test]
async fn each_claim_of_a_token_counts() {
    async fn refusal(broker: &DevKeyBroker, key: AdminKey, clock: SystemTime) -> String {
        let admin = AdminClient::new(broker.config(), AdminAuth::Key(key)).unwrap();
        let admin = admin.with_clock(Arc::new(TestClock::new(clock)));
        let error = admin.set_resource(&uri(), b"x").await.unwrap_err();
        assert!(matches!(error, KbsError::AdminRefused { .. }), "{error}");
        assert_eq!(broker.resource(&uri()), None);
        error.to_string()
    }
    let now = SystemTime::now();
    let mut strict = administrator();
    strict.audience = Some("KBS".to_owned());
    let strict = broker(strict).await;

    let mut other = key();
    other.issuer = "proplet".to_owned();
    let words = refusal(&strict, other, now).await;
    assert!(words.contains("the issuer (\"proplet\")"), "{words}");
    assert!(words.contains("TrusteeInDocker"), "{words}");

    let mut other = key();
    other.audience = "kbs".to_owned();
    let words = refusal(&strict, other, now).await;
    assert!(words.contains("the audience (\"kbs\")"), "{words}");

    let mut other = key();
    other.role = "owner".to_owned();
    let words = refusal(&strict, other, now).await;
    assert!(words.contains("the role (\"owner\")"), "{words}");
    assert!(!words.contains("the issuer ("), "{words}");

    // The owner's clock is an hour behind the broker's: only the two together tell.
    let words = refusal(&strict, key(), now - Duration::from_secs(3600)).await;
    assert!(words.contains("clocks"), "{words}");

    let words = refusal(
        &strict,
        AdminKey::new(EdDsaSigningKey::generate().unwrap()),
        now,
    )
    .await;
    assert!(words.contains("public_key_uri"), "{words}");
    // As Trustee's own compose file has it, this one is good.
    let admin = AdminClient::new(strict.config(), AdminAuth::Key(key())).unwrap();
    admin.set_resource(&uri(), b"x").await.unwrap();
}

#[tokio::test]
async fn an_old_token_is_called_old() {
    let key = EdDsaSigningKey::from_pkcs8_pem(KEY).unwrap();
    let claims = json!({ "iss": "TrusteeInDocker", "aud": ["KBS"], "role": "admin", "exp": 1000 });
    let token = key
        .sign_compact(&Map::new(), claims.to_string().as_bytes())
        .unwrap();
    let broker = broker(administrator()).await;
    let auth = AdminAuth::token(&token).unwrap();
    let admin = AdminClient::new(broker.config(), auth).unwrap();
    let error = admin.delete_resource(&uri()).await.unwrap_err();
    assert_eq!(error.code(), "kbs-admin-refused");
    assert!(
        error.to_string().contains("ended at 1970-01-01T00:16:40Z"),
        "{error}"
    );
    assert!(!error.to_string().contains(&token), "{error}");
}

#[tokio::test]
async fn nobody_is_nobody() {
    let builder = DevKeyBroker::builder().admin(AdminAccess::Nobody);
    let broker = builder.start().await.unwrap();
    for auth in [AdminAuth::None, AdminAuth::Key(key())] {
        let admin = AdminClient::new(broker.config(), auth).unwrap();
        let error = admin.set_resource(&uri(), b"x").await.unwrap_err();
        assert_eq!(error.code(), "kbs-admin-refused");
        assert!(error.to_string().contains("authorization_mode"), "{error}");
    }
}

#[tokio::test]
async fn reference_values_and_attestation_policies_are_set() {
    let broker = broker(administrator()).await;
    broker.set_resource(&uri(), b"x");
    broker.set_policy(Policy::predicate(|request| request.is_affirming()));
    assert_eq!(outcome(&broker).await, "kbs-denied");

    let admin = AdminClient::new(broker.config(), AdminAuth::Key(key())).unwrap();
    let measurement = hex::encode(FakeSnp::MEASUREMENT);
    let values = Map::from_iter([
        (
            "snp_launch_measurement".to_owned(),
            json!(["00", measurement]),
        ),
        ("snp_bootloader".to_owned(), json!([3])),
    ]);
    admin.register_reference_values(&values).await.unwrap();
    assert_eq!(broker.reference_value("snp_bootloader"), Some(json!([3])));
    assert_eq!(outcome(&broker).await, "");

    let rego = "package policy\ndefault executables = 3\n";
    admin
        .set_attestation_policy("default_cpu", rego)
        .await
        .unwrap();
    assert_eq!(
        broker.attestation_policy("default_cpu").as_deref(),
        Some(rego)
    );
    let error = admin.set_attestation_policy("", rego).await.unwrap_err();
    assert_eq!(error.code(), "kbs-unavailable");
    let policies = admin.resource_policy().await.unwrap();
    assert_eq!(policies, "[\"resource-policy\"]");

    let stranger = AdminKey::new(EdDsaSigningKey::generate().unwrap());
    let stranger = AdminClient::new(broker.config(), AdminAuth::Key(stranger)).unwrap();
    for refused in [
        stranger.register_reference_values(&values).await,
        stranger.set_attestation_policy("default_cpu", rego).await,
        stranger.resource_policy().await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().code(), "kbs-admin-refused");
    }
}
