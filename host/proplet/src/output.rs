//! What the program prints.
//!
//! Results of commands go to standard output, everything else to standard error. All of it goes through
//! here, so that a search for `print` finds nothing else: the daemon's own words go through `tracing`.

use std::io::{self, Write as _};

/// Prints bytes as they are, and flushes.
///
/// # Errors
/// When standard output is closed or full.
pub fn bytes(content: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(content)?;
    out.flush()
}

/// Prints one line to standard error. A closed standard error is nobody's concern.
pub fn error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
