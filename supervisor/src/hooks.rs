//! Life-cycle hooks of deployments: what is asked whether a deployment may go on. ECS calls Lambda functions; here a URL is called.

mod http;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

pub use self::http::HttpHooks;

/// Calls hooks.
#[async_trait]
pub trait HookCaller: std::fmt::Debug + Send + Sync + 'static {
    /// Calls a hook once. The error says in a few words why there is no answer.
    async fn call(&self, url: &str, payload: &Value) -> Result<HookAnswer, String>;
}

/// What a hook says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookAnswer {
    /// The deployment may go on.
    Succeeded,
    /// It is to go back.
    Failed,
    /// Not known yet.
    InProgress {
        /// When to ask again.
        again_in: Duration,
    },
}
