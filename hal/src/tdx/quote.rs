//! A TDX quote: layout and typed contents.
//!
//! This parser bounds and reads what the verifier needs by name. Signatures are not its matter.
//!
//! Sources: Intel TDX DCAP Quoting Library API, appendix A (quote versions 4 and 5).

use super::TdxError;
use crate::FormError;
use crate::cursor::Cursor;

/// Larger than any quote; real ones have about 5 KiB.
pub const MAX_QUOTE_LEN: usize = 32 * 1024;
/// What an error calls the quote.
pub(super) const WHAT: &str = "TDX quote";

const HEADER_LEN: usize = 48;
/// ECDSA on P-256 with SHA-256, the only kind of attestation key that quoting enclaves have.
const ECDSA_P256: u16 = 2;
const TEE_TDX: u32 = 0x81;
const TD_10_LEN: usize = 584;
const TD_15_LEN: usize = 648;
const TD_15_EX_LEN: usize = 885;
/// Certification data that holds the quoting enclave's report and what vouches for it.
const QE_REPORT_CERTIFICATION: u16 = 6;
/// Certification data that is a chain of PCK certificates in PEM.
const PCK_CHAIN: u16 = 5;
const QE_REPORT_LEN: usize = 384;
const SIGNATURE_LEN: usize = 64;

/// What a quote says, and the certificates that it brings. Nothing in it is verified by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quote {
    /// Version of the quote's layout, 4 or 5.
    pub version: u16,
    /// What the TDX module reported about the VM.
    pub report: TdReport,
    /// The chain that vouches for the quoting enclave, in PEM: PCK, its CA, and Intel's root.
    pub pck_chain: String,
}

/// The layouts that the TDX module's report can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyType {
    /// TDX 1.0: quote version 4, or body type 2 of version 5.
    Td10,
    /// TDX 1.5: body type 3.
    Td15,
    /// TDX 1.5 with the extended report: body type 4.
    Td15Ex,
}

/// What the TDX module reports about a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TdReport {
    /// Layout of the report.
    pub body_type: BodyType,
    /// Security versions of the TDX module and what it stands on.
    pub tee_tcb_svn: [u8; 16],
    /// Measurement of the TDX module.
    pub mr_seam: [u8; 48],
    /// Who signed the TDX module; zeros for Intel.
    pub mr_signer_seam: [u8; 48],
    /// Attributes of the TDX module; zero for Intel's production modules.
    pub seam_attributes: u64,
    /// Attributes of the VM: DEBUG 0, SEPT_VE_DISABLE 28, MIGRATABLE 29, PKS 30, KL 31, PERFMON 63.
    pub td_attributes: u64,
    /// The CPU features whose state the VM may use, as in XCR0 and IA32_XSS.
    pub xfam: u64,
    /// Measurement of the VM's initial memory.
    pub mr_td: [u8; 48],
    /// MRCONFIGID: set by whoever launched the VM; zeros when unset.
    pub mr_config_id: [u8; 48],
    /// MROWNER: set by whoever launched the VM.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG: set by whoever launched the VM.
    pub mr_owner_config: [u8; 48],
    /// RTMR0 to RTMR3, which firmware, loader, kernel and programs extended.
    pub rtmrs: [[u8; 48]; 4],
    /// The caller's report data, padded with zeros.
    pub report_data: [u8; 64],
    /// Security versions of a TDX module that was updated while VMs ran. Since TDX 1.5.
    pub tee_tcb_svn2: Option<[u8; 16]>,
    /// Measurement of a service TD (a migration agent); zeros without one. Since TDX 1.5.
    pub mr_service_td: Option<[u8; 48]>,
}

impl TdReport {
    /// The debug bit of the VM's attributes.
    pub const DEBUG: u64 = 1;
    /// Whether the VM, and not its host, learns of pages that were taken away.
    pub const SEPT_VE_DISABLE: u64 = 1 << 28;
    /// Whether a migration agent may take the VM's state out.
    pub const MIGRATABLE: u64 = 1 << 29;

    /// Whether the host may debug the VM, and so read all its memory.
    pub fn debug(&self) -> bool {
        self.td_attributes & Self::DEBUG != 0
    }

    /// Whether a migration agent may take the VM's state out: the attribute is set, or one is bound.
    pub fn migratable(&self) -> bool {
        let bound = self.mr_service_td.is_some_and(|service| service != [0; 48]);
        self.td_attributes & Self::MIGRATABLE != 0 || bound
    }

    /// MRCONFIGID. `None` when it is unset, that is all zeros.
    pub fn init_data(&self) -> Option<Vec<u8>> {
        (self.mr_config_id != [0; 48]).then(|| self.mr_config_id.to_vec())
    }

    fn parse(body: &[u8], body_type: BodyType) -> Result<Self, FormError> {
        let mut body = Cursor::new(body, WHAT);
        let mut report = Self {
            body_type,
            tee_tcb_svn: body.array()?,
            mr_seam: body.array()?,
            mr_signer_seam: body.array()?,
            seam_attributes: body.u64()?,
            td_attributes: body.u64()?,
            xfam: body.u64()?,
            mr_td: body.array()?,
            mr_config_id: body.array()?,
            mr_owner: body.array()?,
            mr_owner_config: body.array()?,
            rtmrs: [body.array()?, body.array()?, body.array()?, body.array()?],
            report_data: body.array()?,
            tee_tcb_svn2: None,
            mr_service_td: None,
        };
        if body_type != BodyType::Td10 {
            report.tee_tcb_svn2 = Some(body.array()?);
            report.mr_service_td = Some(body.array()?);
        }
        Ok(report)
    }
}

impl Quote {
    /// Parses a quote of version 4 or 5. Zeros after its end are allowed: quoting services pad.
    ///
    /// # Errors
    /// [`TdxError::QuoteKind`] for quotes of other kinds, [`TdxError::Form`] for malformed ones.
    pub fn parse(quote: &[u8]) -> Result<Self, TdxError> {
        FormError::check_size(WHAT, quote.len(), MAX_QUOTE_LEN)?;
        let mut cursor = Cursor::new(quote, WHAT);
        let mut header = Cursor::new(cursor.take(HEADER_LEN)?, WHAT);
        let version = header.u16()?;
        if !(4..=5).contains(&version) {
            return Err(unsupported("version", version));
        }
        let key_type = header.u16()?;
        if key_type != ECDSA_P256 {
            return Err(unsupported("attestation key type", key_type));
        }
        let tee = header.u32()?;
        if tee != TEE_TDX {
            return Err(unsupported("TEE type", tee));
        }
        let (body_type, length) = match version {
            4 => (BodyType::Td10, TD_10_LEN),
            _ => body_type(&mut cursor)?,
        };
        let report = TdReport::parse(cursor.take(length)?, body_type)?;
        let length = cursor.length32()?;
        let pck_chain = pck_chain(cursor.take(length)?)?;
        zeros(&cursor)?;
        Ok(Self {
            version,
            report,
            pck_chain,
        })
    }
}

/// The type and length that a body of version 5 begins with.
fn body_type(cursor: &mut Cursor<'_>) -> Result<(BodyType, usize), TdxError> {
    let number = cursor.u16()?;
    let (body_type, length) = match number {
        2 => (BodyType::Td10, TD_10_LEN),
        3 => (BodyType::Td15, TD_15_LEN),
        4 => (BodyType::Td15Ex, TD_15_EX_LEN),
        other => return Err(unsupported("body type", other)),
    };
    if cursor.length32()? != length {
        return Err(malformed("its body's length is not that of its type"));
    }
    Ok((body_type, length))
}

/// The PCK chain in the signature data.
fn pck_chain(signature_data: &[u8]) -> Result<String, TdxError> {
    let mut data = Cursor::new(signature_data, WHAT);
    let _signature: [u8; SIGNATURE_LEN] = data.array()?;
    let _attestation_key: [u8; SIGNATURE_LEN] = data.array()?;
    let certification = certification(&mut data, QE_REPORT_CERTIFICATION)?;
    nothing(&data)?;
    let mut data = Cursor::new(certification, WHAT);
    let _qe_report = data.take(QE_REPORT_LEN)?;
    let _signature: [u8; SIGNATURE_LEN] = data.array()?;
    let length = usize::from(data.u16()?);
    let _authentication_data = data.take(length)?;
    let chain = self::certification(&mut data, PCK_CHAIN)?;
    nothing(&data)?;
    let chain = std::str::from_utf8(chain).map_err(|_| malformed("its PCK chain is not text"))?;
    Ok(chain.trim_end_matches('\0').to_owned())
}

fn certification<'a>(data: &mut Cursor<'a>, expected: u16) -> Result<&'a [u8], TdxError> {
    let found = data.u16()?;
    if found != expected {
        return Err(unsupported("certification data type", found));
    }
    let length = data.length32()?;
    Ok(data.take(length)?)
}

/// Lengths that contain others have to fit them.
fn nothing(cursor: &Cursor<'_>) -> Result<(), TdxError> {
    if !cursor.rest().is_empty() {
        return Err(malformed("the lengths of its parts do not fit each other"));
    }
    Ok(())
}

/// What is left has to be padding.
fn zeros(cursor: &Cursor<'_>) -> Result<(), TdxError> {
    if cursor.rest().iter().any(|byte| *byte != 0) {
        return Err(malformed("there is something after its end"));
    }
    Ok(())
}

fn malformed(reason: &str) -> TdxError {
    FormError::malformed(WHAT, reason).into()
}

fn unsupported(what: &'static str, found: impl Into<u32>) -> TdxError {
    TdxError::QuoteKind {
        what,
        found: found.into(),
    }
}
