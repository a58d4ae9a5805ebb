//! HTTP.

use wasip3::http::client;
use wasip3::http::types::{Fields, Request, Response, Scheme};
use wasip3::wit_future;

use crate::named;

pub(crate) async fn exchange(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let (trailers, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers, None);
    let set = || {
        request.set_scheme(Some(&scheme))?;
        request.set_authority(Some(authority))?;
        request.set_path_with_query(Some(if path.is_empty() { "/" } else { path }))
    };
    set().map_err(|()| "no URL")?;
    drop(trailers);
    let answer = client::send(request).await.map_err(named)?;
    let status = answer.get_status_code();
    let (_read, read) = wit_future::new(|| Ok(()));
    let (body, _trailers) = Response::consume_body(answer, read);
    let bytes = body.collect().await;
    Ok(format!("{status} {}", String::from_utf8_lossy(&bytes).trim_end()))
}
