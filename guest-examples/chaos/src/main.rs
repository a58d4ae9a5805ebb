//! A handler that misbehaves in the way its path asks for, to see what the host makes of it.
//!
//! | path | what happens |
//! | --- | --- |
//! | `/` | nothing bad: 200, `calm` |
//! | `/trap` | traps before it has answered |
//! | `/trap-mid-body` | answers 200 and half of a body, then traps |
//! | `/panic` | panics, with a message on standard error |
//! | `/exit?code=1` | leaves through `wasi:cli/exit` before it has answered; preview 2 tells only 0 from the rest |
//! | `/hang` | waits for ever, using no processor |
//! | `/spin` | loops for ever, using one processor whole |
//! | `/recurse` | recurses until the stack ends |
//! | `/500` | answers 500 |
//! | `/slow?chunks=10&ms=100` | streams so many chunks, one each so many milliseconds |
//! | `/allocate?mib=64&ms=0` | allocates and touches memory, keeps it so many milliseconds, then answers |
//! | `/leak?mib=1` | allocates, touches and never frees: adds up where instances are used again |
//! | `/echo` | streams the request's body back |
//! | `/task` | answers with the task's id |
//! | `/sicken` | makes `/condition` of this task fail from then on |
//! | `/condition` | 200, or 500 once the task was made ill |
//! | `/headers` | answers with the request line and header fields it saw |
//! | `/log?lines=1` | writes so many lines to standard output and standard error each |

use std::convert::Infallible;
use std::fmt::Write as _;
use std::hint::black_box;
use std::str::FromStr;

use futures_lite::stream;
use wstd::http::body::Bytes;
use wstd::http::error::Context as _;
use wstd::http::{Body, Error, Request, Response, Result, StatusCode};
use wstd::task::sleep;
use wstd::time::Duration;

const MIB: usize = 1 << 20;
/// A file of the task's own: other instances see it, other tasks do not.
const ILLNESS: &str = "/ill";

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    match misbehave(request).await {
        Ok(response) => Ok(response),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error:#}\n")),
    }
}

/// Fails only where a parameter is not a number.
async fn misbehave(request: Request<Body>) -> Result<Response<Body>> {
    match request.uri().path() {
        "/" => text(StatusCode::OK, "calm\n"),
        "/trap" => trap(),
        "/trap-mid-body" => Ok(Response::new(half_a_body())),
        "/panic" => panic!("asked to panic"),
        "/exit" => std::process::exit(parameter(&request, "code", 0)?),
        "/hang" => hang().await,
        "/spin" => spin(),
        "/recurse" => text(StatusCode::OK, format!("{}\n", recurse(1))),
        "/500" => text(StatusCode::INTERNAL_SERVER_ERROR, "asked to fail\n"),
        "/slow" => {
            let (chunks, wait) = (parameter(&request, "chunks", 10)?, parameter(&request, "ms", 100)?);
            Ok(Response::new(slow_body(chunks, Duration::from_millis(wait))))
        }
        "/allocate" => {
            let mib = parameter(&request, "mib", 64)?;
            let memory = allocate(mib);
            sleep(Duration::from_millis(parameter(&request, "ms", 0)?)).await;
            drop(black_box(memory));
            text(StatusCode::OK, format!("allocated {mib} MiB\n"))
        }
        "/leak" => {
            let mib = parameter(&request, "mib", 1)?;
            allocate(mib).leak();
            text(StatusCode::OK, format!("leaked {mib} MiB\n"))
        }
        "/echo" => Ok(Response::new(request.into_body())),
        "/task" => text(StatusCode::OK, std::env::var("CORACLE_TASK_ID").unwrap_or_default()),
        "/sicken" => {
            std::fs::write(ILLNESS, "")?;
            text(StatusCode::OK, "ill\n")
        }
        "/condition" => match std::fs::exists(ILLNESS)? {
            true => text(StatusCode::INTERNAL_SERVER_ERROR, "ill\n"),
            false => text(StatusCode::OK, "well\n"),
        },
        "/headers" => text(StatusCode::OK, head_of(&request)),
        "/log" => {
            for line in 1..=parameter(&request, "lines", 1)? {
                println!("line {line} to standard output");
                eprintln!("line {line} to standard error");
            }
            text(StatusCode::OK, "logged\n")
        }
        _ => text(StatusCode::NOT_FOUND, "no such misbehaviour\n"),
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Result<Response<Body>> {
    let text = text.into();
    Ok(Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .header("content-length", text.len())
        .body(text.into())?)
}

/// The query parameter `name`, or `default` where the query lacks it.
fn parameter<T>(request: &Request<Body>, name: &str, default: T) -> Result<T>
where
    T: FromStr<Err: Into<Error>>,
{
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next();
    value.map_or(Ok(default), |value| value.parse().map_err(Into::into).context(format!("parameter {name}")))
}

fn trap() -> ! {
    std::process::abort()
}

/// Half of what `Content-Length` would have promised, had there been one: the client can tell only from the chunked
/// encoding, which must not be ended properly.
fn half_a_body() -> Body {
    Body::from_try_stream(stream::unfold(0, |chunk| async move {
        if chunk == 5 {
            // Gives what was written the time to reach the client.
            sleep(Duration::from_millis(50)).await;
            trap();
        }
        Some((Ok::<_, Infallible>(Bytes::from(format!("chunk {chunk} of 10\n"))), chunk + 1))
    }))
}

fn slow_body(chunks: u64, wait: Duration) -> Body {
    Body::from_try_stream(stream::unfold(0, move |chunk| async move {
        if chunk == chunks {
            return None;
        }
        sleep(wait).await;
        Some((Ok::<_, Infallible>(Bytes::from(format!("chunk {chunk} of {chunks}\n"))), chunk + 1))
    }))
}

async fn hang() -> ! {
    loop {
        sleep(Duration::from_secs(3600)).await;
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "its purpose")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[0]
}

/// Memory that is really there: one byte of each page is written.
fn allocate(mib: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; mib * MIB];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    black_box(memory)
}

fn head_of(request: &Request<Body>) -> String {
    let mut head = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        _ = writeln!(head, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    head
}
