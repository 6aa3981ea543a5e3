//! Ports that are named before anybody listens there.
//!
//! A test that has the system give it a port, and frees it to have a daemon listen there, or a broker that comes back,
//! may find another test at it: the system gives a free port to whoever asks for any. The ports of this module are
//! below those that systems give by themselves, and each is given once in a process.
//!
//! A program that another thread starts has a copy of every socket until it runs, also of those that are closed
//! meanwhile. So a port is tried without listening there, which keeps nobody away ([`free_address`]), and who listens
//! where somebody has just stopped waits for such a copy to go ([`until_free`]).

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{
    net::TcpSocket,
    time::{Instant, sleep},
};

/// The first of them.
const FIRST: u16 = 10_000;
/// How many there are: Linux gives those from 32768 on.
const COUNT: u16 = 22_000;
/// How long a copy of a listener may take to go.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

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
        if tried((Ipv4Addr::UNSPECIFIED, port).into()).is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Waits until nobody listens at this address any more.
///
/// # Errors
/// Somebody stays, or the address cannot be had.
pub async fn until_free(address: SocketAddr) -> io::Result<()> {
    free_within(address, PATIENCE).await
}

async fn free_within(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match tried(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(error) if begin.elapsed() > patience => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// A socket at this address that does not listen: there is none where somebody does.
fn tried(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn each_is_free_and_given_once() {
        let (one, other) = (free_address().unwrap(), free_address().unwrap());
        assert_ne!(one, other);
        let last = FIRST + COUNT;
        for address in [one, other] {
            assert!((FIRST..last).contains(&address.port()), "{address}");
            TcpListener::bind(address).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_tries_a_port_keeps_nobody_away() {
        let address = free_address().unwrap();
        // As a program that is being started has it.
        let copy = tried(address).unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        drop(copy);
        assert!(tried(address).is_err());
        drop(listener);
    }

    #[tokio::test]
    async fn a_listener_that_goes_is_waited_for_and_one_that_stays_is_told() {
        let address = free_address().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let error = free_within(address, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let going = async {
            sleep(PAUSE * 2).await;
            drop(listener);
        };
        let (free, ()) = tokio::join!(until_free(address), going);
        free.unwrap();
        TcpListener::bind(address).await.unwrap();
    }
}
