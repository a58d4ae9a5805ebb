//! What the balancer costs: the same 12 bytes served through it, and by hyper alone with the same threads.
//!
//! ```text
//! cargo run --release -p coracle-balancer --example overhead -- balancer 127.0.0.1:8081
//! cargo run --release -p coracle-balancer --example overhead -- bare 127.0.0.1:8082
//! wrk -t2 -c32 -d10 --latency http://127.0.0.1:8081/
//! ```
//!
//! `proxy 127.0.0.1:8083 127.0.0.1:8082` puts the balancer in front of an HTTP server over TCP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use coracle_balancer::{
    Balancer, BalancerConfig, Body, BoxError, HealthCheckConfig, ListenerConfig, RegisterOptions, Target,
    TargetError, TargetGroup, TargetGroupConfig, TargetState, TcpTarget, TcpTargetConfig,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Socket, Type};

/// What the binary allocates with, or figures would be of another program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TEXT: &str = "hello, world";

struct Hello;

impl Target for Hello {
    fn call(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        async { Ok(Response::new(Body::full(TEXT))) }.boxed()
    }
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["balancer", address] => balancer(address.parse()?, vec![Arc::new(Hello)]),
        ["proxy", address, ref upstreams @ ..] => {
            let target = |upstream: &&str| -> Result<Arc<dyn Target>, BoxError> {
                Ok(Arc::new(TcpTarget::new(upstream.parse()?, TcpTargetConfig::default())))
            };
            balancer(address.parse()?, upstreams.iter().map(target).collect::<Result<_, _>>()?)
        }
        ["bare", address] => bare(address.parse()?),
        _ => {
            Err("usage: overhead balancer ADDR | overhead proxy ADDR UPSTREAM... | overhead bare ADDR".into())
        }
    }
}

fn balancer(address: SocketAddr, targets: Vec<Arc<dyn Target>>) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let health_check = HealthCheckConfig::disabled();
        let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("hello") });
        for (index, target) in targets.into_iter().enumerate() {
            group.register(index.to_string(), target, RegisterOptions::new(TargetState::Healthy));
        }
        let balancer = Balancer::start(BalancerConfig::default())?;
        let listener = balancer.listen(ListenerConfig::new("web", address), group)?;
        eprintln!("Serving on http://{}", listener.local_addr());
        tokio::signal::ctrl_c().await?;
        Ok(())
    })
}

/// hyper as it comes, on as many threads, each with its own socket and runtime.
fn bare(address: SocketAddr) -> Result<(), BoxError> {
    let threads = thread::available_parallelism()?.get();
    let serve = move || -> Result<(), BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(socket.into())?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let answer = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::full(TEXT))) });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        })
    };
    eprintln!("Serving on http://{address}");
    let servers: Vec<_> = (0..threads).map(|_| thread::spawn(serve)).collect();
    for server in servers {
        server.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}
