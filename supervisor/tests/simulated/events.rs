//! ECS's texts: each appears when its cause does, and once.
//!
//! Events of services are compared whole, in their order: what is told twice fails as what is not told does. Without a cause on one node are ECS's texts
//! about container instances that leave, availability zones that are out of balance and Service Connect.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_supervisor::driver::ContainerExit;
use coracle_supervisor::model::task::{StopCode, TargetHealth};
use coracle_supervisor::operations::*;
use serde_json::json;

use crate::world::World;

const PUBLISHED: &[(&str, &str)] = &[("coracle.listen", "127.0.0.1:0")];
const STARTED: &str = "has started 1 tasks: (task T).";
const REGISTERED: &str = "registered 1 targets in (target-group G)";
const DEREGISTERED: &str = "deregistered 1 targets in (target-group G)";
const DRAINING: &str = "has begun draining connections on 1 tasks.";
const STOPPED: &str = "has stopped 1 running tasks: (task T).";
const STEADY: &str = "has reached a steady state.";
const COMPLETED: &str = "(deployment D) deployment completed.";
/// An hour of resyncs, in which nothing is told again.
const LONG: Duration = Duration::from_secs(3600);

impl World {
    /// Events of the service `web` without its name and other names, oldest first. Nobody waits for them any more.
    async fn told(&self) -> Vec<String> {
        tokio::time::sleep(LONG).await;
        self.told_so_far().await
    }

    async fn told_so_far(&self) -> Vec<String> {
        let mut events = self.events("web").await;
        events.reverse();
        events.iter().map(|event| nameless(event.strip_prefix("(service web) ").expect("its name"))).collect()
    }
}

/// With one letter in place of each id.
fn nameless(text: &str) -> String {
    let mut short = text.to_owned();
    for (before, letter) in
        [("(task ", 'T'), ("(deployment ", 'D'), ("(target-group ", 'G'), ("(container-instance ", 'I')]
    {
        let mut parts = short.split(before).map(str::to_owned);
        let mut rest = parts.next().unwrap();
        for part in parts {
            let end = part.find(')').expect("the end of a name");
            rest.push_str(&format!("{before}{letter}{}", &part[end..]));
        }
        short = rest;
    }
    short
}

fn since(all: &[String], known: usize) -> Vec<&str> {
    all[known..].iter().map(String::as_str).collect()
}

async fn server(world: &World, image: &str) {
    let app = json!({"name": "app", "image": image, "portMappings": [{"containerPort": 8080}]});
    world.define(json!({"family": "web", "containerDefinitions": [app]})).await;
}

async fn steady(count: i64, tags: &[(&str, &str)]) -> World {
    let world = World::new().await;
    server(&world, "good.wasm").await;
    world.create_service("web", count, tags).await.unwrap();
    world.until_steady("web").await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_created_tells_of_its_tasks_its_targets_and_its_steady_state() {
    let world = steady(1, PUBLISHED).await;
    assert_eq!(world.told().await, [STARTED, REGISTERED, STEADY, COMPLETED]);
    let reason = &world.service("web").await.deployments[0].rollout_state_reason;
    assert!(reason.starts_with("ECS deployment ecs-svc/") && reason.ends_with(" completed."), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn scaling_tells_of_tasks_together() {
    let world = steady(1, PUBLISHED).await;
    let known = world.told().await.len();
    world.scale("web", 3).await.unwrap();
    let out = world.told().await;
    let started = "has started 2 tasks: (task T) (task T).";
    assert_eq!(since(&out, known), [started, "registered 2 targets in (target-group G)", STEADY]);
    world.scale("web", 1).await.unwrap();
    assert_eq!(
        since(&world.told().await, out.len()),
        [
            "deregistered 2 targets in (target-group G)",
            "has begun draining connections on 2 tasks.",
            "has stopped 2 running tasks: (task T) (task T).",
            STEADY,
        ]
    );
}

/// Each at another moment is an event, though it has the words of the one before.
#[tokio::test(start_paused = true)]
async fn every_target_is_told_of_however_they_come() {
    let world = steady(1, PUBLISHED).await;
    let known = world.told().await.len();
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(10));
    world.scale("web", 6).await.unwrap();
    let out = world.told().await;
    let counts = |text: &str| text.strip_prefix("registered ")?.split(' ').next()?.parse::<u32>().ok();
    let counts: Vec<u32> = since(&out, known).into_iter().filter_map(counts).collect();
    assert_eq!(counts.iter().sum::<u32>(), 5, "{out:?}");
    assert!(counts.windows(2).any(|two| two[0] == two[1]), "none like the one before: {out:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_revision_tells_of_the_tasks_that_come_and_go_and_of_its_end() {
    let world = steady(1, PUBLISHED).await;
    let known = world.told().await.len();
    world.force_deployment("web").await;
    let reason = world.service("web").await.deployments[0].rollout_state_reason.clone();
    assert!(reason.starts_with("ECS deployment ecs-svc/") && reason.ends_with(" in progress."), "{reason}");
    let all = world.told().await;
    assert_eq!(since(&all, known), [STARTED, REGISTERED, DEREGISTERED, DRAINING, STOPPED, STEADY, COMPLETED]);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_target_is_told_with_its_port_and_reason() {
    let world = steady(1, PUBLISHED).await;
    let known = world.told().await.len();
    let victim = world.running("web").await.remove(0);
    let reason = "Health checks failed with these codes: [500]".to_owned();
    world.driver.set_health(&world.task_id(&victim), TargetHealth::Unhealthy { reason });
    assert_eq!(
        since(&world.told().await, known),
        [
            "(task T) (port 8080) is unhealthy in (target-group G) due to (reason Health checks failed with these codes: [500])",
            STARTED,
            REGISTERED,
            DEREGISTERED,
            DRAINING,
            STOPPED,
            STEADY,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_unhealthy_and_gets_well_in_time_is_told_once_each_time() {
    let world = World::new().await;
    server(&world, "good.wasm").await;
    let mut request = world.service_request("web", 1, PUBLISHED);
    request.health_check_grace_period_seconds = Some(86_400);
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("web").await;
    let known = world.told().await.len();
    let task = world.task_id(&world.running("web").await[0]);
    for _ in 0..2 {
        for code in ["500", "502"] {
            let reason = format!("Health checks failed with these codes: [{code}]");
            world.driver.set_health(&task, TargetHealth::Unhealthy { reason });
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        world.driver.set_health(&task, TargetHealth::Healthy);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let sick = "(task T) (port 8080) is unhealthy in (target-group G) due to (reason Health checks failed with these codes: [500])";
    assert_eq!(since(&world.told().await, known), [sick, STEADY, sick, STEADY]);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_container_is_told() {
    let world = World::new().await;
    let check = json!({"command": ["CMD", "tcp", "localhost:8080"], "interval": 5, "retries": 1});
    world.define(json!({"family": "web", "containerDefinitions": [{"name": "app", "image": "good.wasm", "healthCheck": check}]})).await;
    world.create_service("web", 1, &[]).await.unwrap();
    world.until_steady("web").await;
    let known = world.told().await.len();
    let victim = world.running("web").await.remove(0);
    world.driver.set_container_health(&world.task_id(&victim), "app", false);
    let sick = "(task T) failed container health checks.";
    assert_eq!(since(&world.told().await, known), [sick, STARTED, STOPPED, STEADY]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_cannot_be_started_are_told_once_until_a_new_task_definition() {
    let world = World::new().await;
    server(&world, "bad.wasm").await;
    world.driver.set_faults(|faults| faults.missing_images.extend(["bad.wasm".to_owned()]));
    world.create_service("web", 1, &[]).await.unwrap();
    let unable = |told: &[String]| {
        told.iter().filter(|text| *text == "is unable to consistently start tasks successfully.").count()
    };
    assert_eq!(unable(&world.told().await), 1);
    assert_eq!(unable(&world.told().await), 1, "an hour later");
    let failed = "failed to launch a task with (error CannotPullContainerError: bad.wasm is not there).";
    let told = world.told_so_far().await;
    let launches = told.iter().filter(|text| *text == STARTED).count();
    assert_eq!(told.iter().filter(|text| *text == failed).count(), launches, "{told:#?}");
    let mut request = UpdateServiceRequest { service: "web".to_owned(), ..UpdateServiceRequest::default() };
    server(&world, "bad.wasm").await;
    request.task_definition = Some("web".to_owned());
    world.supervisor.update_service(request).await.unwrap();
    assert_eq!(unable(&world.told().await), 2);
}

#[tokio::test(start_paused = true)]
async fn limits_that_leave_no_move_are_told_once() {
    let world = World::new().await;
    server(&world, "good.wasm").await;
    let mut request = world.service_request("web", 1, &[]);
    let limits = json!({"minimumHealthyPercent": 100, "maximumPercent": 150});
    request.deployment_configuration = Some(serde_json::from_value(limits).unwrap());
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("web").await;
    let known = world.told().await.len();
    world.force_deployment("web").await;
    let blocked = "was unable to stop or start tasks during a deployment because of the service deployment configuration. \
                   Update the minimumHealthyPercent or maximumPercent value and try again.";
    assert_eq!(since(&world.told().await, known), [blocked]);
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_tells_of_the_failure_and_of_the_way_back() {
    let world = World::new().await;
    world.driver.set_faults(|faults| faults.missing_images.extend(["bad.wasm".to_owned()]));
    server(&world, "good.wasm").await;
    let mut request = world.service_request("web", 1, &[]);
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    request.deployment_configuration = Some(serde_json::from_value(breaker).unwrap());
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("web").await;
    let known = world.told().await.len();
    world.driver.set_faults(|faults| faults.latency = Duration::from_secs(1));
    server(&world, "bad.wasm").await;
    let mut request = UpdateServiceRequest { service: "web".to_owned(), ..UpdateServiceRequest::default() };
    request.task_definition = Some("web".to_owned());
    world.supervisor.update_service(request).await.unwrap();
    let told = world.told().await;
    let told = since(&told, known);
    let count = |text: &str| told.iter().filter(|told| **told == text).count();
    assert_eq!(count("(deployment D) deployment failed: tasks failed to start."), 1, "{told:#?}");
    assert_eq!(count("rolling back to (deployment D)."), 1, "{told:#?}");
    // The good task was never gone: there is no new steady state to tell of.
    assert_eq!(told.last(), Some(&COMPLETED), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_finds_no_free_port_is_told_once_and_placed_when_there_is_one() {
    let world = World::new().await;
    let app = json!({"name": "app", "image": "good.wasm", "portMappings": [{"containerPort": 80, "hostPort": 8080}]});
    world.define(json!({"family": "web", "networkMode": "bridge", "containerDefinitions": [app]})).await;
    let first = world.run_task("web", 1).await.unwrap().remove(0);
    world.create_service("web", 1, &[]).await.unwrap();
    let unplaced = "was unable to place a task because no container instance met all of its requirements. \
                    The closest matching (container-instance I) is already using a port required by your task.";
    assert_eq!(world.told().await, [unplaced]);
    world.stop_task(&first).await.unwrap();
    assert_eq!(world.told().await, [unplaced, STARTED, STEADY, COMPLETED]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_whose_port_is_taken_is_told_once() {
    let mut world = steady(1, &[("coracle.listen", "127.0.0.1:8123")]).await;
    let address: SocketAddr = "127.0.0.1:8123".parse().unwrap();
    world.driver.occupy(address);
    world.crash().await;
    let told = world.told().await;
    let count =
        told.iter().filter(|text| *text == "was unable to listen: 127.0.0.1:8123 is already in use.").count();
    assert_eq!(count, 1, "{told:#?}");
}

/// What DescribeTasks says of a task that is over: code and reason, and the first container's reason.
async fn end_of(world: &World, arn: &str) -> (StopCode, String, Option<String>) {
    world.until_stopped(arn).await;
    let mut task = world.task(arn).await;
    (task.stop_code.unwrap(), nameless(&task.stopped_reason.unwrap()), task.containers.remove(0).reason)
}

async fn only_task(world: &World) -> String {
    world.until(|| async { !world.running("web").await.is_empty() }).await;
    world.running("web").await.remove(0)
}

#[tokio::test(start_paused = true)]
async fn tasks_that_fail_to_start_say_why_in_ecss_words() {
    use coracle_supervisor::testing::Faults;
    let pull: fn(&mut Faults) = |faults| faults.missing_images.extend(["hello.wasm".to_owned()]);
    for (fault, reason) in [
        (pull, "CannotPullContainerError: hello.wasm is not there"),
        (|faults| faults.start_fails = 1.0, "CannotStartContainerError: no luck"),
        (|faults| faults.hangs = 1.0, "ContainerRuntimeTimeoutError: loading the images took too long"),
    ] {
        let world = World::new().await;
        world.register("web").await;
        world.driver.set_faults(fault);
        let arn = world.run_task("web", 1).await.unwrap().remove(0);
        world.driver.set_faults(|_| ());
        tokio::time::sleep(Duration::from_secs(600)).await;
        let (code, stopped, _) = end_of(&world, &arn).await;
        assert_eq!((code, stopped.as_str()), (StopCode::TaskFailedToStart, reason));
    }
    let world = World::new().await;
    world.register("web").await;
    world.driver.set_faults(|faults| faults.register_fails = 1.0);
    world.create_service("web", 1, PUBLISHED).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let arn = world.stopped("web").await.remove(0);
    let (code, stopped, _) = end_of(&world, &arn).await;
    assert_eq!(
        (code, stopped.as_str()),
        (StopCode::TaskFailedToStart, "ResourceInitializationError: no luck")
    );
}

#[tokio::test(start_paused = true)]
async fn tasks_that_ran_say_why_they_stopped_in_ecss_words() {
    let exit =
        |code, reason: Option<&str>| ContainerExit { code: Some(code), reason: reason.map(str::to_owned) };
    let out_of_memory = "OutOfMemoryError: Container killed due to memory usage";
    for (exit, reason) in
        [(exit(3, None), None), (exit(137, Some(out_of_memory)), Some(out_of_memory.to_owned()))]
    {
        let world = steady(1, &[]).await;
        let arn = only_task(&world).await;
        world.driver.exit(&world.task_id(&arn), "app", exit);
        let expected = "Essential container in task exited".to_owned();
        assert_eq!(end_of(&world, &arn).await, (StopCode::EssentialContainerExited, expected, reason));
    }

    let world = steady(1, PUBLISHED).await;
    let arn = only_task(&world).await;
    let reason = "Health checks failed with these codes: [500]".to_owned();
    world.driver.set_health(&world.task_id(&arn), TargetHealth::Unhealthy { reason });
    let (code, stopped, _) = end_of(&world, &arn).await;
    let expected = "Task failed ELB health checks in (target-group G)";
    assert_eq!((code, stopped.as_str()), (StopCode::ServiceSchedulerInitiated, expected));

    let arn = only_task(&world).await;
    world.scale("web", 0).await.unwrap();
    let (code, stopped, _) = end_of(&world, &arn).await;
    let expected = "Scaling activity initiated by (deployment D)";
    assert_eq!((code, stopped.as_str()), (StopCode::ServiceSchedulerInitiated, expected));

    let request: RunTaskRequest = parse_request(
        json!({"taskDefinition": "web", "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]})
            .to_string()
            .as_bytes(),
    )
    .unwrap();
    let spot = world.supervisor.run_task(request).await.unwrap().tasks.remove(0).task_arn;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reclaim = parse_request(json!({"tasks": [spot]}).to_string().as_bytes()).unwrap();
    world.supervisor.reclaim_capacity(reclaim).await.unwrap();
    let (code, stopped, _) = end_of(&world, &spot).await;
    assert_eq!((code, stopped.as_str()), (StopCode::SpotInterruption, "Your Spot Task was interrupted."));

    let mut world = world;
    let stopped = world.run_task("web", 1).await.unwrap().remove(0);
    world.stop_task(&stopped).await.unwrap();
    let (code, reason, _) = end_of(&world, &stopped).await;
    assert_eq!((code, reason.as_str()), (StopCode::UserInitiated, "Task stopped by user"));
    let lost = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.crash().await;
    let task = world.task(&lost).await;
    assert_eq!(task.stop_code, Some(StopCode::InfrastructureHealth), "{task:?}");
    let ended = world.run_task("web", 1).await.unwrap().remove(0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.shutdown(Duration::from_secs(60)).await;
    let task = world.task(&ended).await;
    assert_eq!(task.stop_code, Some(StopCode::TerminationNotice), "{task:?}");
}
