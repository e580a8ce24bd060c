//! Owns the table of address ranges and what may be reached in each (META-PRJ).
//! Must not know names: it judges addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Where a peer may live. Link-local, multicast, unspecified, documentation and other special
/// ranges belong to none of these and are never reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// This machine: 127.0.0.0/8 and `::1`.
    Loopback,
    /// RFC 1918, RFC 6598 (100.64.0.0/10) and unique local IPv6 addresses.
    Private,
    /// The internet.
    Public,
}

impl Network {
    /// The name in settings and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// The address lies outside the allowed networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("address not allowed")]
pub struct NotAllowed;

/// Refuses a URL whose host is an address literal outside `allowed`; HTTP clients connect to
/// literals without asking a resolver. Names pass: [`super::Resolver`] judges what they resolve to.
/// Decimal and octal spellings (`0x7f.1`) are literals as well, `url` has normalised them.
pub fn url_allowed(url: &Url, allowed: &[Network]) -> Result<(), NotAllowed> {
    match url.host() {
        Some(Host::Ipv4(address)) => permit(address.into(), allowed),
        Some(Host::Ipv6(address)) => permit(address.into(), allowed),
        Some(Host::Domain(_)) => Ok(()),
        None => Err(NotAllowed),
    }
}

pub(super) fn permit(address: IpAddr, allowed: &[Network]) -> Result<(), NotAllowed> {
    match network_of(address) {
        Some(network) if allowed.contains(&network) => Ok(()),
        _ => Err(NotAllowed),
    }
}

/// The network an address belongs to; `None` if it must never be reached.
pub fn network_of(address: IpAddr) -> Option<Network> {
    match address {
        IpAddr::V4(address) => network_of_v4(address),
        IpAddr::V6(address) => network_of_v6(address),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

#[expect(clippy::many_single_char_names, reason = "the eight groups of an address")]
const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

const PRIVATE_V4: [Ipv4Net; 4] =
    [v4(10, 0, 0, 0, 8), v4(172, 16, 0, 0, 12), v4(192, 168, 0, 0, 16), v4(100, 64, 0, 0, 10)];

const NEVER_V4: [Ipv4Net; 12] = [
    v4(0, 0, 0, 0, 8),          // this network
    v4(169, 254, 0, 0, 16),     // link-local, cloud metadata
    v4(100, 100, 100, 200, 32), // cloud metadata
    v4(168, 63, 129, 16, 32),   // cloud metadata
    v4(192, 0, 0, 0, 24),       // protocol assignments
    v4(192, 0, 2, 0, 24),       // documentation
    v4(192, 88, 99, 0, 24),     // 6to4 relays, withdrawn
    v4(198, 18, 0, 0, 15),      // benchmarks
    v4(198, 51, 100, 0, 24),    // documentation
    v4(203, 0, 113, 0, 24),     // documentation
    v4(224, 0, 0, 0, 4),        // multicast
    v4(240, 0, 0, 0, 4),        // reserved, broadcast
];

fn network_of_v4(address: Ipv4Addr) -> Option<Network> {
    if NEVER_V4.iter().any(|net| net.contains(&address)) {
        None
    } else if address.is_loopback() {
        Some(Network::Loopback)
    } else if PRIVATE_V4.iter().any(|net| net.contains(&address)) {
        Some(Network::Private)
    } else {
        Some(Network::Public)
    }
}

const UNIQUE_LOCAL: Ipv6Net = v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7);
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// Everything outside global unicast, unique local and loopback is refused anyway: unspecified,
/// link-local, multicast, discard, IPv4-compatible.
const NEVER_V6: [Ipv6Net; 5] = [
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), // cloud metadata
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),          // Teredo, ORCHID, benchmarks
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),      // documentation
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),          // 6to4: an IPv4 address in disguise
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),          // documentation
];

fn network_of_v6(address: Ipv6Addr) -> Option<Network> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return network_of_v4(mapped);
    }
    if NAT64.contains(&address) {
        let [.., a, b, c, d] = address.octets();
        return network_of_v4(Ipv4Addr::new(a, b, c, d)).filter(|n| *n != Network::Loopback);
    }
    if NEVER_V6.iter().any(|net| net.contains(&address)) {
        None
    } else if address.is_loopback() {
        Some(Network::Loopback)
    } else if UNIQUE_LOCAL.contains(&address) {
        Some(Network::Private)
    } else if GLOBAL_UNICAST.contains(&address) {
        Some(Network::Public)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_belongs_to_its_network_and_special_ranges_to_none() {
        use Network::{Loopback, Private, Public};
        let table = [
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.255", Some(Loopback)),
            ("126.255.255.255", Some(Public)),
            ("10.0.0.0", Some(Private)),
            ("10.255.255.255", Some(Private)),
            ("11.0.0.0", Some(Public)),
            ("172.15.255.255", Some(Public)),
            ("172.16.0.0", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("172.32.0.0", Some(Public)),
            ("192.167.255.255", Some(Public)),
            ("192.168.0.0", Some(Private)),
            ("192.168.255.255", Some(Private)),
            ("192.169.0.0", Some(Public)),
            ("100.64.0.1", Some(Private)),
            ("100.128.0.0", Some(Public)),
            ("169.253.255.255", Some(Public)),
            ("169.254.0.0", None),
            ("169.254.169.254", None),
            ("169.254.255.255", None),
            ("169.255.0.0", Some(Public)),
            ("100.100.100.200", None),
            ("168.63.129.16", None),
            ("0.0.0.0", None),
            ("0.1.2.3", None),
            ("192.0.2.1", None),
            ("198.18.0.1", None),
            ("198.51.100.1", None),
            ("203.0.113.1", None),
            ("224.0.0.1", None),
            ("239.255.255.255", None),
            ("240.0.0.1", None),
            ("255.255.255.255", None),
            ("8.8.8.8", Some(Public)),
            ("::1", Some(Loopback)),
            ("::", None),
            ("::7f00:1", None),
            ("fc00::1", Some(Private)),
            ("fdff:ffff::1", Some(Private)),
            ("fd00:ec2::254", None),
            ("fe00::1", None),
            ("fe80::1", None),
            ("febf::1", None),
            ("fec0::1", None),
            ("ff02::1", None),
            ("2606:4700::1111", Some(Public)),
            ("2001:db8::1", None),
            ("2001::1", None),
            ("2002:7f00:1::", None),
            ("3fff::1", None),
            ("100::1", None),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:10.1.2.3", Some(Private)),
            ("::ffff:169.254.169.254", None),
            ("::ffff:0.0.0.0", None),
            ("::ffff:8.8.8.8", Some(Public)),
            ("64:ff9b::808:808", Some(Public)),
            ("64:ff9b::a00:1", Some(Private)),
            ("64:ff9b::7f00:1", None),
            ("64:ff9b::a9fe:a9fe", None),
        ];
        for (address, network) in table {
            assert_eq!(network_of(address.parse().unwrap()), network, "{address}");
        }
    }

    #[test]
    fn address_literals_in_urls_are_judged_however_they_are_spelt() {
        let loopback_forms = [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://127.0.0.1./",
        ];
        for form in loopback_forms {
            let url = Url::parse(form).unwrap();
            assert_eq!(
                url_allowed(&url, &[Network::Public, Network::Private]),
                Err(NotAllowed),
                "{form}"
            );
            assert_eq!(url_allowed(&url, &[Network::Loopback]), Ok(()), "{form}");
        }
        let everything = [Network::Public, Network::Private, Network::Loopback];
        for form in
            ["https://169.254.169.254/", "https://0/", "https://[fe80::1]/", "https://224.0.0.1/"]
        {
            assert_eq!(
                url_allowed(&Url::parse(form).unwrap(), &everything),
                Err(NotAllowed),
                "{form}"
            );
        }
    }

    #[test]
    fn names_are_left_to_the_resolver_and_a_url_without_host_is_refused() {
        assert_eq!(url_allowed(&Url::parse("https://as.example/").unwrap(), &[]), Ok(()));
        assert_eq!(
            url_allowed(&Url::parse("data:,x").unwrap(), &[Network::Public]),
            Err(NotAllowed)
        );
    }
}
