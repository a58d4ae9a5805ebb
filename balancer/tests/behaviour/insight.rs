//! What can be seen of requests: access logs, metrics, trace context.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use coracle_balancer::{
    AccessLog, AccessLogFormat, Action, Balancer, BalancerConfig, Body, Condition, FixedResponse,
    HealthCheckConfig, ListenerConfig, Routes, Rule, TargetGroup, TargetGroupAttributes, TargetGroupConfig,
    prometheus,
};
use http::{Request, Response};

use crate::support::{Front, HEALTHY, any_port, group, saying, target, tcp, upstream, within};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    async fn lines(&self, count: usize) -> Vec<String> {
        let all = async {
            loop {
                let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
                if text.lines().count() >= count {
                    return text.lines().map(str::to_owned).collect();
                }
                tokio::task::yield_now().await;
            }
        };
        within(all).await
    }
}

fn logging(format: AccessLogFormat, group: Arc<TargetGroup>) -> (Front, Written) {
    let written = Written::default();
    let log = AccessLog::new(format, written.clone()).unwrap();
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let fixed = Action::FixedResponse(FixedResponse::new(404, None, "none").unwrap());
    let rule = Rule::new(7, vec![Condition::path_pattern(["/fixed"]).unwrap()], fixed).unwrap();
    let config = ListenerConfig { access_log: Some(log), ..any_port() };
    let listener = balancer.listen(config, Routes::new(vec![rule], group).unwrap()).unwrap();
    (Front { balancer, listener }, written)
}

/// A line's fields, quoted ones as one.
fn fields(line: &str) -> Vec<String> {
    let mut quoted = false;
    let split = line.split(|char: char| {
        quoted ^= char == '"';
        char == ' ' && !quoted
    });
    split.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_line_has_albs_fields_in_their_order() {
    let address = upstream(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
    })
    .await;
    let (front, written) = logging(AccessLogFormat::Alb, group([("10.0.0.1:80", tcp(address))]));
    let request = "POST /path?a=b HTTP/1.1\r\nhost: example.com\r\nuser-agent: a \"b\\ c\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                   content-length: 3\r\nconnection: close\r\n\r\nabc";
    assert_eq!(front.raw(request).await.status(), 201);
    let line = written.lines(1).await.remove(0);
    let fields = fields(&line);
    assert_eq!(fields.len(), 30, "{line}");
    let port = front.address().port();
    let expected = [
        (0, "http".to_owned()),
        (2, "test".to_owned()),
        (4, "10.0.0.1:80".to_owned()),
        (8, "201".to_owned()),
        (9, "201".to_owned()),
        (10, "3".to_owned()),
        (11, "5".to_owned()),
        (12, format!("\"POST http://example.com:{port}/path?a=b HTTP/1.1\"")),
        (13, "\"a \\x22b\\x5c c\"".to_owned()),
        (16, "test".to_owned()),
        (17, "\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"".to_owned()),
        (18, "\"example.com\"".to_owned()),
        (20, "0".to_owned()),
        (22, "\"forward\"".to_owned()),
        (25, "\"10.0.0.1:80\"".to_owned()),
        (26, "\"201\"".to_owned()),
    ];
    for (index, field) in expected {
        assert_eq!(fields[index], field, "field {index} of {line}");
    }
    assert!(fields[3].starts_with("127.0.0.1:"), "{line}");
    for time in [&fields[1], &fields[21]] {
        assert!(time.ends_with('Z') && time.contains('T') && time.len() == 27, "{time}");
    }
    for seconds in &fields[5..8] {
        assert!(seconds.parse::<f64>().unwrap() >= 0.0, "{line}");
    }
}

#[tokio::test]
async fn answers_of_our_own_and_clients_that_leave_are_written_too() {
    let never = target(|_| std::future::pending());
    let (front, written) = logging(AccessLogFormat::Alb, group([("never", never)]));
    assert_eq!(front.get("/fixed").await.status(), 404);
    let mut leaves = front.connect().await;
    {
        use tokio::io::AsyncWriteExt;
        leaves.write_all(b"GET /left HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    }
    let arrived = async {
        // The second request is there once it is in flight.
        while front.listener.routes().groups().next().unwrap().targets()[0].counters.in_flight == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(arrived).await;
    drop(leaves);
    let lines = written.lines(2).await;
    let (fixed, left) = (fields(&lines[0]), fields(&lines[1]));
    assert_eq!(
        [&fixed[4], &fixed[5], &fixed[6], &fixed[8], &fixed[9], &fixed[20]],
        ["-", "-1", "-1", "404", "-", "7"]
    );
    assert_eq!((&left[8], left[12].contains("/left")), (&"460".to_owned(), true));
}

#[tokio::test]
async fn json_has_albs_names() {
    let (front, written) = logging(AccessLogFormat::Json, group([("a", saying("hello"))]));
    front.get("/x").await;
    let line: serde_json::Value = serde_json::from_str(&written.lines(1).await[0]).unwrap();
    assert_eq!(line["elb_status_code"], 200);
    assert_eq!(line["target:port"], "a");
    assert_eq!(line["sent_bytes"], 5);
    assert_eq!(line["request"], format!("GET http://test:{}/x HTTP/1.1", front.address().port()));
    assert_eq!(line["matched_rule_priority"], 0);
}

#[tokio::test]
async fn metrics_tell_of_each_target() {
    let attributes = [("coracle.metrics.latency.enabled", "true")];
    let targets = TargetGroup::new(TargetGroupConfig {
        health_check: HealthCheckConfig::disabled(),
        attributes: TargetGroupAttributes::from_pairs(attributes).unwrap(),
        ..TargetGroupConfig::new("we\"b")
    });
    targets.register("a", saying("a"), HEALTHY);
    let front = Front::with_workers(1, Arc::clone(&targets));
    for _ in 0..3 {
        assert_eq!(front.get("/").await.status(), 200);
    }
    let text = prometheus(&[targets]);
    for line in [
        "coracle_target_group_targets{target_group=\"we\\\"b\",state=\"healthy\"} 1",
        "# TYPE coracle_target_requests_total counter",
        "coracle_target_requests_total{target_group=\"we\\\"b\",target=\"a\"} 3",
        "coracle_target_responses_total{target_group=\"we\\\"b\",target=\"a\",code=\"2xx\"} 3",
        "coracle_target_failures_total{target_group=\"we\\\"b\",target=\"a\"} 0",
        "# TYPE coracle_target_response_seconds histogram",
        "coracle_target_response_seconds_bucket{target_group=\"we\\\"b\",target=\"a\",le=\"+Inf\"} 3",
        "coracle_target_response_seconds_count{target_group=\"we\\\"b\",target=\"a\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }
}

#[tokio::test]
async fn the_trace_context_passes_as_it_is() {
    let front = Front::of(|request: Request<Body>| async move {
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        Ok(Response::new(Body::full(format!("{} {}", header("traceparent"), header("tracestate")))))
    });
    let answer = front
        .raw("GET / HTTP/1.1\r\nhost: a\r\ntraceparent: 00-a-b-01\r\ntracestate: k=v\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(answer.body(), "00-a-b-01 k=v");
}

#[tokio::test]
async fn after_the_writer_was_exchanged_lines_go_to_the_new_one_and_none_is_lost_or_torn() {
    let (old, new) = (Written::default(), Written::default());
    let log = AccessLog::new(AccessLogFormat::Json, old.clone()).unwrap();
    let balancer = Balancer::start(BalancerConfig { workers: 1, ..BalancerConfig::default() }).unwrap();
    let config = ListenerConfig { access_log: Some(Arc::clone(&log)), ..any_port() };
    let listener = balancer.listen(config, group([("a", saying("a"))])).unwrap();
    let front = Front { balancer, listener };
    for index in 0..20 {
        if index == 10 {
            // A line is written after its answer was read.
            old.lines(10).await;
            log.set_writer(new.clone()).unwrap();
        }
        front.get(&format!("/{index}")).await;
    }
    let last = new.lines(10).await;
    assert!(last.iter().any(|line| line.contains("/19 ")), "{last:?}");
    let mut all = old.lines(0).await;
    all.extend(last);
    for index in 0..20 {
        let request = format!("/{index} HTTP/1.1");
        let lines = all.iter().filter(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request"].as_str().unwrap().ends_with(&request)
        });
        assert_eq!(lines.count(), 1, "{request}");
    }
}
