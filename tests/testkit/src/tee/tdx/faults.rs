//! Collateral with one fault each, for every verifier that is held against the fake.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::collateral::{TdxCollateral, TdxCollateralBuilder};
use super::pki::{Period, Revoked, TdxPki};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is wrong with collateral of the test PKI, and nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollateralFault {
    /// The platform's certificate is on a revocation list.
    RevokedPck,
    /// Its issuer's is.
    RevokedPlatformCa,
    /// The certificate is that signed TCB info and QE identity.
    RevokedTcbSigner,
    /// The TCB info was to be updated before now.
    ExpiredTcbInfo,
    /// The TCB info is issued after now.
    FutureTcbInfo,
    /// The identity of the quoting enclave was to be updated before now.
    ExpiredQeIdentity,
    /// The identity of the quoting enclave is issued after now.
    FutureQeIdentity,
    /// The revocation lists were to be updated before now.
    ExpiredCrls,
    /// The revocation lists are issued after now.
    FutureCrls,
    /// Certificates ended before now.
    ExpiredCertificates,
    /// Strangers signed the TCB info.
    StrangersTcbInfo,
    /// The TCB info is of another kind of platform.
    OtherFmspc,
    /// The TCB info is for SGX.
    SgxTcbInfo,
    /// The identity is of a quoting enclave for SGX.
    SgxQeIdentity,
    /// One bit of the TCB info's signature is flipped.
    TcbInfoSignature,
    /// One bit of the signature of the quoting enclave's identity is flipped.
    QeIdentitySignature,
}

impl CollateralFault {
    /// Every fault.
    pub const ALL: [Self; 16] = [
        Self::RevokedPck,
        Self::RevokedPlatformCa,
        Self::RevokedTcbSigner,
        Self::ExpiredTcbInfo,
        Self::FutureTcbInfo,
        Self::ExpiredQeIdentity,
        Self::FutureQeIdentity,
        Self::ExpiredCrls,
        Self::FutureCrls,
        Self::ExpiredCertificates,
        Self::StrangersTcbInfo,
        Self::OtherFmspc,
        Self::SgxTcbInfo,
        Self::SgxQeIdentity,
        Self::TcbInfoSignature,
        Self::QeIdentitySignature,
    ];

    /// Collateral with this fault, for a verification at the time `now`.
    #[must_use]
    pub fn collateral(self, now: SystemTime) -> TdxCollateral {
        let past = Period {
            until: now - DAY,
            ..Period::century()
        };
        let future = Period {
            from: now + DAY,
            ..Period::century()
        };
        let id = |id: &'static str| move |document: &mut Value| document["id"] = json!(id);
        let flipped = |signature: &[u8]| {
            let mut signature = signature.to_vec();
            if let Some(byte) = signature.get_mut(40) {
                *byte ^= 1;
            }
            signature
        };
        let sound = TdxCollateralBuilder::new(Arc::new(TdxPki::committed()));
        let signed = TdxCollateral::committed();
        match self {
            Self::RevokedPck => sound.revoke(Revoked::Pck),
            Self::RevokedPlatformCa => sound.revoke(Revoked::PlatformCa),
            Self::RevokedTcbSigner => sound.revoke(Revoked::TcbSigner),
            Self::ExpiredTcbInfo => sound.tcb_info_issued(past),
            Self::FutureTcbInfo => sound.tcb_info_issued(future),
            Self::ExpiredQeIdentity => sound.qe_identity_issued(past),
            Self::FutureQeIdentity => sound.qe_identity_issued(future),
            Self::ExpiredCrls => sound.crls_issued(past),
            Self::FutureCrls => sound.crls_issued(future),
            Self::ExpiredCertificates => sound.certificates_valid(past),
            Self::StrangersTcbInfo => sound.tcb_signed_by(Arc::new(TdxPki::strangers())),
            Self::OtherFmspc => sound.fmspc([9; 6]),
            Self::SgxTcbInfo => sound.edit_tcb_info(id("SGX")),
            Self::SgxQeIdentity => sound.edit_qe_identity(id("QE")),
            Self::TcbInfoSignature => {
                return TdxCollateral {
                    tcb_info_signature: flipped(&signed.tcb_info_signature),
                    ..signed
                };
            }
            Self::QeIdentitySignature => {
                return TdxCollateral {
                    qe_identity_signature: flipped(&signed.qe_identity_signature),
                    ..signed
                };
            }
        }
        .build()
    }
}
