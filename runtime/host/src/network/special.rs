//! Addresses that are never reached by accident.
//!
//! Whoever grants a name means a server somewhere, not whatever the name's owner lets it resolve to: the host's own loopback services,
//! a cloud's metadata service at 169.254.169.254, a router's multicast group. Only an address pattern, which cannot mean anything else,
//! grants these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The instance metadata service of EC2 over IPv6, which is not link-local there.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether `ip` is loopback (which all tasks' own addresses are), link-local, multicast, broadcast, unspecified, a metadata
/// service's, or an IPv6 form of an IPv4 address that is.
pub fn is_special(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_special_v4(ip),
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || ip == METADATA_V6
                || embedded_v4(ip).is_some_and(is_special_v4)
        }
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        // 0.0.0.0/8, "this network" (RFC 1122): Linux takes 0.0.0.0 for the host itself.
        || ip.octets()[0] == 0
}

/// The IPv4 address that a router would make of this one. (Mapped addresses, ::ffff:0:0/96, are IPv4 by the time this is asked.)
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = ip.octets();
    let v4 = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match ip.segments() {
        // ::/96, IPv4-compatible (RFC 4291, deprecated).
        [0, 0, 0, 0, 0, 0, ..] => Some(v4(12)),
        // 64:ff9b::/96, NAT64 (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(v4(12)),
        // ::ffff:0:0:0/96, stateless translation (RFC 2765).
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(v4(12)),
        // 2002::/16, 6to4 (RFC 3056).
        [0x2002, ..] => Some(v4(2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_its_like_are_special_in_every_form() {
        for special in [
            "127.0.0.1",
            "127.200.3.4",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "::ffff:0:127.0.0.1",
            "2002:7f00:1::1",
        ] {
            assert!(is_special(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn other_addresses_are_not() {
        for usual in [
            "1.1.1.1",
            "10.0.0.1",
            "192.168.1.1",
            "128.0.0.1",
            "169.253.0.1",
            "2001:db8::1",
            "fd00::1",
            "64:ff9b::101:101",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_special(usual.parse().unwrap()), "{usual}");
        }
    }
}
