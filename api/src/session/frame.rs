//! What goes over a session's connection: a byte that says what it is, the payload's length in four bytes (the highest first), and the payload.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest payload.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// 0, from the client: bytes of standard input.
    Input(Bytes),
    /// 1, from the client: there is no more input.
    EndOfInput,
    /// 2, from the program: bytes of standard output.
    Stdout(Bytes),
    /// 3, from the program: bytes of standard error.
    Stderr(Bytes),
    /// 4: the program has ended; a [`SessionEnd`](super::SessionEnd) as JSON.
    End(Bytes),
}

/// A frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error("what came is no frame of a session")]
    Malformed,
}

impl Frame {
    /// The next frame; none at the end of the connection.
    pub async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Self>, FrameError> {
        let kind = match reader.read_u8().await {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = usize::try_from(reader.read_u32().await?).map_err(|_| FrameError::Malformed)?;
        if length > MAX_PAYLOAD {
            return Err(FrameError::Malformed);
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        let payload = Bytes::from(payload);
        match kind {
            0 => Ok(Some(Self::Input(payload))),
            1 => Ok(Some(Self::EndOfInput)),
            2 => Ok(Some(Self::Stdout(payload))),
            3 => Ok(Some(Self::Stderr(payload))),
            4 => Ok(Some(Self::End(payload))),
            _ => Err(FrameError::Malformed),
        }
    }

    /// Writes it whole; a payload that is too long for one frame in several.
    pub async fn write(&self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Input(payload) => (0, payload),
            Self::EndOfInput => (1, &[]),
            Self::Stdout(payload) => (2, payload),
            Self::Stderr(payload) => (3, payload),
            Self::End(payload) => (4, payload),
        };
        let mut rest = payload;
        loop {
            let (some, more) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            writer.write_u8(kind).await?;
            // It is at most `MAX_PAYLOAD`.
            writer.write_u32(u32::try_from(some.len()).unwrap_or(u32::MAX)).await?;
            writer.write_all(some).await?;
            if more.is_empty() {
                return writer.flush().await;
            }
            rest = more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let long = Bytes::from(vec![b'x'; MAX_PAYLOAD + 1]);
        let (mut ours, mut theirs) = tokio::io::duplex(4 * MAX_PAYLOAD);
        let frames = [
            Frame::Input(Bytes::from("in")),
            Frame::EndOfInput,
            Frame::Stdout(Bytes::from("out")),
            Frame::Stderr(Bytes::new()),
            Frame::End(Bytes::from("{}")),
        ];
        for frame in &frames {
            frame.write(&mut ours).await.unwrap();
        }
        Frame::Stdout(long.clone()).write(&mut ours).await.unwrap();
        drop(ours);
        for frame in frames {
            assert_eq!(Frame::read(&mut theirs).await.unwrap(), Some(frame));
        }
        let halves = [MAX_PAYLOAD, 1].map(|length| Some(Frame::Stdout(long.slice(..length))));
        for half in halves {
            assert_eq!(Frame::read(&mut theirs).await.unwrap(), half);
        }
        assert_eq!(Frame::read(&mut theirs).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [&[9, 0, 0, 0, 0][..], &[0, 255, 255, 255, 255], &[0, 0, 0, 0, 2, 1], &[0, 0]] {
            assert!(Frame::read(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}
