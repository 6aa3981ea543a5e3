//! How a verification is shown.

use proplet_hal::verify::Anchor;
use proplet_results::verify::{CheckOutcome, Checked, Report};
use proplet_types::{Check, text::line};
use serde_json::{Value, json};

/// For people: warnings, then every check, then what the document says.
pub(super) fn to_text(report: &Report) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        text.push_str(&format!("WARNING: {}\n", line(warning)));
    }
    for Checked { check, outcome } in &report.checks {
        match outcome {
            CheckOutcome::Verified => text.push_str(&format!("verified      {check}\n")),
            CheckOutcome::NotVerified(why) => {
                text.push_str(&format!("NOT verified  {check}: {}\n", line(why)));
            }
        }
    }
    for (name, value) in facts(report) {
        text.push_str(&format!("  {name:<12}{}\n", line(&value)));
    }
    text
}

/// For programs. `verified` is true only when there is nothing to read on: every check that applies was
/// made, and nothing was warned of.
pub(super) fn to_json(report: &Report) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|Checked { check, outcome }| match outcome {
            CheckOutcome::Verified => json!({"name": check, "verified": true}),
            CheckOutcome::NotVerified(why) => {
                json!({"name": check, "verified": false, "why": why})
            }
        })
        .collect();
    let left_out: Vec<Check> = report
        .not_verified_checks()
        .map(|(check, _)| check)
        .collect();
    json!({
        "verified": report.is_complete(),
        "not_verified": left_out,
        "checks": checks,
        "warnings": report.warnings,
        "tee": report.tee.to_string(),
        "anchor": anchor(report.anchor),
        "measurement": hex::encode(&report.measurement),
        "init_data": report.init_data.as_ref().map(hex::encode),
        "claims": report.claims.as_ref().map(|claims| claims.to_members()),
        "receipt": report.receipt,
    })
}

fn anchor(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Vendor => "vendor",
        Anchor::Given => "given",
        _ => "nothing",
    }
}

/// What the verified document says, so that it can be compared, or expected the next time.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let roots = match report.anchor {
        Anchor::Vendor => "vouched for by the vendor's roots",
        Anchor::Given => "vouched for by given roots",
        _ => "vouched for by nobody",
    };
    let mut facts = vec![("tee", format!("{}, {roots}", report.tee))];
    if !report.measurement.is_empty() {
        facts.push(("measurement", hex::encode(&report.measurement)));
    }
    if let Some(init_data) = &report.init_data {
        facts.push(("init-data", hex::encode(init_data)));
    }
    if let Some(claims) = &report.claims {
        facts.push(("settings", claims.settings_digest.to_string()));
        if claims.flavour.is_debug() {
            facts.push(("flavour", claims.flavour.to_string()));
        }
        if let Some(workload) = &claims.workload {
            facts.push(("component", workload.component_digest.to_string()));
            facts.extend(
                workload
                    .image_digest
                    .iter()
                    .map(|d| ("image", d.to_string())),
            );
            facts.extend(
                workload
                    .policy_digest
                    .iter()
                    .map(|d| ("policy", d.to_string())),
            );
            facts.push(("task id", workload.task_id.clone()));
        }
    }
    if let Some(receipt) = &report.receipt {
        facts.push(("component", receipt.component_digest.to_string()));
        facts.extend(
            receipt
                .image_digest
                .iter()
                .map(|d| ("image", d.to_string())),
        );
        facts.extend(
            receipt
                .policy_digest
                .iter()
                .map(|d| ("policy", d.to_string())),
        );
        facts.push(("task id", receipt.task_id.clone()));
        let invocation = receipt.invocation_id.iter();
        facts.extend(invocation.map(|id| ("invocation id", id.clone())));
        facts.push(("receipt", format!("{} of its key", receipt.sequence)));
        facts.push(("export", receipt.export.clone()));
        facts.push(("inputs", receipt.inputs_digest.to_string()));
        facts.push(("recipients", receipt.recipients.join(" ")));
        let (start, finish) = (receipt.untrusted_start, receipt.untrusted_finish);
        facts.push((
            "ran",
            format!("{start} to {finish}, by the untrusted clock"),
        ));
    }
    facts
}
