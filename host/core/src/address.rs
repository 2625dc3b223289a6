//! Addresses of the network: which of them anybody may be asked to reach, and which belong to this machine or its
//! neighbourhood.
//!
//! A name is only a promise: it may lead to the router, to the metadata service of a cloud, or back to this machine. So what
//! is decided about is the address that a connection will really go to, in whatever clothes it comes (IPv4 in IPv6, 6to4,
//! NAT64). Public is what is known to be; all the rest has to be granted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What kind of address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anywhere in the Internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// This link: a neighbour, and the metadata service of most clouds.
    LinkLocal,
    /// A metadata or wire service of a cloud outside of the link-local range.
    Metadata,
    /// No address of one host (`0.0.0.0`, multicast, broadcast), or reserved.
    Special,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of this machine",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "an address of a metadata service",
            Self::Special => "a reserved address",
        })
    }
}

/// IPv4 blocks that are not public. The first that fits counts.
const V4: [(Ipv4Addr, u8, AddressClass); 19] = [
    (Ipv4Addr::new(168, 63, 129, 16), 32, AddressClass::Metadata), // Azure; a public address that is not
    (Ipv4Addr::new(100, 100, 100, 200), 32, AddressClass::Metadata), // Alibaba
    (Ipv4Addr::new(192, 0, 0, 192), 32, AddressClass::Metadata),   // Oracle
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::Special),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::Private), // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Special), // documentation, as the two of TEST-NET below
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Special), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Private), // benchmarks between networks of one owner
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressClass::Special), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressClass::Special), // reserved, and broadcast
    (Ipv4Addr::new(255, 255, 255, 255), 32, AddressClass::Special),
];

/// IPv6 blocks, ordered alike. What no line names is public only within `2000::/3`, where all public addresses are.
const V6: [(Ipv6Addr, u8, AddressClass); 9] = [
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, AddressClass::Metadata), // AWS
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressClass::Private),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::Private), // site-local, of old
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::LinkLocal),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressClass::Special), // Teredo, ORCHID, …
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressClass::Special), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressClass::Special), // documentation
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, AddressClass::Public),
];

/// The kind of an address: that of the IPv4 address when it carries one.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match plain(address) {
        IpAddr::V4(v4) => {
            let found = V4.iter().find(|(block, bits, _)| same_v4(*block, v4, *bits));
            found.map_or(AddressClass::Public, |(_, _, class)| *class)
        }
        IpAddr::V6(v6) => {
            let found = V6.iter().find(|(block, bits, _)| same_v6(*block, v6, *bits));
            found.map_or(AddressClass::Special, |(_, _, class)| *class)
        }
    }
}

/// The IPv4 address that an IPv6 address carries (mapped, compatible, 6to4, NAT64), and any other address as it is.
#[must_use]
pub fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => from(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => from(high, low),
        [0x2002, high, low, ..] => from(high, low),
        _ => address,
    }
}

fn same_v4(block: Ipv4Addr, address: Ipv4Addr, bits: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
    block.to_bits() & mask == address.to_bits() & mask
}

fn same_v6(block: Ipv6Addr, address: Ipv6Addr, bits: u8) -> bool {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
    block.to_bits() & mask == address.to_bits() & mask
}

/// A block of addresses, `10.0.0.0/8`; a single one without `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    block: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// Whether the address is in it, however it is written.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.block, plain(address)) {
            (IpAddr::V4(block), IpAddr::V4(address)) => same_v4(block, address, self.bits),
            (IpAddr::V6(block), IpAddr::V6(address)) => same_v6(block, address, self.bits),
            _ => false,
        }
    }

    /// The kind that all of its addresses have; `None` when they are not all of one kind.
    #[must_use]
    pub fn class(&self) -> Option<AddressClass> {
        let covering = match self.block {
            IpAddr::V4(v4) => {
                V4.iter().find(|(block, bits, _)| *bits <= self.bits && same_v4(*block, v4, *bits)).map(|line| line.2)
            }
            IpAddr::V6(v6) => {
                V6.iter().find(|(block, bits, _)| *bits <= self.bits && same_v6(*block, v6, *bits)).map(|line| line.2)
            }
        };
        let holds_one = V4.iter().any(|(block, ..)| self.contains(IpAddr::V4(*block)))
            || V6.iter().any(|(block, ..)| self.contains(IpAddr::V6(*block)));
        // What no line names, in whole or in part, is of the kind of any of its addresses.
        covering.or_else(|| (!holds_one).then(|| classify(self.block)))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.block.is_ipv4() { 32 } else { 128 };
        if self.bits == whole { self.block.fmt(f) } else { write!(f, "{}/{}", self.block, self.bits) }
    }
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is neither an address nor a block such as `10.0.0.0/8`")]
pub struct AddressRangeError;

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (block, bits) = text.split_once('/').map_or((text, None), |(block, bits)| (block, Some(bits)));
        let block: IpAddr = block.parse().map_err(|_| AddressRangeError)?;
        let whole = if block.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), |bits| bits.parse::<u8>().map_err(|_| AddressRangeError))?;
        if bits > whole || plain(block) != block {
            return Err(AddressRangeError);
        }
        Ok(Self { block, bits })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn every_address_that_leads_back_is_known_for_what_it_is() {
        use AddressClass::{LinkLocal, Loopback, Metadata, Private, Public, Special};
        for (address, expected) in [
            ("1.1.1.1", Public),
            ("127.0.0.1", Loopback),
            ("127.8.9.10", Loopback),
            ("10.1.2.3", Private),
            ("172.16.0.1", Private),
            ("172.32.0.1", Public),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("169.254.169.254", LinkLocal),
            ("168.63.129.16", Metadata),
            ("100.100.100.200", Metadata),
            ("0.0.0.0", Special),
            ("224.0.0.1", Special),
            ("255.255.255.255", Special),
            ("203.0.113.7", Special),
            ("::", Special),
            ("::1", Loopback),
            ("fd00:ec2::254", Metadata),
            ("fd12::1", Private),
            ("fe80::1", LinkLocal),
            ("ff02::1", Special),
            ("2001:db8::1", Special),
            ("2606:4700::1111", Public),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", LinkLocal),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::10.0.0.1", Private),
            ("64:ff9b:1::1", Special),
            ("2002:7f00:1::", Loopback),
            ("2002:0101:0101::1", Public),
        ] {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_the_same_in_any_clothes(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let expected = classify(IpAddr::V4(v4));
            prop_assert_eq!(classify(IpAddr::V6(v4.to_ipv6_mapped())), expected);
            let nat64 = 0x0064_ff9b_u128 << 96 | u128::from(bits);
            prop_assert_eq!(classify(IpAddr::V6(Ipv6Addr::from_bits(nat64))), expected);
            let six_to_four = 0x2002_u128 << 112 | u128::from(bits) << 80;
            prop_assert_eq!(classify(IpAddr::V6(Ipv6Addr::from_bits(six_to_four))), expected);
        }

        #[test]
        fn a_range_of_one_class_has_no_address_of_another(bits: u32, length in 8_u8..=32, within: u32) {
            let block = Ipv4Addr::from_bits(bits);
            let range: AddressRange = format!("{block}/{length}").parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            let address = IpAddr::V4(Ipv4Addr::from_bits(bits & mask | within & !mask));
            prop_assert!(range.contains(address));
            // A metadata service inside a private network stays what it is.
            if let Some(class) = range.class() {
                let found = classify(address);
                prop_assert!(found == class || found == AddressClass::Metadata, "{} in {}", address, range);
            }
        }
    }

    #[test]
    fn a_range_is_a_block_or_one_address() {
        let range = |text: &str| text.parse::<AddressRange>();
        assert!(range("10.0.0.0/8").unwrap().contains("10.9.9.9".parse().unwrap()));
        assert!(range("10.0.0.0/8").unwrap().contains("::ffff:10.9.9.9".parse().unwrap()));
        assert!(!range("10.0.0.0/8").unwrap().contains("11.0.0.1".parse().unwrap()));
        assert!(range("fd00::/8").unwrap().contains("fd00::1".parse().unwrap()));
        assert_eq!(range("127.0.0.1").unwrap().to_string(), "127.0.0.1");
        for wrong in ["", "x", "10.0.0.0/33", "::/129", "10.0.0.0/", "::ffff:10.0.0.1", "10.0/8"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
        assert_eq!(range("0.0.0.0/0").unwrap().class(), None);
        assert_eq!(range("::/0").unwrap().class(), None);
        assert_eq!(range("10.2.0.0/16").unwrap().class(), Some(AddressClass::Private));
    }
}
