//! A client of the daemon's API: one small request, one answer.

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{
    args::{ApiArgs, Endpoint},
    error::Failure,
};

const ECS: &str = "AmazonEC2ContainerServiceV20141113";
const AUTO_SCALING: &str = "AnyScaleFrontendService";
const SECRETS_MANAGER: &str = "secretsmanager";
const PARAMETER_STORE: &str = "AmazonSSM";
const LOAD_BALANCING: &str = "ElasticLoadBalancing_v10";
const LOGS: &str = "Logs_20140328";
const CORACLE: &str = "Coracle_20261124";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 64 << 20;

/// The daemon at one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Nobody listens there.
    NoDaemon { endpoint: Endpoint, source: io::Error },
    /// The operation refused.
    Refused { code: String, message: String },
    /// Somebody listens there who does not speak our protocol, or broke off.
    Broken { endpoint: Endpoint, message: String },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { endpoint, source } if source.kind() == io::ErrorKind::ConnectionRefused => {
                write!(f, "no coracle daemon answers at {endpoint}; start one with `coracle up`")
            }
            Self::NoDaemon { endpoint, source } => {
                write!(f, "no coracle daemon can be reached at {endpoint} ({source}); is --endpoint right?")
            }
            Self::Refused { code, message } => write!(f, "{message} ({code})"),
            Self::Broken { endpoint, message } => {
                write!(f, "what answers at {endpoint} is no coracle daemon, or it broke off: {message}")
            }
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::Refused { code, .. } if is_input_error(code) => Self::usage(error),
            _ => Self::failed(error),
        }
    }
}

/// Exceptions that say the request could never have worked, against those about what is there.
fn is_input_error(code: &str) -> bool {
    [
        "ClientException",
        "InvalidParameterException",
        "SerializationException",
        "UnknownOperationException",
        "ValidationError",
        "ValidationException",
    ]
    .contains(&code)
}

impl Client {
    pub(crate) fn new(args: &ApiArgs) -> Self {
        Self { endpoint: args.endpoint.clone() }
    }

    /// Calls an operation of ECS.
    pub(crate) async fn ecs<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(ECS, operation, input).await
    }

    /// Calls an operation of Application Auto Scaling.
    pub(crate) async fn auto_scaling<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(AUTO_SCALING, operation, input).await
    }

    /// Calls an operation of Secrets Manager.
    pub(crate) async fn secrets<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(SECRETS_MANAGER, operation, input).await
    }

    /// Calls an operation of the Parameter Store.
    pub(crate) async fn parameters<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(PARAMETER_STORE, operation, input).await
    }

    /// Calls an operation of Elastic Load Balancing.
    pub(crate) async fn load_balancing<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(LOAD_BALANCING, operation, input).await
    }

    /// Calls an operation of CloudWatch Logs.
    pub(crate) async fn logs<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(LOGS, operation, input).await
    }

    /// Calls an operation that is ours.
    pub(crate) async fn coracle<T: DeserializeOwned>(
        &self,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(CORACLE, operation, input).await
    }

    /// All ARNs that a List operation has, page by page.
    pub(crate) async fn list(
        &self,
        operation: &str,
        mut input: Value,
        field: &str,
    ) -> Result<Vec<String>, CallError> {
        let mut all = Vec::new();
        loop {
            let mut page: Value = self.ecs(operation, &input).await?;
            if let Value::Array(arns) = page[field].take() {
                all.extend(arns.into_iter().filter_map(|arn| arn.as_str().map(str::to_owned)));
            }
            match page["nextToken"].take() {
                Value::String(token) => input["nextToken"] = json!(token),
                _ => return Ok(all),
            }
        }
    }

    /// What a Describe operation says of `arns`, asked for in as many calls as ECS's limit for one makes necessary.
    pub(crate) async fn describe<T: DeserializeOwned>(
        &self,
        operation: &str,
        mut input: Value,
        (field, most): (&str, usize),
        arns: &[String],
    ) -> Result<Vec<T>, CallError> {
        let mut all = Vec::new();
        for some in arns.chunks(most) {
            input[field] = json!(some);
            let mut answer: Value = self.ecs(operation, &input).await?;
            let items = serde_json::from_value::<Vec<T>>(answer[field].take());
            all.extend(items.map_err(|error| self.broken(error))?);
        }
        Ok(all)
    }

    /// A connection that speaks `protocol` from now on.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        protocol: &str,
        token: &str,
    ) -> Result<Upgraded, CallError> {
        let request = Request::get(path)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, protocol)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::new()))
            .map_err(|error| self.broken(error))?;
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        // It ends when the connection is handed over, or with the daemon.
        tokio::spawn(connection.with_upgrades());
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
                return hyper::upgrade::on(response).await.map_err(|error| self.broken(error));
            }
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Err(self.refusal(status, &body.map_err(|error| self.broken(error))?.to_bytes()))
        };
        timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(self.no_answer()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        service: &str,
        operation: &str,
        input: &impl Serialize,
    ) -> Result<T, CallError> {
        let body = serde_json::to_vec(input).map_err(|error| self.broken(error))?;
        let request = Request::post("/")
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{service}.{operation}"))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        self.send(request).await
    }

    /// Calls an operation that method and path name.
    pub(crate) async fn rest<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        input: Option<&Value>,
    ) -> Result<T, CallError> {
        let body = input.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        self.send(request).await
    }

    async fn send<T: DeserializeOwned>(&self, request: Request<Full<Bytes>>) -> Result<T, CallError> {
        let (status, body) = match timeout(ANSWER_TIMEOUT, self.exchange(request)).await {
            Ok(answer) => answer?,
            Err(_elapsed) => return Err(self.no_answer()),
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.broken(error));
        }
        Err(self.refusal(status, &body))
    }

    fn refusal(&self, status: http::StatusCode, body: &[u8]) -> CallError {
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(rename = "__type")]
            code: String,
            message: String,
        }
        match serde_json::from_slice(body) {
            Ok(Refusal { code, message }) => CallError::Refused { code, message },
            Err(_) => self.broken(format!("HTTP status {status}")),
        }
    }

    fn no_answer(&self) -> CallError {
        self.broken(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
    }

    async fn connect(&self) -> Result<TcpStream, CallError> {
        let no_daemon = |source| CallError::NoDaemon { endpoint: self.endpoint.clone(), source };
        timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.endpoint.authority))
            .await
            .map_err(|elapsed| no_daemon(io::Error::new(io::ErrorKind::TimedOut, elapsed)))?
            .map_err(no_daemon)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(http::StatusCode, Bytes), CallError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|error| self.broken(error))?.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        // The connection does the reading and writing. When it ends first, the answer is there, or never will be.
        tokio::select! {
            answer = exchange.as_mut() => answer,
            _ = connection => exchange.await,
        }
    }

    fn broken(&self, message: impl fmt::Display) -> CallError {
        CallError::Broken { endpoint: self.endpoint.clone(), message: message.to_string() }
    }
}
