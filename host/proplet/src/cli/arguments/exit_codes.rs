//! The exit codes in words.

/// The exit codes, as every `--help` shows them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done; verified; the task succeeded
  1  refused, failed or not verified
  2  wrong usage or bad input
  3  something that is needed is unavailable: the network, the key broker, a registry";
