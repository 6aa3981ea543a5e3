//! The emulated tree in the file system, by the kernel's FUSE protocol.
//!
//! The few requests that files of configfs lead to are answered here, over `/dev/fuse`, and the tree is
//! mounted by the command `mount`: so the tests need neither libfuse nor `unsafe` code, and no crate that
//! would change how the rest of the workspace is compiled. Nothing is cached by the kernel, so that each
//! operation of a program reaches the tree.
//!
//! Source: Linux `include/uapi/linux/fuse.h`, version 7.31.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::io::Errno;

use super::attribute::Attribute;
use super::{Node, TsmTree};

/// As many requests as can be under way at a time: one in the device, and some that look around meanwhile.
const THREADS: usize = 4;
/// Room for a request: the kernel asks for 8 KiB and the longest write.
const REQUEST_LEN: usize = 64 * 1024;
const MAX_WRITE: u32 = 32 * 1024;
/// `O_ACCMODE` and its values.
const ACCESS_MODE: u32 = 3;
const WRITE_ONLY: u32 = 1;
const READ_WRITE: u32 = 2;
/// Reads and writes go to the tree as they are; sizes of files mean nothing.
const DIRECT_IO: u32 = 1;
const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
/// Nodes of one entry: the folder, and its attributes after it.
const NODES_PER_ENTRY: u64 = 16;

/// Operation codes.
mod opcode {
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

/// A mounted tree. It is unmounted when dropped.
#[derive(Debug)]
pub struct TsmMount {
    path: PathBuf,
}

impl TsmMount {
    /// Mounts the tree on this folder. It takes root, `/dev/fuse`, and the command `mount`.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(tree: Arc<TsmTree>, path: &Path) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        // The device is the command's standard input, so the option's number is 0.
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse"])
            .args(["-o", "fd=0,rootmode=40000,user_id=0,group_id=0"])
            .arg("tsm")
            .arg(path)
            .stdin(Stdio::from(device.try_clone()?))
            .output()?;
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
            return Err(io::Error::other(said));
        }
        let mount = Self {
            path: path.to_path_buf(),
        };
        for _ in 0..THREADS {
            let (device, tree) = (device.try_clone()?, tree.clone());
            // It ends with the mount.
            thread::spawn(move || serve(&device, &tree));
        }
        Ok(mount)
    }

    /// Where the tree is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TsmMount {
    fn drop(&mut self) {
        // Lazily: a mount in another namespace may keep it for a while.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            tracing::warn!(path = %self.path.display(), "the emulated TSM tree stays mounted");
        }
    }
}

fn serve(mut device: &File, tree: &TsmTree) {
    let mut buffer = vec![0; REQUEST_LEN];
    loop {
        let request = match device.read(&mut buffer) {
            Ok(length) => Request::parse(buffer.get(..length).unwrap_or_default()),
            // A request that was taken back, or a signal.
            Err(error) if is_one_of(&error, &[Errno::NOENT, Errno::INTR, Errno::AGAIN]) => continue,
            Err(_) => return,
        };
        let Some(request) = request else {
            return;
        };
        let Some(reply) = answer(&request, tree) else {
            continue;
        };
        let (error, body) = match reply {
            Ok(body) => (0, body),
            Err(errno) => (-errno.raw_os_error(), Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
        let mut message = Bytes::default();
        message.u32(length).i32(error).u64(request.unique);
        message.raw(&body);
        match device.write(&message.0) {
            // The request was taken back meanwhile.
            Err(error) if is_one_of(&error, &[Errno::NOENT, Errno::INTR]) => {}
            Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn is_one_of(error: &io::Error, errnos: &[Errno]) -> bool {
    let number = error.raw_os_error();
    errnos
        .iter()
        .any(|errno| number == Some(errno.raw_os_error()))
}

/// A request: header and body.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(message: &'a [u8]) -> Option<Self> {
        let header = Fields(message);
        Some(Self {
            opcode: header.u32(4)?,
            unique: header.u64(8)?,
            node: header.u64(16)?,
            body: message.get(40..)?,
        })
    }

    fn field32(&self, at: usize) -> Result<u32, Errno> {
        Fields(self.body).u32(at).ok_or(Errno::IO)
    }

    fn field64(&self, at: usize) -> Result<u64, Errno> {
        Fields(self.body).u64(at).ok_or(Errno::IO)
    }

    /// A name with a zero byte after it, from this place on.
    fn name(&self, at: usize) -> Result<&'a str, Errno> {
        let rest = self.body.get(at..).ok_or(Errno::IO)?;
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).map_err(|_| Errno::INVAL)
    }

    fn node(&self) -> Result<Node, Errno> {
        node_of(self.node).ok_or(Errno::STALE)
    }
}

/// The body of the reply. `None` for what gets no reply.
fn answer(request: &Request<'_>, tree: &TsmTree) -> Option<Result<Vec<u8>, Errno>> {
    Some(match request.opcode {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT | opcode::DESTROY => return None,
        opcode::INIT => Ok(init()),
        opcode::LOOKUP => lookup(request, tree),
        opcode::GETATTR | opcode::SETATTR => attributes(request, tree),
        opcode::MKDIR => mkdir(request, tree),
        opcode::RMDIR => rmdir(request, tree),
        // The kernel made these files, and only the kernel removes them or makes others.
        opcode::UNLINK => Err(Errno::PERM),
        opcode::CREATE => Err(Errno::ACCESS),
        opcode::OPEN => open(request, tree),
        opcode::READ => read(request, tree),
        opcode::WRITE => write(request, tree),
        opcode::FLUSH => request.field64(0).map(|handle| {
            tree.flush(handle);
            Vec::new()
        }),
        opcode::RELEASE => request.field64(0).map(|handle| {
            tree.release(handle);
            Vec::new()
        }),
        opcode::OPENDIR => Ok(opened(0)),
        opcode::READDIR => readdir(request, tree),
        opcode::RELEASEDIR => Ok(Vec::new()),
        opcode::STATFS => Ok(vec![0; 80]),
        _ => Err(Errno::NOSYS),
    })
}

fn init() -> Vec<u8> {
    let mut reply = Bytes::default();
    // Version, read-ahead, flags; background requests; longest write, granularity of times.
    reply.u32(7).u32(31).u32(0).u32(0);
    reply.u16(16).u16(12).u32(MAX_WRITE).u32(1);
    reply.raw(&[0; 36]);
    reply.0
}

fn lookup(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    Ok(entry(tree.lookup(request.node()?, request.name(0)?)?))
}

fn attributes(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    let node = request.node()?;
    if !tree.exists(node) {
        return Err(Errno::NOENT);
    }
    let mut reply = Bytes::default();
    reply.u64(0).u32(0).u32(0).raw(&inode(node));
    Ok(reply.0)
}

fn mkdir(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    Ok(entry(tree.mkdir(request.node()?, request.name(8)?)?))
}

fn rmdir(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    tree.rmdir(request.node()?, request.name(0)?)?;
    Ok(Vec::new())
}

fn open(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    let mode = request.field32(0)? & ACCESS_MODE;
    let writes = mode == WRITE_ONLY || mode == READ_WRITE;
    let handle = tree.open(request.node()?, mode != WRITE_ONLY, writes)?;
    Ok(opened(handle))
}

fn read(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    let size = usize::try_from(request.field32(16)?).unwrap_or(usize::MAX);
    tree.read(request.field64(0)?, request.field64(8)?, size)
}

fn write(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    let bytes = request.body.get(40..).ok_or(Errno::IO)?;
    let written = tree.write(request.field64(0)?, request.field64(8)?, bytes)?;
    let mut reply = Bytes::default();
    reply.u32(u32::try_from(written).unwrap_or(u32::MAX)).u32(0);
    Ok(reply.0)
}

fn readdir(request: &Request<'_>, tree: &TsmTree) -> Result<Vec<u8>, Errno> {
    let from = usize::try_from(request.field64(8)?).unwrap_or(usize::MAX);
    let size = usize::try_from(request.field32(16)?).unwrap_or(usize::MAX);
    let children = tree.children(request.node()?)?;
    let mut reply = Bytes::default();
    for (number, (name, node)) in children.into_iter().enumerate().skip(from) {
        let next = number as u64 + 1;
        // DT_DIR and DT_REG.
        let kind = if matches!(node, Node::Attribute(..)) {
            8
        } else {
            4
        };
        let padded = name.len().next_multiple_of(8);
        if reply.0.len() + 24 + padded > size {
            break;
        }
        reply.u64(number_of(node)).u64(next);
        reply.u32(u32::try_from(name.len()).unwrap_or(0)).u32(kind);
        reply
            .raw(name.as_bytes())
            .raw(&vec![0; padded - name.len()]);
    }
    Ok(reply.0)
}

fn entry(node: Node) -> Vec<u8> {
    let mut reply = Bytes::default();
    // No generations of nodes, and nothing may be cached.
    reply
        .u64(number_of(node))
        .u64(0)
        .u64(0)
        .u64(0)
        .u32(0)
        .u32(0);
    reply.raw(&inode(node));
    reply.0
}

fn opened(handle: u64) -> Vec<u8> {
    let mut reply = Bytes::default();
    reply.u64(handle).u32(DIRECT_IO).u32(0);
    reply.0
}

fn inode(node: Node) -> Vec<u8> {
    let (mode, links) = match node {
        Node::Attribute(_, attribute) if attribute.is_written() => (REGULAR | 0o200, 1),
        Node::Attribute(..) => (REGULAR | 0o444, 1),
        Node::Reports | Node::Entry(_) => (DIRECTORY, 2),
    };
    let mut reply = Bytes::default();
    reply.u64(number_of(node)).raw(&[0; 52]);
    // Mode and links; owner, device and flags are zero; blocks of a page.
    reply.u32(mode).u32(links).raw(&[0; 12]).u32(4096).u32(0);
    reply.0
}

fn number_of(node: Node) -> u64 {
    match node {
        Node::Reports => 1,
        Node::Entry(entry) => entry * NODES_PER_ENTRY,
        Node::Attribute(entry, attribute) => entry * NODES_PER_ENTRY + 1 + attribute as u64,
    }
}

fn node_of(number: u64) -> Option<Node> {
    if number == 1 {
        return Some(Node::Reports);
    }
    let entry = number / NODES_PER_ENTRY;
    match (number % NODES_PER_ENTRY).checked_sub(1) {
        _ if entry == 0 => None,
        None => Some(Node::Entry(entry)),
        Some(attribute) => {
            let mut all = Attribute::ALL.into_iter();
            let found = all.find(|known| *known as u64 == attribute)?;
            Some(Node::Attribute(entry, found))
        }
    }
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
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, number: u16) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    fn u32(&mut self, number: u32) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    fn i32(&mut self, number: i32) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_ne_bytes())
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(inode(Node::Reports).len(), 88);
        assert_eq!(entry(Node::Reports).len(), 128);
        assert_eq!(opened(1).len(), 16);
        assert_eq!(init().len(), 64);
    }

    #[test]
    fn numbers_of_nodes_lead_back_to_them() {
        let attributes = Attribute::ALL.map(|attribute| Node::Attribute(7, attribute));
        for node in [Node::Reports, Node::Entry(1), Node::Entry(9)]
            .into_iter()
            .chain(attributes)
        {
            assert_eq!(node_of(number_of(node)), Some(node));
        }
        for number in [0, 2, 15, NODES_PER_ENTRY + 12] {
            assert_eq!(node_of(number), None, "{number}");
        }
    }
}
