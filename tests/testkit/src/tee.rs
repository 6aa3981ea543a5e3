//! Fake TEEs.
