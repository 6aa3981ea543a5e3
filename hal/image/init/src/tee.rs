//! Whether this VM was started with the init-data that it has.

use std::path::Path;

use proplet_hal::TeeProvider as _;
use proplet_hal::detection::Detection;
use proplet_hal::hardware::{HardwareKind, HardwareTee};
use proplet_hal::init_data::InitData;
use proplet_hal::tdx::provider::own_mrconfigid;

use crate::InitError;
use crate::console::say;
use crate::guest;

/// Compares the document with what the TEE holds, or finds that there is no TEE.
pub(crate) async fn check(init_data: &InitData) -> Result<(), InitError> {
    let root = Path::new("/");
    let detection = Detection::probe(root);
    say(&detection.summary());
    let kind = detection.tee().and_then(|tee| HardwareKind::of(&tee));
    let field = match kind {
        // Of the TDX module itself: no quoting service of the host is needed for that.
        Some(HardwareKind::Tdx) => {
            own_mrconfigid().map_err(|error| InitError::Tee(error.to_string()))?
        }
        Some(kind) => HardwareTee::of_machine(kind)
            .init_data()
            .await
            .map_err(|error| InitError::Tee(error.to_string()))?,
        None => None,
    };
    judge(kind, guest::sign(root), field.as_deref(), init_data).map(|line| say(&line))
}

/// What follows from what was found; the line says it.
fn judge(
    kind: Option<HardwareKind>,
    sign: Option<String>,
    field: Option<&[u8]>,
    init_data: &InitData,
) -> Result<String, InitError> {
    let name = match kind {
        None => {
            return match sign {
                Some(sign) => Err(InitError::NoDevice { sign }),
                None => Ok(
                    "warning: PLAIN MODE: this is no confidential guest; the host can read everything, and \
                     encrypted tasks are refused"
                        .to_owned(),
                ),
            };
        }
        Some(HardwareKind::Snp) => "HOST_DATA",
        Some(_) => "MRCONFIGID",
    };
    let digest = hex::encode(init_data.digest());
    if field.is_some_and(|field| init_data.is_bound_by(field)) {
        return Ok(format!("{name} is the digest of the init-data, {digest}"));
    }
    Err(InitError::NotBound {
        field: name,
        found: field.map_or_else(|| "nothing".to_owned(), hex::encode),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use proplet_hal::init_data::DigestAlgorithm;

    use super::*;

    fn document() -> InitData {
        InitData::holding(DigestAlgorithm::Sha256, "proplet.toml", "").unwrap()
    }

    #[test]
    fn init_data_has_to_be_what_the_vm_was_started_with() {
        let document = document();
        let (snp, tdx) = (Some(HardwareKind::Snp), Some(HardwareKind::Tdx));
        let (host_data, mrconfigid) = (document.host_data(), document.mrconfigid());
        assert!(judge(snp, None, Some(&host_data), &document).is_ok());
        assert!(judge(tdx, Some("x".to_owned()), Some(&mrconfigid), &document).is_ok());
        for (kind, field) in [
            (snp, None),
            (tdx, None),
            (snp, Some(&[7; 32][..])),
            (tdx, Some(&[7; 48])),
        ] {
            let error = judge(kind, None, field, &document).unwrap_err();
            assert!(matches!(error, InitError::NotBound { .. }), "{error}");
            assert_eq!(error.code().as_str(), "vm-init-data-mismatch");
        }
    }

    #[test]
    fn plain_mode_is_where_nothing_says_otherwise() {
        let line = judge(None, None, None, &document()).unwrap();
        assert!(line.contains("PLAIN MODE"), "{line}");
        let error = judge(None, Some("the flag".to_owned()), None, &document()).unwrap_err();
        assert_eq!(error.code().as_str(), "vm-no-device");
        assert!(error.to_string().contains("the flag"), "{error}");
    }
}
