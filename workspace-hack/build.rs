//! Nothing to do: without a build script cargo would pass over the build dependencies.
fn main() {}
