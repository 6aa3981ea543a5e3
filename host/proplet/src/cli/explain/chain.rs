//! The chain from the result to the vendor's root: each link vouches for the one before it.

use proplet_hal::{
    tdx::time,
    verify::{Anchor, TeeFacts},
};
use proplet_results::verify::Report;

use super::node::{Mark, Node};

pub(super) fn of(report: &Report) -> Vec<Node> {
    let mut links = Vec::new();
    if let Some(receipt) = &report.receipt {
        links.push(holds("sealed result", receipt.result_digest.to_string()));
        let by = report.claims.as_ref().map(|claims| claims.cnf.as_str());
        links.push(holds(
            "receipt",
            format!(
                "names that result; signed by the host's key {}",
                by.unwrap_or("?")
            ),
        ));
    }
    if let Some(claims) = &report.claims {
        let text = match &claims.workload {
            None => format!("name the host's key {}", claims.cnf),
            Some(workload) => format!("name the component {}", workload.component_digest),
        };
        links.push(holds("claims", text));
    }
    links.extend(evidence(report));
    links
}

fn evidence(report: &Report) -> Vec<Node> {
    let root = match report.anchor {
        Anchor::Vendor => holds("root", "the vendor's, built in"),
        Anchor::Given => Node::new(
            "root",
            "GIVEN on the command line: of a test PKI it proves nothing",
        )
        .marked(Mark::Warning),
        _ => Node::new("root", "none").marked(Mark::Warning),
    };
    match &report.facts {
        TeeFacts::Snp(snp) => vec![
            holds("SNP report", "its report data is the SHA-512 of the claims"),
            holds(
                &format!("{}", snp.signing_key),
                "signed the report; its certificate is of the report's chip and firmware",
            ),
            holds("ASK", "issued that certificate; pinned"),
            root,
        ],
        TeeFacts::Tdx(tdx) => vec![
            holds("TDX quote", "its report data is the SHA-512 of the claims"),
            holds("attestation key", "signed the quote"),
            holds("quoting enclave", "Intel's; its report names that key"),
            holds(
                "PCK",
                format!(
                    "signed that report; of the machine with PPID {}",
                    hex::encode(&tdx.platform.ppid)
                ),
            ),
            holds(
                "collateral",
                format!(
                    "Intel's TCB info, identity and revocation lists; holds from {} to {}",
                    time::shown(tdx.collateral_from),
                    time::shown(tdx.collateral_until)
                ),
            ),
            root,
        ],
        _ => vec![
            Node::new("evidence", "not signed: anybody can write it").marked(Mark::Warning),
            root,
        ],
    }
}

fn holds(name: &str, text: impl AsRef<str>) -> Node {
    Node::new(name, text).marked(Mark::Holds)
}
