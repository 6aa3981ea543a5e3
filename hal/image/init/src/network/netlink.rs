//! The kernel's table of interfaces, addresses and routes, by netlink (`rtnetlink(7)`).

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// Kinds of messages.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
/// A request that wants an answer.
const REQUEST: u16 = 1 | 4;
/// It makes what is not there, and replaces what is.
const CREATE: u16 = 0x400 | 0x100;
const IPV4: u8 = 2;

/// Switches an interface on.
pub(super) fn link_up(interface: &str) -> io::Result<()> {
    // `struct ifinfomsg`: any family and type, then the flag IFF_UP and what is changed.
    let mut body = vec![0; 4];
    body.extend(index(interface)?.to_ne_bytes());
    body.extend([1_u32.to_ne_bytes(), 1_u32.to_ne_bytes()].concat());
    ask(&message(NEW_LINK, REQUEST, &body))
}

/// Gives an interface an address.
pub(super) fn address(interface: &str, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    // `struct ifaddrmsg`: the family, the prefix, no flags, for the whole world.
    let mut body = vec![IPV4, prefix_len, 0, 0];
    body.extend(index(interface)?.to_ne_bytes());
    for kind in [1, 2] {
        attribute(&mut body, kind, &address.octets());
    }
    ask(&message(NEW_ADDRESS, REQUEST | CREATE, &body))
}

/// Sends everything that has no other route to a router.
pub(super) fn default_route(interface: &str, router: Ipv4Addr) -> io::Result<()> {
    // `struct rtmsg`: to anywhere, in the main table, by DHCP, for the whole world, unicast.
    let mut body = vec![IPV4, 0, 0, 0, 254, 16, 0, 1];
    body.extend(0_u32.to_ne_bytes());
    attribute(&mut body, 5, &router.octets());
    attribute(&mut body, 4, &index(interface)?.to_ne_bytes());
    ask(&message(NEW_ROUTE, REQUEST | CREATE, &body))
}

fn index(interface: &str) -> io::Result<u32> {
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    text.trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sends one request and takes its answer.
fn ask(message: &[u8]) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sendto(
        &socket,
        message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0_u8; 4096];
    let (_, len) = recv(&socket, &mut answer, RecvFlags::empty())?;
    outcome(answer.get(..len).unwrap_or_default())
}

/// A message: its length, kind, flags, number and sender, then the body.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut message = len.to_ne_bytes().to_vec();
    message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    message.extend([1_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat());
    message.extend(body);
    message
}

/// Every attribute here is of four bytes, so none needs padding.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8; 4]) {
    body.extend(8_u16.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// What an answer says: the number of an error, or zero.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk());
    let number = answer.get(16..).and_then(|rest| rest.first_chunk());
    match (kind, number) {
        (Some(kind), Some(number)) if u16::from_ne_bytes(*kind) == ERROR => {
            match i32::from_ne_bytes(*number) {
                0 => Ok(()),
                number => Err(Errno::from_raw_os_error(number.saturating_neg()).into()),
            }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loopback_can_be_named() {
        assert_eq!(index("lo").unwrap(), 1);
        assert!(index("nothing").is_err());
    }

    #[test]
    fn messages_have_the_kernels_layout() {
        let mut body = vec![IPV4, 24, 0, 0];
        body.extend(2_u32.to_ne_bytes());
        attribute(&mut body, 2, &[10, 0, 2, 15]);
        let message = message(NEW_ADDRESS, REQUEST | CREATE, &body);
        let expected = [
            32, 0, 0, 0, 20, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0, 0, 2, 24, 0, 0, 2, 0, 0, 0, 8, 0, 2, 0,
            10, 0, 2, 15,
        ];
        assert_eq!(message, expected);
    }

    #[test]
    fn the_kernel_answers_what_it_does_not_know() {
        // Of an interface that cannot be: the kernel is asked, and refuses.
        let mut body = vec![IPV4, 24, 0, 0];
        body.extend(u32::MAX.to_ne_bytes());
        attribute(&mut body, 2, &[10, 0, 2, 15]);
        assert!(ask(&message(NEW_ADDRESS, REQUEST, &body)).is_err());
    }

    #[test]
    fn answers_say_what_went_wrong() {
        let answer =
            |number: i32| [&[36, 0, 0, 0, 2, 0][..], &[0; 10], &number.to_ne_bytes()].concat();
        assert!(outcome(&answer(0)).is_ok());
        assert_eq!(outcome(&answer(-1)).unwrap_err().raw_os_error(), Some(1));
        assert!(outcome(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read(answer in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = outcome(&answer);
        }
    }
}
