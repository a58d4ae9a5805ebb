//! From running to ended, once.

use crate::exit::Exit;
use std::sync::OnceLock;
use tokio_util::sync::CancellationToken;

/// A container's end. The first who ends it decides how; everybody who works for it hears of it.
#[derive(Debug, Default)]
pub(crate) struct Life {
    exit: OnceLock<Exit>,
    ended: CancellationToken,
}

impl Life {
    /// Ends the container with `exit` unless it has ended already.
    pub(crate) fn end(&self, exit: Exit) {
        // A second end finds the cell filled, and the first one stands.
        let _first = self.exit.set(exit);
        self.ended.cancel();
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.get().cloned()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.exit.get().is_some()
    }

    /// Cancelled at the end.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.ended
    }

    pub(crate) async fn ended(&self) -> Exit {
        self.ended.cancelled().await;
        // The exit is set before the token is cancelled.
        self.exit().unwrap_or_else(|| Exit::failed("ended".to_owned()))
    }
}
