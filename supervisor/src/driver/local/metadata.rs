//! The task metadata and agent endpoints: which task and container a request is of, and how it comes here.
//!
//! Each container has a secret of its own in its `ECS_CONTAINER_METADATA_URI_V4`: `http://169.254.170.2/v4/<secret>`, and in its `ECS_AGENT_URI`: `http://169.254.170.2/api/<secret>`. A request of `wasi:http` comes from its task
//! by nature, and is answered for that task's secrets alone. A connection says nothing of who made it ([`server`]): there the secret, which no other
//! task knows, is all there is, and enough.

mod server;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use coracle_runtime::network::metadata::{ADDRESS, Metadata, MetadataAnswer};
use futures_util::future::{BoxFuture, FutureExt};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::driver::{MetadataDocument, MetadataSource};

/// Where containers find it.
pub(super) const VARIABLE: &str = "ECS_CONTAINER_METADATA_URI_V4";
/// Where they find what they may tell of themselves.
pub(super) const AGENT_VARIABLE: &str = "ECS_AGENT_URI";
/// What a path begins with.
const VERSION: &str = "/v4/";
const AGENT: &str = "/api/";
/// A task's protection from scale-in, behind [`AGENT`] and a secret.
const PROTECTION: &str = "/task-protection/v1/state";
/// ECS: "By default ... the steady rate is 40 transactions per second, and the burst 60" of each task.
const RATE: f64 = 40.0;
const BURST: f64 = 60.0;

/// The endpoints of this host's tasks.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    inner: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    by_secret: RwLock<HashMap<String, Arc<TaskEndpoint>>>,
    /// Bound when a guest wants to connect for the first time; none where that did not work.
    listener: OnceLock<Option<SocketAddr>>,
}

/// One task's.
#[derive(Debug)]
pub(super) struct TaskEndpoint {
    /// The containers, by secret.
    containers: BTreeMap<String, String>,
    source: Arc<dyn MetadataSource>,
    rate: Mutex<Rate>,
    host: Arc<Shared>,
}

/// Requests that may still come, as a number that grows with time.
#[derive(Debug)]
struct Rate {
    left: f64,
    at: Instant,
}

/// A task's endpoint is there until this is dropped.
#[derive(Debug)]
pub(super) struct OpenEndpoint {
    endpoint: Arc<TaskEndpoint>,
}

impl Endpoints {
    /// Opens the endpoint of a task for these containers.
    pub(super) fn open<'a>(
        &self,
        containers: impl Iterator<Item = &'a str>,
        source: Arc<dyn MetadataSource>,
    ) -> OpenEndpoint {
        let secret = || format!("{:032x}", rand::random::<u128>());
        let endpoint = Arc::new(TaskEndpoint {
            containers: containers.map(|container| (secret(), container.to_owned())).collect(),
            source,
            rate: Mutex::new(Rate { left: BURST, at: Instant::now() }),
            host: Arc::clone(&self.inner),
        });
        let mut by_secret = self.inner.by_secret.write().unwrap_or_else(PoisonError::into_inner);
        for secret in endpoint.containers.keys() {
            by_secret.insert(secret.clone(), Arc::clone(&endpoint));
        }
        OpenEndpoint { endpoint: Arc::clone(&endpoint) }
    }
}

impl OpenEndpoint {
    /// What answers requests that come from the task itself.
    pub(super) fn metadata(&self) -> Arc<dyn Metadata> {
        Arc::clone(&self.endpoint) as Arc<dyn Metadata>
    }

    /// Where a container finds what is told about it.
    pub(super) fn uri(&self, container: &str) -> Option<String> {
        Some(format!("http://{}{VERSION}{}", ADDRESS.ip(), self.secret(container)?))
    }

    /// Where it says something of itself.
    pub(super) fn agent_uri(&self, container: &str) -> Option<String> {
        Some(format!("http://{}{AGENT}{}", ADDRESS.ip(), self.secret(container)?))
    }

    fn secret(&self, container: &str) -> Option<&str> {
        let (secret, _) = self.endpoint.containers.iter().find(|(_, of)| *of == container)?;
        Some(secret)
    }
}

impl Drop for OpenEndpoint {
    fn drop(&mut self) {
        let mut by_secret = self.endpoint.host.by_secret.write().unwrap_or_else(PoisonError::into_inner);
        for secret in self.endpoint.containers.keys() {
            by_secret.remove(secret);
        }
    }
}

impl Metadata for TaskEndpoint {
    fn answer(&self, path: &str, put: Option<Bytes>) -> BoxFuture<'static, MetadataAnswer> {
        let is_protection = takes(path) && secret_of(path).is_some_and(|of| self.containers.contains_key(of));
        let asked = self.asked(path);
        if asked.is_none() && !is_protection {
            return std::future::ready(not_found(path)).boxed();
        }
        if !self.is_within_rate() {
            return std::future::ready(too_many(is_protection)).boxed();
        }
        let Some((container, document)) = asked else {
            let answer = self.source.protection(put);
            return answer.map(|(status, answer)| MetadataAnswer { status, body: text(&answer) }).boxed();
        };
        let document = self.source.document(container, document);
        async move {
            match document.await {
                Some(document) => MetadataAnswer { status: StatusCode::OK, body: text(&document) },
                None => failure(StatusCode::NOT_FOUND, "task metadata: the container does not run"),
            }
        }
        .boxed()
    }

    fn takes(&self, path: &str) -> bool {
        takes(path)
    }

    fn listener(&self) -> Option<SocketAddr> {
        *self.host.listener.get_or_init(|| server::start(&self.host))
    }
}

impl TaskEndpoint {
    /// The container and the document that a path names, if they are this task's.
    fn asked(&self, path: &str) -> Option<(&str, MetadataDocument)> {
        let (secret, rest) = split(path, VERSION)?;
        let container = self.containers.get(secret)?;
        let document = match rest.strip_suffix('/').unwrap_or(rest) {
            "" => MetadataDocument::Container,
            "/task" => MetadataDocument::Task,
            "/taskWithTags" => MetadataDocument::TaskWithTags,
            "/stats" => MetadataDocument::Stats,
            "/task/stats" => MetadataDocument::TaskStats,
            _ => return None,
        };
        Some((container, document))
    }

    fn is_within_rate(&self) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        rate.left = (rate.left + RATE * (now - rate.at).as_secs_f64()).min(BURST);
        rate.at = now;
        let is_within = rate.left >= 1.0;
        if is_within {
            rate.left -= 1.0;
        }
        is_within
    }
}

impl Shared {
    /// The answer to a request of which nothing tells whose it is but its path.
    async fn answer(&self, path: &str, put: Option<Bytes>) -> MetadataAnswer {
        let endpoint = secret_of(path).and_then(|secret| {
            self.by_secret.read().unwrap_or_else(PoisonError::into_inner).get(secret).cloned()
        });
        match endpoint {
            Some(endpoint) => endpoint.answer(path, put).await,
            None => not_found(path),
        }
    }
}

/// Secret and rest of a path that begins so.
fn split<'a>(path: &'a str, beginning: &str) -> Option<(&'a str, &'a str)> {
    let path = path.strip_prefix(beginning)?;
    Some(path.split_at(path.find('/').unwrap_or(path.len())))
}

fn secret_of(path: &str) -> Option<&str> {
    split(path, VERSION).or_else(|| split(path, AGENT)).map(|(secret, _)| secret)
}

/// Whether a task can say something at this path.
fn takes(path: &str) -> bool {
    split(path, AGENT).is_some_and(|(_, rest)| rest == PROTECTION)
}

fn too_many(is_protection: bool) -> MetadataAnswer {
    let status = StatusCode::TOO_MANY_REQUESTS;
    if is_protection {
        let error = json!({ "Code": "ThrottlingException", "Message": "Rate exceeded" });
        return MetadataAnswer { status, body: text(&json!({ "error": error })) };
    }
    failure(status, "task metadata: too many requests")
}

fn not_found(path: &str) -> MetadataAnswer {
    // Not whether there is a task of that secret.
    let shown: String = path.chars().take(64).collect();
    failure(StatusCode::NOT_FOUND, &format!("task metadata: nothing is at {shown}"))
}

/// AWS answers errors as a JSON string.
fn failure(status: StatusCode, message: &str) -> MetadataAnswer {
    MetadataAnswer { status, body: text(&json!(message)) }
}

fn text(document: &Value) -> Bytes {
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers who was asked for.
    #[derive(Debug)]
    struct Of(&'static str);

    impl MetadataSource for Of {
        fn document(&self, container: &str, document: MetadataDocument) -> BoxFuture<'static, Option<Value>> {
            let answer = json!(format!("{} {container} {document:?}", self.0));
            async move { Some(answer) }.boxed()
        }

        fn protection(&self, put: Option<Bytes>) -> BoxFuture<'static, (StatusCode, Value)> {
            let put = put.map(|put| String::from_utf8_lossy(&put).into_owned());
            let answer = json!(format!("{} {put:?}", self.0));
            async move { (StatusCode::OK, answer) }.boxed()
        }
    }

    fn path(endpoint: &OpenEndpoint, container: &str, rest: &str) -> String {
        let uri = endpoint.uri(container).unwrap();
        format!("{}{rest}", uri.strip_prefix("http://169.254.170.2").unwrap())
    }

    async fn ask(endpoint: &OpenEndpoint, path: &str) -> (u16, String) {
        say(endpoint, path, None).await
    }

    async fn say(endpoint: &OpenEndpoint, path: &str, put: Option<&'static str>) -> (u16, String) {
        let answer = endpoint.metadata().answer(path, put.map(Bytes::from)).await;
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_is_answered_for_its_own_containers_and_never_for_anothers() {
        let endpoints = Endpoints::default();
        let one = endpoints.open(["app", "side"].into_iter(), Arc::new(Of("one")));
        let other = endpoints.open(["app"].into_iter(), Arc::new(Of("other")));
        for (rest, document) in [
            ("", "Container"),
            ("/", "Container"),
            ("/task", "Task"),
            ("/taskWithTags", "TaskWithTags"),
            ("/stats", "Stats"),
            ("/task/stats", "TaskStats"),
        ] {
            let answer = ask(&one, &path(&one, "side", rest)).await;
            assert_eq!(answer, (200, format!("\"one side {document}\"")), "{rest}");
        }
        let foreign = path(&other, "app", "/task");
        assert_eq!(ask(&one, &foreign).await.0, 404, "it has the other's secret, but is not the other");
        assert_eq!(ask(&other, &foreign).await.0, 200);
        for wrong in ["/", "/v4/", "/v4/00", "/v3/x", "", "/v4/../task"] {
            assert_eq!(ask(&one, wrong).await.0, 404, "{wrong}");
        }
        assert_eq!(ask(&one, &path(&one, "app", "/secrets")).await.0, 404);
        assert!(one.uri("other").is_none());

        // By a connection, where the secret is all that is known.
        let shared = Arc::clone(&endpoints.inner);
        assert_eq!(shared.answer(&foreign, None).await.status, StatusCode::OK);
        drop(other);
        assert_eq!(shared.answer(&foreign, None).await.status, StatusCode::NOT_FOUND, "the task is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_says_something_of_itself_alone() {
        let endpoints = Endpoints::default();
        let one = endpoints.open(["app"].into_iter(), Arc::new(Of("one")));
        let other = endpoints.open(["app"].into_iter(), Arc::new(Of("other")));
        let path = |of: &OpenEndpoint, rest: &str| {
            format!("{}{rest}", of.agent_uri("app").unwrap().strip_prefix("http://169.254.170.2").unwrap())
        };
        let state = path(&one, PROTECTION);
        assert!(one.metadata().takes(&state) && !one.metadata().takes(&path(&one, "")));
        assert_eq!(ask(&one, &state).await, (200, "\"one None\"".to_owned()));
        assert_eq!(say(&one, &state, Some("yes")).await, (200, r#""one Some(\"yes\")""#.to_owned()));
        assert_eq!(say(&one, &path(&other, PROTECTION), Some("no")).await.0, 404);
        for wrong in ["", "/", "/task", "/task-protection/v1", "/task-protection/v1/state/"] {
            assert_eq!(ask(&one, &path(&one, wrong)).await.0, 404, "{wrong}");
        }
        // By a connection.
        let shared = Arc::clone(&endpoints.inner);
        let answer = shared.answer(&state, Some(Bytes::from("yes"))).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, Bytes::from(r#""one Some(\"yes\")""#)));
        while ask(&one, &state).await.0 == 200 {}
        let (status, throttled) = ask(&one, &state).await;
        assert!(status == 429 && throttled.contains("ThrottlingException"), "{throttled}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_asks_without_end_is_refused_at_ecss_rate() {
        let endpoints = Endpoints::default();
        let one = endpoints.open(["app"].into_iter(), Arc::new(Of("one")));
        let path = path(&one, "app", "/stats");
        let mut answered = 0;
        for _ in 0..200 {
            answered += u32::from(ask(&one, &path).await.0 == 200);
        }
        assert_eq!(answered, 60);
        assert_eq!(ask(&one, &path).await.0, 429);
        tokio::time::advance(std::time::Duration::from_millis(51)).await;
        assert_eq!(ask(&one, &path).await.0, 200);
    }
}
