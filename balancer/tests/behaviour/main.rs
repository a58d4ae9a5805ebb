//! The balancer as its clients and its targets see it: real sockets in front, in-process or raw TCP targets behind.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

mod acme;
mod cancellation;
mod drain;
mod failures;
mod floods;
mod forwarding;
mod frames;
mod framing;
mod health;
mod http2_targets;
mod inside;
mod insight;
mod layer4;
mod limits;
mod parking;
mod protocols;
mod retries;
mod routing;
mod rules;
mod slow_clients;
mod smuggling;
mod support;
mod tls;
mod tracing;
mod trailers;
mod under_load;
mod upgrades;
