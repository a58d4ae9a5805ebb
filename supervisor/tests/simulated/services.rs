//! Services and tasks through the operations, over the simulated driver on a paused clock.

use std::time::Duration;

use crate::store::{StoreFaults, Troubles};
use crate::world::World;
use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::service::{RolloutState, ServiceStatus};
use coracle_supervisor::model::task::{LastStatus, StopCode, TargetHealth};
use coracle_supervisor::operations::*;
use coracle_supervisor::store::Store;

/// Nothing in the supervisor polls: what follows from an event has happened after a moment on the paused clock.
const A_MOMENT: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_service_starts_its_desired_tasks_and_says_that_it_is_steady() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 3, &[]).await.unwrap();
    world.until_steady("web").await;
    let service = world.service("web").await;
    assert_eq!((service.running_count, service.pending_count), (3, 0));
    assert_eq!(service.deployments.len(), 1);
    let messages = world.events("web").await;
    assert!(
        messages.iter().any(|message| message.starts_with("(service web) has started 3 tasks: (task ")),
        "{messages:?}"
    );
    assert!(messages.contains(&"(service web) has reached a steady state.".to_owned()), "{messages:?}");
    world
        .until(|| async {
            world.service("web").await.deployments[0].rollout_state == RolloutState::Completed
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stopped_task_is_replaced_in_a_moment() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 4, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    for _ in 0..20 {
        let victim = world.running("web").await.remove(0);
        let stopped = world.stop_task(&victim).await.unwrap();
        assert_eq!(stopped.stop_code, Some(StopCode::UserInitiated));
        tokio::time::sleep(A_MOMENT).await;
        let running = world.running("web").await;
        assert_eq!(running.len(), 4, "back to the desired count");
        assert!(!running.contains(&victim));
    }
    assert_eq!(world.driver.breaches(), Vec::<String>::new(), "always deregistered before it was stopped");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_is_replaced_in_a_moment_and_says_why_it_stopped() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 2, &[]).await.unwrap();
    world.until_steady("web").await;
    let victim = world.running("web").await.remove(0);
    let exit = ContainerExit {
        code: Some(137),
        reason: Some("OutOfMemoryError: Container killed due to memory usage".to_owned()),
    };
    assert!(world.driver.exit(&world.task_id(&victim), "app", exit));
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(world.running("web").await.len(), 2);
    let task = world.task(&victim).await;
    assert_eq!(task.last_status, LastStatus::Stopped);
    assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(task.stopped_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!(task.containers[0].exit_code, Some(137));
    assert_eq!(
        task.containers[0].reason.as_deref(),
        Some("OutOfMemoryError: Container killed due to memory usage")
    );
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_task_is_replaced_before_it_is_stopped() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 2, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let victim = world.running("web").await.remove(0);
    let reason = "Health checks failed with these codes: [500]".to_owned();
    assert!(world.driver.set_health(&world.task_id(&victim), TargetHealth::Unhealthy { reason }));
    world.until_stopped(&victim).await;
    let task = world.task(&victim).await;
    let group = &world.service("web").await.load_balancers[0].target_group_arn;
    assert_eq!(task.stopped_reason, Some(format!("Task failed ELB health checks in (target-group {group})")));
    assert_eq!(task.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    world.until_steady("web").await;
    let messages = world.events("web").await;
    let text = "is unhealthy in (target-group";
    assert_eq!(
        messages.iter().filter(|message| message.contains(text)).count(),
        1,
        "told once: {messages:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_holds_back_the_judgement_of_health_checks() {
    let world = World::new().await;
    world.register("web").await;
    world.driver.set_faults(|faults| faults.never_healthy = 1.0);
    let mut request = world.service_request("web", 1, &[("coracle.listen", "127.0.0.1:0")]);
    request.health_check_grace_period_seconds = Some(60);
    world.supervisor.create_service(request).await.unwrap();
    world.until(|| async { world.running("web").await.len() == 1 }).await;
    let first = world.running("web").await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(world.running("web").await, first, "still in its grace period");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(world.running("web").await, first, "replaced after it");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_never_start_are_tried_ever_more_slowly() {
    let world = World::new().await;
    world.register("web").await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("hello.wasm".to_owned());
    });
    world.create_service("web", 2, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let service = world.service("web").await;
    let failed = service.deployments[0].failed_tasks;
    assert!((8..=40).contains(&failed), "{failed} failed tasks in an hour");
    let text = "(service web) is unable to consistently start tasks successfully.";
    let messages = world.events("web").await;
    assert_eq!(messages.iter().filter(|message| *message == text).count(), 1, "{messages:?}");

    world.driver.set_faults(|faults| faults.missing_images.clear());
    let request = UpdateServiceRequest {
        service: "web".to_owned(),
        force_new_deployment: Some(true),
        ..UpdateServiceRequest::default()
    };
    world.supervisor.update_service(request).await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    assert_eq!(world.running("web").await.len(), 2, "a new deployment starts at once");
}

#[tokio::test(start_paused = true)]
async fn tasks_that_die_young_do_not_take_the_whole_machine() {
    let world = World::new().await;
    world.register("web").await;
    world.driver.set_faults(|faults| {
        faults.lifetimes.insert("hello.wasm".to_owned(), (Duration::from_millis(1), 1));
    });
    world.create_service("web", 1, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let started = world.stopped("web").await.len();
    assert!((20..=120).contains(&started), "{started} tasks in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn scaling_follows_the_desired_count_both_ways() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 1, &[]).await.unwrap();
    for desired in [5, 2, 0, 3] {
        world.scale("web", desired).await.unwrap();
        world.until_steady("web").await;
        assert_eq!(world.running("web").await.len(), usize::try_from(desired).unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_replaces_the_old_one_without_going_below_or_above_the_limits() {
    let world = World::new().await;
    world.register("web").await;
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(2));
    world.create_service("web", 4, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let arn = world.register("web").await;
    let request = UpdateServiceRequest {
        service: "web".to_owned(),
        task_definition: Some(arn.clone()),
        ..UpdateServiceRequest::default()
    };
    world.supervisor.update_service(request).await.unwrap();
    assert_eq!(world.service("web").await.deployments.len(), 2);
    for _ in 0..200 {
        let service = world.service("web").await;
        assert!(service.running_count >= 4, "{service:?}");
        assert!(service.running_count + service.pending_count <= 8, "{service:?}");
        if service.deployments.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.until_steady("web").await;
    let service = world.service("web").await;
    assert_eq!((service.task_definition.as_str(), service.deployments.len()), (arn.as_str(), 1));
    for task in world.running("web").await {
        assert_eq!(world.task(&task).await.task_definition_arn, arn);
    }
}

#[tokio::test(start_paused = true)]
async fn limits_that_leave_no_move_are_told() {
    let world = World::new().await;
    world.register("web").await;
    let mut request = world.service_request("web", 1, &[]);
    request.deployment_configuration =
        Some(serde_json::from_str(r#"{"minimumHealthyPercent": 50, "maximumPercent": 100}"#).unwrap());
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("web").await;
    world.force_deployment("web").await;
    tokio::time::sleep(A_MOMENT).await;
    let messages = world.events("web").await;
    assert!(messages[0].contains("because of the service deployment configuration"), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_again_when_everything_is_read_anew() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 2, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    tokio::time::sleep(A_MOMENT).await;
    let events = world.events("web").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.events("web").await, events);
}

#[tokio::test(start_paused = true)]
async fn deletion_goes_in_ecss_order() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 2, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    let cluster = || DeleteClusterRequest { cluster: "default".to_owned() };
    let error = world.supervisor.delete_cluster(cluster()).await.unwrap_err();
    assert_eq!(error.code(), "ClusterContainsServicesException");
    assert_eq!(error.to_string(), "The Cluster cannot be deleted while Services are active.");

    let delete = |force| DeleteServiceRequest { cluster: None, service: "web".to_owned(), force };
    let error = world.supervisor.delete_service(delete(None)).await.unwrap_err();
    assert_eq!(error.to_string(), "The service cannot be stopped while it is scaled above 0.");
    let deleted = world.supervisor.delete_service(delete(Some(true))).await.unwrap();
    assert_eq!((deleted.service.status, deleted.service.desired_count), (ServiceStatus::Draining, 0));
    world.until(|| async { world.service("web").await.status == ServiceStatus::Inactive }).await;
    assert!(world.driver.tasks().is_empty() && world.driver.listeners().is_empty(), "nothing is left");

    let error = world.scale("web", 1).await.unwrap_err();
    assert_eq!(error.code(), "ServiceNotActiveException");
    let gone = world.supervisor.delete_cluster(cluster()).await.unwrap();
    assert_eq!(gone.cluster.status, "INACTIVE");
    assert!(world.driver.breaches().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_standalone_task_runs_once_and_nothing_brings_it_back() {
    let world = World::new().await;
    world.register("job").await;
    world.driver.set_faults(|faults| {
        faults.lifetimes.insert("hello.wasm".to_owned(), (Duration::from_secs(5), 0));
    });
    let arns = world.run_task("job", 3).await.unwrap();
    assert_eq!(arns.len(), 3);
    let error = world
        .supervisor
        .delete_cluster(DeleteClusterRequest { cluster: "default".to_owned() })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "The Cluster cannot be deleted while Tasks are active.");
    for arn in &arns {
        world.until_stopped(arn).await;
        let task = world.task(arn).await;
        assert_eq!(task.containers[0].exit_code, Some(0));
        assert_eq!(task.stop_code, Some(StopCode::EssentialContainerExited));
        assert_eq!(task.group, "family:job");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.driver.tasks().is_empty());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let described = world.describe_tasks(&arns).await;
    assert_eq!(described.failures.len(), 3, "forgotten after an hour");
}

#[tokio::test(start_paused = true)]
async fn containers_wait_for_what_they_depend_on() {
    let world = World::new().await;
    let definition = r#"{"family": "pair", "containerDefinitions": [
        {"name": "app", "image": "app.wasm", "dependsOn": [{"containerName": "setup", "condition": "SUCCESS"}]},
        {"name": "setup", "image": "setup.wasm", "essential": false}]}"#;
    world.supervisor.register_task_definition(parse_request(definition.as_bytes()).unwrap()).await.unwrap();
    for (code, expected) in [(0, LastStatus::Running), (3, LastStatus::Stopped)] {
        world.driver.set_faults(|faults| {
            faults.lifetimes.insert("setup.wasm".to_owned(), (Duration::from_secs(1), code));
        });
        let arn = world.run_task("pair", 1).await.unwrap().remove(0);
        tokio::time::sleep(A_MOMENT).await;
        assert_eq!(world.task(&arn).await.last_status, LastStatus::Activating);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let task = world.task(&arn).await;
        assert_eq!(task.last_status, expected, "{task:?}");
        if code != 0 {
            assert_eq!(task.stop_code, Some(StopCode::TaskFailedToStart));
            let reason =
                "CannotStartContainerError: dependency container setup of container app exited with code 3";
            assert_eq!(task.stopped_reason.as_deref(), Some(reason));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_stopped_while_it_starts() {
    let world = World::new().await;
    world.register("job").await;
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(100));
    let arn = world.run_task("job", 1).await.unwrap().remove(0);
    tokio::time::sleep(A_MOMENT).await;
    world.stop_task(&arn).await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    let task = world.task(&arn).await;
    assert_eq!((task.last_status, task.started_at), (LastStatus::Stopped, None));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_services_come_back_and_standalone_tasks_say_what_happened() {
    let mut world = World::new().await;
    world.register("web").await;
    world.create_service("web", 3, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    let lone = world.run_task("web", 1).await.unwrap().remove(0);
    world.until_steady("web").await;
    world.crash().await;
    world.until_steady("web").await;
    assert_eq!(world.running("web").await.len(), 3);
    assert_eq!(world.driver.listeners().len(), 1, "published again");
    let task = world.task(&lone).await;
    assert_eq!(
        (task.last_status, task.stop_code),
        (LastStatus::Stopped, Some(StopCode::InfrastructureHealth))
    );
    assert_eq!(world.driver.tasks().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_everything_in_order_and_services_come_back() {
    let mut world = World::new().await;
    world.register("web").await;
    world.create_service("web", 3, &[("coracle.listen", "127.0.0.1:0")]).await.unwrap();
    world.until_steady("web").await;
    world.supervisor.shutdown(Duration::from_secs(60)).await;
    assert!(world.driver.tasks().is_empty() && world.driver.listeners().is_empty());
    assert!(world.driver.breaches().is_empty(), "{:?}", world.driver.breaches());
    world.crash().await;
    world.until_steady("web").await;
    assert_eq!(world.running("web").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_another_program_has_refuses_the_service_and_changes_nothing() {
    let world = World::new().await;
    world.register("web").await;
    world.driver.occupy("127.0.0.1:8080".parse().unwrap());
    let error = world.create_service("web", 1, &[("coracle.listen", "127.0.0.1:8080")]).await.unwrap_err();
    assert_eq!(error.code(), "InvalidParameterException");
    assert_eq!(error.to_string(), "Tag coracle.listen: 127.0.0.1:8080 is already in use.");
    let list = world.supervisor.list_services(ListServicesRequest::default()).await.unwrap();
    assert!(list.service_arns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_status_the_store_did_not_take_was_pending_for_ever() {
    let troubles = Troubles::new(1, StoreFaults::default());
    let world = World::with_troubles(troubles.clone()).await;
    world.register("web").await;
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(2));
    world.create_service("web", 1, &[]).await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    troubles.set(StoreFaults { write_fails: 1.0, ..StoreFaults::default() });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.running("web").await.len(), 0, "nobody was told");
    troubles.set(StoreFaults::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.running("web").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_of_a_service_as_it_ended_outlived_it() {
    for seed in 0..50 {
        let latency = Duration::from_millis(40);
        let troubles = Troubles::new(seed, StoreFaults { latency, ..StoreFaults::default() });
        let world = World::with_troubles(troubles).await;
        world.register("web").await;
        world.driver.set_faults(|faults| (faults.prepare_fails, faults.latency) = (1.0, latency));
        world.create_service("web", 2, &[]).await.unwrap();
        // So that tasks fail at every moment of its end.
        tokio::time::sleep(Duration::from_millis(4 * seed)).await;
        let request =
            DeleteServiceRequest { service: "web".to_owned(), force: Some(true), ..Default::default() };
        world.supervisor.delete_service(request).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        for prefix in ["session/event/", "session/deployment/"] {
            assert_eq!(world.store.range(prefix).await.unwrap(), Vec::new(), "{seed}");
        }
    }
}
