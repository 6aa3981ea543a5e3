//! Lines on the console, which whoever runs the VM reads. Nothing secret is known to this program.

use std::io::Write as _;

/// Writes a line. A console that does not take it is no reason to stop.
pub(crate) fn say(line: &str) {
    let shown = proplet_types::text::line(line);
    let mut console = std::io::stderr().lock();
    let _ = writeln!(console, "init: {shown}");
    let _ = console.flush();
}
