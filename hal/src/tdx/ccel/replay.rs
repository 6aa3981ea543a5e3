//! A log against the registers.

use ring::digest::{SHA384, digest};

use super::log::EventLog;
use super::record::{NO_ACTION, SHA384_LEN};
use crate::tdx::TdxError;

/// The registers that a guest extends: RTMR0 to RTMR3.
pub type Rtmrs = [[u8; SHA384_LEN]; 4];

impl EventLog {
    /// What the registers are when they began as zeros and every digest was extended: RTMR is
    /// SHA-384(RTMR ‖ digest) for each record of its register, but for those of kind `EV_NO_ACTION`.
    pub fn replay(&self) -> Rtmrs {
        let mut rtmrs: Rtmrs = [[0; SHA384_LEN]; 4];
        for record in &self.records {
            let (Some(at), Some(extended)) = (record.rtmr(), record.digest) else {
                continue;
            };
            if record.kind == NO_ACTION {
                continue;
            }
            if let Some(rtmr) = rtmrs.get_mut(at) {
                let both = [*rtmr, extended].concat();
                rtmr.copy_from_slice(digest(&SHA384, &both).as_ref());
            }
        }
        rtmrs
    }

    /// That the log is the one that the registers of a quote stand for.
    ///
    /// # Errors
    /// [`TdxError::EventLogReplay`] for the first register that differs.
    pub fn check(&self, rtmrs: &Rtmrs) -> Result<(), TdxError> {
        for (register, (replayed, quoted)) in self.replay().iter().zip(rtmrs).enumerate() {
            if replayed != quoted {
                return Err(TdxError::EventLogReplay {
                    register,
                    replayed: hex::encode(replayed),
                    quoted: hex::encode(quoted),
                });
            }
        }
        Ok(())
    }
}
