//! What a DHCP server gives, and the packets in which it does (RFC 2131, RFC 2132).

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Length of a packet before its options.
const HEADER: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Name servers that are kept; resolvers read three.
const MAX_SERVERS: usize = 3;
/// The shortest and the longest time after which a lease is asked for again.
const RENEWAL: (u32, u32) = (60, 24 * 3600);
/// The time of a lease when the server says none.
const DEFAULT_SECONDS: u32 = 3600;

/// Kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
}

/// What identifies a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversation {
    /// Chosen at random.
    pub(super) id: u32,
    /// Of the interface.
    pub(super) hardware: [u8; 6],
}

/// What a server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Ipv4Addr,
    pub(super) prefix_len: u8,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) servers: Vec<Ipv4Addr>,
    pub(super) seconds: u32,
    /// Who gave it.
    pub(super) server: Ipv4Addr,
}

impl Conversation {
    /// A message to all servers. `of` are the address and the server that an offer or a lease before named.
    pub(super) fn message(
        self,
        kind: Kind,
        wanted: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
    ) -> Vec<u8> {
        // A request over Ethernet, of six bytes.
        let mut packet = vec![1, 1, 6, 0];
        packet.extend(self.id.to_be_bytes());
        // No seconds; the answer as a broadcast, because this machine has no address yet.
        packet.extend([0, 0, 0x80, 0]);
        packet.resize(28, 0);
        packet.extend(self.hardware);
        packet.resize(HEADER, 0);
        packet.extend(MAGIC);
        packet.extend([53, 1, kind as u8]);
        if let Some(address) = wanted {
            packet.extend([50, 4]);
            packet.extend(address.octets());
        }
        if let Some(server) = server {
            packet.extend([54, 4]);
            packet.extend(server.octets());
        }
        // Mask, router, name servers, time.
        packet.extend([55, 4, 1, 3, 6, 51, 255]);
        // Some servers drop packets that are shorter than those of BOOTP.
        packet.resize(packet.len().max(300), 0);
        packet
    }

    /// The lease in an answer of this conversation, and what kind of answer it is.
    pub(super) fn answer(self, packet: &[u8]) -> Option<(Kind, Lease)> {
        let array = |at: usize| packet.get(at..)?.first_chunk::<4>().copied();
        let is_ours = packet.first() == Some(&2)
            && array(4) == Some(self.id.to_be_bytes())
            && packet.get(28..34) == Some(&self.hardware[..])
            && array(HEADER) == Some(MAGIC);
        if !is_ours {
            return None;
        }
        let mut lease = Lease {
            address: array(16)?.into(),
            prefix_len: 24,
            router: None,
            servers: Vec::new(),
            seconds: DEFAULT_SECONDS,
            server: Ipv4Addr::UNSPECIFIED,
        };
        let mut kind = None;
        let mut options = packet.get(HEADER + 4..)?;
        while let Some((code, rest)) = options.split_first() {
            match code {
                0 => {
                    options = rest;
                    continue;
                }
                255 => break,
                _ => {}
            }
            let (len, rest) = rest.split_first()?;
            let (value, rest) = rest.split_at_checked(usize::from(*len))?;
            options = rest;
            let word = || value.first_chunk::<4>().copied();
            match code {
                1 => lease.prefix_len = prefix_len(word()?)?,
                3 => lease.router = word().map(Ipv4Addr::from),
                6 => {
                    let servers = value.as_chunks::<4>().0.iter().take(MAX_SERVERS);
                    lease.servers = servers.map(|octets| Ipv4Addr::from(*octets)).collect();
                }
                51 => lease.seconds = u32::from_be_bytes(word()?),
                53 => kind = value.first().copied(),
                54 => lease.server = word()?.into(),
                _ => {}
            }
        }
        let kind = [Kind::Offer, Kind::Ack, Kind::Nak]
            .into_iter()
            .find(|known| Some(*known as u8) == kind)?;
        let usable = |address: Ipv4Addr| {
            !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && !address.is_broadcast()
        };
        (kind == Kind::Nak || usable(lease.address)).then_some((kind, lease))
    }
}

/// The length of the prefix that a mask has, when it is one.
fn prefix_len(mask: [u8; 4]) -> Option<u8> {
    let mask = u32::from_be_bytes(mask);
    let ones = mask.leading_ones();
    (mask.count_ones() == ones).then(|| u8::try_from(ones).ok())?
}

impl Lease {
    /// When to ask again.
    pub(super) fn renewal(&self) -> Duration {
        let (least, most) = RENEWAL;
        Duration::from_secs(u64::from((self.seconds / 2).clamp(least, most)))
    }

    /// The text of `/etc/resolv.conf`.
    pub(super) fn resolver(&self) -> String {
        self.servers
            .iter()
            .map(|server| format!("nameserver {server}\n"))
            .collect()
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)?;
        if let Some(router) = self.router {
            write!(f, " by {router}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: Conversation = Conversation {
        id: 0x1234_5678,
        hardware: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
    };

    /// An answer with these options.
    fn answer(options: &[u8]) -> Vec<u8> {
        let mut packet = OURS.message(Kind::Discover, None, None);
        packet.truncate(HEADER + 4);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.extend(options);
        packet
    }

    const USUAL: &[u8] = &[
        53, 1, 5, 54, 4, 10, 0, 2, 2, 0, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2,
        3, 51, 4, 0, 1, 0x51, 0x80, 255, 99,
    ];

    #[test]
    fn a_lease_is_read() {
        let (kind, lease) = OURS.answer(&answer(USUAL)).unwrap();
        assert_eq!(kind, Kind::Ack);
        assert_eq!(lease.to_string(), "10.0.2.15/24 by 10.0.2.2");
        assert_eq!(lease.resolver(), "nameserver 10.0.2.3\n");
        assert_eq!(lease.renewal(), Duration::from_secs(43_200));
        assert_eq!(lease.server, Ipv4Addr::new(10, 0, 2, 2));
    }

    #[test]
    fn requests_name_what_was_offered() {
        let offered = Ipv4Addr::new(10, 0, 2, 15);
        let server = Ipv4Addr::new(10, 0, 2, 2);
        let packet = OURS.message(Kind::Request, Some(offered), Some(server));
        assert_eq!(packet.len(), 300);
        assert_eq!(packet[..8], [1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(packet[10], 0x80, "an answer by broadcast");
        assert_eq!(packet[28..34], OURS.hardware);
        let options = &packet[HEADER..];
        assert_eq!(options[..4], MAGIC);
        assert_eq!(
            options[4..19],
            [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]
        );
    }

    #[test]
    fn answers_to_others_and_broken_ones_are_not_heard() {
        let refused = |at: usize, byte: u8| {
            let mut packet = answer(USUAL);
            packet[at] = byte;
            OURS.answer(&packet).is_none()
        };
        assert!(refused(0, 1), "a request");
        assert!(refused(4, 0) && refused(28, 0) && refused(HEADER, 0));
        assert!(refused(16, 127), "a loopback address");
        assert!(refused(HEADER + 6, 1), "another kind");
        assert!(
            refused(HEADER + 15, 254) && refused(HEADER + 17, 1),
            "no mask"
        );
        assert_eq!(
            OURS.answer(&answer(&[53, 1, 5, 51, 9])),
            None,
            "an option that is cut off"
        );
        assert_eq!(OURS.answer(&answer(&[])), None);
        let (kind, _) = OURS.answer(&answer(&[53, 1, 6])).unwrap();
        assert_eq!(kind, Kind::Nak);
    }

    #[test]
    fn no_lease_is_renewed_in_a_loop() {
        let lease = |seconds: u32| {
            let options = [&[53, 1, 5, 51, 4][..], &seconds.to_be_bytes()].concat();
            OURS.answer(&answer(&options)).unwrap().1.renewal()
        };
        assert_eq!(lease(0), Duration::from_secs(60));
        assert_eq!(lease(u32::MAX), Duration::from_secs(24 * 3600));
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(options in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = OURS.answer(&answer(&options));
            let _ = OURS.answer(&options);
        }
    }
}
