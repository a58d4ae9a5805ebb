//! Clients that keep up, and others.

use std::future::poll_fn;

use super::*;

const RATE: MinimumRate = MinimumRate { bytes_per_second: 100, grace: Duration::from_secs(5) };

/// A client that moves `bytes` each `every`, for up to `most` times. After how long it was ended, if it was.
async fn ended(mut pace: Pace, bytes: usize, every: Duration, most: usize) -> Option<Duration> {
    let begun = Instant::now();
    for _ in 0..most {
        let lost = poll_fn(|cx| pace.poll_lost(cx));
        if time::timeout(every, lost).await.is_ok() {
            return Some(begun.elapsed());
        }
        pace.moved(bytes);
    }
    None
}

fn rated() -> Pace {
    Pace::new(Some(RATE), RATE.grace)
}

#[tokio::test(start_paused = true)]
async fn a_client_at_the_minimum_goes_on_for_ever() {
    let every = Duration::from_millis(200);
    assert_eq!(ended(rated(), 20, every, 10_000).await, None);
    assert_eq!(ended(rated(), 400, Duration::from_secs(4), 1_000).await, None, "in bursts within the grace");
}

#[tokio::test(start_paused = true)]
async fn a_client_below_it_is_ended_when_the_grace_is_used_up() {
    // At nine tenths of the minimum it falls behind by a tenth of the time.
    let at = ended(rated(), 18, Duration::from_millis(200), 10_000).await.expect("too slow");
    assert!((Duration::from_secs(45)..Duration::from_secs(55)).contains(&at), "{at:?}");
    let silent = ended(rated(), 0, Duration::from_secs(1), 100).await.expect("silent");
    assert_eq!(silent.as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_saved_up_by_a_fast_start() {
    let mut pace = rated();
    pace.moved(1_000_000);
    assert_eq!(ended(pace, 0, Duration::from_secs(1), 100).await.expect("silent").as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_waits_for_it_does_not_count() {
    let mut pace = rated();
    for _ in 0..100 {
        let lost = poll_fn(|cx| pace.poll_lost(cx));
        assert!(time::timeout(Duration::from_millis(10), lost).await.is_err());
        pace.moved(1);
        time::advance(Duration::from_secs(60)).await;
    }
    assert!(pace.is_even());
}

#[tokio::test(start_paused = true)]
async fn without_a_minimum_any_byte_is_enough() {
    let patience = Duration::from_secs(5);
    assert_eq!(ended(Pace::new(None, patience), 1, Duration::from_secs(4), 1_000).await, None);
    let at = ended(Pace::new(None, patience), 1, Duration::from_secs(6), 10).await;
    assert_eq!(at.expect("silent"), patience);
}
