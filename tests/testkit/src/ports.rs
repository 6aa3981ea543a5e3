//! Ports that are named before anybody listens there.
//!
//! A test that has the system give it a port, and frees it to have a daemon listen there, or a broker that comes back,
//! may find another test at it: the system gives a free port to whoever asks for any. The ports of this module are
//! below those that systems give by themselves, and each is given once in a process.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// The first of them.
const FIRST: u16 = 10_000;
/// How many there are: Linux gives those from 32768 on.
const COUNT: u16 = 22_000;

/// An address of this machine where nobody listens, and where nobody else will who asks here or takes any port.
///
/// # Errors
/// None is free.
pub fn free_address() -> io::Result<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Another process, which may run at the same time, begins somewhere else.
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let next = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(next % u32::from(COUNT)).unwrap_or_default();
        let port = FIRST + offset;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_free_and_given_once() {
        let (one, other) = (free_address().unwrap(), free_address().unwrap());
        assert_ne!(one, other);
        let last = FIRST + COUNT;
        for address in [one, other] {
            assert!((FIRST..last).contains(&address.port()), "{address}");
            TcpListener::bind(address).unwrap();
        }
    }
}
