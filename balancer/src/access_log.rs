//! A line for each request, in the order of ALB's fields or as JSON.
//!
//! The data plane hands over what it knows and never waits: lines are made and written by a thread of their own, through a
//! bounded queue. What does not fit is counted and not written.

use std::fmt;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderName};
use http::{Method, Request, StatusCode, Uri, Version};
use serde::Serialize;
use tokio::time::Instant;

use crate::target_group::InFlight;

/// Requests that may wait to be written: about 30 MB of them.
const QUEUE: usize = 65_536;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// The fields of an Application Load Balancer's log, in their order; `-` where there is none.
    #[default]
    Alb,
    /// A JSON object with ALB's names of the fields.
    Json,
}

/// Where lines go.
pub struct AccessLog {
    queue: SyncSender<Box<Record>>,
    writer: Arc<Mutex<Writer>>,
    dropped: AtomicU64,
}

/// Locked by the thread that writes, and by whoever exchanges it; never by a request.
type Writer = BufWriter<Box<dyn Write + Send>>;

impl AccessLog {
    /// Writes to `writer`, on a thread that ends with the last handle.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn new(format: AccessLogFormat, writer: impl Write + Send + 'static) -> std::io::Result<Arc<Self>> {
        let (queue, records) = mpsc::sync_channel(QUEUE);
        let writer = Arc::new(Mutex::new(buffered(writer)));
        let writers = Arc::clone(&writer);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&records, format, &writers))?;
        Ok(Arc::new(Self { queue, writer, dropped: AtomicU64::new(0) }))
    }

    /// Writes to another place from now on, for example to a file of the same name after the old one was renamed. Lines are
    /// whole in one of the two. Waits for the line that is being written.
    ///
    /// # Errors
    ///
    /// The last lines could not be written to the old place. It is exchanged all the same.
    pub fn set_writer(&self, writer: impl Write + Send + 'static) -> std::io::Result<()> {
        let mut current = lock(&self.writer);
        let flushed = current.flush();
        // What could not be flushed now is not tried again.
        drop(std::mem::replace(&mut *current, buffered(writer)).into_parts());
        flushed
    }

    /// Requests that were not written, because they came faster than lines could be.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn take(&self, record: Box<Record>) {
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

fn buffered(writer: impl Write + Send + 'static) -> Writer {
    BufWriter::new(Box::new(writer))
}

fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(records: &Receiver<Box<Record>>, format: AccessLogFormat, writer: &Mutex<Writer>) {
    loop {
        let record = match records.try_recv() {
            Ok(record) => record,
            // Nobody waits for the next line while the last ones are in a buffer.
            Err(TryRecvError::Empty) => {
                if let Err(error) = lock(writer).flush() {
                    tracing::warn!(%error, "access log");
                }
                let Ok(record) = records.recv() else { return };
                record
            }
            Err(TryRecvError::Disconnected) => {
                lock(writer).flush().ok();
                return;
            }
        };
        let line = record.line(format);
        if let Err(error) = lock(writer).write_all(line.as_bytes()) {
            tracing::warn!(%error, "access log");
        }
    }
}

/// What is known of a request so far. Written when it is dropped.
#[derive(Debug)]
pub(crate) struct Pending {
    log: Arc<AccessLog>,
    record: Option<Box<Record>>,
}

#[derive(Debug)]
struct Record {
    secure: bool,
    listener: Arc<str>,
    client: SocketAddr,
    local: SocketAddr,
    method: Method,
    uri: Uri,
    version: Version,
    host: String,
    user_agent: String,
    trace: String,
    rule: Option<u32>,
    received: u64,
    sent: u64,
    begun: SystemTime,
    start: Instant,
    /// From the start on.
    answered: Option<Duration>,
    status: Option<StatusCode>,
    target: Option<Target>,
    end: Duration,
}

#[derive(Debug)]
struct Target {
    name: String,
    group: String,
}

/// Where a request came in.
#[derive(Debug)]
pub(crate) struct Came<'a> {
    pub(crate) secure: bool,
    pub(crate) listener: &'a str,
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Pending {
    /// From a request as the client sent it.
    pub(crate) fn new<B: http_body::Body>(
        log: &Arc<AccessLog>,
        request: &Request<B>,
        came: Came<'_>,
    ) -> Self {
        let text = |name: HeaderName| {
            let value = request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
            value.unwrap_or_default().into_owned()
        };
        let host = text(header::HOST);
        let authority = request.uri().authority().map(ToString::to_string);
        let record = Record {
            secure: came.secure,
            listener: came.listener.into(),
            client: came.client,
            local: came.local,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: if host.is_empty() { authority.unwrap_or_default() } else { host },
            user_agent: text(header::USER_AGENT),
            trace: text(HeaderName::from_static("traceparent")),
            rule: None,
            received: request.body().size_hint().exact().unwrap_or(0),
            sent: 0,
            begun: SystemTime::now(),
            start: Instant::now(),
            answered: None,
            status: None,
            target: None,
            end: Duration::ZERO,
        };
        Self { log: Arc::clone(log), record: Some(Box::new(record)) }
    }

    pub(crate) fn answered(&mut self, status: StatusCode, claim: Option<&InFlight>) {
        let Some(record) = &mut self.record else { return };
        record.answered = Some(record.start.elapsed());
        record.status = Some(status);
        record.target = claim.map(|claim| {
            let group = claim.group();
            let group = group.as_ref().map(|group| group.arn().unwrap_or_else(|| group.name()).to_owned());
            Target { name: claim.id().to_string(), group: group.unwrap_or_default() }
        });
    }

    /// The rule of this priority, or with 0 none, decides what is done.
    pub(crate) fn matched(&mut self, priority: u32) {
        if let Some(record) = &mut self.record {
            record.rule = Some(priority);
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.sent += bytes as u64;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.end = record.start.elapsed();
            self.log.take(record);
        }
    }
}

/// A record in ALB's words. Its order is that of ALB's fields.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    time: String,
    elb: &'a str,
    #[serde(rename = "client:port")]
    client: String,
    #[serde(rename = "target:port")]
    target: &'a str,
    request_processing_time: f64,
    target_processing_time: f64,
    response_processing_time: f64,
    elb_status_code: Option<u16>,
    target_status_code: Option<u16>,
    received_bytes: u64,
    sent_bytes: u64,
    request: String,
    user_agent: &'a str,
    target_group_arn: &'a str,
    trace_id: &'a str,
    domain_name: &'a str,
    matched_rule_priority: Option<u32>,
    request_creation_time: String,
    actions_executed: &'static str,
}

impl Record {
    fn line(&self, format: AccessLogFormat) -> String {
        let line = self.in_albs_words();
        match format {
            AccessLogFormat::Alb => line.alb(),
            AccessLogFormat::Json => {
                let json = serde_json::to_string(&line);
                json.expect("text and numbers are JSON") + "\n"
            }
        }
    }

    fn in_albs_words(&self) -> Line<'_> {
        let time = |time: SystemTime| {
            jiff::Timestamp::try_from(time).map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"))
        };
        // ALB: -1 "if the load balancer can't dispatch the request to a target".
        let target_time = match (&self.target, self.answered) {
            (Some(_), Some(answered)) => answered.as_secs_f64(),
            _ => -1.0,
        };
        let response_time = self.answered.map_or(-1.0, |answered| (self.end - answered).as_secs_f64());
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = if self.host.is_empty() { "-" } else { &self.host };
        let port = if self.host.contains(':') { String::new() } else { format!(":{}", self.local.port()) };
        Line {
            r#type: match self.version {
                Version::HTTP_2 => "h2",
                _ => scheme,
            },
            time: time(self.begun + self.end),
            elb: &self.listener,
            client: self.client.to_string(),
            target: self.target.as_ref().map_or("-", |target| &target.name),
            request_processing_time: if self.target.is_some() { 0.0 } else { -1.0 },
            target_processing_time: target_time,
            response_processing_time: response_time,
            // ALB: a client that closed its connection before the answer is a 460.
            elb_status_code: Some(self.status.map_or(460, |status| status.as_u16())),
            target_status_code: self.target.as_ref().and(self.status).map(|status| status.as_u16()),
            received_bytes: self.received,
            sent_bytes: self.sent,
            request: format!("{} {scheme}://{host}{port}{path} {:?}", self.method, self.version),
            user_agent: &self.user_agent,
            target_group_arn: self.target.as_ref().map_or("", |target| &target.group),
            trace_id: &self.trace,
            domain_name: &self.host,
            matched_rule_priority: self.rule,
            request_creation_time: time(self.begun),
            actions_executed: if self.target.is_some() { "forward" } else { "" },
        }
    }
}

impl Line<'_> {
    fn alb(&self) -> String {
        let plain = |text: &str| if text.is_empty() { "-".to_owned() } else { escaped(text) };
        let quoted = |text: &str| format!("\"{}\"", plain(text));
        let code = |code: Option<u16>| code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let seconds = |seconds: f64| if seconds < 0.0 { "-1".to_owned() } else { format!("{seconds:.3}") };
        let rule = self.matched_rule_priority.map_or_else(|| "-".to_owned(), |rule| rule.to_string());
        let fields = [
            self.r#type.to_owned(),
            self.time.clone(),
            plain(self.elb),
            self.client.clone(),
            plain(self.target),
            seconds(self.request_processing_time),
            seconds(self.target_processing_time),
            seconds(self.response_processing_time),
            code(self.elb_status_code),
            code(self.target_status_code),
            self.received_bytes.to_string(),
            self.sent_bytes.to_string(),
            quoted(&self.request),
            quoted(self.user_agent),
            "-".to_owned(), // ssl_cipher
            "-".to_owned(), // ssl_protocol
            plain(self.target_group_arn),
            quoted(self.trace_id),
            quoted(self.domain_name),
            quoted(""), // chosen_cert_arn
            rule,
            self.request_creation_time.clone(),
            quoted(self.actions_executed),
            quoted(""), // redirect_url
            quoted(""), // error_reason
            quoted(if self.target == "-" { "" } else { self.target }),
            quoted(&self.target_status_code.map(|code| code.to_string()).unwrap_or_default()),
            quoted(""),     // classification
            quoted(""),     // classification_reason
            "-".to_owned(), // conn_trace_id
        ];
        fields.join(" ") + "\n"
    }
}

/// Nothing a client sends can end a field or a line.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|char| match char {
            '"' | '\\' => format!("\\x{:02x}", u32::from(char)).chars().collect::<Vec<_>>(),
            char if char.is_control() => format!("\\x{:02x}", u32::from(char)).chars().collect(),
            char => vec![char],
        })
        .collect()
}
