//! What the evidence says, whatever was expected.

use proplet_hal::verify::TeeFacts;
use proplet_results::verify::Report;

use super::{node::Node, snp, tdx};

pub(super) fn of(report: &Report) -> Vec<Node> {
    let mut facts = match &report.facts {
        TeeFacts::Snp(snp) => snp::facts(snp),
        TeeFacts::Tdx(tdx) => tdx::facts(tdx),
        _ => Vec::new(),
    };
    if let Some(claims) = &report.claims {
        let mut said = vec![
            Node::new("attester", &claims.attester),
            Node::new("settings", claims.settings_digest.to_string()),
            Node::new("host's key", &claims.cnf),
            Node::new("nonce", hex::encode(claims.nonce())),
        ];
        if claims.flavour.is_debug() {
            said.push(Node::new("flavour", claims.flavour.to_string()));
        }
        if let Some(workload) = &claims.workload {
            said.push(Node::new(
                "component",
                workload.component_digest.to_string(),
            ));
            said.push(digest("image", workload.image_digest.as_ref()));
            said.push(digest("policy", workload.policy_digest.as_ref()));
            said.push(Node::new("task id", &workload.task_id));
        }
        facts.push(Node::new("claims", "what the host says, signed by the evidence").with(said));
    }
    if let Some(receipt) = &report.receipt {
        let recipients = receipt.recipients.join(" ");
        let (start, finish) = (receipt.untrusted_start, receipt.untrusted_finish);
        facts.push(
            Node::new("receipt", "what the host says of this run").with(vec![
                Node::new("component", receipt.component_digest.to_string()),
                digest("image", receipt.image_digest.as_ref()),
                digest("policy", receipt.policy_digest.as_ref()),
                Node::new("task id", &receipt.task_id),
                Node::new(
                    "invocation id",
                    receipt.invocation_id.as_deref().unwrap_or("absent"),
                ),
                Node::new("sequence", receipt.sequence.to_string()),
                Node::new("export", &receipt.export),
                Node::new("arguments", receipt.arguments_digest.to_string()),
                Node::new("environment", receipt.environment_digest.to_string()),
                Node::new("inputs", receipt.inputs_digest.to_string()),
                Node::new("result", receipt.result_digest.to_string()),
                Node::new("recipients", recipients),
                Node::new(
                    "ran",
                    format!("{start} to {finish}, by the untrusted clock"),
                ),
            ]),
        );
    }
    facts
}

fn digest(name: &str, digest: Option<&proplet_types::Digest>) -> Node {
    Node::new(
        name,
        digest.map_or_else(|| "absent".to_owned(), ToString::to_string),
    )
}
