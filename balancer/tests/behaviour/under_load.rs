//! Targets and clients that fail, each in one way, while sixteen honest clients use the same listener. Half of these speak
//! HTTP/1.1, half share an HTTP/2 connection. Each of their requests has a path and a body of its own, and each answer has to
//! be the one to that request: no failure may make an answer another's, or a broken answer seem whole.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{Body, Target, TargetGroup, TcpTarget, TcpTargetConfig};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all, select_all};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use crate::support::{Front, group, refusing, tcp, within};

const CLIENTS: usize = 16;
const REQUESTS: usize = 12;

/// How a request of an honest client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    /// 200 with the answer to this very request.
    Right,
    /// The balancer's word that there is no answer, or a target's that there will be none.
    Status(u16),
    /// A beginning of an answer, which the client can tell is not all.
    CutOff,
    /// 200 with anything else, or the end of a connection instead of an answer.
    Wrong,
}

type Ends = BTreeMap<Ended, usize>;

// --- the right answer ---

/// What an honest request gets. Different for each path and each body.
fn answer_to(path: &str, body: &[u8]) -> String {
    let sum =
        body.iter().fold(body.len() as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{path} {sum:x} {}", path.repeat(body.len() % 500))
}

struct Asked {
    path: String,
    body: Vec<u8>,
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { path: head.split(' ').nth(1).unwrap().to_owned(), body })
}

fn whole_answer(asked: &Asked) -> Vec<u8> {
    let body = answer_to(&asked.path, &asked.body);
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn healthy(mut stream: BufReader<TcpStream>) {
    while let Some(asked) = read_request(&mut stream).await {
        if stream.write_all(&whole_answer(&asked)).await.is_err() {
            return;
        }
    }
}

/// A target of which each connection is one run of `serve`.
async fn serving<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(BufReader<TcpStream>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(BufReader::new(stream)));
        }
    });
    address
}

// --- honest clients ---

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Sender {
    async fn connect(front: &Front, http2: bool) -> Self {
        if http2 { Self::Http2(front.h2_client().await.0) } else { Self::Http1(front.client().await) }
    }

    async fn send(&mut self, request: Request<Body>) -> hyper::Result<http::Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

async fn honest(front: &Front, client: usize) -> Ends {
    let mut ends = Ends::new();
    let mut sender = Sender::connect(front, client.is_multiple_of(2)).await;
    for number in 0..REQUESTS {
        let ended = within(ask(&mut sender, client, number)).await;
        *ends.entry(ended).or_default() += 1;
        if ended != Ended::Right {
            // A connection may end with an answer that is none.
            sender = Sender::connect(front, client.is_multiple_of(2)).await;
        }
    }
    ends
}

async fn ask(sender: &mut Sender, client: usize, number: usize) -> Ended {
    let path = format!("/{client}/{number}");
    let length = (client * 7919 + number * 104_729) % 70_000;
    let body: Vec<u8> = (0..=u8::MAX).cycle().skip(client + number).take(length).collect();
    let right = answer_to(&path, &body);
    let request = Request::post(format!("http://test{path}")).header("host", "test").body(Body::full(body));
    let Ok(response) = sender.send(request.unwrap()).await else { return Ended::Wrong };
    if response.status() != 200 {
        return Ended::Status(response.status().as_u16());
    }
    match response.into_body().collect().await {
        Err(_) => Ended::CutOff,
        Ok(body) => {
            if body.to_bytes() == right {
                Ended::Right
            } else {
                Ended::Wrong
            }
        }
    }
}

async fn all_honest(front: &Front) -> Ends {
    let mut all = Ends::new();
    for ends in join_all((0..CLIENTS).map(|client| honest(front, client))).await {
        for (ended, count) in ends {
            *all.entry(ended).or_default() += count;
        }
    }
    assert_eq!(all.values().sum::<usize>(), CLIENTS * REQUESTS);
    all
}

async fn nothing_in_flight(group: &TargetGroup) {
    let none = async {
        while group.targets().iter().any(|target| target.counters.in_flight > 0) {
            tokio::task::yield_now().await;
        }
    };
    within(none).await;
}

// --- targets that fail ---

/// A target that fails stands beside a healthy one in the same group: half of the requests end in one of `failures`, all
/// others right.
async fn beside(failing: Arc<dyn Target>, failures: &[Ended]) {
    let healthy = tcp(serving(healthy).await);
    let group = group([("failing", failing), ("healthy", healthy)]);
    let front = Front::new(Arc::clone(&group));
    let ends = all_honest(&front).await;
    let of = |which: &[Ended]| which.iter().filter_map(|ended| ends.get(ended)).sum::<usize>();
    let half = CLIENTS * REQUESTS / 2;
    let expected = if failures.is_empty() { (2 * half, 0) } else { (half, half) };
    assert_eq!((of(&[Ended::Right]), of(failures)), expected, "{ends:?}");
    nothing_in_flight(&group).await;
}

/// One that answers each request, head and body read, with what `answer` makes of it, and closes.
async fn answering(answer: impl Fn(&Asked) -> Vec<u8> + Clone + Send + Sync + 'static) -> Arc<dyn Target> {
    let address = serving(move |mut stream| {
        let answer = answer.clone();
        async move {
            if let Some(asked) = read_request(&mut stream).await {
                stream.write_all(&answer(&asked)).await.ok();
            }
        }
    });
    tcp(address.await)
}

fn reset(stream: TcpStream) {
    // Not tokio's own, which is deprecated for blocking: with 0 seconds it does not.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[tokio::test]
async fn a_target_that_refuses() {
    let (address, _socket) = refusing();
    // Each of its requests goes to the other.
    beside(tcp(address), &[]).await;
}

#[tokio::test]
async fn a_target_that_accepts_and_never_answers() {
    let never = serving(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.ok();
    });
    beside(tcp(never.await), &[Ended::Status(504)]).await;
}

#[tokio::test]
async fn a_target_that_closes_without_an_answer() {
    beside(answering(|_| Vec::new()).await, &[Ended::Status(502)]).await;
}

#[tokio::test]
async fn a_target_that_closes_in_the_head() {
    let head = |_: &Asked| b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n".to_vec();
    beside(answering(head).await, &[Ended::Status(502)]).await;
}

#[tokio::test]
async fn a_target_that_closes_in_the_body() {
    let all_but_one = |asked: &Asked| {
        let mut answer = whole_answer(asked);
        answer.pop();
        answer
    };
    beside(answering(all_but_one).await, &[Ended::CutOff]).await;
}

#[tokio::test]
async fn a_target_that_closes_in_its_chunks() {
    let no_end = |asked: &Asked| {
        let body = answer_to(&asked.path, &asked.body);
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len())
            .into_bytes()
    };
    beside(answering(no_end).await, &[Ended::CutOff]).await;
}

#[tokio::test]
async fn a_target_that_answers_garbage() {
    let garbage = |asked: &Asked| asked.body.iter().rev().copied().chain(*b"\r\n\r\n").collect::<Vec<u8>>();
    beside(answering(garbage).await, &[Ended::Status(502)]).await;
}

/// What comes behind an answer is not given to whoever asks next.
#[tokio::test]
async fn a_target_that_answers_twice() {
    let twice = |asked: &Asked| whole_answer(asked).repeat(2);
    beside(answering(twice).await, &[]).await;
}

#[tokio::test]
async fn a_target_that_answers_early_and_closes() {
    let early = serving(|mut stream| async move {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap_or(0) > 0 {}
        let answer = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.ok();
        stream.shutdown().await.ok();
        // A close with unread bytes would be a reset, which may overtake the answer.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    });
    beside(tcp(early.await), &[Ended::Status(413)]).await;
}

/// Slower than the idle timeout in all, and never as long without a byte.
#[tokio::test]
async fn a_target_that_is_slow() {
    let slow = serving(|mut stream| async move {
        while let Some(asked) = read_request(&mut stream).await {
            let answer = whole_answer(&asked);
            for part in answer.chunks(answer.len().div_ceil(4)) {
                time::sleep(Duration::from_millis(30)).await;
                if stream.write_all(part).await.is_err() {
                    return;
                }
            }
        }
    });
    let config = TcpTargetConfig { idle_timeout: Duration::from_secs(5), ..TcpTargetConfig::default() };
    beside(Arc::new(TcpTarget::new(slow.await, config)), &[]).await;
}

#[tokio::test]
async fn a_target_that_resets_when_it_was_asked() {
    let resetting = serving(|mut stream| async move {
        read_request(&mut stream).await;
        reset(stream.into_inner());
    });
    beside(tcp(resetting.await), &[Ended::Status(502)]).await;
}

#[tokio::test]
async fn a_target_that_resets_in_its_answer() {
    let resetting = serving(|mut stream| async move {
        if let Some(asked) = read_request(&mut stream).await {
            let answer = whole_answer(&asked);
            stream.write_all(&answer[..answer.len() - 1]).await.ok();
            reset(stream.into_inner());
        }
    });
    // A reset overtakes what was sent before it.
    beside(tcp(resetting.await), &[Ended::CutOff, Ended::Status(502)]).await;
}

// --- clients that fail ---

/// Clients that fail again and again, each over connections of its own, until the honest ones are done. All of these get
/// right answers, and the target is left with nothing to do.
async fn among<F>(fail: F)
where
    F: Fn(TcpStream) -> LocalBoxFuture<'static, ()>,
{
    let config = TcpTargetConfig { idle_timeout: Duration::from_secs(5), ..TcpTargetConfig::default() };
    let target: Arc<dyn Target> = Arc::new(TcpTarget::new(serving(healthy).await, config));
    let group = group([("healthy", target)]);
    let front = Front::new(Arc::clone(&group));
    let failing = (0..8).map(|_| {
        async {
            loop {
                fail(front.connect().await).await;
            }
        }
        .boxed_local()
    });
    let failing = select_all(failing.collect::<Vec<LocalBoxFuture<'_, ()>>>());
    let ends = tokio::select! {
        ends = all_honest(&front) => ends,
        _ = failing => unreachable!("they go on for ever"),
    };
    assert_eq!(ends, Ends::from([(Ended::Right, CLIENTS * REQUESTS)]));
    nothing_in_flight(&group).await;
}

const ASK: &[u8] = b"POST /bad HTTP/1.1\r\nhost: test\r\ncontent-length: 60000\r\n\r\n";

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    // It may have been closed for what was sent before.
    stream.write_all(bytes).await.ok();
}

#[tokio::test]
async fn clients_that_close_in_the_head() {
    among(|mut stream| async move { send(&mut stream, &ASK[..20]).await }.boxed_local()).await;
}

#[tokio::test]
async fn clients_that_close_in_the_body() {
    among(|mut stream| {
        async move { send(&mut stream, &[ASK, &[b'x'; 30_000]].concat()).await }.boxed_local()
    })
    .await;
}

#[tokio::test]
async fn clients_that_close_before_the_answer() {
    among(|mut stream| {
        async move { send(&mut stream, &[ASK, &[b'x'; 60_000]].concat()).await }.boxed_local()
    })
    .await;
}

#[tokio::test]
async fn clients_that_close_in_the_answer() {
    let one_byte = |mut stream: TcpStream| {
        async move {
            send(&mut stream, &[ASK, &[b'x'; 60_000]].concat()).await;
            within(stream.read_u8()).await.ok();
        }
        .boxed_local()
    };
    among(one_byte).await;
}

#[tokio::test]
async fn clients_that_reset_in_the_answer() {
    let one_byte = |mut stream: TcpStream| {
        async move {
            send(&mut stream, &[ASK, &[b'x'; 60_000]].concat()).await;
            within(stream.read_u8()).await.ok();
            reset(stream);
        }
        .boxed_local()
    };
    among(one_byte).await;
}

#[tokio::test]
async fn clients_that_send_half_and_wait() {
    let half = |mut stream: TcpStream| {
        async move {
            send(&mut stream, &[ASK, &[b'x'; 30_000]].concat()).await;
            time::timeout(Duration::from_millis(200), stream.read_u8()).await.ok();
        }
        .boxed_local()
    };
    among(half).await;
}

#[tokio::test]
async fn clients_that_send_and_read_slowly() {
    let slowly = |mut stream: TcpStream| {
        async move {
            for part in [ASK, &[b'x'; 60_000]].concat().chunks(10_000) {
                send(&mut stream, part).await;
                time::sleep(Duration::from_millis(10)).await;
            }
            for _ in 0..10 {
                within(stream.read(&mut [0; 16])).await.ok();
                time::sleep(Duration::from_millis(5)).await;
            }
        }
        .boxed_local()
    };
    among(slowly).await;
}

#[tokio::test]
async fn clients_that_ask_without_reading() {
    let asks = |mut stream: TcpStream| {
        async move {
            let request = b"GET /bad HTTP/1.1\r\nhost: test\r\n\r\n".repeat(200);
            send(&mut stream, &request).await;
        }
        .boxed_local()
    };
    among(asks).await;
}
