//! The balancer as its clients and its targets see it: real sockets in front, in-process or raw TCP targets behind.

mod cancellation;
mod drain;
mod failures;
mod forwarding;
mod health;
mod protocols;
mod routing;
mod smuggling;
mod support;
