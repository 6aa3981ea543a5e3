//! The bytes of TDREPORTs and quotes (Intel TDX module specification; `sgx_quote_4.h`, `sgx_quote_5.h`).

/// TDREPORT_STRUCT, which the TDX module makes and a quoting enclave turns into a quote.
pub const TD_REPORT_LEN: usize = 1024;

/// Which form a quote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteForm {
    /// Version 4, what most hosts send.
    V4,
    /// Version 5 with a body of type 2: that of version 4.
    V5Td10,
    /// Version 5 with a body of type 3: TDX 1.5.
    V5Td15,
    /// Version 5 with a body of type 4: TDX 1.5 extended.
    V5Td15Extended,
}

impl QuoteForm {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Extended];
}

/// What a quote says about a trust domain. Little-endian, as the fields are named in the specification.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub tee_tcb_svn: [u8; 16],
    pub mr_seam: [u8; 48],
    pub mr_signer_seam: [u8; 48],
    pub seam_attributes: [u8; 8],
    pub td_attributes: u64,
    pub xfam: u64,
    pub mr_td: [u8; 48],
    pub mr_config_id: [u8; 48],
    pub mr_owner: [u8; 48],
    pub mr_owner_config: [u8; 48],
    pub rtmrs: [[u8; 48]; 4],
    pub report_data: [u8; 64],
    /// TDX 1.5 only.
    pub tee_tcb_svn2: [u8; 16],
    /// TDX 1.5 only.
    pub mr_service_td: [u8; 48],
}

impl Body {
    fn td10(&self) -> Vec<u8> {
        [
            &self.tee_tcb_svn[..],
            &self.mr_seam,
            &self.mr_signer_seam,
            &self.seam_attributes,
            &self.td_attributes.to_le_bytes(),
            &self.xfam.to_le_bytes(),
            &self.mr_td,
            &self.mr_config_id,
            &self.mr_owner,
            &self.mr_owner_config,
            self.rtmrs.as_flattened(),
            &self.report_data,
        ]
        .concat()
    }

    fn td15(&self) -> Vec<u8> {
        [&self.td10()[..], &self.tee_tcb_svn2, &self.mr_service_td].concat()
    }

    /// The part of a quote that is signed: header, and body with its type and size from version 5 on.
    pub fn signed_part(&self, form: QuoteForm, header: &Header) -> Vec<u8> {
        let (kind, body) = match form {
            QuoteForm::V4 => return [header.bytes(4), self.td10()].concat(),
            QuoteForm::V5Td10 => (2_u16, self.td10()),
            QuoteForm::V5Td15 => (3, self.td15()),
            // VM index, instance id, devices, initial and current service TDs: none of them is set.
            QuoteForm::V5Td15Extended => (4, [self.td15(), vec![0; 237]].concat()),
        };
        let size = length(&body);
        [
            &header.bytes(5)[..],
            &kind.to_le_bytes(),
            &size.to_le_bytes(),
            &body,
        ]
        .concat()
    }

    /// TDREPORT_STRUCT of the same trust domain, with `mac` over what stands before it.
    pub fn td_report(&self, mac: impl Fn(&[u8]) -> [u8; 32]) -> [u8; TD_REPORT_LEN] {
        let mut report = [0; TD_REPORT_LEN];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in report.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, &[0x81]);
        put(128, &self.report_data);
        // TEE_TCB_INFO, the TDX module's: which fields are valid, then the fields.
        put(256, &[0xff, 0x01]);
        put(264, &self.tee_tcb_svn);
        put(280, &self.mr_seam);
        put(328, &self.mr_signer_seam);
        put(376, &self.seam_attributes);
        put(384, &self.tee_tcb_svn2);
        // TDINFO, the trust domain's.
        put(512, &self.td_attributes.to_le_bytes());
        put(520, &self.xfam.to_le_bytes());
        put(528, &self.mr_td);
        put(576, &self.mr_config_id);
        put(624, &self.mr_owner);
        put(672, &self.mr_owner_config);
        put(720, self.rtmrs.as_flattened());
        put(912, &self.mr_service_td);
        let mac = mac(&[report.get(..224), report.get(256..)]
            .map(Option::unwrap_or_default)
            .concat());
        for (to, from) in report.iter_mut().skip(224).zip(mac) {
            *to = from;
        }
        report
    }

    /// The fields of a TDREPORT_STRUCT with its MAC. `None` when it is of another length.
    pub fn of_td_report(report: &[u8]) -> Option<(Self, [u8; 32])> {
        fn field<const N: usize>(report: &[u8], at: usize) -> Option<[u8; N]> {
            report.get(at..)?.first_chunk().copied()
        }
        if report.len() != TD_REPORT_LEN {
            return None;
        }
        let body = Self {
            tee_tcb_svn: field(report, 264)?,
            mr_seam: field(report, 280)?,
            mr_signer_seam: field(report, 328)?,
            seam_attributes: field(report, 376)?,
            td_attributes: u64::from_le_bytes(field(report, 512)?),
            xfam: u64::from_le_bytes(field(report, 520)?),
            mr_td: field(report, 528)?,
            mr_config_id: field(report, 576)?,
            mr_owner: field(report, 624)?,
            mr_owner_config: field(report, 672)?,
            rtmrs: [
                field(report, 720)?,
                field(report, 768)?,
                field(report, 816)?,
                field(report, 864)?,
            ],
            report_data: field(report, 128)?,
            tee_tcb_svn2: field(report, 384)?,
            mr_service_td: field(report, 912)?,
        };
        Some((body, field(report, 224)?))
    }
}

/// A quote's header, but for its version.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub attestation_key_type: u16,
    pub tee_type: u32,
    pub qe_vendor_id: [u8; 16],
    pub user_data: [u8; 20],
}

impl Header {
    /// ECDSA on P-256, TDX, Intel's quoting enclave.
    pub fn intel() -> Self {
        Self {
            attestation_key_type: 2,
            tee_type: 0x81,
            qe_vendor_id: [
                0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f,
                0x06, 0x07,
            ],
            user_data: [0; 20],
        }
    }

    fn bytes(&self, version: u16) -> Vec<u8> {
        [
            &version.to_le_bytes()[..],
            &self.attestation_key_type.to_le_bytes(),
            &self.tee_type.to_le_bytes(),
            &[0; 4],
            &self.qe_vendor_id,
            &self.user_data,
        ]
        .concat()
    }
}

/// The report of the quoting enclave, which binds the attestation key to the platform.
#[derive(Debug, Clone)]
pub(super) struct QeReport {
    pub cpu_svn: [u8; 16],
    pub misc_select: u32,
    pub attributes: [u8; 16],
    pub mr_enclave: [u8; 32],
    pub mr_signer: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
    pub report_data: [u8; 64],
}

impl QeReport {
    /// SGX REPORT body, 384 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [
            &self.cpu_svn[..],
            &self.misc_select.to_le_bytes(),
            &[0; 28],
            &self.attributes,
            &self.mr_enclave,
            &[0; 32],
            &self.mr_signer,
            &[0; 96],
            &self.isv_prod_id.to_le_bytes(),
            &self.isv_svn.to_le_bytes(),
            &[0; 60],
            &self.report_data,
        ]
        .concat()
    }
}

/// Everything after the signed part.
pub(super) struct SignatureData<'a> {
    pub signature: &'a [u8],
    pub attestation_key: &'a [u8],
    pub qe_report: &'a [u8],
    pub qe_report_signature: &'a [u8],
    pub qe_auth_data: &'a [u8],
    /// The PCK chain, PEM. Without it the quote names no certificate.
    pub pck_chain: Option<&'a [u8]>,
}

impl SignatureData<'_> {
    /// The signature data with its length before it.
    pub fn bytes(&self) -> Vec<u8> {
        let auth_len = u16::try_from(self.qe_auth_data.len()).unwrap_or(u16::MAX);
        // 5: a chain in PEM. 3: the platform's id, encrypted, which a verifier cannot follow offline.
        let (kind, certification): (u16, &[u8]) = match self.pck_chain {
            Some(chain) => (5, chain),
            None => (3, &[0; 404]),
        };
        let qe = [
            self.qe_report,
            self.qe_report_signature,
            &auth_len.to_le_bytes(),
            self.qe_auth_data,
            &kind.to_le_bytes(),
            &length(certification).to_le_bytes(),
            certification,
        ]
        .concat();
        // 6: the quoting enclave's report and what vouches for it.
        let data = [
            self.signature,
            self.attestation_key,
            &6_u16.to_le_bytes(),
            &length(&qe).to_le_bytes(),
            &qe,
        ]
        .concat();
        [&length(&data).to_le_bytes()[..], &data].concat()
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
