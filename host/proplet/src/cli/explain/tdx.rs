//! What a TDX quote, its collateral and its event log say.

use proplet_hal::tdx::{BodyType, TdxFacts, ccel::Record, time};

use super::{
    node::{Mark, Node},
    snp::bit,
};

/// Records of an event log that are shown.
const MAX_RECORDS: usize = 1000;

pub(super) fn facts(facts: &TdxFacts) -> Vec<Node> {
    vec![quote(facts), platform(facts), event_log(facts)]
}

fn quote(facts: &TdxFacts) -> Node {
    let report = &facts.report;
    let layout = match report.body_type {
        BodyType::Td10 => "TDX 1.0",
        BodyType::Td15 => "TDX 1.5",
        _ => "TDX 1.5, extended",
    };
    let mut said = vec![
        Node::hex("MRTD (measurement)", &report.mr_td),
        Node::hex("MRCONFIGID (init-data)", &report.mr_config_id),
        Node::hex("MROWNER", &report.mr_owner),
        Node::hex("MROWNERCONFIG", &report.mr_owner_config),
    ];
    let rtmrs = report.rtmrs.iter().enumerate();
    said.extend(rtmrs.map(|(number, rtmr)| Node::hex(&format!("RTMR{number}"), rtmr)));
    let attributes = report.td_attributes;
    said.push(Node::hex("report data", &report.report_data));
    said.push(
        Node::new("attributes", format!("{attributes:#x}")).with(vec![
            bit("the hypervisor may debug it", attributes, 0),
            bit("SEPT_VE_DISABLE", attributes, 28),
            bit("a migration agent may move it", attributes, 29),
            bit("supervisor protection keys", attributes, 30),
            bit("key locker", attributes, 31),
            bit("performance monitoring", attributes, 63),
        ]),
    );
    said.push(Node::new("XFAM", format!("{:#x}", report.xfam)));
    Node::new(
        "TDX quote",
        format!("version {}, report of {layout}", facts.quote_version),
    )
    .with(said)
}

fn platform(facts: &TdxFacts) -> Node {
    let (report, tcb, platform) = (&facts.report, &facts.tcb, &facts.platform);
    let advisories = if tcb.advisories.is_empty() {
        "none".to_owned()
    } else {
        tcb.advisories.join(", ")
    };
    let instance = platform.instance_id;
    let mut said = vec![
        Node::new("TCB status", tcb.status.to_string()).with(vec![
            Node::new("advisories", advisories),
            Node::new("date of the TCB level", &tcb.date),
            Node::new("evaluation", tcb.evaluation.to_string()),
        ]),
        Node::new("FMSPC", hex::encode(platform.fmspc)),
        Node::new("PPID", hex::encode(&platform.ppid)),
        Node::new(
            "platform instance id",
            instance.map_or_else(|| "none".to_owned(), hex::encode),
        ),
        Node::new("TDX module", "signed by Intel").with(vec![
            Node::hex("MRSEAM", &report.mr_seam),
            Node::new("TEE TCB SVN", hex::encode(report.tee_tcb_svn)),
        ]),
        Node::new("collateral issued", time::shown(facts.collateral_from)),
        Node::new("collateral expires", time::shown(facts.collateral_until)),
    ];
    if let Some(svn) = report.tee_tcb_svn2 {
        said.push(Node::new("TEE TCB SVN after an update", hex::encode(svn)));
    }
    Node::new(
        "platform",
        "as its PCK certificate and Intel's collateral name it",
    )
    .with(said)
}

fn event_log(facts: &TdxFacts) -> Node {
    let Some(log) = &facts.event_log else {
        return Node::new("event log", "none came with the quote").marked(Mark::Open);
    };
    let mut records: Vec<Node> = log.records.iter().take(MAX_RECORDS).map(record).collect();
    let left_out = log.records.len().saturating_sub(MAX_RECORDS);
    if left_out > 0 {
        records.push(Node::new("", format!("and {left_out} more")));
    }
    Node::new(
        "event log",
        format!("{} records, which lead to the RTMRs", log.records.len()),
    )
    .marked(Mark::Holds)
    .with(records)
}

fn record(record: &Record) -> Node {
    let register = match record.rtmr() {
        Some(number) => format!("RTMR{number}"),
        None if record.register == 0 => "MRTD".to_owned(),
        None => "no register".to_owned(),
    };
    let digest = record.digest.map_or_else(|| "none".to_owned(), hex::encode);
    let mut said = vec![Node::new("digest", digest)];
    if let Some(text) = record.text() {
        let name = if record.is_measured_data() {
            "measured"
        } else {
            "said, not measured"
        };
        said.push(Node::new(name, text));
    }
    Node::new(&register, record.kind_name()).with(said)
}
