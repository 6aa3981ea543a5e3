//! What outsiders send, one function for each parser of it.
//!
//! A target takes any bytes. It must return: a panic is a finding. Where there is something to hold beyond that, it
//! asserts it: what was read is written and read as the same, nothing is larger than was allowed, a digest is over
//! the bytes, and nothing counts as signed that was not signed.
//!
//! The fuzzers in `fuzz_targets/` call these functions with what libFuzzer makes up (feature `libfuzzer`), and the
//! tests in `tests/` with the files in `corpus/`. `docs/testing.md` says how to run both.

mod audit;
mod evidence;
mod image;
mod jose;
mod kbs;
mod layout;
mod manager;
mod results;
mod text;

pub use self::{
    audit::*, evidence::*, image::*, jose::*, kbs::*, layout::*, manager::*, results::*, text::*,
};

/// A target: whatever the bytes are, it returns, and says whether they are what its parser takes.
pub type Target = fn(&[u8]) -> bool;

macro_rules! targets {
    ($($name:ident)*) => {
        /// Every target by its name, which is that of its fuzzer and of its folder in `corpus/`.
        pub const TARGETS: &[(&str, Target)] = &[$((stringify!($name), $name)),*];
    };
}

targets! {
    annotations audit_line challenge chunks claims collateral component docker_config document event_log evidence_bundle failure
    image_index init_data invoke jwe jwk jws kbs_answers keyfile layout manifest outbox_entry outbox_header packet policy
    private_options
    public_options
    qgs_frame receipt reference reference_values resource_uri session settings snp_certificates snp_evidence snp_report
    start stop tar tdx_quote token tsm_table
}

/// The bytes as text; most formats are, and anything else is refused by the type.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
