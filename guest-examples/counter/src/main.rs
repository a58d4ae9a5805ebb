//! A handler that keeps a count in memory.
//!
//! The count lives as long as the instance does: it stays at 1 where each request gets an instance of its own, and
//! grows where instances are used again.

use std::sync::atomic::{AtomicU64, Ordering};

use wstd::http::{Body, Request, Response, Result};

static REQUESTS: AtomicU64 = AtomicU64::new(0);

#[wstd::http_server]
async fn main(_request: Request<Body>) -> Result<Response<Body>> {
    let text = format!("{}\n", REQUESTS.fetch_add(1, Ordering::Relaxed) + 1);
    Ok(Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", text.len())
        .body(text.into())?)
}
