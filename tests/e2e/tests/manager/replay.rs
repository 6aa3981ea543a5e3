//! Every member of the start, stop and invoke messages: there, absent, `null`, of the older type, of no type that any Manager
//! sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proplet_testkit::broker::Outcome;
use serde_json::{Map, Value, json};

use super::*;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It runs, and this is its result.
    Result(&'static str),
    /// It is refused with this code.
    Code(&'static str),
    /// It is for somebody else, or nobody could be answered.
    Nothing,
}

use End::{Code, Nothing, Result};

/// What a member is in one message; `None` leaves it out.
type Form = Option<Value>;

/// A start as today's Manager sends it, of a task that adds 10 and 20, without its id.
fn today(file: &str) -> Map<String, Value> {
    let message = json!({
        "name": "add", "state": 0, "file": file, "inputs": ["10", "20"], "cli_args": null, "broadcast": false,
        "daemon": false, "latent": false, "encrypted": false, "proplet_id": PROPLET,
    });
    message.as_object().unwrap().clone()
}

/// The same as in early 2026.
fn early(file: &str) -> Map<String, Value> {
    let message = json!({
        "name": "add", "state": 0, "image_url": "", "file": file, "inputs": [10, 20], "cli_args": null,
        "daemon": false, "env": null, "encrypted": false, "kbs_resource_path": "", "monitoring_profile": null,
        "proplet_id": "",
    });
    message.as_object().unwrap().clone()
}

/// Each member in each form, and what becomes of the message. `file` is the adder in base64.
fn forms(file: &str) -> Vec<(&'static str, Form, End)> {
    let (ran, invalid) = (Result("30"), Code("task-invalid"));
    let profile = json!({
        "enabled": true, "interval": 10_000_000_000_u64, "collect_cpu": true, "collect_memory": true,
        "collect_disk_io": true, "collect_threads": true, "collect_file_descriptors": true,
        "export_to_mqtt": false, "retain_history": true, "history_size": 100,
    });
    // In the unit and the types of upstream's proplet, and some that nobody wrote.
    let older = json!({
        "enabled": "yes", "interval": 10, "collect_cpu": null, "collect_network_io": true, "export_to_mqtt": 1,
        "history_size": -1,
    });
    let some = |value: Value| Some(value);
    vec![
        ("name", some(json!("add")), ran),
        ("name", None, invalid),
        ("name", some(Value::Null), invalid),
        ("name", some(json!("")), invalid),
        ("name", some(json!(7)), invalid),
        ("state", some(json!(2)), ran),
        ("state", None, ran),
        ("state", some(Value::Null), ran),
        ("image_url", some(json!("unused")), ran),
        ("image_url", None, ran),
        ("image_url", some(Value::Null), ran),
        ("image_url", some(json!("")), ran),
        ("image_url", some(json!(["a"])), invalid),
        ("file", some(json!(file)), ran),
        ("file", None, invalid),
        ("file", some(Value::Null), invalid),
        ("file", some(json!("")), invalid),
        ("file", some(json!("%%%")), invalid),
        ("file", some(json!("AGFzbQ")), invalid),
        ("file", some(json!([0, 97])), invalid),
        ("inputs", some(json!(["10", "20"])), ran),
        ("inputs", some(json!([10, 20])), ran),
        ("inputs", some(json!(["10", 20])), ran),
        ("inputs", None, Code("arguments-invalid")),
        ("inputs", some(Value::Null), Code("arguments-invalid")),
        ("inputs", some(json!([true, 1])), invalid),
        ("inputs", some(json!("10")), invalid),
        ("cli_args", some(json!(["--invoke", "add"])), ran),
        ("cli_args", some(json!([])), ran),
        ("cli_args", None, ran),
        ("cli_args", some(Value::Null), ran),
        ("cli_args", some(json!(["--dir=/"])), Code("task-arguments")),
        ("cli_args", some(json!("--invoke add")), invalid),
        ("broadcast", some(json!(false)), ran),
        ("broadcast", some(json!(true)), ran),
        ("broadcast", None, ran),
        ("broadcast", some(Value::Null), ran),
        ("daemon", None, ran),
        ("daemon", some(Value::Null), ran),
        ("daemon", some(json!("no")), invalid),
        ("latent", None, ran),
        ("latent", some(Value::Null), ran),
        ("latent", some(json!(0)), invalid),
        ("env", some(json!({"KEY": "value"})), ran),
        ("env", some(json!({})), ran),
        ("env", None, ran),
        ("env", some(Value::Null), ran),
        ("env", some(json!({"KEY": 1})), invalid),
        ("env", some(json!({"A=B": "value"})), invalid),
        ("encrypted", None, ran),
        ("encrypted", some(Value::Null), ran),
        ("encrypted", some(json!(true)), invalid),
        ("encrypted", some(json!("true")), invalid),
        ("kbs_resource_path", some(json!("default/key/a")), ran),
        ("kbs_resource_path", None, ran),
        ("kbs_resource_path", some(Value::Null), ran),
        ("kbs_resource_path", some(json!("")), ran),
        ("monitoring_profile", some(profile), ran),
        ("monitoring_profile", None, ran),
        ("monitoring_profile", some(Value::Null), ran),
        ("monitoring_profile", some(json!("often")), ran),
        ("monitoring_profile", some(json!([{"enabled": 1}])), ran),
        ("monitoring_profile", some(json!({"enabled": true})), ran),
        ("monitoring_profile", some(older), ran),
        ("proplet_id", some(json!(PROPLET)), ran),
        ("proplet_id", some(json!("")), ran),
        ("proplet_id", None, ran),
        ("proplet_id", some(Value::Null), ran),
        ("proplet_id", some(json!("somebody-else")), Nothing),
        ("hal_storage_path", some(json!("/etc")), ran),
        ("hal_storage_path", some(Value::Null), ran),
        ("parent_results", some(json!({"id": "30"})), ran),
        ("parent_results", some(Value::Null), ran),
        ("mode", some(json!("infer")), ran),
        (
            "metadata",
            some(json!({"wasi_security": "", "wasi_pep": true})),
            ran,
        ),
        ("metadata", some(Value::Null), ran),
        ("what_comes_next_year", some(json!({"a": [1]})), ran),
    ]
}

/// What is no start at all.
fn broken() -> Vec<(String, End)> {
    let invalid = Code("task-invalid");
    let broken = |id: &str, rest: &str| format!("{{\"id\":\"{id}\"{rest}");
    vec![
        (broken("broken-1", ""), invalid),
        (
            broken("broken-2", ",\"name\":\"add\",\"inputs\":[1,"),
            invalid,
        ),
        (broken("broken-3", ",\"name\":}"), invalid),
        (broken("broken-4", "}"), invalid),
        (broken("broken-5", ",\"id\":\"broken-5\"}"), invalid),
        (String::new(), Nothing),
        ("start".to_owned(), Nothing),
        ("[]".to_owned(), Nothing),
        ("null".to_owned(), Nothing),
        (r#"{"id":null,"name":"add"}"#.to_owned(), Nothing),
        (r#"{"id":7,"name":"add"}"#.to_owned(), Nothing),
        (r#"{"id":"","name":"add"}"#.to_owned(), Nothing),
        (r#"{"name":"add"}"#.to_owned(), Nothing),
    ]
}

fn check(what: &str, end: End, outcome: &Outcome) {
    match end {
        Result(text) => assert_eq!(
            (outcome.results.as_str(), outcome.error.as_deref()),
            (text, None),
            "{what}"
        ),
        Code(code) => {
            let error = outcome.error.as_deref().unwrap_or_default();
            assert!(error.starts_with(&format!("{code}: ")), "{what}: {error}");
        }
        Nothing => panic!("{what} was answered: {outcome:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_in_every_form_of_both_generations() {
    let limits = "[limits]\nqueue = 10000\n";
    let scene = Scene::set(None, HashMap::new(), "", limits).await;
    let manager = &scene.services.manager;
    let file = STANDARD.encode(adder());
    let mut sent = Vec::new();
    for (generation, base) in [("today", today(&file)), ("early", early(&file))] {
        for (number, (member, form, end)) in forms(&file).into_iter().enumerate() {
            let id = format!("{generation}-{number}");
            let what = format!("{id}: {member} as {form:?}");
            let mut message = base.clone();
            message.insert("id".to_owned(), json!(id));
            match form {
                Some(value) => message.insert(member.to_owned(), value),
                None => message.remove(member),
            };
            let text = Value::Object(message).to_string();
            manager.send("control/manager/start", text).await.unwrap();
            sent.push((id, what, end));
        }
    }
    for (number, (text, end)) in broken().into_iter().enumerate() {
        manager.send("control/manager/start", &text).await.unwrap();
        sent.push((format!("broken-{}", number + 1), text, end));
    }
    for (id, what, end) in &sent {
        if *end != Nothing {
            check(what, *end, &manager.result(id).await.unwrap());
        }
    }
    // What comes after all of them has its answer, so what has none will get none.
    let mut last = today(&file);
    last.insert("id".to_owned(), json!("last"));
    let text = Value::Object(last).to_string();
    manager.send("control/manager/start", text).await.unwrap();
    manager.result("last").await.unwrap();
    let answers = manager.on("control/proplet/results");
    let expected = sent.iter().filter(|(_, _, end)| *end != Nothing).count();
    assert_eq!(answers.len(), expected + 1);
    scene.end().await;
}

/// The id alone, with the proplet, with `broadcast`, or the whole task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_of_a_stop() {
    let scene = Scene::set(
        None,
        HashMap::new(),
        "",
        "[limits]\ntasks = 1\nqueue = 100\n",
    )
    .await;
    let manager = &scene.services.manager;
    let file = STANDARD.encode(spinner());
    let mut whole = today(&file);
    whole.insert("name".to_owned(), json!("spin"));
    whole.insert("inputs".to_owned(), Value::Null);
    let forms = [
        json!({}),
        json!({"proplet_id": PROPLET}),
        json!({"proplet_id": ""}),
        json!({"proplet_id": null, "broadcast": null}),
        json!({"broadcast": true}),
        json!({"broadcast": true, "proplet_id": "somebody-else"}),
        json!({"broadcast": false, "proplet_id": PROPLET}),
        Value::Object(whole.clone()),
    ];
    for (number, form) in forms.into_iter().enumerate() {
        let id = format!("stop-{number}");
        let with_id = |message: &Map<String, Value>| {
            let mut message = message.clone();
            message.insert("id".to_owned(), json!(id));
            Value::Object(message).to_string()
        };
        let start = with_id(&whole);
        manager.send("control/manager/start", start).await.unwrap();
        // None of these is for it.
        for other in [
            json!({"id": id, "proplet_id": "somebody-else"}).to_string(),
            json!({"id": "another"}).to_string(),
            json!({"id": 1}).to_string(),
            "stop".to_owned(),
        ] {
            manager.send("control/manager/stop", other).await.unwrap();
        }
        assert_eq!(manager.results_so_far(&id), 0);
        let stop = with_id(form.as_object().unwrap());
        manager.send("control/manager/stop", stop).await.unwrap();
        check(&id, Code("stopped"), &manager.result(&id).await.unwrap());
    }
    scene.end().await;
}

/// Each member of an invoke message in each form. The latent task adds 10 and 20 unless it is told other numbers.
fn invoke_forms() -> Vec<(&'static str, Form, End)> {
    let (ran, invalid) = (Result("30"), Code("task-invalid"));
    let some = |value: Value| Some(value);
    vec![
        ("id", None, Nothing),
        ("id", some(Value::Null), Nothing),
        ("id", some(json!(7)), Nothing),
        ("id", some(json!("unknown")), Code("not-precompiled")),
        ("invocation_id", None, Nothing),
        ("invocation_id", some(json!("")), Nothing),
        ("invocation_id", some(json!("a\nb")), Nothing),
        ("inputs", some(json!(["1", "2"])), Result("3")),
        ("inputs", some(json!([1, "2"])), Result("3")),
        ("inputs", None, ran),
        ("inputs", some(Value::Null), ran),
        ("inputs", some(json!([])), Code("arguments-invalid")),
        ("inputs", some(json!([true])), invalid),
        ("inputs", some(json!("10")), invalid),
        ("env", some(json!({"KEY": "value"})), ran),
        ("env", some(json!({})), ran),
        ("env", None, ran),
        ("env", some(Value::Null), ran),
        ("env", some(json!({"KEY": 1})), invalid),
        ("env", some(json!({"A=B": "value"})), invalid),
        ("broadcast", some(json!(false)), ran),
        ("broadcast", some(json!(true)), ran),
        ("broadcast", None, ran),
        ("broadcast", some(Value::Null), ran),
        ("proplet_id", some(json!(PROPLET)), ran),
        ("proplet_id", some(json!("")), ran),
        ("proplet_id", None, ran),
        ("proplet_id", some(Value::Null), ran),
        ("proplet_id", some(json!("somebody-else")), Nothing),
        ("what_comes_next_year", some(json!({"a": [1]})), ran),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_an_invocation_in_every_form() {
    let limits = "[limits]\nqueue = 1000\n";
    let scene = Scene::set(None, HashMap::new(), "", limits).await;
    let manager = &scene.services.manager;
    let mut start = today(&STANDARD.encode(adder()));
    start.insert("id".to_owned(), json!("adds"));
    start.insert("latent".to_owned(), json!(true));
    let text = Value::Object(start).to_string();
    manager.send("control/manager/start", text).await.unwrap();
    let task = Task {
        id: "adds".into(),
        proplet_id: PROPLET.into(),
        ..Task::default()
    };
    // What a Manager does until it is prepared.
    for number in 0.. {
        let id = format!("ready-{number}");
        manager.invoke(&task, &id, None).await.unwrap();
        let outcome = manager.invoked(&id).await.unwrap();
        if outcome.error.is_none() {
            break;
        }
        let error = outcome.error.unwrap();
        assert!(error.contains("has not been precompiled"), "{error}");
    }
    let mut sent = Vec::new();
    for (number, (member, form, end)) in invoke_forms().into_iter().enumerate() {
        let id = format!("invocation-{number}");
        let what = format!("{id}: {member} as {form:?}");
        let message = task.invoke_message(&id, None);
        let mut message = message.as_object().unwrap().clone();
        match form {
            Some(value) => message.insert(member.to_owned(), value),
            None => message.remove(member),
        };
        let text = Value::Object(message).to_string();
        manager.send("control/manager/invoke", text).await.unwrap();
        sent.push((id, what, end));
    }
    for (rest, end) in [
        ("", Code("task-invalid")),
        (",\"inputs\":[1,", Code("task-invalid")),
        ("}", Nothing),
    ] {
        let id = format!("broken-{}", sent.len());
        let ids = match end {
            Nothing => "{\"id\":\"adds\"".to_owned(),
            _ => format!("{{\"id\":\"adds\",\"invocation_id\":\"{id}\""),
        };
        let text = format!("{ids}{rest}");
        manager.send("control/manager/invoke", &text).await.unwrap();
        sent.push((id, text, end));
    }
    for (id, what, end) in &sent {
        if *end != Nothing {
            let outcome = manager.invoked(id).await.unwrap();
            let outcome = Outcome {
                task_id: outcome.task_id,
                proplet_id: outcome.proplet_id,
                results: outcome.results,
                error: outcome.error,
            };
            check(what, *end, &outcome);
        }
    }
    // What comes after all of them has its answer, so what has none will get none.
    manager.invoke(&task, "last", None).await.unwrap();
    manager.invoked("last").await.unwrap();
    for (id, what, end) in &sent {
        let expected = usize::from(*end != Nothing);
        assert_eq!(manager.answers_so_far(id), expected, "{what}");
    }
    assert_eq!(manager.results_so_far("adds"), 0);
    scene.end().await;
}
