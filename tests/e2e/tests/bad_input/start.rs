//! Bad start messages: from whoever may publish on the channel.

use serde_json::{Value, json};

use crate::scene::{Scene, adder, base64, code, good, with};

const INVALID: &str = "task-invalid";
const ARGUMENTS: &str = "task-arguments";

/// Sends a message and expects this refusal of the task `id`.
async fn refused(scene: &Scene, what: &str, payload: impl AsRef<[u8]>, id: &str, expected: &str) {
    scene.send(payload).await;
    let outcome = scene.answer(id).await;
    assert_eq!(code(what, &outcome), expected, "{what}: {outcome:?}");
    assert_eq!(outcome.results, "", "{what}");
    scene.goes_on().await;
    assert_eq!(scene.answers_so_far(id), 1, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_wrong_types_and_values_are_refused() {
    let scene = Scene::set("").await;
    let long = "x".repeat(3000);
    for (member, value, expected) in [
        ("name", json!(5), INVALID),
        ("name", json!(["add"]), INVALID),
        ("name", json!(""), INVALID),
        ("name", json!(long), INVALID),
        ("file", json!(5), INVALID),
        ("file", json!({"bytes": [0]}), INVALID),
        ("file", json!("%%%"), INVALID),
        ("file", json!("AGFzbQ"), INVALID),
        ("file", json!("AGFz bQ=="), INVALID),
        ("file", json!("_-8="), INVALID),
        ("file", json!(null), INVALID),
        ("file", json!(""), INVALID),
        ("file", json!(base64(b"not wasm")), "component-invalid"),
        ("file", json!(base64(&adder()[..20])), "component-invalid"),
        ("image_url", json!(5), INVALID),
        ("image_url", json!(long), INVALID),
        ("inputs", json!("10"), INVALID),
        ("inputs", json!({"0": "10"}), INVALID),
        ("inputs", json!([true, "20"]), INVALID),
        ("inputs", json!([["10"], "20"]), INVALID),
        ("inputs", json!([null]), INVALID),
        ("inputs", json!(vec!["1"; 5000]), INVALID),
        ("inputs", json!(["ten", "20"]), "arguments-invalid"),
        ("inputs", json!(["10"]), "arguments-invalid"),
        ("inputs", json!([1e300, 20]), "arguments-invalid"),
        ("cli_args", json!("--invoke add"), INVALID),
        ("cli_args", json!([5]), INVALID),
        ("cli_args", json!(["--dir=/"]), ARGUMENTS),
        (
            "cli_args",
            json!(["--dir", "/", "--invoke", "add"]),
            ARGUMENTS,
        ),
        ("cli_args", json!(["-S", "inherit-network"]), ARGUMENTS),
        ("cli_args", json!(["--invoke"]), ARGUMENTS),
        (
            "cli_args",
            json!(["--invoke", "add", "--env", "A=b"]),
            ARGUMENTS,
        ),
        ("cli_args", json!(["--", "sh"]), ARGUMENTS),
        ("cli_args", json!([long]), ARGUMENTS),
        ("cli_args", json!(vec!["--invoke=add"; 9000]), ARGUMENTS),
        ("cli_args", json!(["--invoke=\u{0}"]), ARGUMENTS),
        ("cli_args", json!(["--invoke=subtract"]), "export-not-found"),
        ("env", json!("A=b"), INVALID),
        ("env", json!([["A", "b"]]), INVALID),
        ("env", json!({"A": 5}), INVALID),
        ("env", json!({"A": null}), INVALID),
        ("env", json!({"": "b"}), INVALID),
        ("env", json!({"A=B": "c"}), INVALID),
        ("env", json!({"A\u{0}": "b"}), INVALID),
        ("env", json!({"A": "b\u{0}c"}), INVALID),
        (
            "env",
            (0..2000).map(|n| (n.to_string(), json!(""))).collect(),
            INVALID,
        ),
        ("encrypted", json!("true"), INVALID),
        ("encrypted", json!(1), INVALID),
        ("encrypted", json!(true), INVALID),
        ("kbs_resource_path", json!(5), INVALID),
        ("broadcast", json!("yes"), INVALID),
        ("daemon", json!(1), INVALID),
        ("latent", json!([]), INVALID),
        ("proplet_id", json!(5), INVALID),
        ("proplet_id", json!({}), INVALID),
    ] {
        let id = scene.fresh("typed");
        let mut what = format!("{member} = {value}");
        what.truncate(100);
        let message = with(good(&id), member, value);
        refused(&scene, &what, message.to_string(), &id, expected).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_that_lead_nowhere_are_refused() {
    let scene = Scene::set("").await;
    let registry = scene.services.registry.host();
    for (image, encrypted, expected) in [
        ("", true, INVALID),
        ("not a reference", false, "image-reference"),
        ("not a reference", true, "image-reference"),
        ("../../etc/passwd", true, "image-reference"),
        ("file:///etc/passwd", false, "image-reference"),
        ("file:///etc/passwd", true, "image-reference"),
        ("ftp://127.0.0.1/m.wasm", false, "image-reference"),
        ("https://", false, "image-reference"),
        ("http://127.0.0.1:1/m.wasm", false, "image-not-allowed"),
        (
            "http://169.254.169.254/latest/meta-data",
            false,
            "image-not-allowed",
        ),
        ("https://127.0.0.1:1/m.wasm", false, "image-not-allowed"),
        ("https://[::1]:1/m.wasm", false, "image-not-allowed"),
        ("http://127.0.0.1:1/m.wasm", true, "image-reference"),
        ("127.0.0.1:1/a:b", false, "image-not-allowed"),
        ("127.0.0.1:1/a:b", true, "image-not-allowed"),
        ("localhost:1/a:b", true, "image-not-allowed"),
        (&format!("{registry}/nobody:here"), false, "image-not-found"),
        (&format!("{registry}/nobody:here"), true, "image-not-found"),
        (&format!("{registry}/a@sha256:00"), true, "image-reference"),
        (&format!("http://{registry}/v2/x"), false, "image-not-found"),
    ] {
        let id = scene.fresh("source");
        let mut message = with(good(&id), "image_url", json!(image));
        message.as_object_mut().unwrap().remove("file");
        message["encrypted"] = json!(encrypted);
        let what = format!("{image} encrypted={encrypted}");
        refused(&scene, &what, message.to_string(), &id, expected).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_answered_when_it_names_its_task() {
    let scene = Scene::set("").await;
    let deep = |id: &str, open: &str, member: &str| {
        format!(
            "{{\"id\":\"{id}\",\"name\":\"add\",\"{member}\":{}",
            open.repeat(200_000)
        )
        .into_bytes()
    };
    // The id stands first, as the Manager writes it: what stands after an error cannot be read.
    let text = |id: &str| {
        format!("{{\"id\":\"{id}\",{}", &good("").to_string()[1..]).replace(",\"id\":\"\"", "")
    };
    type Make<'a> = Box<dyn Fn(&str) -> Vec<u8> + 'a>;
    let cases: Vec<(&str, Make<'_>)> = vec![
        ("cut in the middle", Box::new(|id| text(id)[..60].into())),
        (
            "cut at the end",
            Box::new(|id| text(id)[..text(id).len() - 1].into()),
        ),
        (
            "more after it",
            Box::new(|id| format!("{}{{}}", text(id)).into()),
        ),
        (
            "a NUL after it",
            Box::new(|id| format!("{}\0", text(id)).into()),
        ),
        (
            "not UTF-8",
            Box::new(|id| {
                let mut bytes = text(id).into_bytes();
                let at = bytes
                    .windows(5)
                    .position(|window| window == b"\"add\"")
                    .unwrap();
                bytes[at + 1] = 0xff;
                bytes
            }),
        ),
        (
            "half a surrogate",
            Box::new(|id| text(id).replace("\"add\"", "\"\\ud800\"").into()),
        ),
        (
            "a raw newline",
            Box::new(|id| text(id).replace("\"add\"", "\"a\ndd\"").into()),
        ),
        (
            "a comment",
            Box::new(|id| text(id).replace(",\"name\"", "/**/,\"name\"").into()),
        ),
        (
            "a name twice",
            Box::new(|id| {
                text(id)
                    .replace("\"name\"", "\"name\":\"x\",\"name\"")
                    .into()
            }),
        ),
        (
            "two minds about encryption",
            Box::new(|id| {
                text(id)
                    .replace(
                        "\"name\"",
                        "\"encrypted\":true,\"encrypted\":false,\"name\"",
                    )
                    .into()
            }),
        ),
        (
            "two components",
            Box::new(|id| {
                text(id)
                    .replace("\"name\"", "\"file\":\"\",\"name\"")
                    .into()
            }),
        ),
        ("deep inputs", Box::new(|id| deep(id, "[", "inputs"))),
        (
            "deep environment",
            Box::new(|id| deep(id, "{\"a\":", "env")),
        ),
        ("deep something", Box::new(|id| deep(id, "[", "metadata"))),
        (
            "a number without end",
            Box::new(|id| format!("{{\"id\":\"{id}\",\"state\":{}", "9".repeat(1 << 20)).into()),
        ),
    ];
    for (what, make) in cases {
        let id = scene.fresh("broken");
        let payload = make(&id);
        assert!(payload.starts_with(b"{\"id\""), "{what}");
        refused(&scene, what, payload, &id, INVALID).await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_are_taken_or_dropped_and_the_connection_survives() {
    let scene = Scene::set("").await;
    const MIB: usize = 1 << 20;
    let big = "A".repeat(9 * MIB);

    let id = scene.fresh("large");
    refused(
        &scene,
        "a long name",
        with(good(&id), "name", json!(big)).to_string(),
        &id,
        INVALID,
    )
    .await;
    let id = scene.fresh("large");
    let message = with(good(&id), "file", json!(big)).to_string();
    refused(
        &scene,
        "a long component",
        message,
        &id,
        "component-too-large",
    )
    .await;
    let id = scene.fresh("large");
    let message = with(good(&id), "inputs", json!([big, "20"])).to_string();
    refused(&scene, "a long input", message, &id, "arguments-invalid").await;

    let id = scene.fresh("large");
    scene
        .send(with(good(&id), "metadata", json!(big)).to_string())
        .await;
    assert_eq!(
        scene.answer(&id).await.results,
        "30",
        "what is not read does no harm"
    );

    // Above the packet limit the connection breaks, as MQTT 3.1.1 has no other way; a start that comes
    // meanwhile may be lost with it, so the next one waits until the daemon is back.
    let beats = scene.services.manager.on("control/proplet/create").len();
    scene
        .send(with(good("too large"), "metadata", json!("A".repeat(11 * MIB))).to_string())
        .await;
    let manager = &scene.services.manager;
    manager
        .messages("control/proplet/create", beats + 1)
        .await
        .unwrap();
    scene.goes_on().await;
    assert_eq!(scene.answers_so_far("too large"), 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_only_names() {
    let scene = Scene::set("").await;
    let long = "i".repeat(256);
    for id in [
        "../../../../etc/cron.d/x",
        "/dev/null",
        "..",
        "a\\b:c|d*e?f\"<>",
        "$(reboot)`reboot`%s%n{}",
        "m/+/#",
        "\u{202e}txt.exe\u{0301}",
        "-rf",
        " ",
        long.as_str(),
    ] {
        scene.send(good(id).to_string()).await;
        let outcome = scene.answer(id).await;
        assert_eq!(
            (outcome.results.as_str(), outcome.error),
            ("30", None),
            "{id}"
        );
    }
    // What cannot be a name gets no answer: there is nobody to answer to.
    let million = "i".repeat(1 << 20);
    let before = scene.services.manager.on("control/proplet/results").len();
    let no_names = [
        json!(""),
        json!(null),
        json!(5),
        json!(true),
        json!(["a"]),
        json!({"a": 1}),
        json!("a\nb"),
        json!("a\u{0}"),
        json!("\u{1b}[2J"),
        json!("i".repeat(257)),
        json!(million),
    ];
    for id in &no_names {
        scene
            .send(with(good("x"), "id", id.clone()).to_string())
            .await;
    }
    let mut nameless = good("x");
    nameless.as_object_mut().unwrap().remove("id");
    let nameless: [&[u8]; 10] = [
        nameless.to_string().as_bytes(),
        b"",
        b"start",
        b"null",
        b"[]",
        b"5",
        b"\"id\"",
        b"{\"id",
        b"\0",
        &[0xff; 100],
    ]
    .map(|bytes| &*bytes.to_vec().leak());
    for payload in nameless {
        scene.send(payload).await;
    }
    scene.goes_on().await;
    let after: Vec<Value> = scene.services.manager.on("control/proplet/results");
    assert_eq!(after.len(), before + 1, "{after:?}");
    scene.end().await;
}
