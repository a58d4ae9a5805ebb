//! Picking, apart from HTTP.

use std::collections::BTreeMap;
use std::thread;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
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

const HEALTHY: RegisterOptions = RegisterOptions { initial: TargetState::Healthy };

fn unchecked_group() -> Arc<TargetGroup> {
    let health_check = HealthCheckConfig::disabled();
    TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("test") })
}

fn picked(group: &TargetGroup, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let claim = group.pick().expect("a usable target");
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
            key.into_iter().for_each(|key| group.observe(key, outcome));
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
                prop_assert!(group.pick().is_none());
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
    let mut tried = vec![group.pick().unwrap().key()];
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
    let claim = group.pick().unwrap();
    // A request that loaded its snapshot before the drain.
    let snapshot = group.usable.load_full();
    let drained = group.deregister(&"old".into());
    tokio::pin!(drained);
    assert!(snapshot[0].enter().is_none());
    assert!(drained.as_mut().now_or_never().is_none());
    drop(claim);
    drained.await;
    assert!(group.targets().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_with_its_delay_and_says_so_to_all_who_wait() {
    let group = unchecked_group();
    group.register("old", Arc::new(Never), HEALTHY);
    let _claim = group.pick().unwrap();
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
    let claim = group.pick().unwrap();
    group.register("task", Arc::new(Never), HEALTHY);
    let states: Vec<_> = group.targets().iter().map(|target| target.state).collect();
    assert_eq!(states, [TargetState::Draining, TargetState::Healthy]);
    let (old, new) = (claim.key(), group.pick().unwrap().key());
    assert_ne!(old, new);
    let mut changes = group.changes();
    drop(claim);
    while group.targets().len() == 2 {
        changes.changed().await.unwrap();
    }
    assert_eq!(group.pick().unwrap().key(), new);
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
