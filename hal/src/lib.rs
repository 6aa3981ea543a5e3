//! TEE detection, evidence providers and evidence verifiers.
