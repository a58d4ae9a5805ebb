//! Names.

use std::net::{Ipv4Addr, Ipv6Addr};

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddress};

use crate::named;

pub(crate) fn resolve(name: &str) -> Result<String, String> {
    let stream = resolve_addresses(&instance_network(), name).map_err(named)?;
    let ready = stream.subscribe();
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => found.push(Ipv4Addr::new(a, b, c, d).to_string()),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                found.push(Ipv6Addr::new(a, b, c, d, e, f, g, h).to_string());
            }
            Ok(None) => return Ok(found.join(" ")),
            Err(ErrorCode::WouldBlock) => ready.block(),
            Err(error) => return Err(named(error)),
        }
    }
}
