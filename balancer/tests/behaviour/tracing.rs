//! Trace context and spans, as the collector gets them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_balancer::{Balancer, BalancerConfig, Body, ListenerConfig, TargetGroup, Tracer, TracingConfig};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{Front, any_port, group, refusing, target, tcp, upstream, within};

/// A collector that answers with these statuses one after the other, and then 200, and sends on what it took.
fn collector(statuses: &[u16]) -> (Front, mpsc::UnboundedReceiver<Value>) {
    let (batches, taken) = mpsc::unbounded_channel();
    let statuses = Arc::new(std::sync::Mutex::new(statuses.to_vec()));
    let front = Front::of(move |request: Request<Body>| {
        let (batches, statuses) = (batches.clone(), Arc::clone(&statuses));
        async move {
            assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
            assert_eq!(request.headers()["content-type"], "application/json");
            assert_eq!(request.headers()["x-key"], "secret");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut statuses = statuses.lock().unwrap();
            let status = if statuses.is_empty() { 200 } else { statuses.remove(0) };
            if status == 200 {
                batches.send(serde_json::from_slice(&body).unwrap()).unwrap();
            }
            Ok(Response::builder().status(status).body(Body::full("{}")).unwrap())
        }
    });
    (front, taken)
}

fn tracer(collector: &Front, sample_ratio: f64) -> Arc<Tracer> {
    let config = TracingConfig::new(&format!("http://{}/v1/traces", collector.address())).unwrap();
    let headers = vec![("x-key".parse().unwrap(), "secret".parse().unwrap())];
    let resource = vec![("deployment.environment.name".to_owned(), "test".to_owned())];
    Tracer::start(TracingConfig { sample_ratio, headers, resource, ..config }).unwrap()
}

fn traced(tracer: &Arc<Tracer>, group: Arc<TargetGroup>) -> Front {
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let config = ListenerConfig { tracer: Some(Arc::clone(tracer)), ..any_port() };
    let listener = balancer.listen(config, group).unwrap();
    Front { balancer, listener }
}

/// The spans of a batch, with their attributes as text.
fn spans(batch: &Value) -> Vec<(Value, BTreeMap<String, String>)> {
    let spans = batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    spans.iter().map(|span| (span.clone(), attributes(&span["attributes"]))).collect()
}

fn attributes(list: &Value) -> BTreeMap<String, String> {
    let pair = |pair: &Value| {
        let value = pair["value"].as_object().unwrap().values().next().unwrap();
        (pair["key"].as_str().unwrap().to_owned(), value.as_str().unwrap().to_owned())
    };
    list.as_array().unwrap().iter().map(pair).collect()
}

/// A target that answers with the trace context it got.
fn telling() -> Arc<dyn coracle_balancer::Target> {
    target(|request: Request<Body>| async move {
        let field = |name| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        Ok(Response::new(Body::from(format!("{} {}", field("traceparent"), field("tracestate")))))
    })
}

async fn ask(front: &Front, fields: &str) -> String {
    let request = format!("GET /a?b=c HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{fields}\r\n");
    front.raw(request).await.body().to_owned()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_is_a_span_and_each_attempt_at_a_target_one_below_it() {
    let (collecting, mut batches) = collector(&[]);
    let tracer = tracer(&collecting, 0.0);
    let (refused, _held) = refusing();
    let serving = upstream(|mut stream, head| async move {
        use tokio::io::AsyncWriteExt;
        let parent = head.lines().find(|line| line.starts_with("traceparent: ")).unwrap();
        let answer = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{parent}", parent.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let front = traced(&tracer, group([("gone", tcp(refused)), ("here", tcp(serving))]));
    let fields = format!(
        "traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\ntracestate: a=1\r\ntracestate: b=2\r\nuser-agent: me\r\n"
    );
    let mut told = String::new();
    // Until the turn was that of the target that refuses.
    while front
        .listener
        .routes()
        .groups()
        .next()
        .unwrap()
        .targets()
        .iter()
        .all(|it| it.counters.failures == 0)
    {
        told = ask(&front, &fields).await;
    }
    within(tracer.flush()).await;
    let mut all = Vec::new();
    while let Ok(batch) = batches.try_recv() {
        let resource = attributes(&batch["resourceSpans"][0]["resource"]["attributes"]);
        assert_eq!(resource["service.name"], "coracle");
        assert_eq!(resource["deployment.environment.name"], "test");
        all.extend(spans(&batch));
    }
    assert_eq!(tracer.exported(), all.len() as u64);
    let [server, gone, here] = &all[all.len() - 3..] else { panic!("{all:?}") };
    for (span, _) in [server, gone, here] {
        assert_eq!((&span["traceId"], &span["name"]), (&TRACE.into(), &"GET".into()), "{span}");
        assert_eq!(span["traceState"], "a=1,b=2");
        let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
    }
    assert_eq!((&server.0["kind"], &gone.0["kind"], &here.0["kind"]), (&2.into(), &3.into(), &3.into()));
    assert_eq!(server.0["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(
        (&gone.0["parentSpanId"], &here.0["parentSpanId"]),
        (&server.0["spanId"], &server.0["spanId"])
    );
    assert_eq!(told, format!("traceparent: 00-{TRACE}-{}-01", here.0["spanId"].as_str().unwrap()));
    // "for HTTP server spans … 4xx … MUST be left unset", "for client spans … SHOULD be set to Error".
    assert_eq!((&server.0["status"]["code"], &here.0["status"]["code"]), (&Value::Null, &2.into()));
    let port = front.address().port().to_string();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("url.scheme", "http"),
        ("server.address", "test"),
        ("server.port", &port),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "me"),
        ("http.response.status_code", "404"),
    ] {
        assert_eq!(server.1.get(name).map(String::as_str), Some(value), "{name}");
    }
    for ((_, attributes), address, target) in [(gone, refused, "gone"), (here, serving, "here")] {
        assert_eq!(attributes["server.port"], address.port().to_string());
        assert_eq!(attributes["url.full"], format!("http://{address}/a?b=c"));
        assert_eq!(attributes["coracle.target"], target);
    }
    assert_eq!((gone.1["error.type"].as_str(), here.1["error.type"].as_str()), ("unreached", "404"));
    assert_eq!(
        (gone.1.get("http.request.resend_count"), here.1["http.request.resend_count"].as_str()),
        (None, "1")
    );
}

#[tokio::test]
async fn what_the_caller_does_not_trace_is_passed_on_and_not_traced() {
    let (collecting, mut batches) = collector(&[]);
    let tracer = tracer(&collecting, 1.0);
    let front = traced(&tracer, group([("telling", telling())]));
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let told = ask(&front, &format!("traceparent: {parent}\r\ntracestate: a=1\r\n")).await;
    assert_eq!(told, format!("{parent} a=1"));
    within(tracer.flush()).await;
    assert!(batches.try_recv().is_err());
}

#[tokio::test]
async fn without_a_context_that_can_be_understood_a_trace_begins() {
    let (collecting, mut batches) = collector(&[]);
    for (ratio, flag) in [(1.0, "01"), (0.0, "00")] {
        let tracer = tracer(&collecting, ratio);
        let front = traced(&tracer, group([("telling", telling())]));
        for fields in ["", "traceparent: 00-xyz-01\r\ntracestate: a=1\r\n"] {
            let told = ask(&front, fields).await;
            let [parent, state] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
            let parts: Vec<_> = parent.split('-').collect();
            assert_eq!(
                (parts[0], parts[1].len(), parts[2].len(), parts[3], state),
                ("00", 32, 16, flag, "-")
            );
            within(tracer.flush()).await;
            let batch = batches.try_recv();
            assert_eq!(batch.is_ok(), flag == "01");
            if let Ok(batch) = batch {
                let spans = spans(&batch);
                assert_eq!(
                    (&spans[0].0["traceId"], &spans[0].0["parentSpanId"]),
                    (&parts[1].into(), &"".into())
                );
                assert_eq!(spans[1].0["spanId"], parts[2]);
            }
        }
    }
}

#[tokio::test]
async fn spans_that_the_collector_refuses_are_counted_and_those_it_cannot_take_now_come_again() {
    let (collecting, mut batches) = collector(&[400, 503]);
    let tracer = tracer(&collecting, 1.0);
    let front = traced(&tracer, group([("telling", telling())]));
    ask(&front, "").await;
    within(tracer.flush()).await;
    assert_eq!((tracer.exported(), tracer.dropped()), (0, 2));
    ask(&front, "").await;
    within(tracer.flush()).await;
    assert_eq!((tracer.exported(), tracer.dropped()), (2, 2));
    assert!(batches.try_recv().is_ok());
    let text = tracer.prometheus();
    assert!(text.lines().any(|line| line == "coracle_spans_dropped_total 2"), "{text}");
}

#[tokio::test]
async fn a_client_that_leaves_and_a_target_that_fails_are_errors() {
    let (collecting, mut batches) = collector(&[]);
    let tracer = tracer(&collecting, 1.0);
    let (called, mut calls) = mpsc::unbounded_channel();
    let never = target(move |request: Request<Body>| {
        called.send(()).unwrap();
        async move {
            if request.uri().path() == "/fails" {
                return Err(coracle_balancer::TargetError::Timeout);
            }
            std::future::pending().await
        }
    });
    let front = traced(&tracer, group([("never", never)]));
    assert_eq!(front.get("/fails").await.status(), 504);
    let mut leaving = front.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut leaving, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    for _ in 0..2 {
        within(calls.recv()).await.unwrap();
    }
    drop(leaving);
    let mut all = Vec::new();
    while all.len() < 4 {
        all.extend(spans(&within(batches.recv()).await.unwrap()));
    }
    let errors: Vec<_> = all.iter().map(|(_, attributes)| attributes["error.type"].as_str()).collect();
    assert_eq!(errors, ["504", "timeout", "cancelled", "cancelled"]);
}
