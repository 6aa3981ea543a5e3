//! Sockets that frames leave by.
//!
//! A socket that takes nothing is asked again and again, and in between whoever sends decides whether it goes on.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};

use super::{Export, Syslog};

/// How long a host may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// A socket that leads to the receiver.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Why a frame was not sent.
#[derive(Debug)]
pub(super) enum NotSent {
    /// No datagram holds it.
    TooLarge,
    /// It took nothing, and whoever sends did not go on.
    Hung,
    /// The socket is of no use.
    Failed(io::Error),
}

/// What is asked while a socket takes nothing.
pub(super) trait Patience {
    /// It took something.
    fn moved(&mut self);
    /// It did not. Whether to go on.
    fn goes_on(&mut self) -> bool;
}

impl Socket {
    /// Connects. A send then asks every `wake` whether to go on.
    pub(super) fn connect(export: &Export, wake: Duration) -> io::Result<Self> {
        match export {
            Export::Journald(path) | Export::Syslog(Syslog::Unix(path)) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(wake))?;
                Ok(Self::Unix(socket))
            }
            Export::Syslog(Syslog::Udp { host, port }) => each(host, *port, |address| {
                let socket = match address {
                    SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
                    SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
                };
                socket.connect(address)?;
                socket.set_write_timeout(Some(wake))?;
                Ok(Self::Udp(socket))
            }),
            Export::Syslog(Syslog::Tcp { host, port }) => each(host, *port, |address| {
                let stream = TcpStream::connect_timeout(&address, CONNECTING)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(wake))?;
                Ok(Self::Tcp(stream))
            }),
        }
    }

    /// Sends a whole frame.
    pub(super) fn send(
        &mut self,
        frame: &[u8],
        patience: &mut dyn Patience,
    ) -> Result<(), NotSent> {
        if let Self::Tcp(stream) = self {
            still_open(stream).map_err(NotSent::Failed)?;
        }
        let mut rest = frame;
        while !rest.is_empty() {
            let sent = match self {
                Self::Unix(socket) => socket.send(rest),
                Self::Udp(socket) => socket.send(rest),
                Self::Tcp(stream) => stream.write(rest),
            };
            match sent {
                Ok(0) => return Err(NotSent::Failed(ErrorKind::WriteZero.into())),
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    patience.moved();
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        if !patience.goes_on() {
                            return Err(NotSent::Hung);
                        }
                    }
                    _ if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                        return Err(NotSent::TooLarge);
                    }
                    _ => return Err(NotSent::Failed(error)),
                },
            }
        }
        Ok(())
    }
}

/// The first address of a host that does, or what the last one said.
fn each(
    host: &str,
    port: u16,
    connect: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Socket> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What is written to a connection that its other end has closed is taken and gone. So a receiver that is started anew
/// loses no line that comes after its end. What it says is thrown away: receivers of syslog say nothing.
fn still_open(stream: &TcpStream) -> io::Result<()> {
    let mut said = [0; 512];
    match recv(stream, &mut said, RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(io::Error::new(
            ErrorKind::ConnectionAborted,
            "the receiver closed the connection",
        )),
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
