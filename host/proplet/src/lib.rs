//! The proplet daemon and command line.
