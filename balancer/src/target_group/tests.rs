//! Picking, apart from HTTP.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use proptest::prelude::*;

use super::*;
use crate::health::Failure;
use crate::{Body, TargetError};

struct Never;

impl Target for Never {
    fn call(&self, _: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, TargetError>> {
        std::future::pending().boxed()
    }
}

const HEALTHY: RegisterOptions = RegisterOptions::new(TargetState::Healthy);

static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// A request without anything to bind it to a target.
fn anybody() -> Asking<'static> {
    Asking { headers: &NO_HEADERS, client: Ipv4Addr::LOCALHOST.into() }
}

fn unchecked_group() -> Arc<TargetGroup> {
    let health_check = HealthCheckConfig::disabled();
    TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("test") })
}

fn picked(group: &TargetGroup, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let claim = group.pick(&anybody()).expect("a usable target");
        *counts.entry(claim.id().to_string()).or_default() += 1;
    }
    counts
}

/// What may happen to the targets of a group.
#[derive(Clone, Debug)]
enum Event {
    Register(u8),
    Deregister(u8),
    Fail(u8),
    Recover(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let id = 0..12_u8;
    let event = prop_oneof![
        3 => id.clone().prop_map(Event::Register),
        1 => id.clone().prop_map(Event::Deregister),
        2 => id.clone().prop_map(Event::Fail),
        1 => id.prop_map(Event::Recover),
    ];
    prop::collection::vec(event, 1..40)
}

fn apply(group: &TargetGroup, event: &Event) {
    let outcomes = |id: &u8, outcome, times| {
        let key = group.members().active(&id.to_string().into()).map(|member| member.entry.core.key);
        for _ in 0..times {
            let _state = key.and_then(|key| group.observe(key, outcome));
        }
    };
    match event {
        Event::Register(id) => group.register(id.to_string(), Arc::new(Never), HEALTHY),
        Event::Deregister(id) => drop(group.deregister(&id.to_string().into())),
        Event::Fail(id) => outcomes(id, Outcome::Failure(Failure::Timeout), 2),
        Event::Recover(id) => outcomes(id, Outcome::Success, 5),
    }
}

proptest! {
    #[test]
    fn any_rounds_in_a_row_pick_each_usable_target_equally(events in events(), rounds in 1..4_usize, offset in 0..5_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let group = unchecked_group();
        for event in events {
            apply(&group, &event);
            let targets = group.targets();
            let with = |state| {
                let targets = targets.iter().filter(move |target| target.state == state);
                targets.map(|target| target.id.to_string()).collect::<Vec<_>>()
            };
            let healthy = with(TargetState::Healthy);
            let usable = if healthy.is_empty() { with(TargetState::Unhealthy) } else { healthy };
            if usable.is_empty() {
                prop_assert!(group.pick(&anybody()).is_none());
                continue;
            }
            picked(&group, offset);
            let expected = usable.iter().cloned().map(|id| (id, rounds)).collect();
            prop_assert_eq!(picked(&group, rounds * usable.len()), expected);
        }
    }
}

#[tokio::test]
async fn turns_are_exact_over_all_threads_together() {
    let group = unchecked_group();
    for id in 0..7 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    thread::scope(|scope| {
        for worker in 0..4 {
            let group = &group;
            scope.spawn(move || {
                crate::stripe::assign(worker);
                picked(group, 7 * 250);
            });
        }
    });
    for target in group.targets() {
        assert_eq!((target.counters.requests, target.counters.in_flight), (1000, 0), "{}", target.id);
    }
}

#[tokio::test]
async fn another_pick_never_repeats_one_and_ends() {
    let group = unchecked_group();
    for id in 0..5 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    let mut tried = vec![group.pick(&anybody()).unwrap().key()];
    while let Some(claim) = group.pick_other(&tried) {
        assert!(!tried.contains(&claim.key()));
        tried.push(claim.key());
    }
    assert_eq!(tried.len(), 5);
}

#[tokio::test]
async fn no_claim_is_given_after_the_drain_began_and_the_drain_waits_for_those_before() {
    let group = unchecked_group();
    group.register("old", Arc::new(Never), HEALTHY);
    let claim = group.pick(&anybody()).unwrap();
    // A request that loaded its snapshot before the drain.
    let snapshot = group.usable.load_full();
    let drained = group.deregister(&"old".into());
    tokio::pin!(drained);
    assert!(snapshot.enter(0).is_none());
    assert!(drained.as_mut().now_or_never().is_none());
    drop(claim);
    drained.await;
    assert!(group.targets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_its_delay_and_says_so_to_all_who_wait() {
    let group = unchecked_group();
    group.register("old", Arc::new(Never), HEALTHY);
    let _claim = group.pick(&anybody()).unwrap();
    let start = tokio::time::Instant::now();
    let (first, second) = (group.deregister(&"old".into()), group.deregister(&"old".into()));
    first.await;
    second.await;
    assert_eq!(start.elapsed(), DEFAULT_DEREGISTRATION_DELAY);
    group.deregister(&"old".into()).await;
}

#[tokio::test]
async fn a_replaced_target_drains_beside_its_successor() {
    let group = unchecked_group();
    group.register("task", Arc::new(Never), HEALTHY);
    let claim = group.pick(&anybody()).unwrap();
    group.register("task", Arc::new(Never), HEALTHY);
    let states: Vec<_> = group.targets().iter().map(|target| target.state).collect();
    assert_eq!(states, [TargetState::Draining, TargetState::Healthy]);
    let (old, new) = (claim.key(), group.pick(&anybody()).unwrap().key());
    assert_ne!(old, new);
    let mut changes = group.changes();
    drop(claim);
    while group.targets().len() == 2 {
        changes.changed().await.unwrap();
    }
    assert_eq!(group.pick(&anybody()).unwrap().key(), new);
}

#[tokio::test]
async fn the_group_ends_with_its_last_handle() {
    let group = TargetGroup::new(TargetGroupConfig::new("checked"));
    let target: Arc<dyn Target> = Arc::new(Never);
    group.register("task", Arc::clone(&target), HEALTHY);
    tokio::task::yield_now().await;
    drop(group);
    while Arc::strong_count(&target) > 1 {
        tokio::task::yield_now().await;
    }
}

fn group_with(attributes: &[(&str, &str)]) -> Arc<TargetGroup> {
    let group = unchecked_group();
    group.set_attributes(TargetGroupAttributes::from_pairs(attributes.iter().copied()).unwrap());
    group
}

fn register_weighted(group: &TargetGroup, id: &str, weight: u32) {
    group.register(id, Arc::new(Never), RegisterOptions { weight, ..HEALTHY });
}

#[tokio::test]
async fn weights_are_exact_over_a_cycle() {
    let group = unchecked_group();
    for (id, weight) in [("a", 5), ("b", 1), ("c", 1)] {
        register_weighted(&group, id, weight);
    }
    let shares = [("a", 5), ("b", 1), ("c", 1)].map(|(id, share)| (id.to_owned(), share));
    for _ in 0..3 {
        assert_eq!(picked(&group, 7), BTreeMap::from(shares.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_target_gets_a_share_that_grows_with_its_slow_start() {
    let group = group_with(&[("slow_start.duration_seconds", "100")]);
    group.register("old", Arc::new(Never), HEALTHY);
    group.register("new", Arc::new(Never), HEALTHY);
    let mut shares = Vec::new();
    for _ in 0..5 {
        let counts = picked(&group, 10_000);
        let share = |id| *counts.get(id).unwrap_or(&0) as f64;
        shares.push(share("new") / share("old") * 100.0);
        tokio::time::sleep(Duration::from_secs(25)).await;
        // Paused time moves on when everybody waits; the ramp's own step is to come before the next look.
        tokio::task::yield_now().await;
    }
    for (share, expected) in shares.iter().zip([0.0_f64, 25.0, 50.0, 75.0, 100.0]) {
        assert!((share - expected).abs() < 2.0, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_all_new_do_not_start_slowly() {
    let group = group_with(&[("slow_start.duration_seconds", "900")]);
    for id in 0..2_u8 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
        apply(&group, &Event::Fail(id));
    }
    // Both recover; the first to do so has nobody to leave its share to, the second has.
    apply(&group, &Event::Recover(0));
    assert_eq!(picked(&group, 4), BTreeMap::from([("0".to_owned(), 4)]));
    apply(&group, &Event::Recover(1));
    assert!(picked(&group, 500)["0"] >= 498);
}

#[tokio::test]
async fn fewer_healthy_targets_than_the_minimum_open_the_group_to_all() {
    let minimum = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
    let group = group_with(&[(minimum, "50")]);
    for id in 0..4 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    for (failed, expected) in [(0, 3), (1, 2), (2, 4), (3, 4)] {
        apply(&group, &Event::Fail(failed));
        assert_eq!(picked(&group, 12).len(), expected, "after {failed} failed");
    }
}

#[tokio::test]
async fn of_usable_targets_those_get_requests_that_are_best_off_by_other_means() {
    use CustomHealth::{Healthy, Unhealthy, Unknown};
    let group = unchecked_group();
    for id in ["a", "b", "c"] {
        let unknown = RegisterOptions { custom_health: Unknown, ..HEALTHY };
        group.register(id, Arc::new(Never), unknown);
    }
    let asked = || picked(&group, 12).into_keys().collect::<String>();
    assert_eq!(asked(), "abc", "better those than none");
    for (id, health, expected) in [
        ("a", Healthy, "a"),
        ("b", Healthy, "ab"),
        ("a", Unhealthy, "b"),
        ("b", Unhealthy, "c"),
        ("c", Unhealthy, "abc"),
        ("c", Healthy, "c"),
    ] {
        group.vouch(&id.into(), health);
        assert_eq!(asked(), expected, "{id} is {health:?}");
    }
    assert!(group.targets().iter().all(|target| target.state == TargetState::Healthy), "{group:?}");
}

#[tokio::test]
async fn one_that_is_well_by_other_means_and_fails_its_checks_gets_nothing_while_another_passes_them() {
    let group = unchecked_group();
    for id in 0..2 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    group.vouch(&"1".into(), CustomHealth::Unhealthy);
    apply(&group, &Event::Fail(0));
    assert_eq!(picked(&group, 4), BTreeMap::from([("1".to_owned(), 4)]));
    group.vouch(&"nobody".into(), CustomHealth::Unhealthy);
}

/// The `Cookie` a client sends after an answer through this claim.
fn cookie_of(claim: &InFlight, application: &str) -> Option<HeaderMap> {
    let mut answer = HeaderMap::new();
    if !application.is_empty() {
        answer.append(header::SET_COOKIE, HeaderValue::try_from(application).unwrap());
    }
    claim.set_cookies(&mut answer);
    let pairs: Vec<_> = answer
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap().to_owned())
        .collect();
    let value = HeaderValue::try_from(pairs.join("; ")).unwrap();
    (!pairs.is_empty()).then(|| [(header::COOKIE, value)].into_iter().collect())
}

#[tokio::test]
async fn a_client_with_the_balancers_cookie_stays_with_its_target_while_that_is_healthy() {
    let group = group_with(&[("stickiness.enabled", "true")]);
    for id in 0..3 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    let first = group.pick(&anybody()).unwrap();
    let cookie = cookie_of(&first, "").unwrap();
    let asking = Asking { headers: &cookie, ..anybody() };
    for _ in 0..10 {
        assert_eq!(group.pick(&asking).unwrap().key(), first.key());
    }
    apply(&group, &Event::Fail(first.id().as_str().parse().unwrap()));
    let second = group.pick(&asking).unwrap();
    assert_ne!(second.key(), first.key());
    let cookie = cookie_of(&second, "").unwrap();
    let asking = Asking { headers: &cookie, ..anybody() };
    assert_eq!(group.pick(&asking).unwrap().key(), second.key(), "bound to the other from now on");
    group.set_attributes(TargetGroupAttributes::default());
    assert!(cookie_of(&group.pick(&asking).unwrap(), "").is_none(), "stickiness is off");
}

#[tokio::test]
async fn the_applications_cookie_binds_once_the_application_sets_it() {
    let group = group_with(&[
        ("stickiness.enabled", "true"),
        ("stickiness.type", "app_cookie"),
        ("stickiness.app_cookie.cookie_name", "session"),
    ]);
    for id in 0..3 {
        group.register(id.to_string(), Arc::new(Never), HEALTHY);
    }
    let first = group.pick(&anybody()).unwrap();
    assert!(cookie_of(&first, "").is_none());
    assert_eq!(cookie_of(&first, "other=1").unwrap()[header::COOKIE], "other=1");
    let cookie = cookie_of(&first, "session=1; Path=/").unwrap();
    let asking = Asking { headers: &cookie, ..anybody() };
    for _ in 0..10 {
        assert_eq!(group.pick(&asking).unwrap().key(), first.key());
    }
    let ours: HeaderValue =
        HeaderValue::try_from(cookie[header::COOKIE].to_str().unwrap().split("; ").nth(1).unwrap()).unwrap();
    let without: HeaderMap = [(header::COOKIE, ours)].into_iter().collect();
    let asking = Asking { headers: &without, ..anybody() };
    let keys: std::collections::BTreeSet<_> = (0..3).map(|_| group.pick(&asking).unwrap().key()).collect();
    assert_eq!(keys.len(), 3, "without the application's cookie nobody is bound");
}
