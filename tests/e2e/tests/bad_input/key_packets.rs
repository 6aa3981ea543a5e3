//! Bad encryption annotations and keys: a registry can change every annotation, since nothing but the
//! wrapped key is authenticated.

use proplet_image::{media, ocicrypt};
use proplet_lab::workload::EncryptedComponent;
use proplet_testkit::broker::Task;
use proplet_types::Digest;
use serde_json::{Value, json};

use crate::scene::{Scene, adder, base64};

const LAYOUT: &str = "image-layout";
const KEY: &str = "image-key-mismatch";
const PUBOPTS: &str = ocicrypt::PUBOPTS_ANNOTATION;

/// An encrypted image that can be changed: its manifest, key packet and public options.
struct Draft {
    workload: EncryptedComponent,
    manifest: Value,
    packet: Value,
    options: Value,
}

impl Draft {
    /// Encrypts under a fresh key, which the key broker has.
    fn new(scene: &Scene) -> Self {
        let key_id = format!("kbs:///default/key/{}", scene.fresh("key"));
        let workload =
            EncryptedComponent::encrypt(&adder(), None, key_id.parse().unwrap()).unwrap();
        let broker = &scene.services.key_broker;
        broker.set_resource(&workload.key_id, workload.key.as_ref());
        let manifest: Value = serde_json::from_slice(workload.image.manifest_bytes()).unwrap();
        let annotations = &manifest["layers"][0]["annotations"];
        let json = |name: &str| {
            use base64::Engine as _;
            let text = annotations[name].as_str().unwrap();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .unwrap();
            serde_json::from_slice(&bytes).unwrap()
        };
        Self {
            packet: json(&provider()),
            options: json(PUBOPTS),
            manifest,
            workload,
        }
    }

    fn annotate(&mut self, name: &str, value: &str) {
        self.manifest["layers"][0]["annotations"][name] = json!(value);
    }

    /// Puts the image there with packet and options as they are now.
    fn put(mut self, scene: &Scene) -> String {
        self.annotate(&provider(), &base64(self.packet.to_string().as_bytes()));
        self.annotate(PUBOPTS, &base64(self.options.to_string().as_bytes()));
        self.put_as_annotated(scene)
    }

    fn put_as_annotated(self, scene: &Scene) -> String {
        let image = &self.workload.image;
        scene.put(&self.manifest, &[image.config(), image.layer()])
    }
}

fn provider() -> String {
    format!(
        "{}{}",
        ocicrypt::PROVIDER_ANNOTATION_PREFIX,
        ocicrypt::KEY_PROVIDER
    )
}

fn encrypted(scene: &Scene, image: &str) -> Task {
    Task::encrypted(&scene.fresh("encrypted"), "add", image)
}

/// Text with its first character replaced by another of the same alphabet.
fn flipped(text: &Value) -> Value {
    let text = text.as_str().unwrap();
    let first = if text.starts_with('A') { "B" } else { "A" };
    json!(format!("{first}{}", &text[1..]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_a_key_packet_is_checked() {
    let scene = Scene::set("").await;
    let draft = Draft::new(&scene);
    let elsewhere = Draft::new(&scene);
    assert_eq!(
        scene.served("a good draft", &elsewhere.put(&scene)).await,
        b"30"
    );
    let other_key = Draft::new(&scene).packet["kid"].clone();
    let wrapped = draft.packet["wrapped_data"].as_str().unwrap().to_owned();
    let iv_of_16 = base64(&[7; 16]);
    for (member, value, expected) in [
        ("kid", json!(null), LAYOUT),
        ("kid", json!(5), LAYOUT),
        ("kid", json!(""), LAYOUT),
        ("kid", json!("default/key/x"), LAYOUT),
        ("kid", json!("kbs:///default/key"), LAYOUT),
        ("kid", json!("kbs:///default/key/x/y"), LAYOUT),
        ("kid", json!("kbs:///../../admin"), LAYOUT),
        ("kid", json!("kbs:///default/key/x?role=admin"), LAYOUT),
        ("kid", json!("http://127.0.0.1:1/default/key/x"), LAYOUT),
        (
            "kid",
            json!(format!("kbs:///default/key/{}", "k".repeat(100_000))),
            LAYOUT,
        ),
        ("kid", json!("kbs:///default/key/nobodys"), "kbs-not-found"),
        ("kid", json!("kbs://evil.example/default/key/x"), KEY),
        ("kid", other_key, KEY),
        ("wrapped_data", json!(""), KEY),
        ("wrapped_data", json!("%%%"), LAYOUT),
        ("wrapped_data", json!([1, 2]), LAYOUT),
        (
            "wrapped_data",
            json!(&wrapped[..wrapped.len() / 8 * 4]),
            KEY,
        ),
        ("wrapped_data", flipped(&draft.packet["wrapped_data"]), KEY),
        ("wrapped_data", json!(base64(&vec![0; 1 << 20])), KEY),
        ("iv", json!(null), LAYOUT),
        ("iv", json!("AAAA"), LAYOUT),
        ("iv", json!(iv_of_16), LAYOUT),
        ("iv", flipped(&draft.packet["iv"]), KEY),
        ("wrap_type", json!(null), LAYOUT),
        ("wrap_type", json!("A128GCM"), LAYOUT),
        ("wrap_type", json!("none"), LAYOUT),
        ("wrap_type", json!("A256CTR"), LAYOUT),
        ("version", json!("9"), LAYOUT),
        ("provider", json!("kbs"), LAYOUT),
        ("more", json!(1), LAYOUT),
    ] {
        let mut draft = Draft::new(&scene);
        let mut what = format!("{member} = {value}");
        what.truncate(100);
        draft.packet[member] = value;
        let image = draft.put(&scene);
        scene
            .refused(&what, &encrypted(&scene, &image), expected)
            .await;
    }

    // A key that is wrapped without authentication could be anybody's.
    let mut draft = Draft::new(&scene);
    draft.packet["wrap_type"] = json!("A256CTR");
    draft.packet["iv"] = json!(iv_of_16);
    let task = encrypted(&scene, &draft.put(&scene));
    scene.refused("A256CTR", &task, "image-wrap-refused").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_and_layers_that_do_not_belong_together_are_refused() {
    let scene = Scene::set("").await;
    let foreign_hmac = Draft::new(&scene).options["hmac"].clone();
    for (member, value, expected) in [
        ("hmac", foreign_hmac, "image-hmac-mismatch"),
        ("hmac", json!(""), LAYOUT),
        ("hmac", json!("AAAA"), LAYOUT),
        ("hmac", json!(null), LAYOUT),
        ("cipher", json!("AES_256_CTR"), LAYOUT),
        ("cipher", json!("NULL"), LAYOUT),
        ("cipheroptions", json!({"nonce": "AAAA"}), LAYOUT),
        ("cipheroptions", json!({"symkey": base64(&[0; 32])}), LAYOUT),
        ("symkey", json!(base64(&[0; 32])), LAYOUT),
    ] {
        let mut draft = Draft::new(&scene);
        let what = format!("{member} = {value}");
        draft.options[member] = value;
        let image = draft.put(&scene);
        scene
            .refused(&what, &encrypted(&scene, &image), expected)
            .await;
    }

    for (name, value) in [
        (PUBOPTS, "%"),
        (PUBOPTS, ""),
        (PUBOPTS, "bm9uZQ=="),
        (provider().as_str(), "%"),
        (provider().as_str(), ""),
        (provider().as_str(), "e30="),
        (provider().as_str(), &vec!["e30="; 17].join(",")),
        (provider().as_str(), &base64(&vec![b'['; 100_000])),
    ] {
        let mut draft = Draft::new(&scene);
        draft.annotate(name, value);
        let image = draft.put_as_annotated(&scene);
        let what = format!("{name} = {value:.60}");
        scene
            .refused(&what, &encrypted(&scene, &image), LAYOUT)
            .await;
    }
    for gone in [PUBOPTS, provider().as_str()] {
        let mut draft = Draft::new(&scene);
        let annotations = draft.manifest["layers"][0]["annotations"].as_object_mut();
        annotations.unwrap().remove(gone).unwrap();
        let image = draft.put_as_annotated(&scene);
        scene
            .refused(gone, &encrypted(&scene, &image), LAYOUT)
            .await;
    }

    // Ciphertext that was changed, with all the digests made right again.
    let mut draft = Draft::new(&scene);
    let mut layer = draft.workload.image.layer().to_vec();
    layer[20] ^= 1;
    draft.manifest["layers"][0]["digest"] = json!(Digest::of(&layer).to_string());
    let image = scene.put(&draft.manifest, &[draft.workload.image.config(), &layer]);
    scene
        .refused(
            "ciphertext",
            &encrypted(&scene, &image),
            "image-hmac-mismatch",
        )
        .await;

    // An image that was made a plain one, and a plain image that poses as encrypted.
    let mut draft = Draft::new(&scene);
    draft.manifest["layers"][0]["mediaType"] = json!(media::WASM_LAYER);
    draft.manifest["layers"][0]["annotations"] = json!({});
    let image = draft.put_as_annotated(&scene);
    let task = encrypted(&scene, &image);
    scene
        .refused("without its encryption", &task, "image-not-encrypted")
        .await;
    let draft = Draft::new(&scene);
    let task = Task {
        encrypted: false,
        ..encrypted(&scene, &draft.put(&scene))
    };
    scene
        .refused(
            "an encrypted image as a plain one",
            &task,
            "image-encrypted",
        )
        .await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_none_are_refused() {
    let scene = Scene::set("").await;
    for (what, key) in [
        ("no bytes", Vec::new()),
        ("a short key", vec![1; 16]),
        ("a long key", vec![1; 33]),
        ("another key", vec![1; 32]),
        ("base64 of a key", base64(&[1; 32]).into_bytes()),
        ("a large thing", vec![1; 2 << 20]),
    ] {
        let draft = Draft::new(&scene);
        let (key_id, good) = (draft.workload.key_id.clone(), draft.workload.key.to_vec());
        let broker = &scene.services.key_broker;
        broker.set_resource(&key_id, &key);
        let image = draft.put(&scene);
        let expected = if key.len() > 65_536 {
            "kbs-too-large"
        } else {
            KEY
        };
        scene
            .refused(what, &encrypted(&scene, &image), expected)
            .await;
        // Nothing of the wrong key is remembered.
        broker.set_resource(&key_id, &good);
        assert_eq!(scene.served(what, &image).await, b"30", "{what}");
    }
    for path in [
        "default/key/other",
        "other",
        "../key",
        "kbs://evil.example/default/key/x",
    ] {
        let draft = Draft::new(&scene);
        let task = Task {
            kbs_resource_path: path.into(),
            ..encrypted(&scene, &draft.put(&scene))
        };
        scene.refused(path, &task, KEY).await;
    }
    scene.end().await;
}
