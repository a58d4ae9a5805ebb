//! A container: one running image, its life and its meters.

mod life;
mod spec;

pub(crate) use life::Life;
pub use spec::{ContainerSpec, DEFAULT_CONCURRENCY, Envelope, Output, Stdin};

use crate::command::Command;
use crate::cpu::CpuAccount;
use crate::cpu::executor::Executor;
use crate::engine::Shared;
use crate::exit::Exit;
use crate::handler::{GuestBody, HandleError, Handler};
use crate::image::{Abi, Image, ImageKind};
use crate::metering::Metering;
use bytes::Bytes;
use coracle_runtime_host::memory::MemoryAccount;
use coracle_stripe::Counter;
use futures_util::future::Either;
use http::{Request, Response};
use http_body::Body;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A container could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Not even one instance would fit.
    #[error("memory of {limit} bytes is below the image's minimum of {minimum} bytes")]
    MemoryBelowMinimum {
        /// The container's limit.
        limit: u64,
        /// What one instance starts with.
        minimum: u64,
    },
    /// There is a budget of fuel, and the image was loaded to yield by time.
    #[error("a fuel budget needs an image that was loaded to count fuel")]
    FuelNotCounted,
    /// A mounted directory cannot be opened.
    #[error("cannot mount {path}")]
    Mount {
        /// The directory on the host.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
}

/// A running container. A handle: clones are the same container. It goes on when all handles are gone; end it with
/// [`stop`](Self::stop).
#[derive(Clone, Debug)]
pub struct Container {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// A container keeps the threads it runs on.
    _executor: Executor,
    meters: Arc<Meters>,
    life: Arc<Life>,
    program: Running,
}

#[derive(Debug)]
enum Running {
    Handler(Handler),
    Command(Command),
}

/// What a container is charged for, shared by everything that works for it.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) cpu: Arc<CpuAccount>,
    pub(crate) memory: Arc<MemoryAccount>,
    pub(crate) fuel: Counter,
    pub(crate) requests: Counter,
    pub(crate) traps: AtomicU64,
}

/// What a container used, from its start until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time.
    pub cpu_time: Duration,
    /// Time that guests waited for CPU quota, summed over those that waited at once.
    pub throttled_time: Duration,
    /// Fuel, about one unit an instruction: of requests that are over, and of commands to the last time that they yielded. 0 where the image
    /// was loaded to yield by time.
    pub fuel: u64,
    /// Bytes of linear memory and tables in use now.
    pub memory: u64,
    /// The most bytes that were in use at once.
    pub memory_peak: u64,
    /// Requests that reached a guest.
    pub requests: u64,
    /// Guests that trapped.
    pub traps: u64,
}

impl Container {
    pub(crate) fn start(
        runtime: &Arc<Shared>,
        image: &Image,
        spec: ContainerSpec,
    ) -> Result<Self, StartError> {
        let meters = Arc::new(Meters {
            cpu: spec.cpu_account(),
            memory: spec.memory_account(),
            fuel: Counter::default(),
            requests: Counter::default(),
            traps: AtomicU64::new(0),
        });
        let (limit, minimum) = (meters.memory.limit(), image.minimum_memory());
        if limit < minimum {
            return Err(StartError::MemoryBelowMinimum { limit, minimum });
        }
        if spec.fuel.is_some() && image.metering() != Metering::Fuel {
            return Err(StartError::FuelNotCounted);
        }
        let life = Arc::new(Life::default());
        let kind = if spec.cgi && image.abi() == Abi::Preview1 { ImageKind::Handler } else { image.kind() };
        let program = match kind {
            ImageKind::Handler => {
                Running::Handler(Handler::start(runtime, image, spec, meters.clone(), life.clone())?)
            }
            ImageKind::Command => {
                Running::Command(Command::start(runtime, image, spec, meters.clone(), life.clone())?)
            }
        };
        Ok(Self { inner: Arc::new(Inner { _executor: runtime.executor.clone(), meters, life, program }) })
    }

    /// Has a handler answer a request. The guest runs on the calling task for as long as it is quick and is cancelled when
    /// the future, or the body it leads to, is dropped.
    ///
    /// # Errors
    /// [`HandleError`] says whether a guest saw the request; where none did, it gives the request back.
    pub fn handle<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<GuestBody>, HandleError<B>>> + Send + use<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.inner.program {
            Running::Handler(handler) => Either::Left(handler.handle(request)),
            Running::Command(_) => {
                Either::Right(std::future::ready(Err(HandleError::NotAHandler(Box::new(request)))))
            }
        }
    }

    /// Waits until the container has ended.
    pub async fn wait(&self) -> Exit {
        self.inner.life.ended().await
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.inner.life.exit()
    }

    /// Ends the container: gracefully if that takes no longer than `grace`, else by force. A handler takes no new requests
    /// and finishes those it has. A command is told by the end of its standard input where it has one, and ended at once, at the
    /// next point where it yields, unless [`ContainerSpec::ends_by_itself`] gives it the time.
    pub async fn stop(&self, grace: Duration) -> Exit {
        match &self.inner.program {
            Running::Handler(handler) => handler.stop(grace).await,
            Running::Command(command) => command.stop(grace).await,
        }
        self.wait().await
    }

    /// What it used until now.
    pub fn usage(&self) -> Usage {
        self.inner.meters.usage()
    }

    /// The tightest limit on its memory in bytes, its own or its task's, if there is one.
    pub fn memory_limit(&self) -> Option<u64> {
        self.inner.meters.memory_limit()
    }
}

impl Meters {
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            cpu_time: self.cpu.used(),
            throttled_time: self.cpu.throttled(),
            fuel: self.fuel.sum(),
            memory: self.memory.used(),
            memory_peak: self.memory.peak(),
            requests: self.requests.sum(),
            traps: self.traps.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn memory_limit(&self) -> Option<u64> {
        Some(self.memory.limit()).filter(|limit| *limit < u64::MAX)
    }
}
