//! The kernel's TSM report interface, emulated.
//!
//! A [`TsmTree`] behaves as `/sys/kernel/config/tsm/report` does: making a folder makes attributes in it,
//! `inblob` takes effect when it is closed, `generation` counts the writes, reading `outblob` makes a report,
//! and a folder with attributes is removed by one `rmdir`. What makes reports is a fake ([`TsmDevice`]), so
//! they verify under the test PKIs only. [`TsmMount`] puts the tree into the file system by FUSE, where a
//! program that knows nothing of tests finds it.
//!
//! Sources: Linux `drivers/virt/coco/guest/report.c`, `fs/configfs/file.c`, and the two drivers' choice of
//! visible attributes. What differs: writing `inblob` takes effect at `close` here; there, at the last one.

mod attribute;
mod device;
mod fault;
mod files;
mod fuse;
mod tree;

pub use device::TsmDevice;
pub use fault::{TsmFault, TsmStep};
pub use files::TsmTreeFiles;
pub use fuse::{TsmMount, TsmServed};
pub use tree::{TsmCounts, TsmTree};

#[cfg(test)]
mod tests;
