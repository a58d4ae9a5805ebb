//! UDP.

use std::net::SocketAddr;

use wasip3::sockets::types::{ErrorCode, UdpSocket};

use crate::{family, from_wasi, named, to_wasi};

pub(crate) fn bind(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    Ok(format!("bound to {}", from_wasi(socket.get_local_address().map_err(named)?)))
}

pub(crate) async fn serve(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    println!("listening on {}", from_wasi(socket.get_local_address().map_err(named)?));
    loop {
        let (data, remote) = socket.receive().await.map_err(named)?;
        println!("{} from {}", String::from_utf8_lossy(&data), from_wasi(remote));
        if let Err(error) = socket.send(data, Some(remote)).await {
            println!("error {}", named(error));
        }
    }
}

/// Sends from a socket that was never bound.
pub(crate) async fn exchange(address: SocketAddr, text: &str) -> Result<String, String> {
    let socket = UdpSocket::create(family(address)).map_err(named)?;
    socket.send(text.as_bytes().to_vec(), Some(to_wasi(address))).await.map_err(named)?;
    let (data, remote) = socket.receive().await.map_err(named)?;
    Ok(format!("{} from {}", String::from_utf8_lossy(&data), from_wasi(remote)))
}

fn bound(address: SocketAddr) -> Result<UdpSocket, ErrorCode> {
    let socket = UdpSocket::create(family(address))?;
    socket.bind(to_wasi(address))?;
    Ok(socket)
}
