//! Targets that speak HTTP/2, and gRPC over it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use coracle_balancer::{
    Body, HealthCheckConfig, ProtocolVersion, RegisterOptions, Target, TargetGroup, TargetGroupConfig,
    TargetState, TcpTarget, TcpTargetConfig,
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{Front, get, group, refusing, tcp, upstream, within};

/// An HTTP/2 server, and how many connections it has accepted.
async fn server<F, Fut>(answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, accepted) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, accepted)
}

fn speaking(protocol: ProtocolVersion, address: SocketAddr) -> Arc<dyn Target> {
    let idle_timeout = Duration::from_millis(300);
    Arc::new(TcpTarget::new(
        address,
        TcpTargetConfig { protocol, idle_timeout, ..TcpTargetConfig::default() },
    ))
}

#[tokio::test]
async fn many_requests_at_once_share_few_connections() {
    let (address, accepted) = server(|request| async move {
        assert!(!request.headers().contains_key("host"), "{request:?}");
        Response::new(Body::full(request.uri().to_string()))
    })
    .await;
    let front = Front::with_workers(1, group([("only", speaking(ProtocolVersion::Http2, address))]));
    let answers = (0..20).map(async |_| {
        let mut client = front.client().await;
        for _ in 0..10 {
            let response = within(client.send_request(get("/path?a=b"))).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = within(response.into_body().collect()).await.unwrap().to_bytes();
            assert_eq!(body, "http://test/path?a=b");
        }
    });
    join_all(answers).await;
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn more_than_a_hundred_at_once_take_another_connection() {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = Arc::clone(&gate);
    let (address, accepted) = server(move |_| {
        let (arrived, open) = (arrived.clone(), Arc::clone(&open));
        async move {
            arrived.send(()).unwrap();
            open.acquire().await.unwrap().forget();
            Response::new(Body::empty())
        }
    })
    .await;
    let patient = TcpTargetConfig { protocol: ProtocolVersion::Http2, ..TcpTargetConfig::default() };
    let target: Arc<dyn Target> = Arc::new(TcpTarget::new(address, patient));
    let front = Front::with_workers(1, group([("only", target)]));
    let requests = tokio::spawn({
        let clients = join_all((0..150).map(|_| front.client())).await;
        join_all(clients.into_iter().map(|mut client| async move {
            within(client.send_request(get("/"))).await.unwrap().status().as_u16()
        }))
    });
    for _ in 0..150 {
        within(arrivals.recv()).await.unwrap();
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 2);
    gate.add_permits(150);
    assert_eq!(within(requests).await.unwrap(), [200; 150]);
}

#[tokio::test]
async fn a_grpc_call_streams_both_ways_and_keeps_its_trailers() {
    let (address, _) = server(|request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        // Echoes frames as they come, and ends with trailers of its own.
        let mut body = request.into_body();
        let (frames, answer) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let frame = match frame.into_data() {
                    Ok(data) => Frame::data(data),
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().unwrap();
                        trailers.insert("grpc-status", HeaderValue::from_static("0"));
                        Frame::trailers(trailers)
                    }
                };
                frames.send(Ok::<_, Infallible>(frame)).unwrap();
            }
        });
        let stream = futures_util::stream::unfold(answer, |mut answer| async move {
            answer.recv().await.map(|frame| (frame, answer))
        });
        Response::new(Body::boxed(StreamBody::new(stream)))
    })
    .await;
    let front = Front::with_workers(1, group([("only", speaking(ProtocolVersion::Grpc, address))]));
    let (mut client, _connection) = front.h2_client().await;
    let (frames, sent) = mpsc::unbounded_channel::<Result<Frame<Bytes>, Infallible>>();
    let stream =
        futures_util::stream::unfold(
            sent,
            |mut sent| async move { sent.recv().await.map(|frame| (frame, sent)) },
        );
    let request = Request::post("http://test/pkg.Service/Method")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Body::boxed(StreamBody::new(stream)))
        .unwrap();
    let mut answer = within(client.send_request(request)).await.unwrap().into_body();
    for message in ["one", "two", "three"] {
        frames.send(Ok(Frame::data(Bytes::from_static(message.as_bytes())))).unwrap();
        // Each comes back before the next is sent: nothing on the way waits for the end.
        let frame = within(answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    let trailers: HeaderMap =
        [("x-checksum".parse().unwrap(), HeaderValue::from_static("1"))].into_iter().collect();
    frames.send(Ok(Frame::trailers(trailers))).unwrap();
    let trailers = within(answer.frame()).await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["x-checksum"], &trailers["grpc-status"]),
        (&"1".parse().unwrap(), &"0".parse().unwrap())
    );
}

#[tokio::test]
async fn a_request_that_did_not_arrive_goes_to_a_target_of_another_protocol_as_it_was() {
    let (gone, _refusing) = refusing();
    let there = upstream(|mut stream, head| async move {
        use tokio::io::AsyncWriteExt;
        let seen = head.starts_with("POST /path?a=b HTTP/1.1\r\n") && head.contains("\r\nhost: test\r\n");
        let answer: &[u8] = if seen { b"yes" } else { b"no!" };
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n";
        stream.write_all(&[head, answer].concat()).await.unwrap();
    })
    .await;
    let targets = group([("gone", speaking(ProtocolVersion::Http2, gone)), ("there", tcp(there))]);
    let front = Front::with_workers(1, targets);
    for _ in 0..2 {
        let answer = front
            .raw("POST /path?a=b HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx")
            .await;
        assert_eq!((answer.status(), answer.body()), (200, "yes"));
    }
}

#[tokio::test]
async fn a_target_that_says_nothing_costs_a_504_and_one_that_is_no_http2_a_502() {
    let (silent, _) = server(|_| std::future::pending()).await;
    let front = Front::with_workers(1, group([("only", speaking(ProtocolVersion::Http2, silent))]));
    assert_eq!(front.get("/").await.status(), 504);
    let garbage = upstream(|mut stream, _| async move {
        use tokio::io::AsyncWriteExt;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
    })
    .await;
    let front = Front::with_workers(1, group([("only", speaking(ProtocolVersion::Http2, garbage))]));
    assert_eq!(front.get("/").await.status(), 502);
}

#[tokio::test]
async fn clients_that_take_nothing_keep_no_answer_of_the_same_connection_back() {
    const SLOW: usize = 30;
    const FRAME: usize = 16 * 1024;
    // What a target may send of them all until they take something, which is more than all of a connection's room by default.
    const ENOUGH: usize = SLOW * 256 * 1024;
    let (sent, mut progress) = tokio::sync::watch::channel(0);
    let (address, accepted) = server(move |request| {
        let sent = sent.clone();
        async move {
            if request.uri().path() == "/small" {
                return Response::new(Body::full(vec![b'x'; FRAME]));
            }
            let endless = futures_util::stream::repeat_with(move || {
                sent.send_modify(|sent| *sent += FRAME);
                Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; FRAME])))
            });
            Response::new(Body::boxed(StreamBody::new(endless)))
        }
    })
    .await;
    let patient = TcpTargetConfig { protocol: ProtocolVersion::Http2, ..TcpTargetConfig::default() };
    let target: Arc<dyn Target> = Arc::new(TcpTarget::new(address, patient));
    let front = Front::with_workers(1, group([("only", target)]));
    // Over HTTP/2, where a client says how much it takes.
    let stream = front.connect().await;
    let (mut slow, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1024)
        .handshake::<_, Body>(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut held = Vec::new();
    for _ in 0..SLOW {
        held.push(within(slow.send_request(get("/endless"))).await.unwrap());
    }
    within(progress.wait_for(|sent| *sent >= ENOUGH)).await.unwrap();
    let mut other = front.client().await;
    for _ in 0..20 {
        let response = within(other.send_request(get("/small"))).await.unwrap();
        assert_eq!(within(response.into_body().collect()).await.unwrap().to_bytes().len(), FRAME);
    }
    assert_eq!((accepted.load(Ordering::Relaxed), held.len()), (1, SLOW));
}

/// The state of a target after its first two checks, with this gRPC status and message as the answer to each.
async fn checked(status: &'static str, message: &'static [u8], path: &str, codes: &str) -> TargetState {
    let (address, _) = server(move |request| async move {
        assert_eq!(
            (request.method().as_str(), &request.headers()["content-type"]),
            ("POST", &"application/grpc".parse().unwrap())
        );
        let trailers: HeaderMap =
            [("grpc-status".parse().unwrap(), HeaderValue::from_static(status))].into_iter().collect();
        let frames = [Frame::data(Bytes::from_static(message)), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
        Response::new(Body::boxed(StreamBody::new(frames)))
    })
    .await;
    let settings = [("interval", "0.1"), ("timeout", "0.09"), ("path", path), ("grpc-matcher", codes)];
    let health_check = HealthCheckConfig::from_settings(settings).unwrap();
    let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("grpc") });
    let mut changes = group.changes();
    group.register("task", speaking(ProtocolVersion::Grpc, address), RegisterOptions::default());
    loop {
        match group.targets()[0].state {
            TargetState::Initial => within(changes.changed()).await.unwrap(),
            state => return state,
        }
    }
}

#[tokio::test]
async fn a_grpc_target_is_checked_by_a_call_and_its_status() {
    let unimplemented = checked("12", b"", "/AWS.ALB/healthcheck", "12").await;
    assert_eq!(unimplemented, TargetState::Healthy);
    assert_eq!(checked("14", b"", "/AWS.ALB/healthcheck", "12").await, TargetState::Unhealthy);
    let health = "/grpc.health.v1.Health/Check";
    assert_eq!(checked("0", b"\0\0\0\0\x02\x08\x01", health, "0").await, TargetState::Healthy);
    assert_eq!(checked("0", b"\0\0\0\0\x02\x08\x02", health, "0").await, TargetState::Unhealthy);
}

#[tokio::test]
async fn an_http2_target_is_checked_over_http2() {
    let (address, _) = server(|_| async { Response::new(Body::full("ok")) }).await;
    let group = TargetGroup::new(TargetGroupConfig::new("h2"));
    let mut changes = group.changes();
    group.register("task", speaking(ProtocolVersion::Http2, address), RegisterOptions::default());
    while group.targets()[0].state != TargetState::Healthy {
        within(changes.changed()).await.unwrap();
    }
}
