//! Preview 1 modules that answer HTTP requests the CGI way, as RFC 3875 has it.
//!
//! Preview 1 has no sockets, so a module that is given a port cannot mean to listen on one. Each request runs it once, in an
//! instance of its own: what the request is, is in its environment, the body on its standard input, and it answers on its standard output,
//! header fields first. Standard error goes to the log. How often it runs at once, for how long, and on what account is the
//! [handler's](crate::handler) business, as for every other guest that answers requests.
//!
//! - `variables`: the request as meta-variables.
//! - `header`: the header fields of an answer.
//! - `output`: standard output, which is a header and then a body.

mod header;
mod output;
mod variables;

use crate::container::Meters;
use crate::crash::with_core_dump;
use crate::handler::Answer;
use crate::image::Image;
use crate::metering::Gauge;
use crate::state::Template;
use coracle_runtime_host::limits;
use coracle_runtime_host::state::ModuleState;
use http::Request;
use output::{Ended, Output};
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncRead;
use wasmtime::{InstancePre, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::InputStream;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p2::body::{HostIncomingBody, HostIncomingBodyStream};

/// A module's standard input is the request's body, and must be read by one.
struct Input(Mutex<Option<HostIncomingBodyStream>>);

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty()) // for preview 3, which no module is
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(stream) => Box::new(stream),
            None => Box::new(ClosedInputStream),
        }
    }
}

/// Runs the module for one request. The answer's head is sent when its header is complete; the future ends with the module.
pub(crate) async fn answer(
    image: &Image,
    pre: &InstancePre<ModuleState>,
    template: &Template,
    request: Request<WasiBody>,
    answer: Answer,
) -> wasmtime::Result<()> {
    let (head, body) = request.into_parts();
    let variables = variables::of(&head, &body);
    let input = Input(Mutex::new(HostIncomingBody::new(body).take_stream()));
    let Answer { response, read } = answer;
    let (output, ended) = Output::new(response);
    let mut store = Metered::new(image, template, template.cgi_state(&variables, input, output))?;
    let ran = run(&mut store.store, pre).await;
    let ran = ran.map_err(|error| with_core_dump(error, &mut store.store, template.spec().dumps()));
    // Before the store and the writer in it: who reads the body must see that it did not end by itself if this failed.
    drop(read);
    ran?;
    match ended.get() {
        Ended::InBody => Ok(()),
        Ended::InHeader => wasmtime::bail!("it ended before its header did"),
        Ended::Refused(why) => wasmtime::bail!("its header is none: {why}"),
    }
}

async fn run(store: &mut Store<ModuleState>, pre: &InstancePre<ModuleState>) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    match start.call_async(store, ()).await {
        Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => Ok(()),
        ended => ended,
    }
}

/// A store whose fuel is recorded however its guest ends.
struct Metered<'a> {
    store: Store<ModuleState>,
    fuel: Gauge,
    meters: &'a Meters,
}

impl<'a> Metered<'a> {
    fn new(image: &Image, template: &'a Template, state: ModuleState) -> wasmtime::Result<Self> {
        let mut store = Store::new(image.program().engine(), state);
        store.limiter(|state| state.memory());
        limits::limit_module(&mut store);
        let fuel = image.metering().prepare(&mut store, template.spec().fuel)?;
        Ok(Self { store, fuel, meters: template.meters() })
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.meters.fuel.add(self.fuel.used(&self.store));
    }
}
