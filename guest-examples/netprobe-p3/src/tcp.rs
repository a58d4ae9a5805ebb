//! TCP.

use std::net::SocketAddr;

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket};
use wasip3::wit_bindgen::rt::async_support::{StreamReader, StreamResult};
use wasip3::wit_stream;

use crate::{family, from_wasi, named, to_wasi};

const PAUSE_NANOSECONDS: u64 = 5_000_000;
const ATTEMPTS: usize = 4000;

pub(crate) fn bind(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    Ok(format!("bound to {}", from_wasi(socket.get_local_address().map_err(named)?)))
}

/// Listens on a socket that was never bound.
pub(crate) fn listen(address: SocketAddr) -> Result<String, String> {
    let socket = TcpSocket::create(family(address)).map_err(named)?;
    let _connections = socket.listen().map_err(named)?;
    Ok(format!("listening on {}", from_wasi(socket.get_local_address().map_err(named)?)))
}

pub(crate) async fn serve(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    let mut connections = socket.listen().map_err(named)?;
    println!("listening on {}", from_wasi(socket.get_local_address().map_err(named)?));
    while let Some(connection) = connections.next().await {
        let remote = from_wasi(connection.get_remote_address().map_err(named)?);
        let (mut incoming, _) = connection.receive();
        let bytes = chunk(&mut incoming).await;
        println!("{} from {remote}", String::from_utf8_lossy(&bytes));
        send(&connection, bytes).await?;
    }
    Ok("ended".to_owned())
}

pub(crate) async fn reach(address: SocketAddr, text: &str) -> Result<String, String> {
    for _ in 0..ATTEMPTS {
        match exchange(address, text).await {
            Err(error) if error == "connection-refused" => wait_for(PAUSE_NANOSECONDS).await,
            result => return result,
        }
    }
    Err("connection-refused".to_owned())
}

async fn exchange(address: SocketAddr, text: &str) -> Result<String, String> {
    let socket = TcpSocket::create(family(address)).map_err(named)?;
    socket.connect(to_wasi(address)).await.map_err(named)?;
    let remote = from_wasi(socket.get_remote_address().map_err(named)?);
    let (mut incoming, _) = socket.receive();
    send(&socket, text.as_bytes().to_vec()).await?;
    let bytes = chunk(&mut incoming).await;
    Ok(format!("{} from {remote}", String::from_utf8_lossy(&bytes)))
}

/// How many connections there can be of which only the receiving stream is left.
pub(crate) async fn streams(address: SocketAddr, count: usize) -> Result<String, String> {
    let mut streams = Vec::new();
    let mut failure = "nothing".to_owned();
    while streams.len() < count {
        let connected = async {
            let socket = TcpSocket::create(family(address))?;
            socket.connect(to_wasi(address)).await?;
            Ok::<_, ErrorCode>(socket)
        };
        match connected.await {
            Ok(socket) => streams.push(socket.receive().0),
            Err(error) => {
                failure = named(error);
                break;
            }
        }
    }
    let first = streams.len();
    drop(streams);
    // The host hears of the dropped streams in its own time.
    for _ in 0..ATTEMPTS {
        if let Ok(socket) = TcpSocket::create(family(address)) {
            drop(socket);
            return Ok(format!("{first} then {failure}, then one more"));
        }
        wait_for(PAUSE_NANOSECONDS).await;
    }
    Ok(format!("{first} then {failure}, and no more"))
}

pub(crate) fn sockets(count: usize) -> Result<String, String> {
    let open = || {
        let mut sockets = Vec::new();
        for _ in 0..count {
            match TcpSocket::create(IpAddressFamily::Ipv4) {
                Ok(socket) => sockets.push(socket),
                Err(error) => return (sockets.len(), named(error)),
            }
        }
        (sockets.len(), "nothing".to_owned())
    };
    let (first, second) = (open(), open());
    Ok(format!("{} then {}, again {} then {}", first.0, first.1, second.0, second.1))
}

async fn chunk(stream: &mut StreamReader<u8>) -> Vec<u8> {
    let (result, bytes) = stream.read(Vec::with_capacity(4096)).await;
    if matches!(result, StreamResult::Complete(_)) { bytes } else { Vec::new() }
}

async fn send(socket: &TcpSocket, bytes: Vec<u8>) -> Result<(), String> {
    let (mut writer, reader) = wit_stream::new();
    let sent = socket.send(reader);
    let left = writer.write_all(bytes).await;
    drop(writer);
    if !left.is_empty() {
        return Err("not all was sent".to_owned());
    }
    sent.await.map_err(named)
}

fn bound(address: SocketAddr) -> Result<TcpSocket, ErrorCode> {
    let socket = TcpSocket::create(family(address))?;
    socket.bind(to_wasi(address))?;
    Ok(socket)
}
