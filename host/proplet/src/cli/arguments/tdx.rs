//! What relying parties of TDX evidence can type.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use proplet_hal::tdx::TcbStatus;
use proplet_net::Proxy;
use url::Url;

use super::{exit_codes::EXIT_CODES, values::proxy};

/// What is believed of TDX platforms.
#[derive(Debug, Args)]
#[command(next_help_heading = "TDX")]
pub struct TdxTrusted {
    /// Collateral, as `proplet collateral fetch` writes it or as a PCCS gives it: a folder or a file; may be
    /// repeated. TDX evidence is not verified without
    #[arg(long, value_name = "FOLDER|FILE")]
    pub collateral: Vec<PathBuf>,
    /// Accept TCB statuses beside UpToDate, in Intel's words, for example SWHardeningNeeded
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
    pub allow_tcb_status: Vec<TcbStatus>,
    /// Refuse platforms that one of these security advisories applies to, for example INTEL-SA-00837
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub deny_advisory: Vec<String>,
    /// Refuse platforms that any security advisory applies to but these
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub allow_advisory: Option<Vec<String>>,
    /// A good measurement of the TDX module (MRSEAM), in hexadecimal; may be repeated
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_mr_seam: Vec<Register>,
    /// A machine that is believed, by its PPID or platform instance id, in hexadecimal; may be repeated.
    /// Without, a quote may have been relayed from any machine of Intel's
    #[arg(long, value_name = "HEX", value_parser = platform)]
    pub expect_platform: Vec<Platform>,
}

/// What is expected of a TDX VM.
#[derive(Debug, Args)]
#[command(next_help_heading = "TDX")]
pub struct TdxExpected {
    /// A good value of RTMR0, in hexadecimal; may be repeated
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_rtmr0: Vec<Register>,
    /// A good value of RTMR1
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_rtmr1: Vec<Register>,
    /// A good value of RTMR2
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_rtmr2: Vec<Register>,
    /// A good value of RTMR3
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_rtmr3: Vec<Register>,
    /// A good value of MROWNER
    #[arg(long, value_name = "HEX", value_parser = register)]
    pub expect_mr_owner: Vec<Register>,
}

/// Subcommands of `collateral`.
#[derive(Debug, Subcommand)]
pub enum CollateralCommand {
    /// Fetch TCB info, the quoting enclave's identity and revocation lists for one kind of platform
    Fetch(CollateralFetch),
}

/// Arguments of `collateral fetch`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct CollateralFetch {
    /// A PCCS, as https://host:8081, or Intel's https://api.trustedservices.intel.com
    #[arg(value_name = "URL")]
    pub url: Url,
    #[command(flatten)]
    pub platform: FetchedPlatform,
    /// The folder that the files go to. It is made when it is not there, and older files of the same names are
    /// replaced
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Certificates (PEM) that the service is trusted by, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Reach the service through this proxy. HTTPS_PROXY and its like are not read
    #[arg(long, value_name = "URL", value_parser = proxy)]
    pub proxy: Option<Proxy>,
    /// Speak plain http to the service. What it gives is signed
    #[arg(long)]
    pub http: bool,
    /// How long to try
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// The kind of platform.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct FetchedPlatform {
    /// The kind of platform by its FMSPC, in hexadecimal; may be repeated
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    pub fmspc: Vec<Fmspc>,
    /// The platform that made this: a TDX quote, or evidence or a result with one
    #[arg(long, value_name = "FILE")]
    pub quote: Option<PathBuf>,
}

/// A kind of platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fmspc(pub [u8; 6]);

/// A register of 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub [u8; 48]);

/// An id of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform(pub [u8; 16]);

fn fmspc(text: &str) -> Result<Fmspc, String> {
    exact(text).map(Fmspc)
}

fn register(text: &str) -> Result<Register, String> {
    exact(text).map(Register)
}

fn platform(text: &str) -> Result<Platform, String> {
    exact(text).map(Platform)
}

fn exact<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let bytes = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| format!("write {N} bytes as pairs of hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_length() {
        assert_eq!(fmspc("00a06d080000"), Ok(Fmspc([0, 0xa0, 0x6d, 8, 0, 0])));
        assert_eq!(platform(&"ab".repeat(16)), Ok(Platform([0xab; 16])));
        assert_eq!(register(&"01".repeat(48)), Ok(Register([1; 48])));
        for wrong in ["", "00", "zz", &"01".repeat(47), &"01".repeat(49)] {
            assert!(register(wrong).is_err() && platform(wrong).is_err() && fmspc(wrong).is_err());
        }
    }
}
