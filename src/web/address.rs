//! Owns the answer to "who is at the other end": the peer, or what a trusted proxy says of it.
//! Must not know: what the address is used for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The end user's address as far as it can be known (FAPI1-BASE-6.2.2-3/4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The peer itself, unless the peer is a trusted proxy; then the last hop in
    /// `X-Forwarded-For` that is not one. A browser's own `X-Forwarded-For` is never believed
    /// (BCP-4.13): everything left of the last untrusted hop is the browser's word.
    pub fn resolve(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip.to_canonical()));
        let mut believed = peer.ip().to_canonical();
        if !is_trusted(believed) {
            return Self(believed);
        }
        let hops = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim);
        for hop in hops.collect::<Vec<_>>().into_iter().rev() {
            // One unreadable hop makes everything to its left unknowable.
            let Ok(ip) = hop.parse::<IpAddr>() else { break };
            believed = ip.to_canonical();
            if !is_trusted(believed) {
                break;
            }
        }
        Self(believed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        ClientAddress::resolve(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    /// BCP-4.13, FAPI1-BASE-6.2.2-3/4: a spoofed header from an untrusted peer changes nothing.
    #[test]
    fn only_trusted_hops_are_believed() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1:1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1:1", &[], "10.0.0.1"),
            ("10.0.0.1:1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1:1", &["198.51.100.1", "203.0.113.9, 10.0.0.7"], "203.0.113.9"),
            ("10.0.0.1:1", &["198.51.100.1, garbage, 10.0.0.7"], "10.0.0.7"),
            ("[::ffff:10.0.0.1]:1", &["203.0.113.9"], "203.0.113.9"),
            ("[fd00::1]:1", &["2001:db8::5"], "2001:db8::5"),
        ] {
            assert_eq!(resolve(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
