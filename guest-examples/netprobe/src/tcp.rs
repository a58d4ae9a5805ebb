//! TCP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::{family, from_wasi, named, to_wasi};

/// How long somebody may take to begin to listen.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE_NANOSECONDS: u64 = 5_000_000;
const CHUNK: u64 = 4096;

type Connection = (TcpSocket, InputStream, OutputStream);

pub(crate) fn bind(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    Ok(format!("bound to {}", from_wasi(socket.local_address().map_err(named)?)))
}

pub(crate) fn serve(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    socket.start_listen().map_err(named)?;
    socket.finish_listen().map_err(named)?;
    println!("listening on {}", from_wasi(socket.local_address().map_err(named)?));
    let ready = socket.subscribe();
    let mut kept = Vec::new();
    loop {
        ready.block();
        match socket.accept() {
            Ok((socket, input, output)) => {
                let remote = from_wasi(socket.remote_address().map_err(named)?);
                match echo(&input, &output) {
                    // One that only holds its connection, has it held.
                    Ok(text) if text.is_empty() => kept.push((output, input, socket)),
                    Ok(text) => println!("{text} from {remote}"),
                    Err(error) => println!("error {error} from {remote}"),
                }
            }
            Err(ErrorCode::WouldBlock) => {}
            Err(error) => return Err(named(error)),
        }
    }
}

/// Sends one chunk back, unless the other side sends "hold".
fn echo(input: &InputStream, output: &OutputStream) -> Result<String, String> {
    let bytes = input.blocking_read(CHUNK).map_err(named)?;
    if bytes == b"hold" {
        return Ok(String::new());
    }
    output.blocking_write_and_flush(&bytes).map_err(named)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn exchange(address: SocketAddr, text: &str) -> Result<String, String> {
    let (socket, input, output) = connect(address).map_err(named)?;
    let local = from_wasi(socket.local_address().map_err(named)?);
    let remote = from_wasi(socket.remote_address().map_err(named)?);
    output.blocking_write_and_flush(text.as_bytes()).map_err(named)?;
    let mut answer = Vec::new();
    while answer.len() < text.len() {
        match input.blocking_read(CHUNK) {
            Ok(bytes) => answer.extend(bytes),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(named(error)),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(format!("{answer} from {remote} to {}", local.ip()))
}

pub(crate) fn reach(address: SocketAddr, text: &str) -> Result<String, String> {
    let begin = Instant::now();
    loop {
        let result = exchange(address, text);
        let is_early = matches!(&result, Err(error) if error == "connection-refused");
        if !is_early || begin.elapsed() > PATIENCE {
            return result;
        }
        subscribe_duration(PAUSE_NANOSECONDS).block();
    }
}

pub(crate) fn hold(address: SocketAddr, count: usize) -> Result<String, String> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut failure = "nothing".to_owned();
    while connections.len() < count {
        match connect(address) {
            Ok(connection) => {
                connection.2.blocking_write_and_flush(b"hold").map_err(named)?;
                connections.push(connection);
            }
            Err(error) => {
                failure = named(error);
                break;
            }
        }
    }
    println!("holds {}, then {failure}", connections.len());
    loop {
        subscribe_duration(u64::MAX).block();
    }
}

/// How many sockets there may be, and whether there may be as many again once these are closed.
pub(crate) fn sockets(count: usize) -> Result<String, String> {
    let open = || {
        let mut sockets = Vec::new();
        for _ in 0..count {
            match create_tcp_socket(IpAddressFamily::Ipv4) {
                Ok(socket) => sockets.push(socket),
                Err(error) => return (sockets.len(), named(error)),
            }
        }
        (sockets.len(), "nothing".to_owned())
    };
    let (first, second) = (open(), open());
    Ok(format!("{} then {}, again {} then {}", first.0, first.1, second.0, second.1))
}

fn bound(address: SocketAddr) -> Result<TcpSocket, ErrorCode> {
    let network = instance_network();
    let socket = create_tcp_socket(family(address))?;
    socket.start_bind(&network, to_wasi(address))?;
    socket.finish_bind()?;
    Ok(socket)
}

fn connect(address: SocketAddr) -> Result<Connection, ErrorCode> {
    let network = instance_network();
    let socket = create_tcp_socket(family(address))?;
    socket.start_connect(&network, to_wasi(address))?;
    let ready = socket.subscribe();
    loop {
        match socket.finish_connect() {
            Ok((input, output)) => {
                drop(ready);
                return Ok((socket, input, output));
            }
            Err(ErrorCode::WouldBlock) => ready.block(),
            Err(error) => return Err(error),
        }
    }
}
