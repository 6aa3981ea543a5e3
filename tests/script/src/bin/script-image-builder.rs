//! The image builder, for the script that these tests run.

fn main() -> std::process::ExitCode {
    proplet_image_builder::cli::main()
}
