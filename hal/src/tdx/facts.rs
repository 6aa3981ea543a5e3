//! What verified TDX evidence says.

use std::time::SystemTime;

use super::ccel::EventLog;
use super::{TcbStatus, TdReport};

/// The contents of a quote that was verified, and what its collateral says about the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdxFacts {
    /// Version of the quote's layout, 4 or 5.
    pub quote_version: u16,
    /// What the TDX module reported about the VM.
    pub report: TdReport,
    /// What Intel says of the platform's security versions.
    pub tcb: TdxTcb,
    /// The machine.
    pub platform: TdxPlatform,
    /// When the newest part of the collateral was issued.
    pub collateral_from: SystemTime,
    /// When the first part of the collateral, or of its certificates, expires.
    pub collateral_until: SystemTime,
    /// The records of the event log, which was replayed against the RTMRs. `None` when none was sent.
    pub event_log: Option<EventLog>,
    /// Whether the TDX module was compared with a list.
    pub mr_seam_checked: bool,
}

/// What Intel says of a platform's security versions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdxTcb {
    /// Of platform, TDX module and quoting enclave together.
    pub status: TcbStatus,
    /// The security advisories that apply.
    pub advisories: Vec<String>,
    /// The date of the TCB level that the platform has.
    pub date: String,
    /// The number of the evaluation that the collateral is of; higher is newer.
    pub evaluation: u32,
}

/// The machine, as its PCK certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdxPlatform {
    /// Family, model, stepping, platform and custom SKU: the kind of machine.
    pub fmspc: [u8; 6],
    /// Platform provisioning id: this CPU package.
    pub ppid: Vec<u8>,
    /// Platform instance id: this machine, as set up. Only platforms with several packages have it.
    pub instance_id: Option<[u8; 16]>,
    /// Whether it was compared with a list.
    pub checked: bool,
}
