//! Messages of the kernel and to it.

use rustix::io::Errno;

use super::super::tree::Node;
use super::nodes::node_of;

/// Operation codes.
pub(super) mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
}

/// A request: header and body.
pub(super) struct Request<'a> {
    pub(super) opcode: u32,
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) body: &'a [u8],
}

/// Fields of a message of the kernel, in this machine's byte order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}

/// A message to the kernel.
#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    pub(super) fn u16(&mut self, number: u16) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    pub(super) fn i32(&mut self, number: i32) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
}

impl<'a> Request<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let header = Fields(message);
        Some(Self {
            opcode: header.u32(4)?,
            unique: header.u64(8)?,
            node: header.u64(16)?,
            body: message.get(40..)?,
        })
    }

    pub(super) fn field32(&self, at: usize) -> Result<u32, Errno> {
        Fields(self.body).u32(at).ok_or(Errno::IO)
    }

    pub(super) fn field64(&self, at: usize) -> Result<u64, Errno> {
        Fields(self.body).u64(at).ok_or(Errno::IO)
    }

    /// A name with a zero byte after it, from this place on.
    pub(super) fn name(&self, at: usize) -> Result<&'a str, Errno> {
        let rest = self.body.get(at..).ok_or(Errno::IO)?;
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).map_err(|_| Errno::INVAL)
    }

    pub(super) fn node(&self) -> Result<Node, Errno> {
        node_of(self.node).ok_or(Errno::STALE)
    }
}
