use super::*;
use crate::network::task::MAX_OUTGOING_REQUESTS;
use crate::network::{TaskNetwork, Uplink};
use crate::outgoing::TURN_TIMEOUT;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{Full, StreamBody};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_secs(30);

fn patient() -> Timeouts {
    Timeouts { connect: DEADLINE, first_byte: DEADLINE, between_bytes: DEADLINE }
}

fn caller() -> Network {
    TaskNetwork::with_address(Ipv4Addr::new(127, 9, 9, 9), Uplink::system()).container("".parse().unwrap())
}

/// A service that is `answer`.
struct By<F>(F);

impl<F> std::fmt::Debug for By<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

impl<F, A> Service for By<F>
where
    F: Fn(Request<Content>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Content>> + Send + 'static,
{
    fn ports(&self) -> &[u16] {
        &[80]
    }

    fn addresses(&self, _: IpAddr) -> BoxFuture<'static, Vec<SocketAddr>> {
        async { Vec::new() }.boxed()
    }

    fn answer(&self, request: Request<Content>, _: IpAddr) -> BoxFuture<'static, Response<Content>> {
        (self.0)(request).boxed()
    }
}

fn by<F, A>(answer: F) -> Arc<dyn Service>
where
    F: Fn(Request<Content>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Content>> + Send + 'static,
{
    Arc::new(By(answer))
}

fn content(text: &'static str) -> Content {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync()
}

fn request() -> Request<WasiBody> {
    let body = Full::new(Bytes::from_static(b"asked")).map_err(|never| match never {}).boxed_unsync();
    Request::post("http://orders/").body(body).unwrap()
}

async fn ask(network: &Network, service: &Arc<dyn Service>) -> Result<Response<WasiBody>, Error> {
    send(network, Arc::clone(service), request(), patient(), Hops::default()).await
}

#[tokio::test]
async fn head_body_and_trailers_go_both_ways() {
    let echo = by(|request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]);
        let frames = [Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
        Response::builder().status(201).header("x-a", "b").body(body).unwrap()
    });
    let network = caller();
    let answer = ask(&network, &echo).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-a"]), (201, &"b".parse().unwrap()));
    assert_eq!(network.task().requests().available_permits(), MAX_OUTGOING_REQUESTS - 1);
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["etag"], "1");
    assert_eq!(body.to_bytes(), "asked");
    assert_eq!(network.task().requests().available_permits(), MAX_OUTGOING_REQUESTS);
}

/// Tells when it is dropped.
struct Guard(Arc<Notify>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_service_along_before_and_after_the_head() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let silent = by(move |_| {
        let guard = Guard(Arc::clone(&told));
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let network = caller();
    let hasty = Timeouts { first_byte: Duration::from_millis(20), ..patient() };
    let error = send(&network, silent, request(), hasty, Hops::default()).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
    timeout(DEADLINE, gone.notified()).await.expect("the silent one is given up");

    let told = Arc::clone(&gone);
    let endless = by(move |_| {
        let guard = Guard(Arc::clone(&told));
        async move {
            let frames = futures_util::stream::repeat_with(move || {
                let _guard = &guard;
                Ok(Frame::data(Bytes::from_static(b"more")))
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
    });
    let mut answer = ask(&network, &endless).await.unwrap();
    assert!(answer.body_mut().frame().await.unwrap().is_ok());
    drop(answer);
    timeout(DEADLINE, gone.notified()).await.expect("the endless one is given up");
    assert_eq!(network.task().requests().available_permits(), MAX_OUTGOING_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_or_pauses_is_an_error() {
    let half = || Ok(Frame::data(Bytes::from_static(b"half")));
    let breaking = by(move |_| async move {
        let frames = futures_util::stream::iter([half(), Err("it trapped".into())]);
        Response::new(StreamBody::new(frames).boxed_unsync())
    });
    let error = ask(&caller(), &breaking).await.unwrap().into_body().collect().await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseIncomplete), "{error}");

    let pausing = by(move |_| async move {
        use futures_util::StreamExt;
        let frames = futures_util::stream::iter([half()]).chain(futures_util::stream::pending());
        Response::new(StreamBody::new(frames).boxed_unsync())
    });
    let error = ask(&caller(), &pausing).await.unwrap().into_body().collect().await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test(start_paused = true)]
async fn requests_to_services_share_the_tasks_turns_with_those_to_the_outside() {
    let network = caller();
    let most = u32::try_from(MAX_OUTGOING_REQUESTS).unwrap();
    let turns = network.task().requests().clone().acquire_many_owned(most).await.unwrap();
    let begun = Instant::now();
    let service = by(|_| async { Response::new(content("hello")) });
    let error = ask(&network, &service).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionLimitReached), "{error}");
    assert_eq!(begun.elapsed(), TURN_TIMEOUT);
    drop(turns);
    assert_eq!(ask(&network, &service).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_service_that_calls_itself_stops_after_so_many_calls() {
    /// Answers how many calls follow from this one.
    #[derive(Debug)]
    struct Mirror;

    impl Service for Mirror {
        fn ports(&self) -> &[u16] {
            &[80]
        }

        fn addresses(&self, _: IpAddr) -> BoxFuture<'static, Vec<SocketAddr>> {
            async { Vec::new() }.boxed()
        }

        fn answer(&self, received: Request<Content>, _: IpAddr) -> BoxFuture<'static, Response<Content>> {
            async move {
                let hops = Hops::of(received.extensions());
                let next = send(&caller(), Arc::new(Self), request(), patient(), hops).await;
                let calls = match next {
                    Ok(answer) => {
                        let text = answer.into_body().collect().await.unwrap().to_bytes();
                        String::from_utf8_lossy(&text).parse::<u8>().unwrap() + 1
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::LoopDetected), "{error}");
                        0
                    }
                };
                let text = Bytes::from(calls.to_string());
                Response::new(Full::new(text).map_err(|never| match never {}).boxed_unsync())
            }
            .boxed()
        }
    }

    let answer = ask(&caller(), &(Arc::new(Mirror) as Arc<dyn Service>)).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, (MAX_HOPS - 1).to_string());
}
