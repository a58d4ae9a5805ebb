//! A server: sends back over TCP what it receives, on the port that `PORT` names (8080 by default).

use wstd::io;
use wstd::iter::AsyncIterator as _;
use wstd::net::TcpListener;
use wstd::runtime::spawn;

#[wstd::main]
async fn main() -> io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(&format!("0.0.0.0:{port}")).await?;
    println!("listening on {}", listener.local_addr()?);

    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        match stream {
            Ok(stream) => spawn(async move {
                // A client that went away is how every conversation ends.
                _ = io::copy(&stream, &stream).await;
            })
            .detach(),
            // One connection that broke before it was accepted is no reason to leave the others.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
    Ok(())
}
