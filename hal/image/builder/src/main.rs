//! The `proplet-image-builder` program.

fn main() -> std::process::ExitCode {
    proplet_image_builder::cli::main()
}
