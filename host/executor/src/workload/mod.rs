//! What stays the same from one run of a component to the next.

mod encrypted;
mod plain;
pub(crate) mod ready;
mod recipients;
mod renewal;

use std::sync::Arc;

pub use self::ready::Workload;
pub(crate) use self::ready::{Release, Road};
use crate::{ledger::Ledger, process::Process, refusal::Refusal, request::Source};

impl Process {
    pub(crate) async fn prepare(
        &self,
        source: Source,
        ledger: &Ledger,
    ) -> Result<Arc<Workload>, Refusal> {
        match source {
            Source::File(bytes) => self.plain_file(bytes).await,
            Source::Plain(image) => self.plain_image(&image).await,
            Source::Encrypted {
                image,
                expected_key,
            } => match self.takes_encrypted_tasks() {
                Ok(confidential) => {
                    self.encrypted_image(confidential, &image, expected_key, ledger)
                        .await
                }
                Err(refusal) => Err(refusal),
            },
        }
    }
}
