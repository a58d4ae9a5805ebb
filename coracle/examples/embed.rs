//! A host inside of another program: two replicas of an image, one request, and a clean end.
//!
//! ```sh
//! cargo run --release --example embed -- hello.wasm
//! ```

use std::time::Duration;

use coracle::{Host, Serving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let image = std::env::args().nth(1).ok_or("usage: embed IMAGE")?;
    println!("{}", serve_and_ask(&image).await?);
    Ok(())
}

pub(crate) async fn serve_and_ask(image: &str) -> Result<String, Box<dyn std::error::Error>> {
    let host = Host::builder().start().await?;
    let mut serving = Serving::new(image);
    serving.replicas = 2;
    serving.memory = Some(64);
    let address = host.serve(&serving).await?;

    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;

    host.shutdown(Duration::from_secs(10)).await;
    Ok(answer)
}
