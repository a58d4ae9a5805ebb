//! Connections that are passed on as they are: TCP listeners, as a Network Load Balancer's.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

use crate::TargetError;
use crate::listener::Shared;
use crate::proxy_protocol::Ends;
use crate::routing::Action;
use crate::target_group::{Asking, InFlight};
use crate::upgrade::splice_until;

/// As to a target of HTTP requests.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// NLB: "The default idle timeout value for TCP flows is 350 seconds".
const IDLE_TIMEOUT: Duration = Duration::from_secs(350);

/// Connects `client` to a target and copies both ways until the connection ends, or its listener's or its target's time
/// to drain does.
pub(crate) async fn serve<I>(client: I, peer: SocketAddr, listener: &Shared)
where
    I: AsyncRead + AsyncWrite,
{
    let Some(claim) = pick(peer, listener) else { return };
    let Some((claim, mut target)) = connect(claim).await else { return };
    let header = claim.group().and_then(|group| group.attributes().proxy_protocol);
    if let Some(version) = header {
        let header = version.header(Ends { source: peer, destination: listener.address });
        if target.write_all(&header).await.is_err() {
            return;
        }
    }
    splice_until(client, target, IDLE_TIMEOUT, listener, &claim).await;
}

/// Rules look at requests; a connection has none. A listener of connections has but its default action.
fn pick(peer: SocketAddr, listener: &Shared) -> Option<InFlight> {
    static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
    match listener.routes.load().default_action() {
        Action::Forward(forward) => {
            forward.pick(&Asking { headers: &NO_HEADERS, client: peer.ip().to_canonical() }).ok()
        }
        Action::Redirect(_) | Action::FixedResponse(_) => None,
    }
}

/// Tries each target at most once.
async fn connect(mut claim: InFlight) -> Option<(InFlight, TcpStream)> {
    let mut tried = Vec::new();
    loop {
        let error = match claim.target().address() {
            Some(address) => match time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(target)) => {
                    if let Err(error) = target.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return Some((claim, target));
                }
                Ok(Err(error)) => TargetError::Unreached { request: None, source: error.into() },
                Err(_elapsed) => TargetError::ConnectTimeout,
            },
            None => TargetError::Unreached { request: None, source: "it listens on no socket".into() },
        };
        claim.count_error(&error);
        tried.push(claim.key());
        claim = claim.give_up(&tried)?;
    }
}
