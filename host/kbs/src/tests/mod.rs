//! Tests of the crate as a whole, over loopback connections.
