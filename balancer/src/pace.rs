//! How slowly a client may send its request and take its answer.
//!
//! Only time in which the client is waited for counts: while it is a target that lets everybody wait, the client owes
//! nothing.

mod upload;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};

pub(crate) use upload::{TooSlow, Upload};

/// Kestrel's minimum for both ways, in bytes a second: a modem of 1980 is faster.
const BYTES_PER_SECOND: u32 = 240;
/// What a client that loses its network for a moment may need, and what nginx allows between two reads or writes.
const GRACE: Duration = Duration::from_secs(60);

/// What a client has to keep up with while it is waited for. Each byte is worth its time at the minimum; a client that
/// was waited for longer than what it has moved is worth, by more than the grace, is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumRate {
    /// At least 1. 240 by default.
    pub bytes_per_second: u32,
    /// How far a client may fall behind. 60 s by default.
    pub grace: Duration,
}

impl Default for MinimumRate {
    fn default() -> Self {
        Self { bytes_per_second: BYTES_PER_SECOND, grace: GRACE }
    }
}

/// The minima of a listener; `None` is without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRates {
    /// For the bodies of requests, but gRPC's and Connect's, which are streams that may rest. A request that is too slow is
    /// answered 408, or broken off if its answer has begun.
    pub receive: Option<MinimumRate>,
    /// For answers. A client that is too slow is closed, in HTTP/2 its stream reset.
    pub send: Option<MinimumRate>,
}

impl Default for TransferRates {
    fn default() -> Self {
        Self { receive: Some(MinimumRate::default()), send: Some(MinimumRate::default()) }
    }
}

/// How far one client is behind.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<MinimumRate>,
    /// Longest wait without a single byte.
    patience: Duration,
    behind: Duration,
    /// Since when it is waited for.
    since: Option<Instant>,
    /// Armed when the client is waited for the first time: most never are. The time it stands for only ever moves on, so
    /// that it is set anew only when it has gone off.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(crate) const fn new(rate: Option<MinimumRate>, patience: Duration) -> Self {
        Self { rate, patience, behind: Duration::ZERO, since: None, timer: None }
    }

    /// The client is waited for. Ready when it was for too long.
    pub(crate) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let left = self.rate.map(|rate| rate.grace.saturating_sub(self.behind));
        let deadline = since + left.map_or(self.patience, |left| left.min(self.patience));
        let timer = self.timer.get_or_insert_with(|| Box::pin(time::sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// The client has moved so many bytes, and is not waited for.
    pub(crate) fn moved(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.behind += since.elapsed();
        }
        self.behind = self.rate.map_or(Duration::ZERO, |rate| {
            let worth =
                (bytes as u64).saturating_mul(1_000_000_000) / u64::from(rate.bytes_per_second.max(1));
            self.behind.saturating_sub(Duration::from_nanos(worth))
        });
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// Nothing would be lost if it were forgotten.
    pub(crate) const fn is_even(&self) -> bool {
        self.since.is_none() && self.behind.is_zero()
    }
}

#[cfg(test)]
mod tests;
