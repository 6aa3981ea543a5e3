//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far away an address is, by the special-purpose registries of IANA (RFC 6890 and its updates)
/// and what clouds document about their metadata services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// On the public Internet.
    Public,
    /// On this machine or in a private network: loopback, RFC 1918, shared address space (RFC 6598),
    /// benchmarking (RFC 2544), unique local IPv6 (RFC 4193). Reached when the settings name the
    /// endpoint.
    Private,
    /// Nowhere that a component comes from: unspecified, link-local and metadata services, multicast,
    /// documentation, reserved, and IPv6 forms that carry an IPv4 address past whoever looks at the
    /// IPv6 one (6to4, Teredo, IPv4-compatible). Reached when the settings name this very address.
    Special,
}

/// The most specific entry decides, so these come first.
const METADATA_V4: [Ipv4Addr; 2] = [
    // Alibaba Cloud, inside the shared address space.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure's platform endpoint, which looks public. All others are link-local.
    Ipv4Addr::new(168, 63, 129, 16),
];

const METADATA_V6: [Ipv6Addr; 2] = [
    // Amazon EC2.
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    // Google Compute Engine.
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

const NETWORKS_V4: [(Ipv4Addr, u32, Reach); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Reach::Special),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Reach::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Reach::Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Reach::Private),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Reach::Special),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Reach::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Reach::Special),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Reach::Special),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Reach::Special),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Reach::Special),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Reach::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Reach::Private),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Reach::Special),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Reach::Special),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Reach::Special),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Reach::Special),
];

/// What is not global unicast (`2000::/3`) and not here is special.
const NETWORKS_V6: [(Ipv6Addr, u32, Reach); 7] = [
    (Ipv6Addr::LOCALHOST, 128, Reach::Private),
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Reach::Private,
    ),
    // IETF protocol assignments, Teredo among them.
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        Reach::Special,
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Reach::Special,
    ),
    // 6to4, which is deprecated (RFC 7526) and could lead anywhere in IPv4.
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        Reach::Special,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Reach::Special,
    ),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Reach::Public),
];

/// The well-known prefix of NAT64 (RFC 6052): networks without IPv4 resolve every IPv4 host to it.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

impl Reach {
    /// How far away `address` is. An IPv4 address in IPv6 clothing (mapped, or behind NAT64's
    /// well-known prefix) is what the IPv4 address is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        if METADATA_V4.contains(&address) {
            return Self::Special;
        }
        NETWORKS_V4
            .iter()
            .find(|(network, length, _)| {
                let apart = network.to_bits() ^ address.to_bits();
                apart.leading_zeros() >= *length
            })
            .map_or(Self::Public, |(_, _, reach)| *reach)
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let within = |network: Ipv6Addr, length: u32| {
            (network.to_bits() ^ address.to_bits()).leading_zeros() >= length
        };
        if let Some(mapped) = address.to_ipv4_mapped() {
            return Self::of_v4(mapped);
        }
        if within(NAT64, 96) {
            let [.., a, b, c, d] = address.octets();
            return Self::of_v4(Ipv4Addr::new(a, b, c, d));
        }
        if METADATA_V6.contains(&address) {
            return Self::Special;
        }
        NETWORKS_V6
            .iter()
            .find(|(network, length, _)| within(*network, *length))
            .map_or(Self::Special, |(_, _, reach)| *reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Reach {
        Reach::of(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn private_addresses_are_private_in_every_clothing() {
        for text in [
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "::1",
            "fc00::1",
            "fdff:ffff::1",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "64:ff9b::127.0.0.1",
            "64:ff9b::192.168.1.1",
        ] {
            assert_eq!(of(text), Reach::Private, "{text}");
        }
    }

    #[test]
    fn special_addresses_are_special() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            "::127.0.0.1",
            "::169.254.169.254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::ffff:168.63.129.16",
            "::ffff:0:127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:101:101::1",
            "3fff::1",
            "5f00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert_eq!(of(text), Reach::Special, "{text}");
        }
    }

    proptest! {
        #[test]
        fn clothing_does_not_make_the_address(bits: u32) {
            let plain = Ipv4Addr::from_bits(bits);
            let expected = Reach::of(plain.into());
            prop_assert_eq!(Reach::of(plain.to_ipv6_mapped().into()), expected);
            let nat64 = Ipv6Addr::from_bits(NAT64.to_bits() | u128::from(bits));
            prop_assert_eq!(Reach::of(nat64.into()), expected);
            let forms = [
                u128::from(bits),
                (0x2002 << 112) | (u128::from(bits) << 80) | 1,
                (0x2001 << 112) | u128::from(!bits),
            ];
            for form in forms.map(Ipv6Addr::from_bits).into_iter().filter(|a| !a.is_loopback()) {
                prop_assert_eq!(Reach::of(form.into()), Reach::Special, "{}", form);
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_not_public(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_broadcast()
                || address.is_documentation()
                || address.is_unspecified();
            prop_assert!(!special || Reach::of(address.into()) != Reach::Public);
            prop_assert!(!address.is_link_local() || Reach::of(address.into()) == Reach::Special);
        }

        #[test]
        fn whole_networks_are_judged_alike(which in 0..NETWORKS_V4.len(), host: u32) {
            let (network, length, reach) = NETWORKS_V4[which];
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            let address = Ipv4Addr::from_bits((network.to_bits() & mask) | (host & !mask));
            prop_assume!(!METADATA_V4.contains(&address));
            prop_assert_eq!(Reach::of(address.into()), reach);
        }

        #[test]
        fn outside_of_global_unicast_nothing_is_public(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            let global = bits >> 125 == 1;
            let carries = address.to_ipv4_mapped().is_some() || bits >> 32 == NAT64.to_bits() >> 32;
            prop_assert!(global || carries || Reach::of(address.into()) != Reach::Public);
        }
    }
}
