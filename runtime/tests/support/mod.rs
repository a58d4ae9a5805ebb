//! What the tests with real guests share. (A `mod.rs` so that cargo does not take it for a test of its own.)

use bytes::Bytes;
use coracle_runtime::{
    Container, ContainerSpec, GuestBody, HandleError, Image, Metering, Output, RingLog, Runtime,
    RuntimeConfig,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything here takes on a slow machine: a test that reaches it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) type Answer = Result<Response<GuestBody>, HandleError<Full<Bytes>>>;

/// A runtime with one guest thread and a log to read.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) log: Arc<RingLog>,
}

impl Host {
    pub(crate) fn new() -> Self {
        let config = RuntimeConfig { guest_threads: Some(1), ..RuntimeConfig::default() };
        Self { runtime: Runtime::new(config).unwrap(), log: Arc::new(RingLog::new(10_000, 1 << 20)) }
    }

    pub(crate) fn image(&self, guest: &str) -> Image {
        self.metered_image(guest, Metering::default())
    }

    pub(crate) fn metered_image(&self, guest: &str, metering: Metering) -> Image {
        self.runtime.load_file_metered(&guests().join(format!("{guest}.wasm")), metering).unwrap()
    }

    pub(crate) async fn start(&self, guest: &str, spec: ContainerSpec) -> Container {
        let spec = ContainerSpec { output: Output::Log(self.log.clone()), ..spec };
        let image = self.metered_image(guest, Metering::for_budget(spec.fuel));
        self.runtime.start(&image, spec).await.unwrap()
    }

    pub(crate) fn log_text(&self) -> String {
        self.log.since(0).into_iter().map(|(_, line)| line.message + "\n").collect()
    }
}

/// Where `scripts/guests.sh` puts the guests: `guests` in the target directory, or `CORACLE_GUESTS`.
pub(crate) fn guests() -> PathBuf {
    if let Some(directory) = std::env::var_os("CORACLE_GUESTS") {
        return directory.into();
    }
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let directory = test.ancestors().nth(3).unwrap().join("guests");
    assert!(directory.is_dir(), "no guests in {}: run scripts/guests.sh first", directory.display());
    directory
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "test").body(Full::default()).unwrap()
}

/// Asks for `path` and gives the answer's head and the stream of its body, within the deadline.
pub(crate) async fn ask(container: &Container, path: &str) -> Answer {
    tokio::time::timeout(DEADLINE, container.handle(get(path))).await.expect("an answer or an error")
}

/// Asks for `path` and reads the whole answer.
pub(crate) async fn text(container: &Container, path: &str) -> String {
    let response = ask(container, path).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    read(response).await
}

pub(crate) async fn read(response: Response<GuestBody>) -> String {
    let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await.expect("the body ends");
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}
