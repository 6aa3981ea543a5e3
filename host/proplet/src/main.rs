//! The `proplet` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    proplet::cli::main()
}
