//! Example guest.
