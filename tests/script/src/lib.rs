//! What the tests of `hal/ubuntu/qemu.sh` and the program that stands in for QEMU have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What QEMU was started with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment.
    pub variables: BTreeMap<String, String>,
}
