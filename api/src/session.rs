//! Attaching to a session that ExecuteCommand made: the program's input and output over an upgraded connection.
//!
//! ```text
//! GET /session/<id> HTTP/1.1
//! Host: 127.0.0.1:4566
//! Connection: Upgrade
//! Upgrade: coracle-session
//! Authorization: Bearer <tokenValue>
//! ```
//!
//! The answer is 101, and then [frames](frame) go both ways until the program's end, which is the last frame; or it is an error like any
//! operation's. AWS's own sessions speak a protocol of AWS Systems Manager over WebSocket, which needs a plug-in of theirs on the client; this is
//! ours. A web page can send neither these headers nor learn the token. A client that leaves ends the program.

pub mod frame;

use bytes::Bytes;
use coracle_supervisor::driver::{ContainerExit, Execution, OutputStream};
use coracle_supervisor::sessions::Attached;
use coracle_supervisor::{Supervisor, operations::SESSION_PATH};
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ApiError;
use frame::{Frame, FrameError};

/// The protocol's name in `Upgrade`.
pub const PROTOCOL: &str = "coracle-session";
/// How long a client may take to take what it is sent, before it counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long what a program printed last is waited for once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How a program ended: the last frame's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEnd {
    /// What it returned; none when it never ran or was ended with its task.
    pub exit_code: Option<i32>,
    /// Why, where the code does not say it.
    pub reason: Option<String>,
}

/// The id of the session that a request is for, if it is for one.
pub(crate) fn id_of<T>(request: &Request<T>) -> Option<&str> {
    request.uri().path().strip_prefix(SESSION_PATH)
}

/// Starts the session's program, and answers that the connection changes its protocol. `ended` is cancelled when the server stops; `hold` is kept
/// as long as the session is.
pub(crate) async fn attach(
    mut request: Request<Incoming>,
    supervisor: &Supervisor,
    ended: CancellationToken,
    hold: impl Send + 'static,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let token = token(request.headers())?;
    let id = id_of(&request).unwrap_or_default();
    let attached = supervisor.attach(id, token).await?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        run(upgrade, attached, ended).await;
        drop(hold);
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

fn token(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let upgrades = text(CONNECTION).split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    if !upgrades || !text(UPGRADE).eq_ignore_ascii_case(PROTOCOL) {
        return Err(ApiError::with_status(
            StatusCode::UPGRADE_REQUIRED,
            "InvalidParameterException",
            format!("A session is attached to with Connection: Upgrade and Upgrade: {PROTOCOL}."),
        ));
    }
    text(AUTHORIZATION).strip_prefix("Bearer ").ok_or_else(|| {
        ApiError::with_status(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "A session is attached to with Authorization: Bearer and its tokenValue.",
        )
    })
}

async fn run(upgrade: OnUpgrade, attached: Attached, ended: CancellationToken) {
    let connection = match upgrade.await {
        Ok(connection) => TokioIo::new(connection),
        Err(error) => {
            tracing::debug!(%error, "a session's client left before it began");
            return;
        }
    };
    let (reader, writer) = tokio::io::split(connection);
    let stopping = attached.stopping.clone();
    tokio::select! {
        () = talk(reader, writer, attached) => {}
        // Its task stops, or the server does: the program ends because nobody holds it any more.
        () = stopping.cancelled() => {}
        () = ended.cancelled() => {}
    }
}

/// Carries bytes both ways until the program has ended or the client has left.
async fn talk(
    reader: impl AsyncRead + Unpin + Send,
    mut writer: impl AsyncWrite + Unpin + Send,
    attached: Attached,
) {
    let Execution { stdin, mut output, exit } = attached.execution;
    let input = take_input(reader, stdin);
    tokio::pin!(input);
    let mut exit = exit;
    let mut ended = None;
    let deadline = tokio::time::sleep(LAST_WORDS);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            biased;
            printed = output.next() => match printed {
                Some((stream, bytes)) => {
                    if send(&mut writer, &printed_frame(stream, bytes)).await.is_err() {
                        return;
                    }
                }
                // All is said; what is left is the exit code.
                None => break,
            },
            exit = &mut exit, if ended.is_none() => {
                ended = Some(exit);
                deadline.as_mut().reset(tokio::time::Instant::now() + LAST_WORDS);
            }
            () = &mut deadline, if ended.is_some() => break,
            () = &mut input => return,
        }
    }
    let exit = match ended {
        Some(exit) => exit,
        None => tokio::select! {
            exit = &mut exit => exit,
            () = &mut input => return,
        },
    };
    if let Err(error) = send(&mut writer, &end_frame(exit)).await {
        tracing::debug!(%error, "a session's client left before its end");
    }
    // The client sees the end of the connection after the last frame either way.
    writer.shutdown().await.ok();
}

/// Hands on what the client sends, until it leaves.
async fn take_input(
    mut reader: impl AsyncRead + Unpin + Send,
    stdin: std::pin::Pin<Box<dyn AsyncWrite + Send>>,
) {
    let mut stdin = Some(stdin);
    loop {
        match Frame::read(&mut reader).await {
            Ok(Some(Frame::Input(bytes))) => {
                if let Some(writer) = &mut stdin
                    && writer.write_all(&bytes).await.is_err()
                {
                    // The program reads no more; it may still write.
                    stdin = None;
                }
            }
            Ok(Some(Frame::EndOfInput)) => stdin = None,
            // Gone, or no client of ours.
            Ok(None | Some(_)) | Err(FrameError::Malformed | FrameError::Io(_)) => return,
        }
    }
}

fn printed_frame(stream: OutputStream, bytes: Bytes) -> Frame {
    match stream {
        OutputStream::Stdout => Frame::Stdout(bytes),
        OutputStream::Stderr => Frame::Stderr(bytes),
    }
}

fn end_frame(exit: ContainerExit) -> Frame {
    let end = SessionEnd { exit_code: exit.code, reason: exit.reason };
    Frame::End(Bytes::from(serde_json::to_vec(&end).unwrap_or_default()))
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> std::io::Result<()> {
    timeout(WRITE_TIMEOUT, frame.write(writer))
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
