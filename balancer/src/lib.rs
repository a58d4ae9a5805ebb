//! The load balancer of Coracle: HTTP requests from listeners to healthy targets.
//!
//! It knows HTTP and nothing of WebAssembly: a [`Target`] is a trait, implemented here for servers over TCP and by the
//! supervisor for tasks in this process. Behaviour, words and defaults are those of an Application Load Balancer.
//!
//! The modules, in the order to read them:
//!
//! | module | what it holds |
//! | --- | --- |
//! | `target` | [`Target`], what a request can be sent to, and [`TargetError`], how that fails |
//! | `target_group` | [`TargetGroup`]: membership and states (control) and the snapshot that is picked from (requests) |
//! | `routing` | [`Routes`]: the rules of a listener and the actions they take |
//! | `health` | what a health check is configured to, its state machine, and the loop that probes |
//! | `balancer` | [`Balancer`]: owns the data-plane threads and the listeners |
//! | `listener`, `worker`, `connection` | a port; a thread that accepts from it; a client's connection on that thread |
//! | `proxy` | the way of one request: check (`rules`), rewrite (`headers`, `fields`), pick, call, answer (`answer`) |
//! | `inside` | the same for requests of this process itself |
//! | `retry` | the way of a request that may be sent more than once |
//! | `tls`, `acme`, `proxy_protocol` | certificates, and where they come from; who a connection is from, told by or to a proxy |
//! | `layer4` | connections that are passed on as they are |
//! | `limits`, `pace` | what clients may ask for, and how slowly |
//! | `access_log`, `metrics`, `trace` | what can be seen of requests (`attached` to answers) |
//! | `outgoing` | requests of the balancer's own |
//! | `upgrade` | connections that are switched to another protocol, and spliced |
//! | `tcp_target` | [`TcpTarget`]: HTTP over TCP, with a pool per thread |
//! | `body`, `trailers`, `drain` | a message's body; what may stand behind it; telling tasks to finish |
//! | `coracle_stripe` | state that each thread has to itself |
//! | `coalesce` | small messages leave in one buffer |
//! | `turns`, `cookies`, `config_error` | weighted turns; stickiness; the one form of error for what is configured |
//!
//! On its way a request takes no lock and writes, but for the turn of the round robin, to no cache line that another core
//! writes to: threads have their own sockets, connections, pools and counters, and read the rest from snapshots.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use coracle_balancer::{
//!     Balancer, BalancerConfig, Body, ListenerConfig, RegisterOptions, Target, TargetError, TargetGroup,
//!     TargetGroupConfig, TargetState,
//! };
//! use futures_util::FutureExt;
//! use futures_util::future::BoxFuture;
//! use http::{Request, Response};
//!
//! struct Hello;
//!
//! impl Target for Hello {
//!     fn call(&self, _request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
//!         async { Ok(Response::new(Body::full("hello, world"))) }.boxed()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let group = TargetGroup::new(TargetGroupConfig::new("hello"));
//! group.register("task-1", Arc::new(Hello), RegisterOptions::new(TargetState::Healthy));
//!
//! let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() })?;
//! let address = "127.0.0.1:0".parse()?;
//! let listener = balancer.listen(ListenerConfig::new("web", address), group)?;
//! println!("Serving on http://{}", listener.local_addr());
//!
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # let mut client = tokio::net::TcpStream::connect(listener.local_addr()).await?;
//! # client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
//! # let mut answer = String::new();
//! # client.read_to_string(&mut answer).await?;
//! # assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello, world"), "{answer}");
//! balancer.shutdown(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```

mod access_log;
mod acme;
mod answer;
mod attached;
mod balancer;
mod body;
mod coalesce;
mod config_error;
mod connection;
mod cookies;
mod drain;
mod fields;
mod headers;
mod health;
mod inside;
mod layer4;
mod limits;
mod listener;
mod metrics;
mod outgoing;
mod pace;
mod proxy;
mod proxy_protocol;
mod retry;
mod routing;
mod rules;
mod target;
mod target_group;
mod tcp_target;
mod tls;
mod trace;
mod trailers;
mod turns;
mod upgrade;
mod worker;

use coracle_stripe as stripe;

pub use access_log::{AccessLog, AccessLogFormat};
pub use acme::{Acme, AcmeConfig, CertificateNames, LETS_ENCRYPT};
pub use balancer::{Balancer, BalancerConfig, BalancerError, Timeouts, WorkerHook};
pub use body::Body;
pub use config_error::ConfigError;
pub use headers::HeaderPolicy;
pub use health::{GrpcMatcher, HealthCheckConfig, HealthCheckPort, HealthCheckProtocol, Matcher};
pub use limits::{Limits, Rate};
pub use listener::{Listener, ListenerConfig, ListenerProtocol};
pub use metrics::prometheus;
pub use pace::{MinimumRate, TransferRates};
pub use proxy_protocol::ProxyProtocol;
pub use routing::{Action, Condition, FixedResponse, Forward, Redirect, Routes, Rule};
pub use target::{Target, TargetError, TargetId};
pub use target_group::{
    AlgorithmType, CustomHealth, DEFAULT_DEREGISTRATION_DELAY, HoldPolicy, LatencyHistogram, MinimumHealthy,
    OutlierDetection, RegisterOptions, RetryPolicy, Stickiness, TargetCounters, TargetDescription,
    TargetGroup, TargetGroupAttributes, TargetGroupConfig, TargetMeter, TargetState,
};
pub use tcp_target::{ProtocolVersion, TcpTarget, TcpTargetConfig};
pub use tls::{Certificate, CertificateError, Certificates};
pub use trace::{Tracer, TracingConfig};

/// Any error, of a body or of whatever is behind a target.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
