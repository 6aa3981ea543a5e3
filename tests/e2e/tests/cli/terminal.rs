//! What strangers write into everything that a command prints does not reach a terminal as they wrote it.

use proplet_component::Policy;
use proplet_image::{Artifact, layout};
use proplet_testkit::registry::{Access, Fault, Quirk, Registry, Target};
use proplet_testkit::tee::{FakeSnp, TEST_ROOTS_PEM};
use proplet_types::{Digest, ExitCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Desk, Ended, Ran, Seen};

/// Sequences of each kind that terminals obey: CSI and OSC by ESC and by C1, a bell, a backspace, a
/// carriage return, DEL, marks and overrides of direction, an invisible tag.
const EVIL: &str = "x\u{1b}[31m\u{1b}]0;owned\u{7}\u{9b}2J\u{9d}0;owned\u{9c}\u{8}\r\u{7f}\u{202e}\u{2066}\
                    \u{200f}\u{61c}\u{2028}\u{e0041}y";
/// A line that would pass for one of ours, if it came to be one.
const FORGED: &str = "\nverified      forged\nencryption  none forged\n";

fn evil() -> String {
    format!("{EVIL}{FORGED}")
}

/// Neither stream has anything that a terminal obeys, nor a forged line.
#[track_caller]
fn is_clean(what: &str, ended: &Ended) {
    for text in [ended.text(), ended.stderr.as_str()] {
        let obeyed = |c: char| {
            let kept = matches!(c, '\n' | '\t');
            let marks = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2028}\u{2029}\
                         \u{2066}\u{2067}\u{2068}\u{2069}\u{e0041}";
            (c.is_control() && !kept) || marks.contains(c)
        };
        if let Some(found) = text.chars().find(|c| obeyed(*c)) {
            panic!("{what}: {found:?} in {text:?}");
        }
        // What a component gave is shown as it is otherwise.
        if what.starts_with("run ") {
            continue;
        }
        for forged in ["verified      forged", "encryption  none forged"] {
            assert!(
                !text.lines().any(|line| line.starts_with(forged)),
                "{what}: {text}"
            );
        }
    }
}

/// Runs a command as people see it and as programs do.
async fn shown(desk: &Desk, line: &str) -> [Ended; 2] {
    let seen = Seen {
        terminal: true,
        ..Seen::default()
    };
    let people = desk.run_seeing(line, seen).await;
    is_clean(line, &people);
    let programs = desk.run(&format!("{line} --json")).await;
    is_clean(line, &programs);
    [people, programs]
}

/// An image whose parts have these media types.
fn image(config: &str, layer: &str, annotation: Option<&str>) -> Value {
    let wasm = Digest::of(b"\0asm\x01\0\0\0");
    let mut layer = json!({"mediaType": layer, "digest": wasm, "size": 8});
    if let Some(value) = annotation {
        let options = "org.opencontainers.image.enc.keys.provider.attestation-agent";
        layer["annotations"] =
            json!({options: value, "org.opencontainers.image.enc.pubopts": value});
    }
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": config, "digest": Digest::of(b"{}"), "size": 2},
        "layers": [layer],
    })
}

#[tokio::test]
async fn images_of_strangers_are_inspected_safely() {
    let desk = Desk::new();
    let registry = Registry::start().await.unwrap();
    registry.insert_blob("{}");
    registry.insert_blob(&b"\0asm\x01\0\0\0"[..]);
    let evil = evil();
    let wasm = "application/wasm";
    let mut titled = image(wasm, wasm, None);
    titled["mediaType"] = evil.clone().into();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": evil, "digest": evil, "size": 1,
            "platform": {"os": evil, "architecture": "wasm"},
            "annotations": {"a": evil},
        }],
    });
    for (number, manifest) in [
        image(&evil, wasm, None),
        image(EVIL, wasm, None),
        image(wasm, &evil, None),
        image(wasm, &format!("{evil}+encrypted"), None),
        image(wasm, "application/wasm+encrypted", Some(&evil)),
        titled,
        index,
        json!({"schemaVersion": evil}),
        json!(evil),
    ]
    .into_iter()
    .enumerate()
    {
        let tag = format!("v{number}");
        let bytes = manifest.to_string();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        registry.insert_manifest("a", &tag, media_type, bytes.clone());
        shown(
            &desk,
            &format!("image inspect {}/a:{tag} --http", registry.host()),
        )
        .await;

        let folder = format!("dir{number}");
        std::fs::create_dir(desk.path(&folder)).unwrap();
        desk.write(&format!("{folder}/manifest.json"), bytes);
        desk.write(&format!("{folder}/{}", Digest::of(b"{}").hex()), "{}");
        let layer = Digest::of(b"\0asm\x01\0\0\0").hex();
        desk.write(&format!("{folder}/{layer}"), b"\0asm\x01\0\0\0");
        shown(&desk, &format!("image inspect @{folder}")).await;
        shown(
            &desk,
            &format!("image push @{folder} {}/b:1 --http", registry.host()),
        )
        .await;
    }
}

#[tokio::test]
async fn names_in_a_folder_or_an_archive_are_shown_safely() {
    let desk = Desk::new();
    let image = Artifact::wasm(b"\0asm\x01\0\0\0".to_vec().into()).unwrap();
    for name in [evil(), format!("2{}", evil())] {
        layout::write(&desk.path("image"), &name, &image).unwrap();
    }
    let [people, _] = shown(&desk, "image inspect @image").await;
    people.refused(ExitCode::Usage, "several images");
    let archive = std::fs::File::create(desk.path("image.tar")).unwrap();
    let mut archive = tar::Builder::new(archive);
    archive.append_dir_all(".", desk.path("image")).unwrap();
    archive.finish().unwrap();
    shown(&desk, "image inspect @image.tar").await;
    let index = json!({"manifests": [{"digest": evil(), "mediaType": evil(), "size": evil()}]});
    desk.write("image/index.json", index.to_string());
    shown(&desk, "image inspect @image").await;
    desk.write("image/index.json", format!("{{\"{}", evil()));
    shown(&desk, "image inspect @image").await;
}

#[tokio::test]
async fn components_of_strangers_are_inspected_safely() {
    let desk = Desk::new();
    let text = evil().chars().fold(String::new(), |text, c| {
        text + &format!("\\u{{{:x}}}", u32::from(c))
    });
    let module =
        format!("(module (import \"{text}\" \"{text}\" (func)) (func (export \"{text}\")))");
    let module = wat::parse_str(module).unwrap();
    let quoted = serde_json::to_string(&evil()).unwrap();
    let policies = [
        format!("version = 1\nexports = [{quoted}]\n"),
        format!("version = 1\n[[secrets]]\nuri = {quoted}\n"),
        format!("version = 1\nrecipients_resource = {quoted}\n"),
        format!("version = {quoted}\n"),
        format!("version = 1\n{quoted} = 1\n"),
        format!("version = 1\n[limits]\n{quoted} = 1\n"),
        format!("version = 1\n[[recipients]]\nkty = {quoted}\ncrv = {quoted}\n"),
        evil(),
    ];
    for policy in policies {
        desk.write("policy.toml", &policy);
        shown(&desk, "policy check @policy.toml").await;
        let Ok(wasm) = Policy::embed(&module, policy.as_bytes()) else {
            continue;
        };
        let image = Artifact::wasm(wasm.into()).unwrap();
        layout::write(&desk.path("image"), "latest", &image).unwrap();
        shown(&desk, "image inspect @image").await;
    }
    let image = Artifact::wasm(module.into()).unwrap();
    layout::write(&desk.path("image"), "latest", &image).unwrap();
    let [people, _] = shown(&desk, "image inspect @image").await;
    assert!(
        people.text().contains("imports     x\u{fffd}"),
        "{people:?}"
    );
}

#[tokio::test]
async fn registries_of_strangers_speak_safely() {
    let desk = Desk::new();
    desk.write("c.wasm", b"\0asm\x01\0\0\0");
    let registry = Registry::start().await.unwrap();
    let host = registry.host();
    registry.behave(Quirk::Words(evil()));
    registry.behave(Quirk::Busy {
        status: 400,
        times: 100,
        retry_after: None,
    });
    let [people, _] = shown(&desk, &format!("image push @c.wasm {host}/a:1 --http")).await;
    assert!(people.stderr.contains("owned"), "{people:?}");
    registry.heal();
    for address in ["http://a\u{9b}31m/", "http://[\u{9b}31m", "//\u{9b}31m:x/"] {
        registry.behave(Quirk::UploadAddress(Some(address.to_owned())));
        shown(&desk, &format!("image push @c.wasm {host}/a:1 --http")).await;
        registry.heal();
    }
    registry.insert_manifest("a", "1", "text/plain", evil());
    for fault in [
        Fault::Redirect("http://x\u{9b}31m.example/".to_owned()),
        Fault::Status(418),
        Fault::FlipBit(1),
    ] {
        registry.inject(Target::Manifests, fault);
        shown(&desk, &format!("image inspect {host}/a:1 --http")).await;
        registry.heal();
    }
    let access = Access::Token {
        username: "u".to_owned(),
        password: "p".to_owned(),
    };
    let closed = Registry::start_with(access).await.unwrap();
    let line = format!("image inspect {}/a:1 --http", closed.host());
    for realm in ["http://x\u{9b}31m.example/", "\u{9b}31m", "ftp://\u{9b}/"] {
        closed.challenge_with(format!("Bearer realm=\"{realm}\",service=\"\u{9b}\""));
        shown(&desk, &line).await;
    }

    // Its own name, the name of a file, and what stands in a credentials file.
    let config = json!({
        "auths": {closed.host(): {"auth": EVIL}},
        "credHelpers": {host.clone(): evil()},
    });
    desk.write("config.json", config.to_string());
    shown(&desk, &format!("{line} --auth-file @config.json")).await;
    shown(
        &desk,
        &format!("image inspect {host}/a:1 --http --auth-file @config.json"),
    )
    .await;
    shown(&desk, "image inspect x\u{9b}31m/a:1").await;
    shown(&desk, "image push @x\u{9b}31m localhost/a:1").await;
    desk.helper("");
    std::fs::remove_file(desk.path("bin/docker-credential-test")).unwrap();
    let says = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cli/helper/docker-credential-evil"
    );
    std::os::unix::fs::symlink(says, desk.path("bin/docker-credential-evil")).unwrap();
    desk.write("config.json", json!({"credsStore": "evil"}).to_string());
    let [people, _] = shown(
        &desk,
        &format!("image inspect {host}/a:1 --http --auth-file @config.json"),
    )
    .await;
    assert!(people.stderr.contains("owned"), "{people:?}");
}

#[tokio::test]
async fn key_brokers_of_strangers_speak_safely() {
    let desk = Desk::new();
    desk.write("c.wasm", b"\0asm\x01\0\0\0");
    // The test vector of RFC 8410 section 10.3.
    let admin = "-----BEGIN PRIVATE KEY-----\n\
                 MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                 -----END PRIVATE KEY-----\n";
    desk.write("admin.pem", admin);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = json!({"type": evil(), "detail": evil()}).to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 403 {EVIL}\r\nContent-Type: application/problem+json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let answer = answer.replacen(EVIL, "Forbidden", 1);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let line = format!(
        "image encrypt @c.wasm --key-id kbs:///default/key/1 --layout @image --key-out @kek --kbs-url {url} \
         --admin-key @admin.pem --kbs-http"
    );
    shown(&desk, &line).await;
}

#[tokio::test]
async fn results_of_strangers_are_shown_safely() {
    let desk = Desk::new();
    let reader = desk.keygen("key").await;
    desk.write("roots.pem", TEST_ROOTS_PEM);
    let tee = FakeSnp::new();
    let evil = evil();
    let open = "open @result.json --key @key --roots @roots.pem --any-measurement";
    let verify = "verify @result.json --roots @roots.pem --any-measurement";
    let both = async |desk: &Desk| {
        shown(desk, open).await;
        shown(desk, verify).await;
    };

    let mut ran = Ran::on(&tee);
    ran.task_id = evil.clone();
    ran.export = evil.clone();
    let failed = ran.failed(&evil, &evil, &reader).await;
    desk.write("result.json", failed.to_text().unwrap());
    let [people, _] = shown(&desk, open).await;
    assert!(people.stderr.contains("owned"), "{people:?}");
    both(&desk).await;
    let gave = ran.gave(evil.as_bytes(), "text/plain", &reader).await;
    desk.write("result.json", gave.to_text().unwrap());
    both(&desk).await;

    // Every text in a document, one after the other.
    let whole = gave.to_text().unwrap();
    for replaced in strings(&serde_json::from_str(&whole).unwrap(), &evil) {
        desk.write("result.json", replaced.to_string());
        both(&desk).await;
    }
    for text in [
        json!({"id": evil, "error": evil}).to_string(),
        json!({"id": evil, "results": evil}).to_string(),
        json!({evil.clone(): evil}).to_string(),
        evil.clone(),
    ] {
        desk.write("result.json", text);
        both(&desk).await;
    }
    let key = json!({"kty": evil, "crv": evil, "x": evil, "d": evil});
    desk.write("key", key.to_string());
    both(&desk).await;
}

/// The value with one of its texts replaced, for each of them.
fn strings(value: &Value, with: &str) -> Vec<Value> {
    match value {
        Value::String(_) => vec![with.into()],
        Value::Object(members) => {
            let mut all = Vec::new();
            for (name, member) in members {
                for replaced in strings(member, with) {
                    let mut members = members.clone();
                    members.insert(name.clone(), replaced);
                    all.push(members.into());
                }
            }
            all
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn components_of_strangers_run_safely() {
    let desk = Desk::new();
    let bytes = evil()
        .bytes()
        .fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"));
    let length = evil().len();
    let print = format!(
        "(module
            (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export \"memory\") 1)
            (data (i32.const 0) \"\\10\\00\\00\\00\") (data (i32.const 16) \"{bytes}\")
            (func (export \"_start\")
                (i32.store (i32.const 4) (i32.const {length}))
                (drop (call $write (i32.const FD) (i32.const 0) (i32.const 1) (i32.const 8)))
                END))"
    );
    for (fd, end) in [("1", ""), ("2", "unreachable"), ("1", "unreachable")] {
        let module = print.replace("FD", fd).replace("END", end);
        desk.write("c.wasm", wat::parse_str(module).unwrap());
        shown(&desk, "run @c.wasm").await;
    }
    let name = evil().chars().fold(String::new(), |text, c| {
        text + &format!("\\u{{{:x}}}", u32::from(c))
    });
    let module = format!("(module (import \"{name}\" \"{name}\" (func)) (func (export \"run\")))");
    desk.write("c.wasm", wat::parse_str(module).unwrap());
    shown(&desk, "run @c.wasm").await;
    shown(&desk, "run @c.wasm --invoke x\u{9b}31m").await;
}
