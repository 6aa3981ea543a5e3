//! A DHCP client: it asks on one interface until a server gives an address.

use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::lease::{Conversation, Kind, Lease};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// The longest packet that is read.
const MAX_PACKET: usize = 1500;
/// How long the first answer is waited for, and no answer longer than the last.
const WAIT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// A client on one interface.
pub(super) struct Client {
    socket: UdpSocket,
    hardware: [u8; 6],
    server: SocketAddrV4,
}

impl Client {
    /// Opens the client's port on an interface.
    pub(super) fn new(interface: &str) -> io::Result<Self> {
        let hardware = fs::read_to_string(format!("/sys/class/net/{interface}/address"))?;
        let hardware = hardware_address(hardware.trim()).ok_or(io::ErrorKind::InvalidData)?;
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT).into())?;
        let server = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
        Ok(Self::with(socket.into(), hardware, server))
    }

    fn with(socket: UdpSocket, hardware: [u8; 6], server: SocketAddrV4) -> Self {
        Self {
            socket,
            hardware,
            server,
        }
    }

    /// A lease: of the address that was had before, or of any. Questions are repeated, with longer and longer
    /// pauses, until `patience` is over.
    pub(super) fn lease(&self, before: Option<Ipv4Addr>, patience: Duration) -> io::Result<Lease> {
        let end = Instant::now() + patience;
        let mut wait = WAIT.0;
        loop {
            if let Some(lease) = self.try_once(before, wait)? {
                return Ok(lease);
            }
            if Instant::now() >= end {
                return Err(io::ErrorKind::TimedOut.into());
            }
            wait = (wait * 2).min(WAIT.1);
        }
    }

    fn try_once(&self, before: Option<Ipv4Addr>, wait: Duration) -> io::Result<Option<Lease>> {
        let ours = Conversation {
            id: random()?,
            hardware: self.hardware,
        };
        self.send(&ours.message(Kind::Discover, before, None))?;
        let Some(offer) = self.hear(ours, wait, |kind| kind == Kind::Offer)? else {
            return Ok(None);
        };
        let (_, offer) = offer;
        self.send(&ours.message(Kind::Request, Some(offer.address), Some(offer.server)))?;
        let answer = self.hear(ours, wait, |kind| kind != Kind::Offer)?;
        Ok(answer.and_then(|(kind, lease)| (kind == Kind::Ack).then_some(lease)))
    }

    fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, self.server).map(drop)
    }

    /// The first answer that is wanted, if one comes in time.
    fn hear(
        &self,
        ours: Conversation,
        wait: Duration,
        wanted: impl Fn(Kind) -> bool,
    ) -> io::Result<Option<(Kind, Lease)>> {
        let end = Instant::now() + wait;
        let mut packet = [0; MAX_PACKET];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut packet) {
                Ok(len) => {
                    let answer = packet.get(..len).and_then(|packet| ours.answer(packet));
                    if let Some(answer) = answer.filter(|(kind, _)| wanted(*kind)) {
                        return Ok(Some(answer));
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Six bytes in hexadecimal with colons.
fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect();
    bytes?.try_into().ok()
}

fn random() -> io::Result<u32> {
    let mut bytes = [0; 4];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// A server that answers each packet with what `answer` makes of it.
    fn client(mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Client {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = server.local_addr().unwrap() else {
            panic!("no IPv4");
        };
        thread::spawn(move || {
            let mut packet = [0; MAX_PACKET];
            while let Ok((len, from)) = server.recv_from(&mut packet) {
                for answer in answer(&packet[..len]) {
                    server.send_to(&answer, from).unwrap();
                }
            }
        });
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Client::with(socket, HARDWARE, address)
    }

    /// An answer to a packet.
    fn reply(packet: &[u8], kind: u8) -> Vec<u8> {
        let mut answer = packet[..240].to_vec();
        answer[0] = 2;
        answer[16..20].copy_from_slice(&[192, 0, 2, 9]);
        answer.extend([53, 1, kind, 54, 4, 192, 0, 2, 1, 255]);
        answer
    }

    fn kind_of(packet: &[u8]) -> u8 {
        packet[242]
    }

    #[test]
    fn an_offer_is_requested_and_given() {
        let client = client(|packet| match kind_of(packet) {
            // Somebody else's answer and noise before the offer.
            1 => vec![vec![0; 10], reply(&[0; 300], 2), reply(packet, 2)],
            _ => vec![reply(packet, 5)],
        });
        let lease = client.lease(None, Duration::from_secs(20)).unwrap();
        assert_eq!(lease.address, Ipv4Addr::new(192, 0, 2, 9));
    }

    #[test]
    fn a_refusal_starts_over() {
        let mut requests = 0;
        let client = client(move |packet| match kind_of(packet) {
            1 => vec![reply(packet, 2)],
            _ => {
                requests += 1;
                vec![reply(packet, if requests == 1 { 6 } else { 5 })]
            }
        });
        assert!(
            client
                .lease(Some(Ipv4Addr::new(192, 0, 2, 8)), Duration::from_secs(20))
                .is_ok()
        );
    }

    #[test]
    fn without_a_server_it_ends() {
        let client = client(|_| Vec::new());
        let error = client.lease(None, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn hardware_addresses_are_six_bytes() {
        assert_eq!(
            hardware_address("52:54:00:12:34:56"),
            Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])
        );
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:5",
            "52:54:00:12:34:zz",
        ] {
            assert_eq!(hardware_address(wrong), None);
        }
    }
}
