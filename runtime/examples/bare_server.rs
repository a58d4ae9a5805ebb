//! One handler task behind a bare hyper server: what the load balancer's own cost is measured against.
//!
//! `cargo run --release -p coracle-runtime --example bare_server -- hello.wasm [REUSE] [ADDR]`

use coracle_runtime::{ContainerSpec, Runtime, RuntimeConfig};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut args = std::env::args().skip(1);
    let image = args.next().ok_or("usage: bare_server IMAGE [REUSE] [ADDR]")?;
    let instance_reuse = args.next().map_or(Ok(1), |text| text.parse())?;
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());

    let runtime = Runtime::new(RuntimeConfig::default())?;
    let image = runtime.load_file(image.as_ref())?;
    let env = vec![("CORACLE_TASK_ID".to_owned(), "bare".to_owned())];
    let container =
        runtime.start(&image, ContainerSpec { env, instance_reuse, ..ContainerSpec::named("app") }).await?;

    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let container = container.clone();
        let service = service_fn(move |request| {
            let container = container.clone();
            async move { container.handle(request).await }
        });
        // A connection that breaks is its client's business.
        tokio::spawn(async move {
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok()
        });
    }
}
