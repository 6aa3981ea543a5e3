//! The calls to the kernel that no safe interface covers: two drivers' ioctls, and addresses of vsock.
//!
//! This is the only module of this crate with `unsafe` code. It decides nothing and parses nothing; it
//! moves bytes of fixed sizes. Each function takes references, so the memory that the kernel reads or writes
//! is there, and exclusively ours, for the length of the call; structures are `repr(C)` and as long as the
//! kernel's headers say, which the assertions below and the numbers of the calls (they encode the size) hold.
//!
//! The crate `sev` has these calls for `/dev/sev-guest`, and they are not used: its extended report walks the
//! host's certificate table by pointers, with offsets and lengths that the host chose, beyond the table's end
//! if these say so. What lies there would leave in the evidence. Here the table stays bytes, and
//! [`crate::snp::CertificateTable`] parses it within its bounds.
//!
//! Sources: Linux `include/uapi/linux/sev-guest.h`, `include/uapi/linux/tdx-guest.h`,
//! `include/uapi/linux/vm_sockets.h`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

/// Length of `struct snp_report_req`.
pub(crate) const SNP_REQUEST_LEN: usize = 96;
/// Length of `struct snp_report_resp`.
pub(crate) const SNP_RESPONSE_LEN: usize = 4000;
/// Length of a TDREPORT.
pub(crate) const TD_REPORT_LEN: usize = 1024;

/// `struct snp_guest_request_ioctl`.
#[repr(C)]
struct GuestRequest {
    /// One byte and padding in C; the padding is zero.
    message_version: u64,
    request: u64,
    response: u64,
    exit_info: u64,
}

/// `struct snp_ext_report_req`.
#[repr(C)]
struct ExtendedRequest {
    report: [u8; SNP_REQUEST_LEN],
    certificates: u64,
    certificates_len: u32,
}

/// `struct tdx_report_req`.
#[repr(C)]
struct TdReportRequest {
    report_data: [u8; 64],
    td_report: [u8; TD_REPORT_LEN],
}

/// `struct sockaddr_vm`.
#[repr(C)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags_and_zeros: [u8; 4],
}

const _: () = assert!(size_of::<GuestRequest>() == 32);
const _: () = assert!(size_of::<ExtendedRequest>() == 112);
const _: () = assert!(size_of::<TdReportRequest>() == 1088);
const _: () = assert!(size_of::<VsockAddress>() == 16);

const SNP_GET_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 0);
const SNP_GET_EXT_REPORT: Opcode = opcode::read_write::<GuestRequest>(b'S', 2);
const TDX_CMD_GET_REPORT0: Opcode = opcode::read_write::<TdReportRequest>(b'T', 1);
const _: () = assert!(SNP_GET_REPORT == 0xC020_5300);
const _: () = assert!(SNP_GET_EXT_REPORT == 0xC020_5302);
const _: () = assert!(TDX_CMD_GET_REPORT0 == 0xC440_5401);

/// How an SNP call ended: the system call's own result, and what the hypervisor and the firmware said.
pub(crate) struct SnpExit {
    pub(crate) result: io::Result<()>,
    /// Upper half of the exit information.
    pub(crate) vmm: u32,
    /// Lower half of the exit information.
    pub(crate) firmware: u32,
}

impl SnpExit {
    fn new(result: rustix::io::Result<()>, exit_info: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = exit_info.to_le_bytes();
        Self {
            result: result.map_err(io::Error::from),
            vmm: u32::from_le_bytes([e, f, g, h]),
            firmware: u32::from_le_bytes([a, b, c, d]),
        }
    }
}

/// A report without certificates from `/dev/sev-guest`.
pub(crate) fn snp_report(
    device: &File,
    message: &[u8; SNP_REQUEST_LEN],
    response: &mut [u8; SNP_RESPONSE_LEN],
) -> SnpExit {
    let mut request = GuestRequest {
        message_version: 1,
        request: std::ptr::from_ref(message).expose_provenance() as u64,
        response: std::ptr::from_mut(response).expose_provenance() as u64,
        exit_info: 0,
    };
    // SAFETY: the number belongs to the structure. The kernel reads 96 bytes at `request` and writes 4000 at
    // `response`, the lengths of the arrays that the two references are to; both outlive the call.
    let result = unsafe {
        ioctl(
            device,
            Updater::<SNP_GET_REPORT, GuestRequest>::new(&mut request),
        )
    };
    SnpExit::new(result, request.exit_info)
}

/// A report with the host's certificates from `/dev/sev-guest`.
pub(crate) fn snp_extended_report(
    device: &File,
    message: &[u8; SNP_REQUEST_LEN],
    response: &mut [u8; SNP_RESPONSE_LEN],
    certificates: &mut [u8],
) -> SnpExit {
    let Ok(certificates_len) = u32::try_from(certificates.len()) else {
        return SnpExit::new(Err(rustix::io::Errno::INVAL), 0);
    };
    let mut extended = ExtendedRequest {
        report: *message,
        certificates: certificates.as_mut_ptr().expose_provenance() as u64,
        certificates_len,
    };
    let mut request = GuestRequest {
        message_version: 1,
        request: std::ptr::from_mut(&mut extended).expose_provenance() as u64,
        response: std::ptr::from_mut(response).expose_provenance() as u64,
        exit_info: 0,
    };
    // SAFETY: as for `snp_report`; the kernel reads and writes `extended`, which is the structure that this
    // number's request points to, and writes at most `certificates_len` bytes at `certificates`.
    let result = unsafe {
        ioctl(
            device,
            Updater::<SNP_GET_EXT_REPORT, GuestRequest>::new(&mut request),
        )
    };
    SnpExit::new(result, request.exit_info)
}

/// A TDREPORT from `/dev/tdx_guest`.
pub(crate) fn td_report(device: &File, report_data: &[u8; 64]) -> io::Result<[u8; TD_REPORT_LEN]> {
    let mut request = TdReportRequest {
        report_data: *report_data,
        td_report: [0; TD_REPORT_LEN],
    };
    // SAFETY: the number belongs to the structure, which the kernel reads and writes in place.
    unsafe {
        ioctl(
            device,
            Updater::<TDX_CMD_GET_REPORT0, TdReportRequest>::new(&mut request),
        )?;
    }
    Ok(request.td_report)
}

// SAFETY: the closure gets a pointer to `self`, which is readable for its own length and is a socket address.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(
            std::ptr::from_ref(self).cast(),
            size_of::<Self>() as SocketAddrLen,
        )
    }
}

/// A stream to a port of another end of vsock, of which no read or write waits longer than `patience`.
pub(crate) fn connect_vsock(cid: u32, port: u32, patience: Duration) -> io::Result<File> {
    let family = AddressFamily::VSOCK;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(&socket, direction, Some(patience))?;
    }
    let address = VsockAddress {
        family: family.as_raw(),
        reserved: 0,
        port,
        cid,
        flags_and_zeros: [0; 4],
    };
    connect(&socket, &address)?;
    Ok(File::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that knows none of these calls: what is tested is that a refusal comes back as one.
    fn other_device() -> File {
        File::open("/dev/null").unwrap()
    }

    #[test]
    fn another_device_refuses_the_calls() {
        let device = other_device();
        let enotty = rustix::io::Errno::NOTTY.raw_os_error();
        let error = td_report(&device, &[1; 64]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(enotty));

        let (message, mut response) = ([0; SNP_REQUEST_LEN], [0; SNP_RESPONSE_LEN]);
        let exit = snp_report(&device, &message, &mut response);
        assert_eq!(exit.result.unwrap_err().raw_os_error(), Some(enotty));
        let exit = snp_extended_report(&device, &message, &mut response, &mut [0; 4096]);
        assert_eq!(exit.result.unwrap_err().raw_os_error(), Some(enotty));
        assert_eq!((exit.vmm, exit.firmware), (0, 0));
    }

    #[test]
    fn exit_information_has_two_halves() {
        let exit = SnpExit::new(Ok(()), 0x0000_0002_0000_0016);
        assert_eq!((exit.vmm, exit.firmware), (2, 0x16));
    }
}
