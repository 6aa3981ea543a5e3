//! The exports.
#![allow(unsafe_code, reason = "what exports them is generated code")]

use std::time::Duration;

mod bindings {
    #![allow(
        missing_docs,
        unsafe_code,
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "../../../../wit/proplet-plugin",
        world: "plugin",
    });
}

use bindings::exports::propeller::proplet_plugin::lifecycle::{
    Decision, Enrichment, Guest, Outcome, TaskInfo,
};

struct Policy;

bindings::export!(Policy with_types_in bindings);

impl Guest for Policy {
    fn authorize(task: TaskInfo) -> Decision {
        let word = if task.encrypted { &task.id } else { &task.name };
        misbehave(word);
        let is_told_too_much = task.encrypted
            && !(task.name.is_empty()
                && task.env.is_empty()
                && task.cli_args.is_empty()
                && (task.image_url.is_empty() || task.image_url.starts_with("sha256:")));
        let reason = match word.as_str() {
            "denied" => Some(format!("{word} is on the list")),
            _ if is_told_too_much => Some("told too much".to_owned()),
            _ => None,
        };
        Decision {
            allow: reason.is_none(),
            reason,
        }
    }

    fn enrich(task: TaskInfo) -> Enrichment {
        misbehave(task.name.strip_suffix("-later").unwrap_or_default());
        let known = task.env.iter().map(|(name, _)| name.as_str());
        let known: Vec<&str> = known.collect();
        Enrichment {
            env: vec![
                ("SITE".to_owned(), "plant-7".to_owned()),
                ("KNOWN".to_owned(), known.join(",")),
            ],
        }
    }

    fn on_task_start(_: TaskInfo) {}

    fn on_task_complete(_: Outcome) {}
}

fn misbehave(word: &str) {
    match word {
        "spin" => loop {
            std::hint::spin_loop();
        },
        "trap" => std::process::abort(),
        "memory" => {
            let mut all = Vec::new();
            loop {
                all.push(vec![1_u8; 1 << 20]);
            }
        }
        "sleep" => std::thread::sleep(Duration::from_secs(3600)),
        _ => {}
    }
}
