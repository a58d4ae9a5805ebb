//! `ports:` — what of a service can be reached from outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{ComposeError, reader::Field};

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Where the balancer listens. Loopback unless the file names an address: what may be reached from other hosts
    /// is for the user to say.
    pub listen: SocketAddr,
    /// Where the tasks listen. Handlers have no socket: for them it only labels the traffic.
    pub container: u16,
}

const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Port {
    pub(super) fn parse(field: &Field<'_>) -> Result<Self, ComposeError> {
        if field.is_map() { long(field) } else { field.parsed(short) }
    }
}

fn long(field: &Field<'_>) -> Result<Port, ComposeError> {
    let (mut target, mut published, mut address) = (None, None, DEFAULT_ADDRESS);
    for (key, value) in field.settings()? {
        match key {
            "target" => target = Some(value.parsed(port)?),
            "published" => published = Some(value.parsed(port_or_any)?),
            "host_ip" => address = value.parsed(ip)?,
            "protocol" => value.parsed(protocol)?,
            // For people; `mode: host` would bypass the balancer.
            "name" => drop(value.string()?),
            "mode" => value.parsed(|mode| match mode {
                "ingress" => Ok(()),
                other => Err(format!("only ingress is supported, not {other:?}")),
            })?,
            "app_protocol" => value.parsed(|name| match name {
                "http" => Ok(()),
                other => Err(format!("only http is supported, not {other:?}")),
            })?,
            _ => {
                return Err(value.unsupported(&[
                    "target",
                    "published",
                    "host_ip",
                    "protocol",
                    "mode",
                    "name",
                ]));
            }
        }
    }
    match (target, published) {
        (Some(container), Some(published)) => {
            Ok(Port { listen: SocketAddr::new(address, published), container })
        }
        _ => {
            Err(field.error("target (the container's port) and published (where to listen) are both needed"))
        }
    }
}

/// `[ADDRESS:]PUBLISHED:CONTAINER[/tcp]`
fn short(text: &str) -> Result<Port, String> {
    let wanted = || format!("[ADDRESS:]PUBLISHED:CONTAINER is expected, such as \"8080:80\", not {text:?}");
    let (ports, transport) = text.split_once('/').unwrap_or((text, "tcp"));
    protocol(transport)?;
    let (outside, container) = ports.rsplit_once(':').ok_or_else(wanted)?;
    let (address, published) = match outside.rsplit_once(':') {
        Some((address, published)) => (ip(address)?, published),
        None => (DEFAULT_ADDRESS, outside),
    };
    if [published, container].iter().any(|ports| ports.contains('-')) {
        return Err(format!("ranges of ports are not supported: {text:?}"));
    }
    Ok(Port { listen: SocketAddr::new(address, port_or_any(published)?), container: port(container)? })
}

/// `CONTAINER[/tcp]`
pub(super) fn exposed_port(text: &str) -> Result<u16, String> {
    let (container, transport) = text.split_once('/').unwrap_or((text, "tcp"));
    protocol(transport)?;
    port(container)
}

fn ip(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("an IP address is expected, not {text:?}"))
}

fn protocol(text: &str) -> Result<(), String> {
    match text {
        "tcp" => Ok(()),
        other => Err(format!("only tcp is supported, not {other:?}")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("a port from 1 to 65535 is expected, not {text:?}")),
        Ok(port) => Ok(port),
    }
}

/// 0 lets the system choose.
fn port_or_any(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("a port from 0 to 65535 is expected, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_listens_on_loopback_unless_told_otherwise() {
        let table = [
            ("8080:80", "127.0.0.1:8080", 80),
            ("8080:80/tcp", "127.0.0.1:8080", 80),
            ("0:80", "127.0.0.1:0", 80),
            ("0.0.0.0:8080:80", "0.0.0.0:8080", 80),
            ("[::1]:8080:80", "[::1]:8080", 80),
            ("::1:8080:80", "[::1]:8080", 80),
        ];
        for (text, listen, container) in table {
            assert_eq!(short(text), Ok(Port { listen: listen.parse().unwrap(), container }), "{text}");
        }
    }

    #[test]
    fn an_exposed_port_is_one_of_tcp() {
        assert_eq!((exposed_port("6379"), exposed_port("80/tcp")), (Ok(6379), Ok(80)));
        for text in ["0", "", "6379/udp", "8080:80", "1-2"] {
            assert!(exposed_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "80",
            "",
            "a:80",
            "8080:",
            "8080:0",
            "8080:65536",
            "1-2:1-2",
            "8080:80/udp",
            "host:8080:80",
            ":80",
            "-1:80",
        ] {
            assert!(short(text).is_err(), "{text}");
        }
    }
}
