//! The test vectors of `docs/formats.md`, in `tests/vectors`.
//!
//! They are put together here from primitives with fixed keys, ephemeral keys and nonces, apart from the
//! code that seals and signs, and compared byte for byte with the committed files. Then the crate reads
//! them. With `PROPLET_WRITE_VECTORS=1` the files are written anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use proplet_hal::verify::TrustPolicy;
use proplet_jose::jwk::PrivateKey;
use proplet_jose::{aes_kw, b64, concat_kdf, jcs};
use proplet_results::claims::{Claims, EAT_PROFILE};
use proplet_results::digest::{of_arguments, of_environment, of_inputs};
use proplet_results::failure::Failure;
use proplet_results::verify::Expectations;
use proplet_results::{OpenError, ResultDocument, open};
use proplet_types::Digest;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, SHA512, digest};
use serde_json::{Value, json};

/// 32 fixed bytes that are a private key of either curve.
fn fixed(name: &str) -> [u8; 32] {
    digest(&SHA256, format!("proplet test vector: {name}").as_bytes())
        .as_ref()
        .try_into()
        .unwrap()
}

fn p256_jwk(name: &str) -> Value {
    let secret = p256::SecretKey::from_slice(&fixed(name)).unwrap();
    let point = secret.public_key().to_encoded_point(false);
    json!({
        "kty": "EC", "crv": "P-256", "d": b64::encode(&fixed(name)),
        "x": b64::encode(point.x().unwrap()), "y": b64::encode(point.y().unwrap())
    })
}

fn x25519_jwk(name: &str) -> Value {
    let secret = x25519_dalek::StaticSecret::from(fixed(name));
    let public = x25519_dalek::PublicKey::from(&secret);
    json!({
        "kty": "OKP", "crv": "X25519", "d": b64::encode(&fixed(name)), "x": b64::encode(public.as_bytes())
    })
}

fn public(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().remove("d");
    jwk
}

fn thumbprint(jwk: &Value) -> String {
    b64::encode(digest(&SHA256, jcs::to_string(&public(jwk)).unwrap().as_bytes()).as_ref())
}

fn sha256(value: &Value) -> String {
    let bytes = jcs::to_string(value).unwrap();
    format!("sha256:{}", hex(digest(&SHA256, bytes.as_bytes()).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_bytes(jwk: &Value, name: &str) -> Vec<u8> {
    b64::decode(jwk[name].as_str().unwrap()).unwrap()
}

/// Shared secret of a recipient and an ephemeral key.
fn agree(recipient: &Value, ephemeral: &Value) -> Vec<u8> {
    let d: [u8; 32] = key_bytes(ephemeral, "d").try_into().unwrap();
    if recipient["crv"] == "X25519" {
        let u: [u8; 32] = key_bytes(recipient, "x").try_into().unwrap();
        return x25519_dalek::x25519(d, u).to_vec();
    }
    let sec1 = [
        vec![4],
        key_bytes(recipient, "x"),
        key_bytes(recipient, "y"),
    ]
    .concat();
    let peer = p256::PublicKey::from_sec1_bytes(&sec1).unwrap();
    let secret = p256::SecretKey::from_slice(&d).unwrap();
    p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), peer.as_affine())
        .raw_secret_bytes()
        .to_vec()
}

/// A JWE with its ingredients. `to` pairs recipients with ephemeral keys.
fn sealed(content: &[u8], media_type: &str, to: &[(Value, Value)], seed: &str) -> Value {
    let cek = fixed(&format!("{seed} content key"));
    let iv: [u8; 12] = fixed(&format!("{seed} iv"))[..12].try_into().unwrap();
    let mut header = json!({
        "alg": "ECDH-ES+A256KW", "enc": "A256GCM", "typ": "proplet-result+jwe"
    });
    let mut steps = Vec::new();
    let mut recipients = Vec::new();
    for (recipient, ephemeral) in to {
        let z = agree(recipient, ephemeral);
        let kek = concat_kdf(&z, "ECDH-ES+A256KW", b"", b"", 32).unwrap();
        let wrapped = aes_kw::wrap(kek.as_slice().try_into().unwrap(), &cek).unwrap();
        steps.push(json!({
            "recipient": recipient, "ephemeral": ephemeral, "kid": thumbprint(recipient),
            "z": hex(&z), "kek": hex(&kek)
        }));
        recipients.push(json!({
            "encrypted_key": b64::encode(&wrapped),
            "header": {"epk": public(ephemeral), "kid": thumbprint(recipient)}
        }));
    }
    let mut jwe = json!({});
    if let [only] = recipients.as_slice() {
        header["epk"] = only["header"]["epk"].clone();
        header["kid"] = only["header"]["kid"].clone();
        jwe["encrypted_key"] = only["encrypted_key"].clone();
    } else {
        jwe["recipients"] = recipients.into();
    }
    let header = jcs::to_string(&header).unwrap();
    let protected = b64::encode(header.as_bytes());
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cek).unwrap());
    let mut frame = vec![u8::try_from(media_type.len()).unwrap()];
    frame.extend_from_slice(media_type.as_bytes());
    frame.extend_from_slice(content);
    let mut ciphertext = frame.clone();
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::from(protected.as_bytes()),
            &mut ciphertext,
        )
        .unwrap();
    jwe["protected"] = protected.into();
    jwe["iv"] = b64::encode(&iv).into();
    jwe["ciphertext"] = b64::encode(&ciphertext).into();
    jwe["tag"] = b64::encode(tag.as_ref()).into();
    json!({
        "media_type": media_type, "content": String::from_utf8(content.to_vec()).unwrap(),
        "plaintext": hex(&frame), "content_key": hex(&cek),
        "recipients": steps, "protected_header": header, "digest": sha256(&jwe), "jwe": jwe
    })
}

fn instance_claims() -> Value {
    json!({
        "eat_profile": EAT_PROFILE,
        "eat_nonce": b64::encode(&fixed("instance nonce")),
        "kind": "instance",
        "settings_digest": Digest::of(b"settings"),
        "cnf": thumbprint(&p256_jwk("receipt key")),
        "attester": "sample",
    })
}

fn workload_claims() -> Value {
    json!({
        "eat_profile": EAT_PROFILE,
        "eat_nonce": b64::encode(b"a challenge of the relying party"),
        "kind": "workload",
        "settings_digest": Digest::of(b"settings"),
        "cnf": thumbprint(&p256_jwk("receipt key")),
        "attester": "sample",
        "component_digest": Digest::of(b"component"),
        "image_digest": Digest::of(b"image"),
        "policy_digest": Digest::of(b"policy"),
        "task_id": "3f0b9c1e-6a55-4c0e-9a43-0d1f2a7b6c58",
    })
}

fn claims_vector(claims: &Value) -> Value {
    let canonical = jcs::to_string(claims).unwrap();
    let report_data = digest(&SHA512, canonical.as_bytes());
    json!({
        "claims": claims, "canonical": canonical, "report_data": hex(report_data.as_ref()),
        "bundle": bundle(claims), "bundle_digest": sha256(&bundle(claims))
    })
}

fn bundle(claims: &Value) -> Value {
    let canonical = jcs::to_string(claims).unwrap();
    let report_data = STANDARD.encode(digest(&SHA512, canonical.as_bytes()));
    json!({"tee": "sample", "evidence": {"svn": "1", "report_data": report_data}, "claims": claims})
}

fn receipt_vector(outcome: &str, sealed: &Value) -> Value {
    let key = p256_jwk("receipt key");
    let header = json!({"alg": "ES256", "jwk": public(&key), "typ": "proplet-receipt+jws"});
    let recipients: Vec<&Value> = sealed["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["kid"])
        .collect();
    let payload = json!({
        "task_id": "3f0b9c1e-6a55-4c0e-9a43-0d1f2a7b6c58",
        "sequence": 1,
        "outcome": outcome,
        "component_digest": Digest::of(b"component"),
        "image_digest": Digest::of(b"image"),
        "policy_digest": Digest::of(b"policy"),
        "settings_digest": Digest::of(b"settings"),
        "attester": "sample",
        "export": "run",
        "arguments_digest": sha256(&json!(["--invoke", "run"])),
        "environment_digest": sha256(&json!({})),
        "inputs_digest": sha256(&json!(["10", "a \"quoted\" one"])),
        "result_digest": sealed["digest"],
        "recipients": recipients,
        "limits": {"cpu_ms": 60_000, "memory_bytes": 536_870_912},
        "untrusted_start": "2026-11-22T09:33:20.123Z",
        "untrusted_finish": "2026-11-22T09:33:21Z",
        "audit_head": hex(&fixed("audit head")),
        "evidence_digest": sha256(&bundle(&instance_claims())),
    });
    let header = jcs::to_string(&header).unwrap();
    let payload = jcs::to_string(&payload).unwrap();
    let input = format!(
        "{}.{}",
        b64::encode(header.as_bytes()),
        b64::encode(payload.as_bytes())
    );
    let signer = p256::ecdsa::SigningKey::from_slice(&fixed("receipt key")).unwrap();
    let signature: p256::ecdsa::Signature = signer.sign(input.as_bytes());
    json!({
        "key": key, "thumbprint": thumbprint(&key), "header": header, "payload": payload,
        "receipt": format!("{input}.{}", b64::encode(&signature.to_bytes()))
    })
}

fn document(sealed: &Value, receipt: &Value) -> Value {
    json!({
        "jwe": sealed["jwe"], "receipt": receipt["receipt"], "evidence": bundle(&instance_claims())
    })
}

/// Every vector by its file's name.
fn vectors() -> BTreeMap<&'static str, Value> {
    let owner = (p256_jwk("owner"), p256_jwk("ephemeral for owner"));
    let auditor = (x25519_jwk("auditor"), x25519_jwk("ephemeral for auditor"));
    let one = sealed(
        b"{\"sum\":30}",
        "application/json",
        std::slice::from_ref(&owner),
        "one",
    );
    let two = sealed(
        b"sealed for two",
        "text/plain; charset=utf-8",
        &[owner.clone(), auditor],
        "two",
    );
    let failure =
        json!({"error": "wasm trap: integer divide by zero", "stderr": "input 7 is zero\n"});
    let failure = sealed(
        failure.to_string().as_bytes(),
        "application/vnd.proplet.failure+json",
        &[owner],
        "failure",
    );
    let receipts = [
        receipt_vector("completed", &one),
        receipt_vector("completed", &two),
        receipt_vector("failed", &failure),
    ];
    let digests = json!({
        "component": {"bytes_hex": hex(b"component"), "digest": Digest::of(b"component")},
        "inputs": {"inputs": ["10", "a \"quoted\" one"], "digest": sha256(&json!(["10", "a \"quoted\" one"]))},
        "no_inputs": {"inputs": [], "digest": sha256(&json!([]))},
        "arguments": {"cli_args": ["--invoke", "run"], "digest": sha256(&json!(["--invoke", "run"]))},
        "environment": {
            "env": {"b": "2", "\u{e9}": "1", "B": ""},
            "canonical": "{\"B\":\"\",\"b\":\"2\",\"\u{e9}\":\"1\"}",
            "digest": sha256(&json!({"b": "2", "\u{e9}": "1", "B": ""}))
        },
    });
    BTreeMap::from([
        ("claims-instance.json", claims_vector(&instance_claims())),
        ("claims-workload.json", claims_vector(&workload_claims())),
        ("digests.json", digests),
        ("document-failure.json", document(&failure, &receipts[2])),
        ("document-one.json", document(&one, &receipts[0])),
        ("document-two.json", document(&two, &receipts[1])),
        ("receipt.json", receipts[0].clone()),
        ("sealed-failure.json", failure),
        ("sealed-one.json", one),
        ("sealed-two.json", two),
    ])
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}

fn committed(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

#[test]
fn committed_vectors_are_the_generated_ones() {
    for (name, vector) in vectors() {
        let text = format!("{}\n", serde_json::to_string_pretty(&vector).unwrap());
        if std::env::var_os("PROPLET_WRITE_VECTORS").is_some() {
            std::fs::write(path(name), &text).unwrap();
        }
        assert_eq!(committed(name), vector, "{name}");
    }
}

#[test]
fn claims_come_out_the_same() {
    for name in ["claims-instance.json", "claims-workload.json"] {
        let vector = committed(name);
        let claims = Claims::from_members(vector["claims"].as_object().unwrap()).unwrap();
        assert_eq!(json!(claims.to_members()), vector["claims"]);
        assert_eq!(claims.to_jcs().unwrap(), vector["canonical"]);
        assert_eq!(
            hex(claims.report_data().unwrap().as_bytes()),
            vector["report_data"]
        );
        let bundle: proplet_results::EvidenceBundle = vector["bundle"].to_string().parse().unwrap();
        assert_eq!(
            bundle.digest().unwrap().to_string(),
            vector["bundle_digest"]
        );
    }
}

#[test]
fn digests_come_out_the_same() {
    let vector = committed("digests.json");
    let strings = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    for name in ["inputs", "no_inputs"] {
        let digest = of_inputs(&strings(&vector[name]["inputs"])).unwrap();
        assert_eq!(digest.to_string(), vector[name]["digest"]);
    }
    let digest = of_arguments(&strings(&vector["arguments"]["cli_args"])).unwrap();
    assert_eq!(digest.to_string(), vector["arguments"]["digest"]);
    let env: BTreeMap<String, String> =
        serde_json::from_value(vector["environment"]["env"].clone()).unwrap();
    assert_eq!(
        jcs::to_string(&env).unwrap(),
        vector["environment"]["canonical"]
    );
    assert_eq!(
        of_environment(&env).unwrap().to_string(),
        vector["environment"]["digest"]
    );
}

#[test]
fn documents_open_for_each_recipient() {
    let trust = TrustPolicy::hardware()
        .unwrap()
        .accepting_sample_evidence_that_proves_nothing();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_340_001);
    for name in ["one", "two", "failure"] {
        let text = committed(&format!("document-{name}.json")).to_string();
        let document = ResultDocument::from_text(&text).unwrap();
        let vector = committed(&format!("sealed-{name}.json"));
        assert_eq!(document.jwe_digest().unwrap().to_string(), vector["digest"]);
        for recipient in vector["recipients"].as_array().unwrap() {
            let key = PrivateKey::from_jwk(&recipient["recipient"]).unwrap();
            let opened = open(
                &document,
                &key,
                &trust,
                &Expectations::of_any_measurement(),
                now,
            )
            .unwrap();
            let content = vector["content"].as_str().unwrap();
            assert_eq!(opened.content.as_slice(), content.as_bytes());
            assert_eq!(opened.media_type, vector["media_type"]);
            let failure = Failure::from_json(content.as_bytes()).ok();
            assert_eq!(opened.failure(), failure.filter(|_| name == "failure"));
        }
        let stranger = PrivateKey::generate_p256().unwrap();
        let refused = open(
            &document,
            &stranger,
            &trust,
            &Expectations::of_any_measurement(),
            now,
        );
        assert!(matches!(refused, Err(OpenError::Decrypt(_))));
    }
}
