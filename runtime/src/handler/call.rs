//! One request's guest, polled where the request is until it needs more CPU than a moment.

use super::error::CallError;
use super::instance::Answer;
use super::{InFlight, Running};
use crate::cpu::executor::Meta;
use crate::cpu::{CpuAccount, ThreadTimer, monotonic_nanos};
use crate::exit::Exit;
use async_task::FallibleTask;
use http::{Request, Response};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use wasmtime_wasi_http::WasiBody;

/// CPU time that a request may use on the thread it arrived on. Ten times what a small handler needs; more would make the
/// other connections of that thread wait.
const INLINE_CPU: Duration = Duration::from_micros(500);

/// How long a guest must wait to make one part of CPU time good. A stream that is fed now and then never leaves its
/// thread; a guest that only pauses where its slices end, beside busy neighbours, does.
const WAIT_PER_CPU: u32 = 32;

type GuestFuture = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// A guest at work on a request.
pub(crate) struct Call {
    running: Running,
    guest: Guest,
    /// CPU time used here, less what waiting makes good.
    used: Duration,
    /// When the guest was last polled here, if it was.
    polled_at: Option<u64>,
    /// Waits until the account's debt is paid.
    throttle: Option<Pin<Box<Sleep>>>,
    interrupts: Option<Box<Interrupts>>,
    deadline: Option<Instant>,
    /// `None` when the guest's end of it is gone.
    response: Option<oneshot::Receiver<Response<WasiBody>>>,
    pub(crate) read: Option<oneshot::Sender<()>>,
}

enum Guest {
    Here(GuestFuture),
    OnGuestThreads(FallibleTask<Result<(), CallError>, Meta>),
    /// Ended or taken away.
    Done,
}

/// What may end a call that waits. Made when it first does: most never wait.
struct Interrupts {
    timeout: Option<Pin<Box<Sleep>>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Call {
    pub(crate) fn new(running: Running, request: Request<WasiBody>, deadline: Instant) -> Self {
        let (response_sender, response) = oneshot::channel();
        let (read, read_receiver) = oneshot::channel();
        let answer = Answer { response: response_sender, read: read_receiver };
        let lane = running.0.clone();
        let guest = Guest::Here(Box::pin(async move { lane.shared.instances.call(request, answer).await }));
        Self {
            running,
            guest,
            used: Duration::ZERO,
            polled_at: None,
            throttle: None,
            interrupts: None,
            deadline: Some(deadline),
            response: Some(response),
            read: Some(read),
        }
    }

    /// The guest has answered: from now on how long it takes is its reader's business.
    pub(crate) fn answered(&mut self) {
        self.deadline = None;
        if let Some(interrupts) = &mut self.interrupts {
            interrupts.timeout = None;
        }
    }

    /// The guest's answer; `None` when it can give none any more.
    pub(crate) fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Response<WasiBody>>> {
        let Some(receiver) = &mut self.response else { return Poll::Ready(None) };
        let answer = ready!(Pin::new(receiver).poll(context));
        self.response = None;
        Poll::Ready(answer.ok())
    }

    /// The answer of a guest that has ended, if it gave one. Not by polling: tokio has a receiver wait that is polled too often in one turn of
    /// its task, as where many requests of one connection are answered at once.
    pub(crate) fn take_answer(&mut self) -> Option<Response<WasiBody>> {
        self.response.take()?.try_recv().ok()
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.guest, Guest::Done)
    }

    /// Runs the guest until it is done, waits, or has had its turn. Who then waits for it must ask
    /// [`poll_interrupts`](Self::poll_interrupts) too; a guest that has already given what it is asked for needs no timer.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let result = ready!(self.poll_guest(context));
        self.guest = Guest::Done;
        if matches!(result, Err(CallError::OutOfMemory)) {
            self.running.0.shared.life.end(Exit::out_of_memory());
        }
        Poll::Ready(result)
    }

    /// Ends the guest when its time is over or its container ends.
    pub(crate) fn poll_interrupts(&mut self, context: &mut Context<'_>) -> Poll<CallError> {
        let error = ready!(self.poll_timeout_and_end(context));
        self.guest = Guest::Done; // drops the guest, wherever it is
        Poll::Ready(error)
    }

    fn poll_guest(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match &mut self.guest {
            Guest::Here(future) => {
                let account = &self.running.0.meters().cpu;
                ready!(poll_throttle(&mut self.throttle, account, context));
                if let Some(polled_at) = self.polled_at {
                    let waited = Duration::from_nanos(monotonic_nanos().saturating_sub(polled_at));
                    self.used = self.used.saturating_sub(waited / WAIT_PER_CPU);
                }
                self.running.0.shared.executor.ticker().guest_runs();
                let meter = Meter::start(account);
                let poll = future.as_mut().poll(context);
                let used = meter.elapsed();
                account.accrue(used);
                if poll.is_pending() {
                    self.used += used;
                    if self.used > INLINE_CPU {
                        return self.hand_over(context);
                    }
                    self.polled_at = Some(monotonic_nanos());
                }
                poll
            }
            Guest::OnGuestThreads(task) => {
                Pin::new(task).poll(context).map(|result| result.unwrap_or(Err(CallError::Ended)))
            }
            Guest::Done => Poll::Ready(Ok(())),
        }
    }

    /// Goes on on the guest threads.
    fn hand_over(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let Guest::Here(future) = std::mem::replace(&mut self.guest, Guest::Done) else {
            return Poll::Pending;
        };
        let task = self.running.0.shared.executor.spawn(self.running.0.meters().cpu.clone(), future);
        self.guest = Guest::OnGuestThreads(task.fallible());
        self.poll_guest(context)
    }

    fn poll_timeout_and_end(&mut self, context: &mut Context<'_>) -> Poll<CallError> {
        let lane = &self.running.0;
        let deadline = self.deadline;
        let interrupts = self.interrupts.get_or_insert_with(|| {
            Box::new(Interrupts {
                timeout: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
                ended: Box::pin(lane.shared.life.token().clone().cancelled_owned()),
            })
        });
        if interrupts.ended.as_mut().poll(context).is_ready() {
            let out_of_memory = lane.meters().memory.exceeded();
            return Poll::Ready(if out_of_memory { CallError::OutOfMemory } else { CallError::Ended });
        }
        if let Some(timeout) = &mut interrupts.timeout {
            ready!(timeout.as_mut().poll(context));
            return Poll::Ready(CallError::TimedOut);
        }
        Poll::Pending
    }

    /// Lets the guest finish what it does after its answer, on the guest threads and for as long as a request may take.
    pub(crate) fn detach(mut self, in_flight: InFlight) {
        let executor = self.running.0.shared.executor.clone();
        let account = self.running.0.meters().cpu.clone();
        let deadline = Instant::now() + self.running.0.spec().request_timeout;
        self.deadline = Some(deadline);
        self.interrupts = None;
        let rest = async move {
            let _in_flight = in_flight;
            // What it would say went to the log; nobody waits for it.
            let ended = std::future::poll_fn(|context| match self.poll(context) {
                Poll::Pending => self.poll_interrupts(context).map(Err),
                ended => ended,
            });
            drop(ended.await);
        };
        executor.spawn(account, rest).detach();
    }
}

/// Measures one poll. A quota is held to the thread's CPU clock; where there is none to hold, the wall clock will do for the
/// statistics: it costs a tenth (no system call), and a poll lasts some tens of microseconds.
enum Meter {
    Cpu(ThreadTimer),
    Wall(u64),
}

impl Meter {
    fn start(account: &CpuAccount) -> Self {
        if account.has_quota() { Self::Cpu(ThreadTimer::start()) } else { Self::Wall(monotonic_nanos()) }
    }

    fn elapsed(self) -> Duration {
        match self {
            Self::Cpu(timer) => timer.elapsed(),
            Self::Wall(start) => Duration::from_nanos(monotonic_nanos().saturating_sub(start)),
        }
    }
}

/// Waits while the account is in debt.
fn poll_throttle(
    throttle: &mut Option<Pin<Box<Sleep>>>,
    account: &CpuAccount,
    context: &mut Context<'_>,
) -> Poll<()> {
    if !account.has_quota() {
        return Poll::Ready(());
    }
    loop {
        if let Some(sleep) = throttle {
            ready!(sleep.as_mut().poll(context));
            *throttle = None;
        }
        let Some(debt) = account.debt() else { return Poll::Ready(()) };
        account.record_throttled(debt);
        *throttle = Some(Box::pin(tokio::time::sleep(debt)));
    }
}
