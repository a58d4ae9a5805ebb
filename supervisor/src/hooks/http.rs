//! Hooks called with HTTP: a POST with the JSON that ECS gives a Lambda function, answered with the JSON that it expects of one.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;

use super::{HookAnswer, HookCaller};

/// Longest wait for an answer. A hook that takes longer says IN_PROGRESS.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer, in bytes.
const MOST: usize = 64 * 1024;
/// ECS: `callBackDelay` is 30 seconds unless said.
const DEFAULT_DELAY: u64 = 30;
/// Seconds that an answer may ask for.
const DELAYS: RangeInclusive<u64> = 1..=3600;

/// Calls `http://` URLs.
#[derive(Debug)]
pub struct HttpHooks {
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    hook_status: Said,
    call_back_delay: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Said {
    Succeeded,
    Failed,
    InProgress,
}

impl Default for HttpHooks {
    fn default() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http() }
    }
}

#[async_trait]
impl HookCaller for HttpHooks {
    async fn call(&self, url: &str, payload: &Value) -> Result<HookAnswer, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(payload.to_string()))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            if !status.is_success() {
                return Err(format!("it answered {status}"));
            }
            let body = Limited::new(response.into_body(), MOST).collect().await;
            Ok(body.map_err(|error| error.to_string())?.to_bytes())
        };
        let body = tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))??;
        understood(&body)
    }
}

fn understood(body: &[u8]) -> Result<HookAnswer, String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        format!("its answer is not {{\"hookStatus\": \"SUCCEEDED\", \"FAILED\" or \"IN_PROGRESS\"}}: {error}")
    })?;
    Ok(match answer.hook_status {
        Said::Succeeded => HookAnswer::Succeeded,
        Said::Failed => HookAnswer::Failed,
        Said::InProgress => {
            let delay = answer.call_back_delay.unwrap_or(DEFAULT_DELAY);
            HookAnswer::InProgress {
                again_in: Duration::from_secs(delay.clamp(*DELAYS.start(), *DELAYS.end())),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_ecss_and_anything_else_is_none() {
        let said = |text: &str| understood(text.as_bytes());
        assert_eq!(said(r#"{"hookStatus": "SUCCEEDED"}"#), Ok(HookAnswer::Succeeded));
        assert_eq!(said(r#"{"hookStatus": "FAILED", "why": "no"}"#), Ok(HookAnswer::Failed));
        let again = |seconds| Ok(HookAnswer::InProgress { again_in: Duration::from_secs(seconds) });
        assert_eq!(said(r#"{"hookStatus": "IN_PROGRESS"}"#), again(30));
        assert_eq!(said(r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 5}"#), again(5));
        assert_eq!(said(r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 100000}"#), again(3600));
        for text in ["", "yes", r#"{"hookStatus": "MAYBE"}"#, "{}"] {
            assert!(said(text).unwrap_err().contains("hookStatus"), "{text}");
        }
    }
}
