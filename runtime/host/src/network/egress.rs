//! What a container may reach: the patterns of `coracle.egress`, parsed once.
//!
//! | form | grants |
//! | --- | --- |
//! | `*` | every name and address but those that are never granted by accident ([`special`]) |
//! | `api.example.com` | that name, and the addresses it leads to |
//! | `*.example.com` | every name below it, not itself |
//! | `192.0.2.7`, `[2001:db8::1]` | that address, whatever it is |
//! | `10.0.0.0/8`, `[fd00::/8]` | those addresses, whatever they are |
//!
//! Each may be followed by `:443`, `:8000-8010` or `:*`; without, every port is granted. A name never grants loopback, link-local and
//! their like, whatever it resolves to.

use super::special;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The most patterns of a container: each connection is checked against all of them.
pub const MAX_PATTERNS: usize = 100;

/// The forms that are allowed, for messages.
pub const FORMS: &str = "host, *.suffix, *, an IPv4 address or CIDR, or an IPv6 address or CIDR in brackets, each \
                         with an optional :port, :first-last or :*";

/// The longest name of DNS (RFC 1035, 2.3.4), without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A range of ports.
pub type Ports = RangeInclusive<u16>;

const ALL_PORTS: Ports = 1..=u16::MAX;

/// What a container may reach; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    patterns: Vec<Pattern>,
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    hosts: Hosts,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Any,
    Name(String),
    /// With its leading dot.
    Suffix(String),
    Net(IpNet),
}

/// A pattern that is none. `Display` names it and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} {problem}")]
pub struct EgressError {
    /// The pattern, or the whole list where its length is the problem.
    pub pattern: String,
    problem: String,
}

impl Egress {
    /// Whether nothing is granted at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether an address pattern grants `address`. Only these grant addresses that are special.
    pub(crate) fn grants_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.nets(address.port()).any(|net| net.contains(&ip))
    }

    /// Whether a pattern names just this address.
    pub(crate) fn grants_literally(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.nets(address.port()).any(|net| net.prefix_len() == net.max_prefix_len() && net.addr() == ip)
    }

    /// Whether `address` is granted without a look at how its caller came to know it.
    pub(crate) fn grants(&self, address: SocketAddr) -> bool {
        self.grants_address(address)
            || (!special::is_special(address.ip())
                && self.of_port(address.port()).any(|pattern| pattern.hosts == Hosts::Any))
    }

    /// The ports on which `name`, in lower case and without a dot at its end, may be reached.
    pub(crate) fn ports_of(&self, name: &str) -> Vec<Ports> {
        let granting = self.patterns.iter().filter(|pattern| pattern.hosts.include(name));
        granting.map(|pattern| pattern.ports.clone()).collect()
    }

    /// The ports on which a pattern that is more than `*` grants a name: who writes that means the outside.
    pub(crate) fn ports_naming(&self, name: &str) -> Vec<Ports> {
        let naming = self.patterns.iter().filter(|pattern| pattern.hosts != Hosts::Any);
        naming.filter(|pattern| pattern.hosts.include(name)).map(|pattern| pattern.ports.clone()).collect()
    }

    /// Whether an address pattern grants `ip` on any port.
    pub(crate) fn grants_address_on_some_port(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.patterns.iter().any(|pattern| matches!(&pattern.hosts, Hosts::Net(net) if net.contains(&ip)))
    }

    fn of_port(&self, port: u16) -> impl Iterator<Item = &Pattern> {
        self.patterns.iter().filter(move |pattern| pattern.ports.contains(&port))
    }

    fn nets(&self, port: u16) -> impl Iterator<Item = &IpNet> {
        self.of_port(port).filter_map(|pattern| match &pattern.hosts {
            Hosts::Net(net) => Some(net),
            _ => None,
        })
    }
}

impl Hosts {
    fn include(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => own == name,
            Self::Suffix(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            Self::Net(_) => false,
        }
    }
}

impl FromStr for Egress {
    type Err = EgressError;

    /// Parses patterns that are separated by commas; space around them does not count, and an empty text grants nothing.
    fn from_str(text: &str) -> Result<Self, EgressError> {
        let mut patterns = Vec::new();
        if !text.trim().is_empty() {
            for pattern in text.split(',') {
                let pattern = pattern.trim();
                let refuse = |problem: String| EgressError { pattern: shortened(pattern), problem };
                patterns.push(Pattern::parse(pattern).map_err(refuse)?);
            }
        }
        if patterns.len() > MAX_PATTERNS {
            let problem = format!(
                "has {} patterns, at most {MAX_PATTERNS} are allowed: use suffixes or CIDRs",
                patterns.len()
            );
            return Err(EgressError { pattern: shortened(text), problem });
        }
        Ok(Self { patterns })
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: a comma is too many".to_owned());
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest.split_once(']').ok_or_else(|| "has no closing bracket".to_owned())?;
            let ports = match after.strip_prefix(':') {
                Some(ports) => parse_ports(ports)?,
                None if after.is_empty() => ALL_PORTS,
                None => return Err("has something other than :port after its bracket".to_owned()),
            };
            return Ok(Self { hosts: Hosts::Net(parse_v6(inside)?), ports });
        }
        let (host, ports) = match text.split_once(':') {
            Some((_, ports)) if ports.contains(':') => {
                return Err(format!("looks like an IPv6 address: write it in brackets, [{text}]"));
            }
            Some((host, ports)) => (host, parse_ports(ports)?),
            None => (text, ALL_PORTS),
        };
        Ok(Self { hosts: Hosts::parse(host)?, ports })
    }
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return Ok(Self::Suffix(format!(".{}", parse_name(name)?)));
        }
        if text.contains('/') || text.parse::<std::net::Ipv4Addr>().is_ok() {
            let net = parse_net(text)?;
            return match net {
                IpNet::V4(_) => Ok(Self::Net(net)),
                IpNet::V6(_) => Err(format!("is IPv6: write it in brackets, [{text}]")),
            };
        }
        if text.contains('*') {
            return Err("may have * only alone or as its first label: *.example.com".to_owned());
        }
        let name = parse_name(text)?;
        if is_local_name(&name) {
            return Err(
                "always means the task itself; to reach the host's loopback, give its address, as in \
                        127.0.0.1:5432"
                    .to_owned(),
            );
        }
        Ok(Self::Name(name))
    }
}

/// Whether a name is one that never leaves the machine (RFC 6761, 6.3).
pub(crate) fn is_local_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// A name as it is compared: lower case, without the root's dot.
pub(crate) fn normal_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn parse_name(text: &str) -> Result<String, String> {
    let name = normal_name(text);
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !name.is_ascii() {
        return Err("has letters outside of ASCII: write its Punycode form, xn--...".to_owned());
    }
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err(format!("is no host name and no address. Allowed are {FORMS}"));
    }
    // Resolvers take 127.1 and 0x7f000001 for IPv4 addresses.
    let last = name.rsplit('.').next().unwrap_or(&name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") {
        return Err("ends like a number: an IPv4 address has four parts from 0 to 255".to_owned());
    }
    Ok(name)
}

fn parse_v6(text: &str) -> Result<IpNet, String> {
    let net = parse_net(text)?;
    match net {
        IpNet::V6(_) if mapped(net.addr()) => {
            Err("is an IPv4 address in IPv6 form: write it as IPv4".to_owned())
        }
        IpNet::V6(_) => Ok(net),
        IpNet::V4(_) => Err("is IPv4: write it without brackets".to_owned()),
    }
}

fn mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && v6 != Ipv6Addr::UNSPECIFIED)
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        let address = text.parse::<IpAddr>().map_err(|_| format!("is no address. Allowed are {FORMS}"))?;
        return Ok(address.into());
    };
    let address = address.parse::<IpAddr>().map_err(|_| "has no IP address before its /".to_owned())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = number(length).filter(|length| *length <= most);
    let length = length.ok_or_else(|| format!("needs a prefix length from 0 to {most} after its /"))?;
    let prefix = u8::try_from(length).map_err(|_| "needs a shorter prefix".to_owned())?;
    let net = IpNet::new(address, prefix).map_err(|error| error.to_string())?;
    if net.network() != address {
        return Err(format!("has bits set after its prefix: write {}", net.trunc()));
    }
    Ok(net)
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    if text == "*" {
        return Ok(ALL_PORTS);
    }
    let wanted =
        || "needs a port from 1 to 65535, a range of them such as 8000-8010, or * after its colon".to_owned();
    let port = |text: &str| number(text).filter(|port| *port != 0).ok_or_else(wanted);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("has a range of ports that ends before it begins: {first}-{last}"));
    }
    Ok(first..=last)
}

/// A number without the sign that Rust would allow.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Enough of a text to find it again.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
