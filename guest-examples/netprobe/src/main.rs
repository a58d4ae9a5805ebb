//! Tries the network in the ways its arguments name, one after the other, and prints a line for each: what it did, and what came of it.
//! For seeing what a task may do, and for the tests that it may not do more.
//!
//! ```text
//! netprobe tcp-bind ADDRESS              bind, and say where
//! netprobe tcp-serve ADDRESS             listen, and send back what connections bring
//! netprobe tcp-connect ADDRESS TEXT      connect, send, and say what comes back
//! netprobe tcp-reach ADDRESS TEXT        the same, and try again for a while where nobody listens yet
//! netprobe tcp-hold ADDRESS COUNT        open that many connections and keep them
//! netprobe udp-bind ADDRESS              bind, and say where
//! netprobe udp-serve ADDRESS             send back what datagrams bring
//! netprobe udp-send ADDRESS TEXT         send from a fresh socket, and say what comes back
//! netprobe resolve NAME                  the addresses of a name
//! netprobe http URL [BODY]               a request, and its answer
//! netprobe http-broken URL               a request whose body fails
//! netprobe sockets COUNT                 how many sockets there may be at once
//! ```
//!
//! `then` begins another operation: `netprobe resolve a.example then tcp-connect 192.0.2.1:80 hello`. `${NAME}` in an argument is what the environment has
//! for it.

mod http;
mod names;
mod tcp;
mod udp;

use std::net::SocketAddr;
use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).map(|argument| expanded(&argument)).collect();
    for operation in arguments.split(|argument| argument == "then") {
        let operation: Vec<&str> = operation.iter().map(String::as_str).collect();
        let result = perform(&operation);
        println!("{}: {}", operation.join(" "), result.unwrap_or_else(|error| format!("error {error}")));
    }
}

fn expanded(argument: &str) -> String {
    let variables = std::env::vars();
    variables.fold(argument.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), &value))
}

fn perform(operation: &[&str]) -> Result<String, String> {
    match *operation {
        ["tcp-bind", at] => tcp::bind(address(at)?),
        ["tcp-serve", at] => tcp::serve(address(at)?),
        ["tcp-connect", to, text] => tcp::exchange(address(to)?, text),
        ["tcp-reach", to, text] => tcp::reach(address(to)?, text),
        ["tcp-hold", to, count] => tcp::hold(address(to)?, number(count)?),
        ["udp-bind", at] => udp::bind(address(at)?),
        ["udp-serve", at] => udp::serve(address(at)?),
        ["udp-send", to, text] => udp::exchange(address(to)?, text),
        ["resolve", name] => names::resolve(name),
        ["http", url] => http::exchange(url, None),
        ["http", url, body] => http::exchange(url, Some(body)),
        ["http-broken", url] => http::broken(url),
        ["sockets", count] => tcp::sockets(number(count)?),
        _ => Err("no such operation".to_owned()),
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
        IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            SocketAddr::from(([a, b, c, d], v4.port))
        }
        IpSocketAddress::Ipv6(v6) => {
            let (a, b, c, d, e, f, g, h) = v6.address;
            SocketAddr::from(([a, b, c, d, e, f, g, h], v6.port))
        }
    }
}

/// An error's name as WIT has it.
fn named(error: impl std::fmt::Debug) -> String {
    // `ErrorCode { code: 1, name: "access-denied", message: "..." }`
    let text = format!("{error:?}");
    let name = text.split("name: \"").nth(1).and_then(|rest| rest.split('"').next());
    name.unwrap_or(&text).to_owned()
}
