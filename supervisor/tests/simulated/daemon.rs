//! Services of the scheduling strategy DAEMON: one task on each node, and there is one.

use coracle_supervisor::OperationError;
use coracle_supervisor::model::scheduling_strategy::SchedulingStrategy;
use coracle_supervisor::model::service::{LaunchType, ServiceStatus};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

fn request(more: Value) -> CreateServiceRequest {
    let mut request =
        json!({"serviceName": "agent", "taskDefinition": "agent", "schedulingStrategy": "DAEMON"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse_request(request.to_string().as_bytes()).unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    world.register("agent").await;
    world
}

async fn update(world: &World, more: Value) -> Result<(), OperationError> {
    let mut request = json!({"service": "agent"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = parse_request(request.to_string().as_bytes()).unwrap();
    world.supervisor.update_service(request).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_daemon_has_one_task_on_the_node_and_is_shown_as_one() {
    let mut world = world().await;
    world.supervisor.create_service(request(json!({}))).await.unwrap();
    world.until_steady("agent").await;
    let service = world.service("agent").await;
    assert_eq!((service.desired_count, service.running_count), (1, 1));
    assert_eq!(service.scheduling_strategy, SchedulingStrategy::Daemon);
    let configuration = &service.deployment_configuration;
    assert_eq!((configuration.minimum_healthy_percent, configuration.maximum_percent), (Some(0), Some(100)));
    assert_eq!(serde_json::to_value(&service).unwrap()["schedulingStrategy"], "DAEMON");

    let task = world.running("agent").await.remove(0);
    world.stop_task(&task).await.unwrap();
    world.until(|| async { world.running("agent").await.iter().any(|other| *other != task) }).await;
    world.crash().await;
    world.until(|| async { world.running("agent").await.len() == 1 }).await;

    world.create_replicas().await;
    for (strategy, listed) in [("DAEMON", "agent"), ("REPLICA", "web")] {
        let list = json!({"schedulingStrategy": strategy});
        let list = parse_request(list.to_string().as_bytes()).unwrap();
        let arns = world.supervisor.list_services(list).await.unwrap().service_arns;
        assert!(matches!(arns.as_slice(), [only] if only.ends_with(listed)), "{strategy}: {arns:?}");
    }
    // "It's only necessary to use [force] if the service uses the REPLICA scheduling strategy."
    let delete = DeleteServiceRequest { cluster: None, service: "agent".to_owned(), force: None };
    world.supervisor.delete_service(delete).await.unwrap();
    world.until(|| async { world.service("agent").await.status == ServiceStatus::Inactive }).await;
}

impl World {
    async fn create_replicas(&self) {
        self.register("web").await;
        self.create_service("web", 1, &[]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_of_a_daemon_ends_the_old_task_before_the_new_one_begins() {
    let world = world().await;
    world.supervisor.create_service(request(json!({}))).await.unwrap();
    world.until_steady("agent").await;
    let arn = world.register("agent").await;
    update(&world, json!({"taskDefinition": arn})).await.unwrap();
    world
        .until(|| async {
            let tasks = world.driver.tasks().len();
            assert!(tasks <= 1, "{tasks} tasks on one node");
            let running = world.running("agent").await;
            running.len() == 1 && world.task(&running[0]).await.task_definition_arn == arn
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_the_nodes_cannot_be_asked_for() {
    let world = world().await;
    let spread = json!([{"type": "spread", "field": "instanceId"}]);
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    for (more, words) in [
        (
            json!({"desiredCount": 1}),
            "The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again",
        ),
        (
            json!({"placementStrategy": spread}),
            "The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again",
        ),
        (
            json!({"capacityProviderStrategy": spot}),
            "Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy.",
        ),
        (json!({"launchType": "FARGATE"}), "launchType FARGATE"),
        (json!({"deploymentConfiguration": {"maximumPercent": 200}}), "values above 100 for maximumPercent"),
        (
            json!({"deploymentConfiguration": {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}}),
            "does not support the deployment strategy BLUE_GREEN",
        ),
        (json!({"deploymentController": {"type": "CODE_DEPLOY"}}), "CODE_DEPLOY"),
        (
            json!({"tags": [
                {"key": "coracle.listen", "value": "127.0.0.1:0"},
                {"key": "coracle.scale-to-zero", "value": "60"}]}),
            "coracle.scale-to-zero",
        ),
    ] {
        let error = world.supervisor.create_service(request(more.clone())).await.unwrap_err().to_string();
        assert!(error.contains(words), "{more}: {error}");
    }
    world.supervisor.create_service(request(json!({"launchType": "EC2"}))).await.unwrap();
    world.until_steady("agent").await;
    for (more, words) in [
        (json!({"desiredCount": 2}), "does not support a desired count"),
        (json!({"placementStrategy": spread}), "does not support placement strategies"),
        (json!({"deploymentConfiguration": {"maximumPercent": 150}}), "maximumPercent"),
        (json!({"deploymentConfiguration": {"strategy": "CANARY"}}), "CANARY"),
    ] {
        let error = update(&world, more.clone()).await.unwrap_err().to_string();
        assert!(error.contains(words), "{more}: {error}");
    }
    let register = json!({
        "ServiceNamespace": "ecs", "ResourceId": "service/default/agent",
        "ScalableDimension": "ecs:service:DesiredCount", "MinCapacity": 1, "MaxCapacity": 2});
    let register = parse_request(register.to_string().as_bytes()).unwrap();
    let error = world.supervisor.register_scalable_target(register).await.unwrap_err().to_string();
    assert!(error.contains("DAEMON") && error.contains("service/default/agent"), "{error}");
    let service = world.service("agent").await;
    assert_eq!((service.desired_count, service.launch_type), (1, LaunchType::EC2), "nothing changed");
}
