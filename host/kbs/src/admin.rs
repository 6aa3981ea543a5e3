//! Administration of a KBS.
