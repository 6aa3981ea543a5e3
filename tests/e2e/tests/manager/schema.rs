//! What a proplet may say, and how: the members of each message that the Manager reads.

use proplet_lab::PROPLET;
use proplet_types::Code;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    TextOrNull,
    Number,
    Strings,
    Object,
    ObjectOrNull,
}

use Kind::{Number, Object, ObjectOrNull, Strings, Text, TextOrNull};

/// A member: its name, its type, and whether it is always there.
type Member = (&'static str, Kind, bool);

const RESULTS: &[Member] = &[
    ("task_id", Text, true),
    ("proplet_id", Text, true),
    ("results", Text, true),
    ("error", TextOrNull, true),
];
/// Of a plain task of a round of federated learning.
const UPDATE: &[Member] = &[
    ("task_id", Text, true),
    ("results", Object, true),
    ("error", TextOrNull, true),
];
const UPDATE_RESULTS: &[Member] = &[
    ("task_id", Text, true),
    ("round_id", Text, true),
    ("proplet_id", Text, true),
    ("num_samples", Number, true),
    ("update_b64", Text, true),
    ("format", Text, true),
    ("metrics", Object, true),
];
const INVOKE_RESULTS: &[Member] = &[
    ("task_id", Text, true),
    ("invocation_id", Text, true),
    ("proplet_id", Text, true),
    ("results", Text, true),
    ("error", TextOrNull, true),
];
const CREATE: &[Member] = &[
    ("proplet_id", Text, true),
    ("namespace", Text, true),
    ("metadata", Object, true),
];
const METADATA: &[Member] = &[
    ("description", Text, false),
    ("tags", Strings, false),
    ("location", Text, false),
    ("ip", Text, false),
    ("environment", Text, true),
    ("os", Text, true),
    ("hostname", Text, false),
    ("cpu_arch", Text, true),
    ("total_memory_bytes", Number, true),
    ("proplet_version", Text, true),
    ("wasm_runtime", Text, true),
];
const ALIVE: &[Member] = &[
    ("proplet_id", Text, true),
    ("status", Text, true),
    ("namespace", Text, true),
];
const FETCH: &[Member] = &[("app_name", Text, true)];
const TASK_METRICS: &[Member] = &[
    ("task_id", Text, true),
    ("proplet_id", Text, true),
    ("metrics", Object, true),
    ("aggregated", ObjectOrNull, false),
    ("timestamp", Text, true),
];
const METRICS: &[Member] = &[
    ("proplet_id", Text, true),
    ("namespace", Text, true),
    ("timestamp", Text, true),
    ("cpu_metrics", Object, true),
    ("memory_metrics", Object, true),
];

const TASK_USE: &[Member] = &[
    ("cpu_percent", Number, true),
    ("memory_bytes", Number, true),
    ("memory_percent", Number, true),
    ("disk_read_bytes", Number, true),
    ("disk_write_bytes", Number, true),
    ("uptime_seconds", Number, true),
    ("thread_count", Number, true),
    ("file_descriptor_count", Number, true),
];
const AGGREGATED: &[Member] = &[
    ("avg_cpu_usage", Number, true),
    ("max_cpu_usage", Number, true),
    ("avg_memory_usage", Number, true),
    ("max_memory_usage", Number, true),
    ("total_disk_read", Number, true),
    ("total_disk_write", Number, true),
    ("sample_count", Number, true),
];
const CPU_METRICS: &[Member] = &[
    ("user_seconds", Number, true),
    ("system_seconds", Number, true),
    ("percent", Number, true),
];
const MEMORY_METRICS: &[Member] = &[
    ("rss_bytes", Number, true),
    ("heap_alloc_bytes", Number, true),
    ("heap_sys_bytes", Number, true),
    ("heap_inuse_bytes", Number, true),
    ("container_usage_bytes", Number, false),
    ("container_limit_bytes", Number, false),
];

/// Panics unless a proplet may say this on this topic.
pub fn check(topic: &str, payload: &[u8]) {
    let message: Value = serde_json::from_slice(payload).unwrap();
    let members = match topic {
        "control/proplet/results" if message["results"].is_object() => UPDATE,
        "control/proplet/results" => RESULTS,
        "control/proplet/invoke_results" => INVOKE_RESULTS,
        "control/proplet/create" => CREATE,
        "control/proplet/alive" => ALIVE,
        "control/proplet/task_metrics" => TASK_METRICS,
        "control/proplet/metrics" => METRICS,
        "registry/proplet" => FETCH,
        other => panic!("a proplet says nothing on {other}"),
    };
    check_members(topic, &message, members);
    if members.contains(&("proplet_id", Text, true)) {
        assert_eq!(message["proplet_id"], PROPLET, "{message}");
    }
    match topic {
        "control/proplet/results" if message["results"].is_object() => {
            check_members("results", &message["results"], UPDATE_RESULTS);
            assert_eq!(message["error"], Value::Null);
        }
        "control/proplet/create" => check_members("metadata", &message["metadata"], METADATA),
        "control/proplet/task_metrics" => {
            check_members("metrics", &message["metrics"], TASK_USE);
            if !message["aggregated"].is_null() {
                check_members("aggregated", &message["aggregated"], AGGREGATED);
            }
            check_timestamp(&message["timestamp"]);
        }
        "control/proplet/metrics" => {
            check_members("cpu_metrics", &message["cpu_metrics"], CPU_METRICS);
            check_members("memory_metrics", &message["memory_metrics"], MEMORY_METRICS);
            check_timestamp(&message["timestamp"]);
        }
        // The Manager takes every word here for a sign of life.
        "control/proplet/alive" => assert_eq!(message["status"], "alive"),
        "control/proplet/results" | "control/proplet/invoke_results" => check_outcome(&message),
        _ => {}
    }
}

/// The Manager reads RFC 3339 and takes the time of arrival for anything else.
fn check_timestamp(value: &Value) {
    let text = value.as_str().unwrap();
    let time = OffsetDateTime::parse(text, &Rfc3339);
    assert!(time.is_ok(), "{text}: {time:?}");
}

/// What the Manager calls failed is a non-empty string, which begins with a code of ours.
fn check_outcome(message: &Value) {
    let Some(error) = message["error"].as_str() else {
        return;
    };
    let (code, words) = error.split_once(": ").unwrap_or_else(|| panic!("{error}"));
    assert!(code.parse::<Code>().is_ok(), "{error}");
    assert!(!words.is_empty(), "{error:?}");
    let results = message["results"].as_str().unwrap();
    assert!(
        results.is_empty() || results.starts_with('{'),
        "what fails has a sealed result or none: {message}"
    );
}

fn check_members(what: &str, message: &Value, members: &[Member]) {
    let object = message
        .as_object()
        .unwrap_or_else(|| panic!("{what}: {message}"));
    for name in object.keys() {
        let known = members.iter().any(|(known, _, _)| known == name);
        assert!(known, "{what} has no member {name}: {message}");
    }
    for (name, kind, is_needed) in members {
        let Some(value) = object.get(*name) else {
            assert!(!is_needed, "{what} lacks {name}: {message}");
            continue;
        };
        let fits = match kind {
            Text => value.is_string(),
            TextOrNull => value.is_string() || value.is_null(),
            Number => value.is_number(),
            Strings => value
                .as_array()
                .is_some_and(|array| array.iter().all(Value::is_string)),
            Object => value.is_object(),
            ObjectOrNull => value.is_object() || value.is_null(),
        };
        assert!(fits, "{what}: {name} is of another type: {message}");
    }
}

#[test]
fn what_is_of_no_schema_is_noticed() {
    let passes = |topic: &'static str, message: Value| {
        std::panic::catch_unwind(move || check(topic, message.to_string().as_bytes())).is_ok()
    };
    let results = |results: Value, error: Value| serde_json::json!({"task_id": "a", "proplet_id": PROPLET, "results": results, "error": error});
    let topic = "control/proplet/results";
    assert!(passes(topic, results("30".into(), Value::Null)));
    assert!(passes(
        topic,
        results("".into(), "no-tee: none here".into())
    ));
    for (value, error) in [
        (30.into(), Value::Null),
        ("".into(), "no code".into()),
        ("".into(), "not-a-code: words".into()),
        ("30".into(), "no-tee: none here".into()),
        (Value::Null, Value::Null),
    ] {
        assert!(!passes(topic, results(value, error)));
    }
    let alive =
        serde_json::json!({"proplet_id": PROPLET, "status": "offline", "namespace": "default"});
    assert!(!passes("control/proplet/alive", alive));
    assert!(!passes("control/proplet/other", serde_json::json!({})));
    let metrics = |timestamp: &str, limit: Value| {
        serde_json::json!({
            "proplet_id": PROPLET, "namespace": "default", "timestamp": timestamp,
            "cpu_metrics": {"user_seconds": 1.5, "system_seconds": 0, "percent": 3},
            "memory_metrics": {"rss_bytes": 1, "heap_alloc_bytes": 1, "heap_sys_bytes": 1, "heap_inuse_bytes": 1,
                "container_limit_bytes": limit},
        })
    };
    let topic = "control/proplet/metrics";
    assert!(passes(topic, metrics("2026-11-28T09:00:00.5Z", 5.into())));
    assert!(!passes(topic, metrics("1790000000", 5.into())));
    assert!(!passes(
        topic,
        metrics("2026-11-28T09:00:00.5Z", "max".into())
    ));
}
