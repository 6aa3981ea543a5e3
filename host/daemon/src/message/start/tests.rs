use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decode(message: &Value) -> Decoded {
    Decoded::from_bytes(message.to_string().as_bytes(), "us")
}

fn task(message: &Value) -> Request {
    match decode(message) {
        Decoded::Task(start) => start.request,
        other => panic!("{other:?}"),
    }
}

fn refusal(message: &Value) -> BadStart {
    match decode(message) {
        Decoded::Bad(bad) => bad,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_manager_sends_today_is_read() {
    let start = task(&json!({
        "id": "37945482-a49f-4f2a-b719-655b590a5e63", "name": "infer", "state": 0,
        "image_url": "docker.io/u/i:encrypted", "inputs": ["a", "b"],
        "cli_args": ["--invoke", "process"], "broadcast": false, "daemon": false, "latent": false,
        "env": {"K": "v"}, "encrypted": true, "kbs_resource_path": "default/key/p",
        "proplet_id": "us", "parent_results": {"x": 1}, "metadata": {"wasi_pep": true}
    }));
    assert_eq!(start.task.invoke.as_deref(), Some("process"));
    assert_eq!(start.task.inputs, ["a", "b"]);
    assert_eq!(
        start.source,
        Source::Encrypted {
            image: "docker.io/u/i:encrypted".into(),
            expected_key: Some("kbs:///default/key/p".parse().unwrap())
        }
    );
}

#[test]
fn what_older_managers_sent_is_read() {
    let start = task(&json!({
        "id": "1", "name": "add", "state": 0, "image_url": "", "file": "AGFzbQ==",
        "inputs": [10, 20, 18446744073709551615u64], "cli_args": null, "daemon": false, "env": null,
        "encrypted": false, "kbs_resource_path": "", "monitoring_profile": null, "proplet_id": ""
    }));
    assert_eq!(start.task.inputs, ["10", "20", "18446744073709551615"]);
    assert_eq!(start.source, Source::File(b"\0asm".to_vec()));
    assert!(start.task.arguments.is_empty() && start.task.env.is_empty());
    let start = task(
        &json!({"id": "1", "name": "add", "image_url": "x", "inputs": null,
                             "daemon": null, "broadcast": null}),
    );
    assert!(start.task.inputs.is_empty());
}

#[test]
fn a_message_for_another_proplet_is_left_alone() {
    let other = json!({"id": "1", "name": "n", "image_url": "x", "proplet_id": "them"});
    assert!(matches!(decode(&other), Decoded::NotForUs));
    let bad = json!({"id": "1", "proplet_id": "them", "inputs": true});
    assert!(matches!(decode(&bad), Decoded::NotForUs));
    let broadcast =
        json!({"id": "1", "name": "n", "image_url": "x", "proplet_id": "them", "broadcast": true});
    assert!(matches!(decode(&broadcast), Decoded::Task(_)));
}

#[test]
fn refusals_name_the_task_and_the_reason() {
    for (message, code) in [
        (json!({"id": "1"}), "task-invalid"),
        (json!({"id": "1", "name": "n"}), "task-invalid"),
        (
            json!({"id": "1", "name": "n", "file": "%%%"}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "encrypted": true}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "encrypted": true, "image_url": "i", "file": "AGFzbQ=="}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "file": "AGFzbQ==", "image_url": "x".repeat(2049)}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i", "inputs": [true]}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i", "env": {"A=B": "c"}}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i", "daemon": true, "latent": true}),
            "task-invalid",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i", "cli_args": ["--dir=/"]}),
            "task-arguments",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i", "cli_args": ["--invoke"]}),
            "task-arguments",
        ),
        (
            json!({"id": "1", "name": "n", "image_url": "i",
                   "cli_args": ["--invoke=a", "--invoke=b"]}),
            "task-arguments",
        ),
    ] {
        let bad = refusal(&message);
        assert_eq!(bad.id.as_deref(), Some("1"), "{message}");
        assert_eq!(bad.refusal.code(), code, "{message}");
    }
}

#[test]
fn a_task_is_of_the_kind_that_it_says() {
    let mut message = json!({"id": "1", "name": "n", "image_url": "i"});
    for (daemon, latent, wanted) in [
        (json!(null), json!(null), TaskKind::Task),
        (json!(false), json!(false), TaskKind::Task),
        (json!(false), json!(true), TaskKind::Latent),
        (json!(true), json!(false), TaskKind::Daemon),
    ] {
        message["daemon"] = daemon;
        message["latent"] = latent;
        match decode(&message) {
            Decoded::Task(start) => assert_eq!(start.kind, wanted),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_forms_of_invoke_are_known() {
    for arguments in [json!(["--invoke", "f"]), json!(["--invoke=f"])] {
        let start = task(&json!({"id": "1", "name": "n", "image_url": "i", "cli_args": arguments}));
        assert_eq!(start.task.invoke.as_deref(), Some("f"));
    }
}

#[test]
fn an_id_before_the_error_is_saved() {
    let Decoded::Bad(bad) = Decoded::from_bytes(br#"{"id":"7","name":"n","inputs":[1,"#, "us")
    else {
        panic!("it decoded");
    };
    assert_eq!(bad.id.as_deref(), Some("7"));
    let Decoded::Bad(bad) = Decoded::from_bytes(b"not json", "us") else {
        panic!("it decoded")
    };
    assert_eq!(bad.id, None);
}

#[test]
fn an_id_that_could_not_be_logged_is_not_readable() {
    let long = "x".repeat(300);
    for id in ["", "a\nb", long.as_str()] {
        assert_eq!(
            refusal(&json!({"id": id, "name": "n", "image_url": "i"})).id,
            None
        );
    }
}

#[test]
fn neither_debug_nor_error_shows_inputs() {
    let start = task(
        &json!({"id": "1", "name": "n", "image_url": "i", "inputs": ["s3cret"],
                             "env": {"TOKEN": "t0ken"}}),
    );
    let shown = format!("{start:?}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("t0ken"),
        "{shown}"
    );
    let bad = refusal(
        &json!({"id": "1", "name": "n", "image_url": "i", "env": {"A": ["s3cret"]},
                              "inputs": ["s3cret"]}),
    );
    assert!(
        !bad.refusal.to_string().contains("s3cret"),
        "{}",
        bad.refusal
    );
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Decoded::from_bytes(&bytes, "us");
    }

    #[test]
    fn any_members_decode_or_are_refused(
        id in ".{0,20}",
        inputs in proptest::collection::vec(".{0,20}", 0..4),
        cut in 0usize..200,
    ) {
        let text = json!({"id": id, "name": "n", "image_url": "i", "inputs": inputs}).to_string();
        match Decoded::from_bytes(text.as_bytes(), "us") {
            Decoded::Task(start) => prop_assert_eq!(start.request.task.inputs, inputs),
            Decoded::Bad(bad) => prop_assert_eq!(bad.id, None),
            Decoded::NotForUs => prop_assert!(false, "it is for everybody"),
        }
        let cut = cut.min(text.len());
        let _ = Decoded::from_bytes(&text.as_bytes()[..cut], "us");
    }
}

#[test]
fn more_than_a_task_may_have_is_refused_as_that_and_not_kept() {
    let base = || json!({"id": "7", "name": "n", "image_url": "i"});
    let variables = |count: usize| -> Value {
        let all = (0..count).map(|number| (number.to_string(), json!("")));
        Value::Object(all.collect())
    };
    for (member, most, many, code, words) in [
        (
            "inputs",
            json!(vec![1; 4096]),
            [json!(vec![1; 4097]), json!(vec![1; 100_000])],
            "task-invalid",
            "more than 4096 inputs",
        ),
        (
            "env",
            variables(1024),
            [variables(1025), variables(100_000)],
            "task-invalid",
            "more than 1024 environment variables",
        ),
        (
            "cli_args",
            json!(["--invoke", "n"]),
            [
                json!(["--invoke", "n", "--invoke"]),
                json!(vec!["--invoke"; 100_000]),
            ],
            "task-arguments",
            "once",
        ),
    ] {
        let with = |value: &Value| {
            let mut message = base();
            message[member] = value.clone();
            message
        };
        task(&with(&most));
        for more in many {
            let bad = refusal(&with(&more));
            assert_eq!(bad.id.as_deref(), Some("7"));
            assert_eq!(bad.refusal.code().as_str(), code);
            let said = bad.refusal.to_string();
            assert!(said.contains(words), "{member}: {said}");
        }
    }
    // What stands behind what is kept is read over, and must be JSON.
    let mut text = with_inputs(5000);
    text.truncate(text.len() - 3);
    let Decoded::Bad(bad) = Decoded::from_bytes(text.as_bytes(), "us") else {
        panic!("{text}")
    };
    assert!(bad.refusal.to_string().contains("not JSON"));
}

fn with_inputs(count: usize) -> String {
    json!({"id": "7", "name": "n", "image_url": "i", "inputs": vec!["a"; count]}).to_string()
}
