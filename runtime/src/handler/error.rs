//! Why a request got no answer from a guest.

use http::Request;

/// A request got no answer. Where the guest never saw it, it comes back and can be tried elsewhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError<B> {
    /// The container has ended or is about to.
    #[error("the container is stopped")]
    Stopped(Box<Request<B>>),
    /// As many requests as may run and as may wait are there already.
    #[error("the container has as many requests as it may have")]
    Overloaded(Box<Request<B>>),
    /// The container runs a command.
    #[error("the container's image does not handle requests")]
    NotAHandler(Box<Request<B>>),
    /// The guest trapped before it answered. The backtrace is in its log.
    #[error("the guest trapped: {0}")]
    Trapped(String),
    /// The guest's memory grew past the limit, which ended the container.
    #[error("the guest ran out of memory")]
    OutOfMemory,
    /// The guest used up the fuel budget of one request.
    #[error("the guest ran out of fuel")]
    OutOfFuel,
    /// The guest did not answer within the request timeout.
    #[error("the guest did not answer in time")]
    TimedOut,
    /// The guest returned without an answer, or with an error in place of one.
    #[error("the guest gave no answer: {0}")]
    NoAnswer(String),
    /// The container ended while the guest worked on the request.
    #[error("the container ended before the guest answered")]
    Ended,
}

/// Why a guest that was given a request did not finish with it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the guest trapped: {0}")]
    Trapped(String),
    #[error("the guest ran out of memory")]
    OutOfMemory,
    #[error("the guest ran out of fuel")]
    OutOfFuel,
    #[error("the guest did not answer in time")]
    TimedOut,
    #[error("the guest gave no answer: {0}")]
    NoAnswer(String),
    #[error("the container ended")]
    Ended,
}

impl<B> HandleError<B> {
    pub(crate) fn after_reaching(error: CallError) -> Self {
        match error {
            CallError::Trapped(message) => Self::Trapped(message),
            CallError::OutOfMemory => Self::OutOfMemory,
            CallError::OutOfFuel => Self::OutOfFuel,
            CallError::TimedOut => Self::TimedOut,
            CallError::NoAnswer(message) => Self::NoAnswer(message),
            CallError::Ended => Self::Ended,
        }
    }
}
