//! Instances of a handler: made, used, and used again where that is allowed.

use super::error::CallError;
use crate::cgi;
use crate::container::Meters;
use crate::crash::{Dumps, with_core_dump};
use crate::exit::ExitReason;
use crate::image::{Image, Program};
use crate::metering::Gauge;
use crate::state::Template;
use coracle_runtime_host::limits;
use coracle_runtime_host::state::ComponentState;
use coracle_stripe::Striped;
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::atomic::AtomicCell;
use http::uri::{Authority, Scheme};
use http::{Request, Response};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as P2Scheme;
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p2, p3};

/// The instances of one container.
pub(crate) struct Instances {
    image: Image,
    template: Template,
    /// The one that each thread used last, whose memory is still in the caches of that thread's core.
    warm: Striped<AtomicCell<Option<Box<Instance>>>>,
    /// The others that may answer another request. Empty where each request gets its own.
    idle: ArrayQueue<Box<Instance>>,
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Instances")
            .field("image", &self.image)
            .field("idle", &self.idle.len())
            .finish()
    }
}

/// One instance, its store and what it has used.
struct Instance {
    store: Store<ComponentState>,
    proxy: Proxy,
    requests: u32,
    fuel: Gauge,
    meters: Arc<Meters>,
}

enum Proxy {
    P2(p2::bindings::Proxy),
    P3(p3::bindings::Service),
}

/// Where the guest's answer goes, and how the guest learns that it was read.
pub(crate) struct Answer {
    pub(crate) response: oneshot::Sender<Response<WasiBody>>,
    /// Resolves when the response's body has been read to its end or dropped.
    pub(crate) read: oneshot::Receiver<()>,
}

impl Instances {
    pub(crate) fn new(image: Image, template: Template, concurrency: usize) -> Self {
        Self {
            image,
            template,
            warm: Striped::new(|| AtomicCell::new(None)),
            idle: ArrayQueue::new(concurrency),
        }
    }

    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    /// Drops those that wait for another request.
    pub(crate) fn clear(&self) {
        self.warm.iter().for_each(|warm| drop(warm.take()));
        while self.idle.pop().is_some() {}
    }

    /// Has an instance answer `request`. The future ends when the guest is done with the request, which may be after its
    /// answer has been read.
    pub(crate) async fn call(&self, request: Request<WasiBody>, answer: Answer) -> Result<(), CallError> {
        if let Program::CommandP1(pre) = self.image.program() {
            return cgi::answer(&self.image, pre, &self.template, request, answer)
                .await
                .map_err(|error| self.explain(&error));
        }
        let reuse = self.template.spec().instance_reuse;
        let again = if reuse > 1 { self.idle_instance() } else { None };
        let mut instance = match again {
            Some(instance) => instance,
            None => Box::new(self.instantiate().await.map_err(|error| self.explain(&error))?),
        };
        instance.refuel(self.template.spec().fuel).map_err(|error| self.explain(&error))?;
        let dumps = self.template.spec().dumps();
        instance.answer(request, answer, dumps).await.map_err(|error| self.explain(&error))?;
        instance.requests += 1;
        if instance.requests < reuse
            && let Some(before) = self.warm.here().swap(Some(instance))
        {
            // More than fit cannot be idle: the queue holds as many as may run at once.
            drop(self.idle.push(before));
        }
        Ok(())
    }

    /// One that may answer another request: this thread's, else one that lies around, else another thread's. A new one costs more than to
    /// take one from where it is warm; threads that are busy at once soon have one each.
    fn idle_instance(&self) -> Option<Box<Instance>> {
        let this_threads = self.warm.here().take();
        this_threads.or_else(|| self.idle.pop()).or_else(|| self.warm.iter().find_map(AtomicCell::take))
    }

    async fn instantiate(&self) -> wasmtime::Result<Instance> {
        let mut store = Store::new(self.image.program().engine(), self.template.component_state());
        store.limiter(|state| state.memory());
        limits::limit_component(&mut store);
        let fuel = self.image.metering().prepare(&mut store, self.template.spec().fuel)?;
        let proxy = match self.image.program() {
            Program::HandlerP2(pre) => Proxy::P2(pre.instantiate_async(&mut store).await?),
            Program::HandlerP3(pre) => Proxy::P3(pre.instantiate_async(&mut store).await?),
            Program::CommandP1(_) | Program::CommandP2(_) | Program::CommandP3(_) => {
                wasmtime::bail!("the image does not handle requests")
            }
        };
        Ok(Instance { store, proxy, requests: 0, fuel, meters: self.template.meters().clone() })
    }

    /// Says what ended a guest, and tells the caller what it means.
    fn explain(&self, error: &wasmtime::Error) -> CallError {
        let exit = self.template.failed(error);
        match exit.reason {
            ExitReason::OutOfMemory => CallError::OutOfMemory,
            ExitReason::OutOfFuel => CallError::OutOfFuel,
            ExitReason::Exited => CallError::NoAnswer(exit.message),
            _ => CallError::Trapped(exit.message),
        }
    }
}

impl Instance {
    fn refuel(&mut self, budget: Option<u64>) -> wasmtime::Result<()> {
        self.record_fuel();
        self.fuel.refill(&mut self.store, budget)
    }

    fn record_fuel(&mut self) {
        let used = self.fuel.used(&self.store);
        if used > 0 {
            self.meters.fuel.add(used);
        }
    }

    async fn answer(
        &mut self,
        request: Request<WasiBody>,
        answer: Answer,
        dumps: Dumps<'_>,
    ) -> wasmtime::Result<()> {
        self.store.data_mut().begin(&request);
        let answered = match &self.proxy {
            Proxy::P2(proxy) => answer_p2(&mut self.store, proxy, request, answer).await,
            Proxy::P3(proxy) => answer_p3(&mut self.store, proxy, request, answer).await,
        };
        answered.map_err(|error| {
            self.record_fuel();
            with_core_dump(error, &mut self.store, dumps)
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.record_fuel();
    }
}

/// Resolves when the request's body has been taken in.
type Transmitted = Pin<Box<dyn Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send>>;

async fn answer_p2(
    store: &mut Store<ComponentState>,
    proxy: &p2::bindings::Proxy,
    request: Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(P2Scheme::Http, request)?;
    let sender = answer.response;
    let outparam = http.new_response_outparam_from_callback(move |result| {
        // An error in place of an answer drops the sender, which says as much.
        if let Ok(response) = result {
            // Nobody may be there any more to take it.
            drop(sender.send(response));
        }
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, outparam).await
}

async fn answer_p3(
    store: &mut Store<ComponentState>,
    proxy: &p3::bindings::Service,
    request: Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let request = with_authority(request);
    let run = store.run_concurrent(async |accessor| -> wasmtime::Result<()> {
        let (request, transmitted) = accessor.with(|mut store| {
            let (request, transmitted) = p3::Request::from_http(store.data_mut().http().hooks, request);
            (request, Box::pin(transmitted) as Transmitted)
        });
        let response = match proxy.handle(accessor, request).await? {
            Ok(response) => response,
            Err(code) => wasmtime::bail!("the guest answered with the error {code:?}"),
        };
        let response = accessor.with(|store| response.into_http(store, transmitted))?;
        drop(answer.response.send(response));
        // The body is made by the guest's tasks, which run while this waits. Either end of the channel going away means
        // that nobody reads any more.
        drop(answer.read.await);
        std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
        Ok(())
    });
    run.await?
}

/// Puts the Host header into the request's URI, where preview 3 guests look for the authority.
fn with_authority(mut request: Request<WasiBody>) -> Request<WasiBody> {
    if request.uri().authority().is_none()
        && let Some(host) = request.headers().get(http::header::HOST)
        && let Ok(authority) = Authority::try_from(host.as_bytes())
    {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = Some(authority);
        parts.scheme = Some(Scheme::HTTP);
        // A URI with scheme and authority needs a path, which every request that has a Host has.
        *request.uri_mut() = http::Uri::from_parts(parts).unwrap_or_default();
    }
    request
}
