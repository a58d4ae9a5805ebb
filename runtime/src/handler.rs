//! Handlers: guests that answer HTTP requests in process.
//!
//! A request's guest is a future (`call`) that lives where the request does. While the guest has not answered, waiting
//! for the answer polls it; afterwards the response's body does, as it is read. So nothing is spawned or sent between threads
//! for a quick request, a slow reader slows the guest down, and a client that goes away drops the guest with the body. A
//! guest that turns out to need the CPU for longer is handed over to the guest threads and only watched from here.

mod body;
mod call;
mod error;
mod instance;

pub use body::{GuestBody, GuestBodyError};
pub use error::HandleError;
pub(crate) use instance::Answer;

use crate::container::{ContainerSpec, Life, Meters, StartError};
use crate::cpu::executor::Executor;
use crate::engine::Shared;
use crate::exit::Exit;
use crate::image::Image;
use crate::state::Template;
use body::InFlight;
use bytes::Bytes;
use call::Call;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use instance::Instances;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use wasmtime_wasi_http::Error as WasiHttpError;

/// A running handler.
#[derive(Debug)]
pub(crate) struct Handler {
    shared: Arc<HandlerShared>,
}

/// What requests and their bodies share.
#[derive(Debug)]
pub(crate) struct HandlerShared {
    instances: Instances,
    executor: Executor,
    life: Arc<Life>,
    /// One permit an instance that may run at once.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    in_flight: AtomicUsize,
    /// Told each time the last request in flight ends while stopping.
    idle: Notify,
    stopping: AtomicBool,
}

impl Handler {
    pub(crate) fn start(
        runtime: &Arc<Shared>,
        image: &Image,
        spec: ContainerSpec,
        meters: Arc<Meters>,
        life: Arc<Life>,
    ) -> Result<Self, StartError> {
        let concurrency = concurrency(&spec, meters.memory.limit(), image.minimum_memory());
        let template = Template::new(spec, meters)?;
        let shared = HandlerShared {
            instances: Instances::new(runtime.engine.clone(), image.clone(), template, concurrency),
            executor: runtime.executor.clone(),
            life,
            permits: Arc::new(Semaphore::new(concurrency)),
            waiting: AtomicUsize::new(0),
            max_waiting: concurrency,
            in_flight: AtomicUsize::new(0),
            idle: Notify::new(),
            stopping: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Result<Response<GuestBody>, HandleError<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.spec().request_timeout;
        let in_flight = InFlight::enter(shared);
        // After entering: a stop either sees this request in flight, or this sees the stop.
        if shared.stopping.load(Ordering::SeqCst) || shared.life.has_ended() {
            return Err(HandleError::Stopped(Box::new(request)));
        }
        let permit = match shared.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match shared.wait_for_permit(deadline).await {
                Some(permit) => permit,
                None if shared.life.has_ended() => return Err(HandleError::Stopped(Box::new(request))),
                None => return Err(HandleError::Overloaded(Box::new(request))),
            },
        };
        shared.meters().requests.fetch_add(1, Ordering::Relaxed);
        let request = request.map(|body| body.map_err(to_wasi_error).boxed_unsync());
        let call = Call::new(shared.clone(), request, permit, deadline);
        body::respond(call, in_flight).await.map_err(HandleError::after_reaching)
    }

    /// Refuses new requests, lets those in flight finish for up to `grace`, and ends.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let drained = async {
            loop {
                let idle = self.shared.idle.notified();
                if self.shared.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        let exit = tokio::select! {
            _ = self.shared.life.ended() => return,
            drained = tokio::time::timeout(grace, drained) => match drained {
                Ok(()) => Exit::stopped(true),
                Err(_) => Exit::killed(),
            },
        };
        self.shared.life.end(exit);
        self.shared.instances.clear();
    }
}

impl HandlerShared {
    fn spec(&self) -> &ContainerSpec {
        self.instances.template().spec()
    }

    fn meters(&self) -> &Arc<Meters> {
        self.instances.template().meters()
    }

    /// Waits its turn, unless too many do already; `None` when there is no room, no time or no container left.
    async fn wait_for_permit(&self, deadline: Instant) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let _place = Waiting::enter(self)?;
        tokio::select! {
            () = self.life.token().cancelled() => None,
            permit = tokio::time::timeout_at(deadline, self.permits.clone().acquire_owned()) => permit.ok()?.ok(),
        }
    }
}

/// A place in the queue for a permit.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(shared: &'a HandlerShared) -> Option<Self> {
        let place = Self(&shared.waiting);
        (shared.waiting.fetch_add(1, Ordering::Relaxed) < shared.max_waiting).then_some(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many instances may run at once: as many as wanted and as fit into the memory limit when none grows.
fn concurrency(spec: &ContainerSpec, limit: u64, minimum: u64) -> usize {
    let fitting = limit.checked_div(minimum).unwrap_or(u64::MAX);
    usize::try_from(fitting.min(u64::from(spec.max_concurrency)).max(1)).unwrap_or(usize::MAX)
}

fn to_wasi_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WasiHttpError {
    match error.into().downcast::<hyper::Error>() {
        Ok(error) => WasiHttpError::Hyper(*error),
        Err(error) => WasiHttpError::InternalError(Some(error.to_string())),
    }
}
