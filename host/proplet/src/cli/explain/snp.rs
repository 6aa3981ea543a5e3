//! What an SNP report says.

use proplet_hal::snp::{SnpReport, Tcb};

use super::node::Node;

pub(super) fn facts(report: &SnpReport) -> Vec<Node> {
    let generation = report.generation;
    let generation =
        generation.map_or_else(|| "not named".to_owned(), |known| format!("{known:?}"));
    let policy = report.policy;
    vec![
        Node::new("SNP report", format!("version {}", report.version)).with(vec![
            Node::hex("measurement", &report.measurement),
            Node::hex("HOST_DATA", &report.host_data),
            Node::hex("report data", &report.report_data),
            Node::new("VMPL", report.vmpl.to_string()),
            Node::new("guest policy", format!("{policy:#x}")).with(vec![
                bit("the hypervisor may debug it", policy, 19),
                bit("a migration agent may move it", policy, 18),
                bit("SMT is allowed", policy, 16),
                bit("one socket only", policy, 20),
            ]),
            Node::new("guest SVN", report.guest_svn.to_string()),
            Node::hex("ID key", &report.id_key_digest),
            Node::hex("author key", &report.author_key_digest),
            Node::hex("family id", &report.family_id),
            Node::hex("image id", &report.image_id),
            Node::hex("report id", &report.report_id),
        ]),
        Node::new("platform", format!("CPU generation {generation}")).with(vec![
            Node::hex("chip id", &report.chip_id),
            Node::new("signed by", report.signing_key.to_string()),
            tcb("reported TCB", &report.reported_tcb),
            tcb("current TCB", &report.current_tcb),
            tcb("committed TCB", &report.committed_tcb),
            tcb("launch TCB", &report.launch_tcb),
            Node::new("platform info", format!("{:#x}", report.platform_info)).with(vec![
                bit("SMT", report.platform_info, 0),
                bit("TSME", report.platform_info, 1),
                bit("ECC", report.platform_info, 2),
                bit("RAPL disabled", report.platform_info, 3),
                bit("ciphertext hiding", report.platform_info, 4),
                bit("alias check", report.platform_info, 5),
            ]),
        ]),
    ]
}

pub(super) fn bit(name: &str, bits: u64, at: u32) -> Node {
    let set = bits.checked_shr(at).unwrap_or_default() & 1 == 1;
    Node::new(name, if set { "yes" } else { "no" })
}

fn tcb(name: &str, tcb: &Tcb) -> Node {
    let mut text = format!(
        "bootloader {}, tee {}, snp {}, microcode {}",
        tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    );
    if let Some(fmc) = tcb.fmc {
        text.push_str(&format!(", fmc {fmc}"));
    }
    Node::new(name, text)
}
