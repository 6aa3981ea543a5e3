//! A development key broker that speaks protocol 0.4.0 and verifies evidence.
