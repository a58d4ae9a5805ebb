//! The netprobe of WASI preview 3: the same operations over its sockets, a line for each.
//!
//! ```text
//! tcp-bind ADDRESS, tcp-listen ADDRESS, tcp-serve ADDRESS, tcp-reach ADDRESS TEXT
//! tcp-streams ADDRESS COUNT      connect, keep only the receiving streams, and drop the sockets
//! udp-bind ADDRESS, udp-serve ADDRESS, udp-send ADDRESS TEXT
//! resolve NAME, http URL, sockets COUNT
//! ```
//!
//! `${NAME}` in an argument is what the environment has for it.

mod http;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};

use wasip3::cli::environment::{get_arguments, get_environment};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};

struct Probe;

wasip3::cli::command::export!(Probe);

impl wasip3::exports::cli::run::Guest for Probe {
    async fn run() -> Result<(), ()> {
        let arguments: Vec<String> =
            get_arguments().into_iter().skip(1).map(|argument| expanded(&argument)).collect();
        for operation in arguments.split(|argument| argument == "then") {
            let operation: Vec<&str> = operation.iter().map(String::as_str).collect();
            let result = perform(&operation).await;
            println!("{}: {}", operation.join(" "), result.unwrap_or_else(|error| format!("error {error}")));
        }
        Ok(())
    }
}

fn expanded(argument: &str) -> String {
    let variables = get_environment().into_iter();
    variables.fold(argument.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), &value))
}

async fn perform(operation: &[&str]) -> Result<String, String> {
    match *operation {
        ["tcp-bind", at] => tcp::bind(address(at)?),
        ["tcp-listen", at] => tcp::listen(address(at)?),
        ["tcp-serve", at] => tcp::serve(address(at)?).await,
        ["tcp-reach", to, text] => tcp::reach(address(to)?, text).await,
        ["tcp-streams", to, count] => tcp::streams(address(to)?, number(count)?).await,
        ["udp-bind", at] => udp::bind(address(at)?),
        ["udp-serve", at] => udp::serve(address(at)?).await,
        ["udp-send", to, text] => udp::exchange(address(to)?, text).await,
        ["resolve", name] => resolve(name).await,
        ["http", url] => http::exchange(url).await,
        ["sockets", count] => tcp::sockets(number(count)?),
        _ => Err("no such operation".to_owned()),
    }
}

async fn resolve(name: &str) -> Result<String, String> {
    let found = resolve_addresses(name.to_owned()).await.map_err(named)?;
    let found: Vec<String> = found.into_iter().map(|address| ip(address).to_string()).collect();
    Ok(found.join(" "))
}

fn ip(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text} is no address"))
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn family(address: SocketAddr) -> IpAddressFamily {
    if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 }
}

fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: v4.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            let address = (a, b, c, d, e, f, g, h);
            let (flow_info, scope_id) = (v6.flowinfo(), v6.scope_id());
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port: v6.port(), flow_info, address, scope_id })
        }
    }
}

fn from_wasi(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(v4) => SocketAddr::new(ip(IpAddress::Ipv4(v4.address)), v4.port),
        IpSocketAddress::Ipv6(v6) => SocketAddr::new(ip(IpAddress::Ipv6(v6.address)), v6.port),
    }
}

/// An error's variant, as WIT spells it.
fn named(error: impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let variant = text.strip_prefix("ErrorCode::").unwrap_or(&text);
    if let Some(inside) = variant.strip_prefix("Other(Some(\"") {
        return inside.trim_end_matches("\"))").to_owned();
    }
    let mut name = String::new();
    for letter in variant.chars().take_while(|letter| letter.is_ascii_alphanumeric()) {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
