//! HTTP/2 clients that send what costs them little and a server much. Each is written frame by frame; an honest client
//! is answered all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use coracle_balancer::{Body, Target};
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
};
use crate::support::{Front, group, target, within};

/// `:method: GET`, `:path: /`, `:scheme: http`, `:authority: test` (RFC 7541, appendix A and 6.2.1).
const GET: &[u8] = &[0x82, 0x84, 0x86, 0x41, 4, b't', b'e', b's', b't'];

fn counting() -> (Arc<dyn Target>, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let target = target(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(Body::full("ok"))) }
    });
    (target, count)
}

/// What the balancer did with a flood.
struct After {
    /// The error code of its GOAWAY, if it sent one before the connection ended or the flood did.
    goaway: Option<u32>,
    requests: usize,
}

/// Sends `flood` over one connection while another client asks, and reads what comes back until the connection ends or
/// nothing more is sent.
async fn after(flood: Vec<u8>) -> After {
    let (target, count) = counting();
    let targets = group([("only", target)]);
    let front = Front::with_workers(1, Arc::clone(&targets));
    let mut client = front.connect().await;
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut reader, mut writer) = client.split();
    let send = async {
        // It may close before it has read everything.
        writer.write_all(&flood).await.ok();
        writer.shutdown().await.ok();
    };
    let read = async {
        let mut goaway = None;
        loop {
            let mut head = [0; 9];
            if reader.read_exact(&mut head).await.is_err() {
                return goaway;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            if reader.read_exact(&mut payload).await.is_err() {
                return goaway;
            }
            if head[3] == GOAWAY {
                goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
    };
    let honest = async {
        for _ in 0..20 {
            assert_eq!(front.get("/").await.status(), 200, "an honest client");
        }
    };
    let ((), goaway, ()) = within(async { tokio::join!(send, read, honest) }).await;
    let none_left = async {
        while targets.targets()[0].counters.in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(none_left).await;
    After { goaway, requests: count.load(Ordering::Relaxed) - 20 }
}

/// CVE-2023-44487: streams that are opened and reset at once.
#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let streams = (0..20_000).map(|index| 2 * index + 1);
    let flood: Vec<u8> = streams
        .flat_map(|stream| {
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
            [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let after = after(flood).await;
    assert_eq!(after.goaway, Some(ENHANCE_YOUR_CALM));
    assert!(after.requests < 2_000, "{} of 20,000 reached the target", after.requests);
}

/// CVE-2024-27316: a header block that never ends.
#[tokio::test]
async fn an_endless_header_block_ends_the_connection() {
    let piece = frame(CONTINUATION, 0, 1, &vec![0; 16_000]);
    let flood = [frame(HEADERS, END_STREAM, 1, GET), piece.repeat(1_000)].concat();
    let after = after(flood).await;
    assert!(after.goaway.is_some_and(|code| code != 0), "{:?}", after.goaway);
    assert_eq!(after.requests, 0);
}

#[tokio::test]
async fn pings_and_settings_are_answered_and_nobody_else_waits() {
    for flood in [frame(PING, 0, 0, b"12345678").repeat(50_000), frame(SETTINGS, 0, 0, &[]).repeat(50_000)] {
        assert_eq!(after(flood).await.requests, 0);
    }
}

#[tokio::test]
async fn frames_without_data_hold_nothing() {
    let open = frame(HEADERS, END_HEADERS, 1, GET);
    let flood = [open, frame(DATA, 0, 1, &[]).repeat(50_000)].concat();
    assert!(after(flood).await.requests <= 1);
}
