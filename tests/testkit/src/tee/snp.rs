//! A fake SEV-SNP TEE.

mod builder;
mod fake;
mod table;
mod tampering;

pub use builder::{Cpu, FakeSnpBuilder};
pub use fake::FakeSnp;
pub use tampering::Tampering;
