//! A handler behind hyper and nothing else: what the balancer in front of a task is measured against. Run by `added.sh`.
//!
//! ```sh
//! cargo run --release --package coracle --example bare -- hello.wasm 127.0.0.1:8082
//! ```
//!
//! The container is what `coracle serve --instance-reuse 1000000000` starts, and there are as many threads, each with its own socket and
//! runtime; a connection stays on the thread that it came to.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use coracle_runtime::{Container, ContainerSpec, Runtime, RuntimeConfig};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Instances live as long as the process.
const FOR_EVER: u32 = 1_000_000_000;
const BACKLOG: u32 = 1024;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(image), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bare IMAGE ADDR".into());
    };
    let address = address.parse()?;
    let runtime = Runtime::new(RuntimeConfig::default())?;
    let image = runtime.load_file(Path::new(&image))?;
    let spec = ContainerSpec { env: environment(), instance_reuse: FOR_EVER, ..ContainerSpec::named("bare") };
    let container = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(runtime.start(&image, spec))?;
    let servers: Vec<_> = (0..thread::available_parallelism()?.get())
        .map(|_| {
            let container = container.clone();
            thread::spawn(move || serve(&container, address))
        })
        .collect();
    for server in servers {
        server.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

/// What every task is told, as long as there: a guest copies it at each request.
fn environment() -> Vec<(String, String)> {
    let id = "0123456789abcdef0123456789abcdef";
    let uri = |path: &str| format!("http://169.254.170.2/{path}/{id}");
    vec![
        ("CORACLE_TASK_ID".into(), id.into()),
        ("ECS_CONTAINER_METADATA_URI_V4".into(), uri("v4")),
        ("ECS_AGENT_URI".into(), uri("api")),
    ]
}

fn serve(container: &Container, address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let container = container.clone();
            let answer = service_fn(move |request| container.handle(request));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
            );
        }
    })
}
