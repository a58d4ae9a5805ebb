//! The streams of an HTTP/2 connection, each in a task of its own, which ends when the client takes too little of its answer.
//!
//! While a client gives a stream no window, hyper does not ask for the next frame of the answer, so the body itself never
//! gets to look at the clock. Whoever polls the stream does; the body tells it, on the same thread and within the same
//! poll, what it has handed out.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::Executor;
use pin_project_lite::pin_project;

use crate::pace::{MinimumRate, Pace};

thread_local! {
    /// Of the stream that is polled at this moment, if it is watched.
    static TAKING: RefCell<Option<Taking>> = const { RefCell::new(None) };
}

/// How a client takes an answer.
#[derive(Debug)]
struct Taking {
    pace: Pace,
    /// Bytes that were handed out and that the client has not yet made room for.
    handed: Option<usize>,
}

/// The next frame of the answer is asked for: there was room for the last.
pub(crate) fn asked() {
    with(|taking| {
        if let Some(bytes) = taking.handed.take() {
            taking.pace.moved(bytes);
        }
    });
}

/// A frame of so many bytes is handed out.
pub(crate) fn handed(bytes: usize) {
    with(|taking| taking.handed = Some(bytes));
}

fn with(change: impl FnOnce(&mut Taking)) {
    TAKING.with_borrow_mut(|taking| {
        if let Some(taking) = taking {
            change(taking);
        }
    });
}

/// Spawns streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) rate: Option<MinimumRate>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        match self.rate {
            None => drop(tokio::spawn(stream)),
            Some(rate) => {
                let taking = Some(Taking { pace: Pace::new(Some(rate), rate.grace), handed: None });
                drop(tokio::spawn(Watched { stream, taking }));
            }
        }
    }
}

pin_project! {
    struct Watched<F> {
        #[pin]
        stream: F,
        taking: Option<Taking>,
    }
}

impl<F: Future> Future for Watched<F> {
    /// `None`: ended early. Dropping the stream resets it.
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outer = TAKING.replace(this.taking.take());
        let polled = this.stream.poll(cx);
        *this.taking = TAKING.replace(outer);
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Some(output));
        }
        if let Some(taking) = this.taking
            && taking.handed.is_some()
        {
            ready!(taking.pace.poll_lost(cx));
            tracing::debug!("a client takes too little of its answer");
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
