//! The table of ranges in `docs/settings.md` against what a start accepts.

use std::collections::BTreeMap;

use super::*;

const PAGE: &str = include_str!("../../../../docs/settings.md");
const DOCUMENT: &str = include_str!("../document.rs");

/// A row of the table.
struct Row {
    table: String,
    name: String,
    least: u64,
    most: Option<u64>,
    default: Option<u64>,
}

fn rows() -> Vec<Row> {
    let (_, section) = PAGE.split_once("\n## Ranges\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| `["));
    lines
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let (table, name) = cells[0].trim_matches('`').split_once("] ").unwrap();
            Row {
                table: table.trim_start_matches('[').to_owned(),
                name: name.to_owned(),
                least: cells[2].parse().unwrap(),
                most: cells[3].parse().ok(),
                default: cells[4].parse().ok(),
            }
        })
        .collect()
}

fn with(row: &Row, value: u64) -> Result<Settings, SettingsError> {
    let Row { table, name, .. } = row;
    let needed = match table.as_str() {
        "kbs" => "url = \"https://kbs.example\"\n",
        "audit" => "path = \"/srv/audit\"\n",
        _ => "",
    };
    let text = format!("[{table}]\n{needed}{name} = {value}\n");
    Settings::parse(Some(&text), &Environment::default())
}

/// What is in force, by the names of the document.
fn in_force(settings: &Settings) -> BTreeMap<String, u64> {
    let (mqtt, limits, task) = (&settings.mqtt, &settings.limits, &settings.limits.task);
    let kbs = settings.kbs.as_ref().unwrap();
    let size = |size: usize| u64::try_from(size).unwrap();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    [
        ("proplet.heartbeat_seconds", settings.heartbeat.as_secs()),
        (
            "proplet.results_not_before_ms",
            ms(settings.results_not_before),
        ),
        ("mqtt.qos", mqtt.qos.into()),
        ("mqtt.keep_alive_seconds", mqtt.keep_alive.as_secs()),
        ("mqtt.max_packet_bytes", size(mqtt.max_packet_bytes)),
        ("mqtt.max_result_bytes", size(mqtt.max_result_bytes)),
        ("mqtt.inflight", mqtt.inflight.into()),
        ("mqtt.request_queue", size(mqtt.request_queue)),
        ("mqtt.result_queue", size(mqtt.result_queue)),
        ("mqtt.result_queue_bytes", size(mqtt.result_queue_bytes)),
        (
            "registry.max_layer_bytes",
            settings.registry.max_layer_bytes,
        ),
        (
            "registry.timeout_seconds",
            settings.registry.timeout.as_secs(),
        ),
        ("kbs.timeout_seconds", kbs.timeout.as_secs()),
        (
            "attestation.timeout_seconds",
            settings.attestation.timeout.as_secs(),
        ),
        (
            "agent.evidence_per_minute",
            settings.agent.evidence_per_minute.into(),
        ),
        ("limits.tasks", size(limits.tasks)),
        ("limits.queue", size(limits.queue)),
        ("limits.queue_bytes", size(limits.queue_bytes)),
        ("limits.compile_ms", limits.compile_ms),
        ("limits.memory_bytes", task.memory_bytes),
        ("limits.wall_clock_ms", task.wall_clock_ms),
        ("limits.cpu_ms", task.cpu_ms),
        ("limits.output_bytes", task.output_bytes),
        ("limits.handles", task.handles.into()),
        ("limits.evidence_quota", task.evidence_quota.into()),
        ("limits.secret_quota", task.secret_quota.into()),
        ("latent_tasks.tasks", size(settings.latent_tasks.tasks)),
        ("latent_tasks.bytes", settings.latent_tasks.bytes),
        (
            "latent_tasks.invocation_ms",
            ms(settings.latent_tasks.invocation),
        ),
        ("daemon_tasks.tasks", size(settings.daemon_tasks.tasks)),
        (
            "daemon_tasks.restarts",
            settings.daemon_tasks.restarts.into(),
        ),
        (
            "daemon_tasks.restart_delay_ms",
            ms(settings.daemon_tasks.restart_delay),
        ),
        ("outbox.max_bytes", settings.outbox.max_bytes),
        (
            "metrics.interval_seconds",
            settings.metrics.interval.map_or(0, |time| time.as_secs()),
        ),
        (
            "metrics.task_floor_seconds",
            settings.metrics.task_floor.as_secs(),
        ),
        ("audit.max_file_bytes", settings.audit.max_file_bytes),
        ("http.requests", settings.http.requests.into()),
        ("http.connections", settings.http.connections.into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn key(row: &Row) -> String {
    format!("{}.{}", row.table, row.name)
}

#[test]
fn the_least_and_the_most_are_accepted_and_nothing_beyond() {
    for row in rows() {
        let name = key(&row);
        for value in [row.least, row.most.unwrap_or(i64::MAX as u64)] {
            let accepted = with(&row, value);
            assert!(accepted.is_ok(), "{name} = {value}: {accepted:?}");
            // Only what needs no other table can be looked up.
            if row.table == "kbs" {
                assert_eq!(in_force(&accepted.unwrap())[&name], value, "{name}");
            }
        }
        if let Some(below) = row.least.checked_sub(1)
            && name != "mqtt.result_queue"
        {
            assert!(with(&row, below).is_err(), "{name} = {below}");
        }
        if let Some(most) = row.most {
            assert!(with(&row, most + 1).is_err(), "{name} = {}", most + 1);
        }
    }
}

#[test]
fn defaults_are_as_listed() {
    let text = "[kbs]\nurl = \"https://kbs.example\"\n";
    let settings = Settings::parse(Some(text), &Environment::default()).unwrap();
    let in_force = in_force(&settings);
    for row in rows() {
        let found = in_force.get(&key(&row)).copied();
        match row.default {
            Some(default) => assert_eq!(found, Some(default), "{}", key(&row)),
            // What the machine or another setting decides, and what there is none of.
            None => assert!(
                [
                    "limits.tasks",
                    "metrics.interval_seconds",
                    "audit.max_bytes"
                ]
                .contains(&&*key(&row))
            ),
        }
    }
}

/// The name of a table by that of its type.
fn snake_case(name: &str) -> String {
    let mut table = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !table.is_empty() {
            table.push('_');
        }
        table.extend(letter.to_lowercase());
    }
    table
}

#[test]
fn every_number_of_the_document_is_listed() {
    let mut numbers = Vec::new();
    let mut table = String::new();
    for line in DOCUMENT.lines() {
        if let Some(rest) = line.strip_prefix("pub(super) struct ") {
            table = snake_case(rest.trim_end_matches(" {"));
        }
        let field = line.trim().strip_prefix("pub ");
        if let Some((name, ty)) = field.and_then(|field| field.split_once(": "))
            && ["u8", "u16", "u32", "u64", "usize"].contains(
                &ty.trim_start_matches("Option<")
                    .trim_end_matches([',', '>']),
            )
        {
            numbers.push(format!("{table}.{name}"));
        }
    }
    let listed: Vec<_> = rows().iter().map(key).collect();
    assert_eq!(listed, numbers);
}
