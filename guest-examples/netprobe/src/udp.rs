//! UDP.

use std::net::SocketAddr;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::ErrorCode;
use wasip2::sockets::udp::{OutgoingDatagram, OutgoingDatagramStream, UdpSocket};
use wasip2::sockets::udp_create_socket::create_udp_socket;

use crate::{family, from_wasi, named, to_wasi};

/// How long an answer is waited for.
const PATIENCE_NANOSECONDS: u64 = 500_000_000;
/// Datagrams are lost: how often one is sent.
const ATTEMPTS: usize = 10;

pub(crate) fn bind(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    Ok(format!("bound to {}", from_wasi(socket.local_address().map_err(named)?)))
}

pub(crate) fn serve(address: SocketAddr) -> Result<String, String> {
    let socket = bound(address).map_err(named)?;
    println!("listening on {}", from_wasi(socket.local_address().map_err(named)?));
    let (incoming, outgoing) = socket.stream(None).map_err(named)?;
    let ready = incoming.subscribe();
    loop {
        ready.block();
        for datagram in incoming.receive(16).map_err(named)? {
            let remote = datagram.remote_address;
            println!("{} from {}", String::from_utf8_lossy(&datagram.data), from_wasi(remote));
            if let Err(error) = send(&outgoing, datagram.data, from_wasi(remote)) {
                println!("error {}", named(error));
            }
        }
    }
}

pub(crate) fn exchange(address: SocketAddr, text: &str) -> Result<String, String> {
    let wildcard =
        if address.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0_u16; 8], 0)) };
    let socket = bound(wildcard).map_err(named)?;
    let (incoming, outgoing) = socket.stream(None).map_err(named)?;
    let ready = incoming.subscribe();
    for _ in 0..ATTEMPTS {
        send(&outgoing, text.as_bytes().to_vec(), address).map_err(named)?;
        let patience = subscribe_duration(PATIENCE_NANOSECONDS);
        poll(&[&ready, &patience]);
        if let Some(datagram) = incoming.receive(1).map_err(named)?.pop() {
            let answer = String::from_utf8_lossy(&datagram.data).into_owned();
            return Ok(format!("{answer} from {}", from_wasi(datagram.remote_address)));
        }
    }
    Err("no answer".to_owned())
}

fn send(stream: &OutgoingDatagramStream, data: Vec<u8>, to: SocketAddr) -> Result<(), ErrorCode> {
    let ready = stream.subscribe();
    while stream.check_send()? == 0 {
        ready.block();
    }
    stream.send(&[OutgoingDatagram { data, remote_address: Some(to_wasi(to)) }])?;
    Ok(())
}

fn bound(address: SocketAddr) -> Result<UdpSocket, ErrorCode> {
    let network = instance_network();
    let socket = create_udp_socket(family(address))?;
    socket.start_bind(&network, to_wasi(address))?;
    socket.finish_bind()?;
    Ok(socket)
}
