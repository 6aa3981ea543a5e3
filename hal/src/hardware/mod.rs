//! The hardware TEE that this process runs in.
//!
//! A TEE can be asked in more than one way. The order, the first way that answers being used:
//!
//! | TEE | ways |
//! | --- | --- |
//! | SNP | `configfs-tsm`, the kernel's own interface; `sev-guest`, the device, for kernels without it |
//! | TDX | `quoting-service`, the host's service over vsock, in milliseconds; `configfs-tsm`, for VMs without vsock, in a second or more |
//!
//! When the way in use fails, the next is tried, and its failure is logged once. What a way gives is read back
//! before it counts ([`read_back()`]), and evidence that this host does not stand for is not replaced by
//! another way's.
//!
//! A device is asked one thing at a time, so requests queue here, without a thread each: one thread makes the
//! request that is under way. A caller that gives up leaves the queue; if its request is under way, it goes
//! to its end and cleans up behind itself, and the next one waits for that.

mod compared;
mod endorser;
pub(crate) mod kind;
mod lane;
mod local;
mod read_back;
pub(crate) mod way;
mod ways;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

pub use self::compared::Compared;
use self::endorser::Endorser;
pub use self::kind::{HardwareKind, Raw};
use self::lane::Lane;
pub use self::read_back::{OwnEvidence, ReadBackError, read_back};
pub use self::way::{Way, WayError, WayFailures};
use crate::snp::provider::SevGuest;
use crate::snp::{CertificateSource, TableKind};
use crate::tdx::provider::QuotingService;
use crate::tdx::{Quote, ccel};
use crate::tsm::TsmReports;
use crate::{Evidence, EvidenceError, ReportData, TeeName, TeeProvider};

/// How long all ways together may take for one piece of evidence, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The firmware's event log, where a TDX VM has one.
const EVENT_LOG: &str = "/sys/firmware/acpi/tables/data/CCEL";
/// Larger than any area that firmware sets aside for it.
const EVENT_LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// The hardware TEE that this process runs in.
pub struct HardwareTee {
    kind: HardwareKind,
    lanes: Vec<Lane>,
    /// The lane in use.
    active: AtomicUsize,
    patience: Duration,
    endorser: Endorser,
    event_log: Option<PathBuf>,
    /// Read once: the firmware wrote it before this process began.
    trimmed_log: OnceLock<Option<Vec<u8>>>,
    /// Whether it was said that the log does not lead to the registers.
    log_told: AtomicBool,
    /// Fixed for the life of the VM, so it is known from the first evidence on.
    own: OnceLock<OwnEvidence>,
}

/// How a way did when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The way.
    pub way: &'static str,
    /// How long it took, second tries included.
    pub latency: Duration,
    /// Whether what came was held against what the TDX module told the VM itself.
    pub compared: bool,
    /// The certificates that the host gave along, or why there was no evidence.
    pub outcome: Result<Vec<TableKind>, WayError>,
}

impl HardwareTee {
    /// The kernel's own ways to the TEE of this machine, in their order.
    #[must_use]
    pub fn of_machine(kind: HardwareKind) -> Self {
        let tsm = TsmReports::of_kernel(kind);
        let ways: Vec<Box<dyn Way>> = match kind {
            HardwareKind::Snp => vec![Box::new(tsm), Box::new(SevGuest::of_kernel())],
            HardwareKind::Tdx => vec![
                Box::new(QuotingService::of_host()),
                Box::new(Compared::with_kernel(tsm)),
            ],
        };
        let tee = Self::with_ways(kind, ways);
        match kind {
            HardwareKind::Snp => tee,
            HardwareKind::Tdx => tee.with_event_log(EVENT_LOG.into()),
        }
    }

    /// Other ways.
    #[must_use]
    pub fn with_ways(kind: HardwareKind, ways: Vec<Box<dyn Way>>) -> Self {
        Self {
            kind,
            lanes: ways.into_iter().map(Lane::new).collect(),
            active: AtomicUsize::new(0),
            patience: PATIENCE,
            endorser: Endorser::default(),
            event_log: None,
            trimmed_log: OnceLock::new(),
            log_told: AtomicBool::new(false),
            own: OnceLock::new(),
        }
    }

    /// Looks for the endorsement key's certificate here too, after the sources that were named before.
    #[must_use]
    pub fn with_certificates(mut self, source: Arc<dyn CertificateSource>) -> Self {
        self.endorser.add(source);
        self
    }

    /// Sends the event log in this file along with quotes that it leads to.
    #[must_use]
    pub fn with_event_log(mut self, file: PathBuf) -> Self {
        self.event_log = Some(file);
        self
    }

    /// Gives all ways together this long for one piece of evidence.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The names of the ways, in their order.
    pub fn ways(&self) -> impl Iterator<Item = &'static str> {
        self.lanes.iter().map(Lane::name)
    }

    /// The way in use.
    #[must_use]
    pub fn way(&self) -> Option<&'static str> {
        self.lanes
            .get(self.active.load(Ordering::Relaxed))
            .map(Lane::name)
    }

    /// What this VM's evidence says of it, once there was some.
    #[must_use]
    pub fn own(&self) -> Option<&OwnEvidence> {
        self.own.get()
    }

    /// Tries the ways in their order and uses the first that answers. Gives how each did that was tried; the
    /// last one answered, or none did. Without one the host goes on asking in the same order whenever
    /// evidence is needed: a quoting service may start later than this VM.
    ///
    /// `patience` is for all of them together, and each has its share of it, so that one that takes requests and
    /// never answers does not keep the others from being tried.
    pub async fn choose(&self, patience: Duration) -> Vec<Trial> {
        let mut trials = Vec::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            let trial = self.try_lane(lane, patience).await;
            let answered = trial.outcome.is_ok();
            let foul = matches!(trial.outcome, Err(WayError::ReadBack(_)));
            trials.push(trial);
            if answered {
                self.active.store(number, Ordering::Relaxed);
            }
            if answered || foul {
                break;
            }
        }
        trials
    }

    /// Tries every way once, for people who want to know.
    pub async fn try_all(&self) -> Vec<Trial> {
        let mut trials = Vec::new();
        for lane in &self.lanes {
            trials.push(self.try_lane(lane, self.patience).await);
        }
        trials
    }

    async fn try_lane(&self, lane: &Lane, patience: Duration) -> Trial {
        let started = Instant::now();
        let outcome = match random() {
            Ok(data) => self.ask(lane, &data, patience).await,
            Err(error) => Err(error),
        };
        Trial {
            way: lane.name(),
            latency: started.elapsed(),
            compared: outcome.as_ref().is_ok_and(|raw| raw.td_report.is_some()),
            outcome: outcome.map(|raw| endorser::kinds(&raw.certificates)),
        }
    }

    /// One lane's evidence, read back. `patience` is for all lanes together.
    async fn ask(&self, lane: &Lane, data: &[u8; 64], patience: Duration) -> Result<Raw, WayError> {
        // Each way has its share of the time, so that one that hangs leaves some to the next.
        let lanes = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX).max(1);
        let raw = lane.ask(data, patience / lanes).await?;
        let own = read_back(self.kind, &raw, data)?;
        // None of it changes while a VM lives, and not everything that answers here is the CPU.
        if !self.own.get_or_init(|| own.clone()).is_of_the_same_vm(&own) {
            let tee = self.kind.as_str();
            return Err(ReadBackError::OtherVm { tee }.into());
        }
        Ok(raw)
    }

    /// Evidence by the lane in use, or by the next that gives any.
    async fn raw(&self, data: &[u8; 64]) -> Result<Raw, EvidenceError> {
        let tee = self.kind.tee();
        let mut failures = Vec::new();
        let first = self.active.load(Ordering::Relaxed);
        let numbered = self.lanes.iter().enumerate();
        let in_turn = numbered.clone().skip(first).chain(numbered.take(first));
        for (number, lane) in in_turn {
            match self.ask(lane, data, self.patience).await {
                Ok(raw) => {
                    lane.recovered();
                    if number != first {
                        tracing::warn!(%tee, way = lane.name(), "evidence comes this way now");
                        self.active.store(number, Ordering::Relaxed);
                    }
                    return Ok(raw);
                }
                Err(error) => {
                    let foul = matches!(error, WayError::ReadBack(_));
                    lane.report(&error);
                    failures.push((lane.name(), error));
                    if foul {
                        break;
                    }
                }
            }
        }
        Err(EvidenceError::NoWay {
            tee,
            failures: WayFailures::new(failures),
        })
    }

    /// Whether the log leads to the quote's registers. One that does not is worth nothing to anybody, and key
    /// brokers refuse the evidence that it comes with: the hypervisor can write into it, and programs in the VM
    /// may have extended registers since.
    fn is_log_of(&self, log: &[u8], quote: &[u8]) -> bool {
        let Ok(quote) = Quote::parse(quote) else {
            return false;
        };
        let checked = match ccel::EventLog::parse(log) {
            Ok(log) => log.check(&quote.report.rtmrs),
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => {
                self.log_told.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                if !self.log_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "evidence goes without the event log");
                }
                false
            }
        }
    }

    async fn trimmed_log(&self) -> Option<Vec<u8>> {
        let file = self.event_log.as_deref()?;
        if let Some(log) = self.trimmed_log.get() {
            return log.clone();
        }
        let file = file.to_path_buf();
        let log = tokio::task::spawn_blocking(move || event_log(&file)).await;
        self.trimmed_log
            .get_or_init(|| log.unwrap_or_default())
            .clone()
    }
}

#[async_trait]
impl TeeProvider for HardwareTee {
    fn tee(&self) -> TeeName {
        self.kind.tee()
    }

    fn attester(&self) -> &str {
        self.kind.as_str()
    }

    fn is_hardware(&self) -> bool {
        true
    }

    async fn evidence(&self, report_data: &ReportData) -> Result<Evidence, EvidenceError> {
        let raw = self.raw(&report_data.padded()).await?;
        match self.kind {
            HardwareKind::Snp => {
                let (report, table) = (&raw.evidence, &raw.certificates);
                let endorsement = self.endorser.endorse(report, table).await;
                let endorsement = endorsement.as_ref().map(|(key, der)| (*key, der.as_ref()));
                Evidence::from_snp_report(report, endorsement)
            }
            HardwareKind::Tdx => {
                let log = self.trimmed_log().await;
                let log = log.filter(|log| self.is_log_of(log, &raw.evidence));
                Evidence::from_tdx_quote(&raw.evidence, log.as_deref())
            }
        }
    }

    async fn init_data(&self) -> Result<Option<Vec<u8>>, EvidenceError> {
        if self.own.get().is_none() {
            let data = random().map_err(|error| EvidenceError::NoWay {
                tee: self.kind.tee(),
                failures: WayFailures::new(vec![("random numbers", error)]),
            })?;
            self.raw(&data).await?;
        }
        Ok(self.own.get().and_then(|own| own.init_data.clone()))
    }
}

/// Report data of no meaning, which nobody has seen before.
fn random() -> Result<[u8; 64], WayError> {
    let mut data = [0; 64];
    SystemRandom::new()
        .fill(&mut data)
        .map_err(|_| WayError::Aborted)?;
    Ok(data)
}

/// The firmware's event log as a verifier takes it. A VM without a log, or with one that cannot be read, sends
/// none: RTMRs are only reported, and a verifier that wants the log says so.
fn event_log(file: &Path) -> Option<Vec<u8>> {
    let mut area = Vec::new();
    let read = File::open(file)
        .and_then(|file| file.take(EVENT_LOG_LIMIT).read_to_end(&mut area))
        .map_err(|error| error.to_string());
    match read.and_then(|_| ccel::trim(&area).map_err(|error| error.to_string())) {
        Ok(log) => Some(log),
        Err(error) => {
            tracing::warn!(file = %file.display(), error, "evidence goes without the event log");
            None
        }
    }
}

#[cfg(test)]
mod tests;
