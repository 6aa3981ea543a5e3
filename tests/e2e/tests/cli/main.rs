//! The command line, driven as people drive it: arguments in, streams and an exit code out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod host;
mod images;
mod import;
mod kbs;
mod keyprovider;
mod keys;
mod results;
mod serving;
mod skopeo;
mod snp;
mod support;
mod tdx;
mod terminal;
mod vectors;
