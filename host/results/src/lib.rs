//! Sealed results, receipts and their offline verification.
