//! The `proplet` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "vm-image")]
    if proplet_init::is_first_process() {
        return proplet_init::run();
    }
    proplet::cli::main()
}
