//! The PROXY protocol, versions 1 and 2: who a connection is from, told by the proxy in front of us or to the server
//! behind us. (haproxy.org/download/3.0/doc/proxy-protocol.txt)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Version 2 begins with what no other protocol begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// "the maximum line length the receiver must support including the CRLF is ... 107 chars".
const MAX_LINE: usize = 107;
/// More than any address with the extensions that are defined; it is read and dropped.
const MAX_EXTRA: usize = 2048;

/// The version of the header a target gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Where a connection comes from and where it went to, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the header, of either version, and not a byte more. `None`: the connection is the proxy's own (`LOCAL`), or from
/// where it has no address for (`UNKNOWN`).
///
/// "The receiver MUST NOT start processing the connection before it receives a complete and valid PROXY protocol
/// header": a listener that expects one takes no connection without, or anybody could claim to be anybody.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    // Both versions are at least 12 bytes long: `PROXY UNKNOWN` with its line end has 15.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE { read_v2(stream).await } else { read_v1(start, stream).await }
}

async fn read_v1(start: [u8; 12], stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    if !start.starts_with(b"PROXY ") {
        return Err(malformed("no PROXY protocol header"));
    }
    let mut line = Vec::with_capacity(MAX_LINE);
    line.extend_from_slice(&start);
    // Byte by byte: what follows the line is not ours. It comes from a buffer of the kernel, once per connection.
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(malformed("PROXY line longer than 107 bytes"));
        }
        line.push(stream.read_u8().await?);
    }
    let line = line.get(..line.len() - 2).and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or_else(|| malformed("PROXY line that is no text"))?;
    parse_v1(line).ok_or_else(|| malformed("PROXY line with other fields than it should have"))
}

fn parse_v1(line: &str) -> Option<Option<Ends>> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let mut address = || match family {
        "TCP4" => fields.next()?.parse().ok().map(IpAddr::V4),
        "TCP6" => fields.next()?.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    let (source, destination): (IpAddr, IpAddr) = (address()?, address()?);
    // "the TCP port represented as a decimal integer in the range [0..65535] inclusive. Leading zeroes are not allowed".
    let mut port = || {
        let text = fields.next()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| plain)
    };
    let (from, to): (u16, u16) = (port()?, port()?);
    let ends = Ends { source: (source, from).into(), destination: (destination, to).into() };
    fields.next().is_none().then_some(Some(ends))
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 {
        return Err(malformed("PROXY protocol version other than 2"));
    }
    if length > MAX_EXTRA {
        return Err(malformed("PROXY header longer than 2048 bytes"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match version_and_command & 0xf {
        // LOCAL: a health check of the proxy's own.
        0 => return Ok(None),
        1 => {}
        _ => return Err(malformed("PROXY command other than LOCAL and PROXY")),
    }
    let too_short = || malformed("PROXY header shorter than its addresses");
    let port = |at: usize| rest.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let ends = match family {
        // AF_UNSPEC: "the receiver should ignore the address".
        0x00 => return Ok(None),
        0x11 => {
            let address = |at: usize| {
                let bytes: [u8; 4] = rest.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(bytes)))
            };
            ends([address(0), address(4)], [port(8), port(10)])
        }
        0x21 => {
            let address = |at: usize| {
                let bytes: [u8; 16] = rest.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::V6(Ipv6Addr::from(bytes)))
            };
            ends([address(0), address(16)], [port(32), port(34)])
        }
        _ => return Err(malformed("PROXY family other than TCP over IPv4 or IPv6")),
    };
    ends.map(Some).ok_or_else(too_short)
}

fn ends(addresses: [Option<IpAddr>; 2], ports: [Option<u16>; 2]) -> Option<Ends> {
    let [source, destination] = addresses;
    let [from, to] = ports;
    Some(Ends { source: (source?, from?).into(), destination: (destination?, to?).into() })
}

impl ProxyProtocol {
    /// The header that tells `ends`.
    pub(crate) fn header(self, ends: Ends) -> Vec<u8> {
        // Both of one family: an IPv4 client of an IPv6 socket is one of IPv4 still.
        let (source, destination) = (ends.source.ip().to_canonical(), ends.destination.ip().to_canonical());
        let both_v4 = source.is_ipv4() && destination.is_ipv4();
        let ports = (ends.source.port(), ends.destination.port());
        match self {
            Self::V1 if both_v4 => {
                format!("PROXY TCP4 {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
            Self::V1 => {
                let (source, destination) = (mapped(source), mapped(destination));
                format!("PROXY TCP6 {source} {destination} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
            Self::V2 => {
                let mut header = SIGNATURE.to_vec();
                let (family, length) = if both_v4 { (0x11, 12_u16) } else { (0x21, 36) };
                header.extend([0x21, family]);
                header.extend(length.to_be_bytes());
                for address in [source, destination] {
                    match address {
                        IpAddr::V4(address) if both_v4 => header.extend(address.octets()),
                        address => header.extend(mapped(address).octets()),
                    }
                }
                header.extend(ports.0.to_be_bytes());
                header.extend(ports.1.to_be_bytes());
                header
            }
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> io::Result<(Option<Ends>, Vec<u8>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut stream = bytes;
            let ends = read(&mut stream).await?;
            Ok((ends, stream.to_vec()))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_behind_it(source: IpAddr, destination: IpAddr, from: u16, to: u16) {
            let ends = Ends { source: (source, from).into(), destination: (destination, to).into() };
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut bytes = version.header(ends);
                bytes.extend(b"GET / HTTP/1.1");
                let (read, rest) = read_all(&bytes).unwrap();
                let read = read.unwrap();
                prop_assert_eq!(read.source.ip().to_canonical(), source.to_canonical());
                prop_assert_eq!(read.destination.ip().to_canonical(), destination.to_canonical());
                prop_assert_eq!((read.source.port(), read.destination.port()), (from, to));
                prop_assert_eq!(rest, b"GET / HTTP/1.1");
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), v2: bool) {
            let start = if v2 { SIGNATURE.to_vec() } else { b"PROXY ".to_vec() };
            read_all(&[start, bytes].concat()).ok();
        }
    }

    #[test]
    fn a_connection_of_the_proxys_own_has_no_ends() {
        let local = [&SIGNATURE[..], &[0x20, 0, 0, 3], b"xyz", b"rest"].concat();
        for bytes in [&b"PROXY UNKNOWN\r\nrest"[..], b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nrest", &local] {
            assert_eq!(read_all(bytes).unwrap(), (None, b"rest".to_vec()));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(120));
        for bytes in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            long.as_bytes(),
            &[&SIGNATURE[..], &[0x11, 0x11, 0, 12], &[0; 12]].concat(),
            &[&SIGNATURE[..], &[0x22, 0x11, 0, 12], &[0; 12]].concat(),
            &[&SIGNATURE[..], &[0x21, 0x12, 0, 12], &[0; 12]].concat(),
            &[&SIGNATURE[..], &[0x21, 0x11, 0, 11], &[0; 11]].concat(),
            &[&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            let refused = read_all(bytes).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
