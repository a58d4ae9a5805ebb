//! Metering through the operations, on a paused clock.

use std::time::Duration;

use coracle_supervisor::model::task::LastStatus;
use coracle_supervisor::operations::*;
use coracle_supervisor::testing::Load;
use serde_json::json;

use crate::store::{StoreFaults, Troubles};
use crate::world::World;

async fn usage(world: &World) -> Vec<OwnerUsage> {
    world.supervisor.describe_usage(DescribeUsageRequest::default()).await.unwrap().usage
}

/// A family of half a vCPU and 1 GiB.
async fn world() -> World {
    let world = World::new().await;
    world
        .define(json!({
            "family": "web", "cpu": "512", "memory": "1024",
            "containerDefinitions": [{ "name": "app", "image": "hello.wasm" }],
        }))
        .await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_task_costs_its_size_times_its_time_rounded_up_to_the_second() {
    let world = world().await;
    let task = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(Duration::from_millis(30_500)).await;
    let running = usage(&world).await;
    assert_eq!((running.len(), running[0].amounts.task_seconds), (1, 30), "{running:?}");
    world.stop_task(&task).await.unwrap();
    world.until_stopped(&task).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let used = usage(&world).await.remove(0);
    assert_eq!((used.family.as_deref(), used.capacity_provider.as_str()), (Some("web"), "FARGATE"));
    let amounts = used.amounts;
    assert_eq!((amounts.tasks, amounts.task_seconds), (1, 31), "{amounts:?}");
    assert_eq!((amounts.vcpu_seconds, amounts.gib_seconds), (15.5, 31.0));
    // To a minute: 29 seconds more.
    assert_eq!((amounts.minimum_vcpu_seconds, amounts.minimum_gib_seconds), (14.5, 29.0));
}

#[tokio::test(start_paused = true)]
async fn services_are_told_apart_and_what_they_really_used_is_counted() {
    let world = world().await;
    world.create_service("web", 2, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let cpu_per_request = Duration::from_millis(10);
    world.driver.set_load(Load { requests_per_second: 20.0, cpu_per_request, memory: 1 << 20 });
    tokio::time::sleep(Duration::from_secs(100)).await;
    let used = usage(&world).await.remove(0);
    assert_eq!((used.service.as_deref(), used.amounts.tasks), (Some("web"), 2));
    assert!((1950..=2000).contains(&used.amounts.requests), "{used:?}");
    assert!((19.0..=20.1).contains(&used.amounts.cpu_seconds), "{used:?}");
    let request = DescribeUsageRequest { include_tasks: true, ..DescribeUsageRequest::default() };
    let tasks = world.supervisor.describe_usage(request).await.unwrap().tasks;
    let seconds: u64 = tasks.iter().map(|task| task.amounts.task_seconds).sum();
    assert_eq!((tasks.len(), seconds), (2, used.amounts.task_seconds), "{tasks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_an_interval_at_most_and_counts_nothing_twice() {
    let mut world = world().await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    let (mut real, mut crashes) = (0_u64, 0);
    for seconds in [95, 7, 33, 61, 118] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        real += seconds;
        let before = usage(&world).await[0].amounts.task_seconds;
        world.crash_later(Duration::from_secs(real)).await;
        crashes += 1;
        world.until_steady("web").await;
        let known = usage(&world).await.iter().map(|used| used.amounts.task_seconds).sum::<u64>();
        assert!(known <= before && known + 11 >= before, "after {crashes} crashes: {known} of {before}");
    }
    let known = usage(&world).await[0].amounts.task_seconds;
    assert!(known <= real + 1 && known + 11 * crashes >= real, "{known} of {real}");
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_loses_nothing_and_months_are_told_apart() {
    let mut world = world().await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    world.supervisor.shutdown(Duration::from_secs(5)).await;
    world.crash_later(Duration::from_secs(40 * 86_400)).await;
    let month = |month: &str| DescribeUsageRequest { month: Some(month.to_owned()), ..Default::default() };
    let january = world.supervisor.describe_usage(month("2026-01")).await.unwrap();
    assert_eq!(january.usage[0].amounts.task_seconds, 5, "{january:?}");
    assert_eq!(january.months, ["2026-01"]);
    world.until_steady("web").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let february = world.supervisor.describe_usage(DescribeUsageRequest::default()).await.unwrap();
    assert_eq!((february.month.as_str(), february.usage.len()), ("2026-02", 1), "{february:?}");
    for wrong in ["2026", "2026-13", "26-01", "2026-1"] {
        assert!(world.supervisor.describe_usage(month(wrong)).await.is_err(), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn usage_that_the_store_took_and_denied_was_counted_twice() {
    let troubles = Troubles::new(1, StoreFaults::default());
    let world = World::with_troubles(troubles.clone()).await;
    world.register("web").await;
    world.run_task("web", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    troubles.set(StoreFaults { answer_lost: 1.0, ..StoreFaults::default() });
    tokio::time::sleep(Duration::from_secs(50)).await;
    troubles.set(StoreFaults::default());
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(usage(&world).await[0].amounts.task_seconds, 100);
}

#[tokio::test(start_paused = true)]
async fn a_task_was_metered_for_ten_minutes_and_shown_as_pending_where_the_store_refused_one_status() {
    let troubles = Troubles::new(1, StoreFaults::default());
    let world = World::with_troubles(troubles.clone()).await;
    world.register("web").await;
    // Its images are never there.
    world.driver.set_faults(|faults| faults.hangs = 1.0);
    let task = world.run_task("web", 1).await.unwrap().remove(0);
    troubles.set(StoreFaults { write_fails: 1.0, ..StoreFaults::default() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    troubles.set(StoreFaults::default());
    assert_ne!(world.task(&task).await.last_status, LastStatus::Activating, "the store did not take it");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shown = world.task(&task).await;
    assert_eq!(shown.last_status, LastStatus::Activating);
    assert!(shown.pull_started_at.is_some(), "what it costs counts from then on: {shown:?}");
}
