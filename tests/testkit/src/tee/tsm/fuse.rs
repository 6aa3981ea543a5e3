//! The emulated tree in the file system, by the kernel's FUSE protocol.
//!
//! The few requests that files of configfs lead to are answered here, over `/dev/fuse`, and the tree is
//! mounted by one system call: so the tests need neither libfuse nor `unsafe` code, and no program beside them,
//! for in the VM image there is none. Nothing is cached by the kernel, so that each operation of a program
//! reaches the tree.
//!
//! Source: Linux `include/uapi/linux/fuse.h`, version 7.31.

mod nodes;
mod wire;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sys_mount::{Mount, MountFlags, UnmountFlags, unmount};

use self::nodes::number_of;
use self::wire::{Bytes, Request, opcode};
use super::tree::{Node, TsmTree};

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

/// A mounted tree. It is unmounted when dropped.
#[derive(Debug)]
pub struct TsmMount {
    path: PathBuf,
    served: Arc<Served>,
}

/// What a mount has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TsmServed {
    /// Requests of the kernel that were answered.
    pub requests: u64,
    /// Time that the answers took, from a request's arrival here until its answer goes back. On real hardware
    /// the device takes its own time instead.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Served {
    requests: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Served {
    fn count(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl TsmMount {
    /// Mounts the tree on this folder. It takes root and `/dev/fuse`.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(tree: Arc<TsmTree>, path: &Path) -> io::Result<Self> {
        let device = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        Mount::builder()
            .fstype("fuse")
            .flags(MountFlags::NOSUID | MountFlags::NODEV)
            .data(&options)
            .mount("tsm", path)?;
        let mount = Self {
            path: path.to_path_buf(),
            served: Arc::default(),
        };
        for _ in 0..THREADS {
            let (device, tree) = (device.try_clone()?, tree.clone());
            let served = Arc::clone(&mount.served);
            // It ends with the mount.
            thread::spawn(move || serve(&device, &tree, &served));
        }
        Ok(mount)
    }

    /// Where the tree is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was done so far.
    #[must_use]
    pub fn served(&self) -> TsmServed {
        TsmServed {
            requests: self.served.requests.load(Ordering::Relaxed),
            time: Duration::from_nanos(self.served.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for TsmMount {
    fn drop(&mut self) {
        // Lazily: a mount in another namespace may keep it for a while.
        if unmount(&self.path, UnmountFlags::DETACH).is_err() {
            tracing::warn!(path = %self.path.display(), "the emulated TSM tree stays mounted");
        }
    }
}

fn serve(mut device: &File, tree: &TsmTree, served: &Served) {
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
        let arrived = Instant::now();
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
        served.count(arrived.elapsed());
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
}
