//! `coracle exec`: a command inside a task, with our own standard input and output.

use std::{io::IsTerminal, process::ExitCode};

use coracle_api::session::{PROTOCOL, SessionEnd, frame::Frame};
use coracle_supervisor::operations::ExecuteCommandResponse;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{args::ExecArgs, client::Client, error::Failure, task};

type Connection = TokioIo<hyper::upgrade::Upgraded>;

/// Bytes of our input that are read at a time.
const INPUT_BUFFER: usize = 16 * 1024;

pub(crate) fn main(args: ExecArgs) -> Result<ExitCode, Failure> {
    let runtime = super::client_runtime()?;
    let result = runtime.block_on(exec(args));
    // A read of our standard input cannot be cancelled, and nobody wants what it would bring.
    runtime.shutdown_background();
    result
}

async fn exec(args: ExecArgs) -> Result<ExitCode, Failure> {
    let client = Client::new(&args.cluster.api);
    let task = task::find(&client, &args.cluster.cluster, &args.task).await?;
    let command = shlex::try_join(args.command.iter().map(String::as_str))
        .map_err(|_| Failure::usage("a command cannot have a NUL character"))?;
    let input = json!({
        "cluster": args.cluster.cluster,
        "task": task.task_arn,
        "container": args.container,
        "command": command,
        // What the guest is told of its input and output. A pipe is none, as in a shell.
        "interactive": args.interactive && std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
    });
    let made: ExecuteCommandResponse = client.ecs("ExecuteCommand", &input).await?;
    let session = made.session;
    let connection = client.upgrade(&session.stream_url, PROTOCOL, &session.token_value).await?;
    let (reader, writer) = tokio::io::split(TokioIo::new(connection));
    let end = tokio::select! {
        end = print(reader) => end?,
        // Its last act is to wait: the input's end is not the command's.
        never = hand_on(writer, args.interactive) => match never? {},
    };
    if let Some(reason) = &end.reason {
        eprintln!("error: {reason}");
    }
    Ok(ExitCode::from(end.exit_code.map_or(1, |code| u8::try_from(code).unwrap_or(u8::MAX))))
}

/// Prints what the command prints, until its end.
async fn print(mut reader: ReadHalf<Connection>) -> Result<SessionEnd, Failure> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        match Frame::read(&mut reader).await.map_err(Failure::failed)? {
            Some(Frame::Stdout(bytes)) => write(&mut stdout, &bytes).await?,
            Some(Frame::Stderr(bytes)) => write(&mut stderr, &bytes).await?,
            Some(Frame::End(end)) => return serde_json::from_slice(&end).map_err(Failure::failed),
            Some(Frame::Input(_) | Frame::EndOfInput) => {}
            None => return Err(Failure::failed("the task stopped, and the command with it")),
        }
    }
}

async fn write(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    output.write_all(bytes).await.map_err(Failure::io)?;
    output.flush().await.map_err(Failure::io)
}

/// Hands our input on. Holding the connection's other half, it never returns: dropping it would be to leave.
async fn hand_on(
    mut writer: WriteHalf<Connection>,
    interactive: bool,
) -> Result<std::convert::Infallible, Failure> {
    if interactive {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; INPUT_BUFFER];
        loop {
            let read = stdin.read(&mut buffer).await.map_err(Failure::io)?;
            let frame = Frame::Input(buffer[..read].to_vec().into());
            // A command that has ended does not read: its end is on its way.
            if read == 0 || frame.write(&mut writer).await.is_err() {
                break;
            }
        }
    }
    Frame::EndOfInput.write(&mut writer).await.ok();
    std::future::pending().await
}
