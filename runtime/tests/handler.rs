//! Handlers made of real guests: answering, streaming, failing, being stopped.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod support;

use coracle_runtime::{
    Abi, ContainerSpec, Envelope, ExitReason, HandleError, ImageKind, Metering, StartError,
};
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;
use support::{DEADLINE, Host, ask, get, read, text};

fn spec() -> ContainerSpec {
    ContainerSpec { env: vec![("CORACLE_TASK_ID".into(), "t1".into())], ..ContainerSpec::named("app") }
}

#[tokio::test]
async fn hello_answers_with_its_task_id_in_preview_2_and_3() {
    let host = Host::new();
    for (guest, abi) in [("hello", Abi::Preview2), ("hello-p3", Abi::Preview3)] {
        assert_eq!((host.image(guest).kind(), host.image(guest).abi()), (ImageKind::Handler, abi));
        let container = host.start(guest, spec()).await;
        for _ in 0..3 {
            assert_eq!(text(&container, "/").await, "hello from t1\n", "{guest}");
        }
        assert_eq!((container.usage().requests, container.usage().fuel), (3, 0));
        assert_eq!(container.stop(DEADLINE).await.code, Some(0));
        assert_eq!(container.usage().memory, 0, "{guest}: memory goes back");
    }
}

#[tokio::test]
async fn fuel_is_counted_for_each_request_where_it_is_asked_for() {
    let host = Host::new();
    for guest in ["hello", "hello-p3"] {
        for instance_reuse in [1, 10] {
            let counted = ContainerSpec { fuel: Some(u64::MAX), instance_reuse, ..spec() };
            let container = host.start(guest, counted).await;
            for _ in 0..3 {
                text(&container, "/").await;
            }
            // A warm instance's last request is counted when it answers the next.
            let least = if instance_reuse == 1 { 3000 } else { 2000 };
            assert!(container.usage().fuel > least, "{guest}: {:?}", container.usage());
        }
    }
    let budget = ContainerSpec { fuel: Some(1_000_000), ..spec() };
    let refused = host.runtime.start(&host.metered_image("hello", Metering::Time), budget).await.unwrap_err();
    assert!(matches!(refused, StartError::FuelNotCounted), "{refused}");
}

#[tokio::test]
async fn a_small_answer_is_whole_before_its_head_is_sent() {
    let host = Host::new();
    let container = host.start("hello", spec()).await;
    // A guest that took more than a moment of CPU, as in a cold cache it may, is moved to another thread, and not waited for.
    let mut whole = 0;
    for _ in 0..50 {
        // Each in a turn of its own: tokio lets a task have only so much in one.
        tokio::task::yield_now().await;
        let response = ask(&container, "/").await.unwrap();
        if response.body().size_hint().exact() == Some("hello from t1\n".len() as u64) {
            assert!(!response.body().is_end_stream());
            whole += 1;
        }
    }
    assert!(whole > 40, "{whole} of 50 answers were whole");
}

#[tokio::test]
async fn no_answer_is_missed_however_many_come_in_one_turn_of_a_task() {
    let host = Host::new();
    let container = host.start("hello", ContainerSpec { instance_reuse: 1000, ..spec() }).await;
    for number in 0..300 {
        let answered = ask(&container, "/").await;
        assert!(answered.is_ok(), "request {number}: {answered:?}");
    }
}

#[tokio::test]
async fn each_request_gets_its_own_instance_unless_reuse_is_granted() {
    let host = Host::new();
    let fresh = host.start("counter", spec()).await;
    let reusing = host.start("counter", ContainerSpec { instance_reuse: 3, ..spec() }).await;
    let mut counts = (String::new(), String::new());
    for _ in 0..5 {
        counts.0 += text(&fresh, "/").await.split_whitespace().next().unwrap();
        counts.1 += text(&reusing, "/").await.split_whitespace().next().unwrap();
    }
    assert_eq!(counts, ("11111".to_owned(), "12312".to_owned()));
}

#[tokio::test]
async fn a_trap_costs_one_request_and_leaves_a_backtrace() {
    let host = Host::new();
    let container = host.start("chaos", ContainerSpec { instance_reuse: 100, ..spec() }).await;
    assert_eq!(text(&container, "/").await, "calm\n");
    let error = ask(&container, "/trap").await.unwrap_err();
    assert!(matches!(&error, HandleError::Trapped(message) if message.contains("unreachable")), "{error}");
    assert!(host.log_text().contains("wasm backtrace"), "{}", host.log_text());
    assert_eq!(text(&container, "/").await, "calm\n");
    assert_eq!(container.usage().traps, 1);
    assert!(container.exit().is_none());
}

#[tokio::test]
async fn a_trap_after_the_headers_never_looks_like_a_whole_answer() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    let failed = match ask(&container, "/trap-mid-body").await {
        Ok(response) => {
            let body = tokio::time::timeout(DEADLINE, response.into_body().collect()).await;
            body.expect("the body ends").is_err()
        }
        Err(HandleError::Trapped(_)) => true,
        Err(other) => panic!("{other}"),
    };
    assert!(failed, "half an answer came as a whole one");
}

#[tokio::test]
async fn an_exit_and_a_panic_give_no_answer() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    let error = ask(&container, "/exit?code=1").await.unwrap_err();
    assert!(matches!(error, HandleError::NoAnswer(_)), "{error}");
    let error = ask(&container, "/panic").await.unwrap_err();
    assert!(matches!(error, HandleError::Trapped(_)), "{error}");
    assert!(host.log_text().contains("asked to panic"), "{}", host.log_text());
    let error = ask(&container, "/recurse").await.unwrap_err();
    assert!(matches!(error, HandleError::Trapped(_)), "{error}");
}

#[tokio::test]
async fn hanging_and_spinning_guests_time_out_while_others_are_answered() {
    let host = Host::new();
    let patient = spec();
    let hasty = ContainerSpec { request_timeout: Duration::from_millis(200), ..spec() };
    let (chaos, calm) = (host.start("chaos", hasty).await, host.start("hello", patient).await);
    for path in ["/hang", "/spin"] {
        let (failed, answered) = tokio::join!(ask(&chaos, path), text(&calm, "/"));
        assert!(matches!(failed, Err(HandleError::TimedOut)), "{path}");
        assert_eq!(answered, "hello from t1\n");
    }
    assert_eq!(text(&chaos, "/").await, "calm\n");
}

#[tokio::test]
async fn a_fuel_budget_is_each_requests_own() {
    let host = Host::new();
    let container =
        host.start("chaos", ContainerSpec { fuel: Some(20_000_000), instance_reuse: 100, ..spec() }).await;
    for _ in 0..3 {
        assert!(matches!(ask(&container, "/spin").await, Err(HandleError::OutOfFuel)));
        assert_eq!(text(&container, "/").await, "calm\n");
    }
}

#[tokio::test]
async fn growing_past_the_memory_limit_ends_the_container() {
    let host = Host::new();
    let container = host.start("chaos", ContainerSpec { memory: Some(32 << 20), ..spec() }).await;
    assert_eq!(ask(&container, "/allocate?mib=8").await.unwrap().status(), 200);
    assert!(matches!(ask(&container, "/allocate?mib=64").await, Err(HandleError::OutOfMemory)));
    let exit = tokio::time::timeout(DEADLINE, container.wait()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (Some(137), ExitReason::OutOfMemory));
    assert!(matches!(ask(&container, "/").await, Err(HandleError::Stopped(_))));
    // The guest's thread gives back what it had as soon as it comes to it.
    let given_back = async {
        while container.usage().memory > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, given_back).await.unwrap_or_else(|_| panic!("{:?}", container.usage()));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    let text = "0123456789".repeat(100_000);
    let request =
        http::Request::post("/echo").header("host", "test").body(http_body_util::Full::from(text.clone()));
    let response = tokio::time::timeout(DEADLINE, container.handle(request.unwrap())).await.unwrap().unwrap();
    assert_eq!(read(response).await, text);

    // The head is there before the slow body is.
    let response = ask(&container, "/slow?chunks=3&ms=50").await.unwrap();
    assert_eq!(response.body().size_hint().exact(), None);
    assert_eq!(read(response).await.lines().count(), 3);
}

#[tokio::test]
async fn dropping_an_answer_cancels_its_guest() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    let response = ask(&container, "/slow?chunks=1000000&ms=1").await.unwrap();
    assert!(container.usage().memory > 0);
    drop(response);
    let free = async || {
        while container.usage().memory > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, free()).await.expect("the streaming guest is dropped");
    // A spinning guest is on the guest threads by then, which drop it when they next come to it.
    let spinning = tokio::time::timeout(Duration::from_millis(50), container.handle(get("/spin"))).await;
    assert!(spinning.is_err());
    tokio::time::timeout(DEADLINE, free()).await.expect("the spinning guest is dropped");
}

#[tokio::test]
async fn a_handler_has_a_bounded_number_of_requests() {
    let host = Host::new();
    let container = host.start("chaos", ContainerSpec { max_concurrency: 2, ..spec() }).await;
    // Two run, two wait; each hangs.
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let container = container.clone();
            tokio::spawn(async move { container.handle(get("/hang")).await.map(drop) })
        })
        .collect();
    while container.usage().requests < 2 {
        tokio::task::yield_now().await;
    }
    match ask(&container, "/hang").await.unwrap_err() {
        HandleError::Overloaded(request) => {
            assert_eq!(request.uri().path(), "/hang", "the request comes back")
        }
        other => panic!("the fifth was not refused: {other}"),
    }
    let exit = container.stop(Duration::from_millis(10)).await;
    assert_eq!((exit.code, exit.reason), (Some(137), ExitReason::Killed));
    for task in tasks {
        let result = tokio::time::timeout(DEADLINE, task).await.unwrap().unwrap();
        assert!(matches!(result, Err(HandleError::Ended | HandleError::Stopped(_))), "{result:?}");
    }
}

#[tokio::test]
async fn stopping_waits_for_requests_in_flight_and_takes_no_new_ones() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    let response = ask(&container, "/slow?chunks=5&ms=20").await.unwrap();
    let stopping = tokio::spawn({
        let container = container.clone();
        async move { container.stop(DEADLINE).await }
    });
    tokio::time::timeout(DEADLINE, async {
        while !matches!(ask(&container, "/").await, Err(HandleError::Stopped(_))) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("new requests are refused");
    assert!(!stopping.is_finished());
    assert_eq!(read(response).await.lines().count(), 5);
    let exit = stopping.await.unwrap();
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Stopped));
}

#[tokio::test]
async fn a_tasks_quota_slows_its_requests_down() {
    let host = Host::new();
    let envelope = Some(Envelope::new(Some(64), None));
    let container = host.start("chaos", ContainerSpec { envelope, fuel: Some(300_000_000), ..spec() }).await;
    assert!(matches!(ask(&container, "/spin").await, Err(HandleError::OutOfFuel)));
    assert!(container.usage().throttled_time > Duration::ZERO, "{:?}", container.usage());
}

#[tokio::test]
async fn what_a_guest_prints_is_in_its_log() {
    let host = Host::new();
    let container = host.start("chaos", spec()).await;
    ask(&container, "/log?lines=3").await.unwrap();
    assert_eq!(host.log_text().lines().count(), 6, "{}", host.log_text());
}

#[tokio::test]
async fn without_a_network_a_request_to_the_outside_is_denied() {
    let host = Host::new();
    let command = host.start("echo", spec()).await;
    let exit = tokio::time::timeout(DEADLINE, command.wait()).await.unwrap();
    assert_ne!(exit.code, Some(0), "a server cannot listen without a network: {exit:?}");
}
