//! A server: HTTP/1.1 on a socket of its own, on the port that `PORT` names (8080 by default).
//!
//! Connections are served concurrently and kept alive. `/health` answers `ok`, `/echo` answers with the request's body,
//! and any other path says hello and which task said it.

mod connection;
mod request;

use wstd::io;
use wstd::iter::AsyncIterator as _;
use wstd::net::TcpListener;
use wstd::runtime::spawn;

use crate::request::Request;

#[wstd::main]
async fn main() -> io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(&format!("0.0.0.0:{port}")).await?;
    println!("listening on {}", listener.local_addr()?);

    let mut incoming = listener.incoming();
    while let Some(stream) = incoming.next().await {
        match stream {
            Ok(stream) => spawn(async move {
                // A client that went away in the middle is the client's business.
                _ = connection::serve(stream, answer).await;
            })
            .detach(),
            // One connection that broke before it was accepted is no reason to leave the others.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
    Ok(())
}

/// The body of the answer, which is always 200 and plain text.
fn answer(request: Request) -> Vec<u8> {
    match request.path() {
        "/health" => b"ok\n".to_vec(),
        "/echo" => request.body,
        _ => {
            let task = std::env::var("CORACLE_TASK_ID");
            format!("hello from {}\n", task.as_deref().unwrap_or("nowhere")).into_bytes()
        }
    }
}
