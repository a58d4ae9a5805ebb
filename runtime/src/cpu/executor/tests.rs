use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;

/// A future that burns 50 us of CPU and yields, until told to stop.
fn spin(stop: Arc<AtomicBool>) -> impl Future<Output = ()> + Send {
    std::future::poll_fn(move |context| {
        if stop.load(Relaxed) {
            return Poll::Ready(());
        }
        let timer = ThreadTimer::start();
        while timer.elapsed() < Duration::from_micros(50) {}
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Runs spinners with these accounts until the first has used `cpu`, and gives what each used, in seconds.
async fn race(accounts: &[Arc<CpuAccount>], threads: usize, cpu: Duration) -> Vec<f64> {
    let executor = Executor::start(threads).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> =
        accounts.iter().map(|account| executor.spawn(account.clone(), spin(stop.clone()))).collect();
    while accounts.iter().all(|account| account.used() < cpu) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let used = accounts.iter().map(|account| account.used().as_secs_f64()).collect();
    stop.store(true, Relaxed);
    for task in tasks {
        task.await;
    }
    used
}

#[tokio::test]
async fn equal_guests_get_equal_shares() {
    let accounts: Vec<_> = (0..10).map(|_| CpuAccount::new(None, 1024, None)).collect();
    let used = race(&accounts, 2, Duration::from_millis(60)).await;
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    for share in &used {
        assert!(
            (share / mean - 1.0).abs() < 0.05,
            "a share of {share} s where the mean is {mean} s: {used:?}"
        );
    }
}

#[tokio::test]
async fn shares_follow_weights() {
    let accounts: Vec<_> = [256, 512, 1024].map(|weight| CpuAccount::new(None, weight, None)).into();
    let used = race(&accounts, 1, Duration::from_millis(200)).await;
    for (share, wanted) in used.iter().zip([0.25, 0.5, 1.0]) {
        let share = share / used[2];
        assert!((share / wanted - 1.0).abs() < 0.05, "{share} where {wanted} was wanted: {used:?}");
    }
}

#[tokio::test]
async fn a_guest_in_debt_waits_until_it_is_paid() {
    let executor = Executor::start(1).unwrap();
    let account = CpuAccount::new(Some(512), 512, None);
    account.charge(Duration::from_millis(50)); // 100 ms at half a core, 50 of them saved up
    let start = monotonic_nanos();
    executor.spawn(account.clone(), async {}).await;
    let waited = Duration::from_nanos(monotonic_nanos() - start);
    assert!(waited >= Duration::from_millis(45), "waited {waited:?}");
    assert!(account.throttled() >= Duration::from_millis(45));
}

#[tokio::test]
async fn dropping_a_task_cancels_a_spinning_guest() {
    struct Flag(Arc<AtomicU64>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let executor = Executor::start(1).unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let flag = Flag(dropped.clone());
    let never = Arc::new(AtomicBool::new(false));
    let task = executor.spawn(CpuAccount::new(None, 1024, None), async move {
        let _flag = flag;
        spin(never).await;
    });
    drop(task);
    // The only thread is free again.
    executor.spawn(CpuAccount::new(None, 1024, None), async {}).await;
    assert_eq!(dropped.load(Relaxed), 1);
}

#[tokio::test]
async fn a_panic_reaches_who_awaits_and_no_one_else() {
    let executor = Executor::start(1).unwrap();
    let account = CpuAccount::new(None, 1024, None);
    let task = executor.spawn(account.clone(), async { panic!("on purpose") });
    let joined = tokio::spawn(task).await;
    assert!(joined.unwrap_err().is_panic());
    assert_eq!(executor.spawn(account, async { 7 }).await, 7);
}
