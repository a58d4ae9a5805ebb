//! Handlers: guests that answer HTTP requests in process.
//!
//! A request's guest is a future (`call`) that lives where the request does. While the guest has not answered, waiting
//! for the answer polls it; afterwards the response's body does, as it is read. So nothing is spawned or sent between threads
//! for a quick request, a slow reader slows the guest down, and a client that goes away drops the guest with the body. A
//! guest that turns out to need the CPU for longer is handed over to the guest threads and only watched from here.

mod body;
mod call;
mod error;
mod gate;
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
use bytes::Bytes;
use call::Call;
use coracle_stripe::Striped;
use gate::Gate;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use instance::Instances;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmtime_wasi_http::Error as WasiHttpError;

/// A running handler.
#[derive(Debug)]
pub(crate) struct Handler {
    lanes: Striped<Arc<Lane>>,
}

/// A thread's way into a handler. What each request writes (counts of references and of requests) is
/// here, so that threads that serve the same handler do not take each other's cache lines away.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<HandlerShared>,
    in_flight: AtomicUsize,
}

/// What all lanes share, and only read while requests flow.
#[derive(Debug)]
pub(crate) struct HandlerShared {
    instances: Instances,
    executor: Executor,
    life: Arc<Life>,
    /// One place an instance that may run at once.
    gate: Gate,
    /// Told each time a request ends while stopping.
    ended: Notify,
    stopping: AtomicBool,
}

/// A request that has not ended.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Lane>);

/// A request's place among those that run.
#[derive(Debug)]
struct Running(Arc<Lane>);

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
        let shared = Arc::new(HandlerShared {
            instances: Instances::new(image.clone(), template, concurrency),
            executor: runtime.executor.clone(),
            life,
            gate: Gate::new(concurrency),
            ended: Notify::new(),
            stopping: AtomicBool::new(false),
        });
        let lane = || Lane { shared: shared.clone(), in_flight: AtomicUsize::new(0) };
        Ok(Self { lanes: Striped::new(|| Arc::new(lane())) })
    }

    /// The future keeps what it needs of the handler.
    pub(crate) fn handle<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<GuestBody>, HandleError<B>>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let in_flight = InFlight::enter(self.lanes.here());
        async move {
            let lane = &in_flight.0;
            let deadline = Instant::now() + lane.spec().request_timeout;
            // After entering: a stop either sees this request in flight, or this sees the stop.
            if lane.shared.stopping.load(Ordering::SeqCst) || lane.shared.has_ended() {
                return Err(HandleError::Stopped(Box::new(request)));
            }
            if !lane.shared.gate.try_enter() && !lane.wait_for_turn(deadline).await {
                let request = Box::new(request);
                let ended = lane.shared.has_ended();
                return Err(if ended {
                    HandleError::Stopped(request)
                } else {
                    HandleError::Overloaded(request)
                });
            }
            let running = Running(lane.clone());
            lane.meters().requests.add(1);
            let request = request.map(|body| body.map_err(to_wasi_error).boxed_unsync());
            let call = Call::new(running, request, deadline);
            body::respond(call, in_flight).await.map_err(HandleError::after_reaching)
        }
    }

    /// Refuses new requests, lets those in flight finish for up to `grace`, and ends.
    pub(crate) async fn stop(&self, grace: Duration) {
        let shared = self.shared();
        shared.stopping.store(true, Ordering::SeqCst);
        let drained = async {
            loop {
                let ended = shared.ended.notified();
                if self.lanes.iter().all(|lane| lane.in_flight.load(Ordering::SeqCst) == 0) {
                    return;
                }
                ended.await;
            }
        };
        let exit = tokio::select! {
            _ = shared.life.ended() => return,
            drained = tokio::time::timeout(grace, drained) => match drained {
                Ok(()) => Exit::stopped(true),
                Err(_) => Exit::killed(),
            },
        };
        shared.life.end(exit);
        shared.instances.clear();
    }

    fn shared(&self) -> &HandlerShared {
        &self.lanes.here().shared
    }
}

impl HandlerShared {
    /// Whether the container has ended, or will because a guest was refused memory: while that one is unwound and its crash is written down, a
    /// request that came would be lost with it. Those that are there already may finish meanwhile.
    fn has_ended(&self) -> bool {
        let over_its_limit = self.instances.template().meters().memory.overrun();
        if over_its_limit && self.gate.is_idle() {
            // Its client went away, and it with its client: there is nobody else who would end the container.
            self.life.end(Exit::out_of_memory());
        }
        over_its_limit || self.life.has_ended()
    }
}

impl Lane {
    fn spec(&self) -> &ContainerSpec {
        self.shared.instances.template().spec()
    }

    fn meters(&self) -> &Arc<Meters> {
        self.shared.instances.template().meters()
    }

    /// Waits its turn, unless too many do already; false when there is no room, no time or no container left.
    async fn wait_for_turn(&self, deadline: Instant) -> bool {
        tokio::select! {
            () = self.shared.life.token().cancelled() => false,
            entered = tokio::time::timeout_at(deadline, self.shared.gate.enter()) => entered.unwrap_or(false),
        }
    }
}

impl InFlight {
    fn enter(lane: &Arc<Lane>) -> Self {
        lane.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(lane.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.0.shared.stopping.load(Ordering::SeqCst) {
            self.0.shared.ended.notify_waiters();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shared.gate.leave();
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
