//! What relying parties of SNP evidence can type.

use std::path::PathBuf;

use clap::Args;
use proplet_hal::snp::{AbiVersion, ChipId, GuestPolicyRule, KeyDigest, TcbFloor};

/// What is demanded of SNP evidence. Each takes the place of the same item of the reference values.
#[derive(Debug, Args)]
#[command(next_help_heading = "SNP")]
pub struct SnpTrusted {
    /// The lowest firmware that is accepted, by the reported TCB: bootloader=4,tee=0,snp=22,microcode=213 with the
    /// components that you mean, and genoa: before it when it is for one CPU generation; may be repeated
    #[arg(long, value_name = "[CPU:]COMPONENT=N,…")]
    pub min_tcb: Vec<TcbFloor>,
    /// AMD's revocation list for a CPU generation (DER or PEM); may be repeated. Once there is one, evidence whose
    /// root has none, or one that ran out, is refused
    #[arg(long, value_name = "FILE")]
    pub crl: Vec<PathBuf>,
    /// A machine that is believed, by its chip's id, in hexadecimal; may be repeated. Without, evidence may have been
    /// relayed from any machine of AMD's. Refuses VLEKs, which do not show the machine
    #[arg(long, value_name = "HEX")]
    pub chip: Vec<ChipId>,
    /// SHA-384 of a key that may have signed the VM's ID block, in hexadecimal; may be repeated
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub id_key: Vec<Key>,
    /// SHA-384 of a key that may have certified the ID key, in hexadecimal; may be repeated
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub author_key: Vec<Key>,
    /// Rules that the guest policy has to hold to: no-smt, single-socket, ciphertext-hiding and others
    #[arg(long, value_name = "RULE,…", value_delimiter = ',')]
    pub guest_policy: Vec<GuestPolicyRule>,
    /// The lowest version of the firmware's interface that the guest policy may ask for, for example 1.55
    #[arg(long, value_name = "N.N")]
    pub min_abi: Option<AbiVersion>,
    /// Accept reports of version 2, which do not name the CPU. The report warns of it
    #[arg(long)]
    pub allow_report_v2: bool,
}

/// The digest of a key. A type of its own, so that clap does not take it for a list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key(pub KeyDigest);

fn key(text: &str) -> Result<Key, String> {
    let bytes = hex::decode(text).ok();
    let digest: Option<KeyDigest> = bytes.and_then(|bytes| bytes.try_into().ok());
    match digest {
        Some(digest) if digest != [0; 48] => Ok(Key(digest)),
        _ => Err("write 48 bytes as pairs of hexadecimal digits, not all of them zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_keys_have_their_length_and_are_no_zeros() {
        assert_eq!(key(&"ab".repeat(48)), Ok(Key([0xab; 48])));
        for wrong in [
            "",
            "zz",
            &"01".repeat(47),
            &"01".repeat(49),
            &"00".repeat(48),
        ] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }
}
