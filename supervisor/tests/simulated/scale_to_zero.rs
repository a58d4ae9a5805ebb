//! Services that have no tasks while nobody asks for them.

use std::time::Duration;

use coracle_supervisor::model::publication::ASLEEP;
use coracle_supervisor::model::service::{Service, ServiceStatus};
use coracle_supervisor::operations::*;
use coracle_supervisor::testing::Load;

use crate::world::World;

const TAGS: &[(&str, &str)] = &[("coracle.listen", "127.0.0.1:0"), ("coracle.scale-to-zero", "60")];

async fn sleeper() -> World {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 2, TAGS).await.unwrap();
    world.until_steady("web").await;
    world
}

async fn described(world: &World) -> Service {
    let request = DescribeServicesRequest {
        services: vec!["web".to_owned()],
        include: vec!["TAGS".to_owned()],
        ..DescribeServicesRequest::default()
    };
    world.supervisor.describe_services(request).await.unwrap().services.remove(0)
}

fn asleep(service: &Service) -> Option<&str> {
    service.tags.iter().find(|tag| tag.key == ASLEEP).map(|tag| tag.value.as_str())
}

async fn until_asleep(world: &World) {
    world
        .until(|| async { asleep(&described(world).await).is_some() && world.driver.tasks().is_empty() })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_drops_to_nothing_and_a_request_brings_it_back() {
    let world = sleeper().await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(world.driver.tasks().len(), 2, "not idle for long enough");
    until_asleep(&world).await;
    let service = described(&world).await;
    assert_eq!((service.desired_count, service.running_count, asleep(&service)), (0, 0, Some("2")));
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert!(world.driver.tasks().is_empty());

    world.driver.knock("web");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.driver.tasks().len(), 2, "back in a moment");
    let service = described(&world).await;
    assert_eq!((service.desired_count, service.running_count, asleep(&service)), (2, 2, None));
    until_asleep(&world).await;
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_service_with_requests_stays_awake() {
    let world = sleeper().await;
    world.driver.set_load(Load { requests_per_second: 0.1, ..Load::default() });
    let tasks = world.driver.tasks();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.driver.tasks(), tasks);
    world.driver.set_load(Load::default());
    until_asleep(&world).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_service_sleeps_until_somebody_asks_for_it() {
    let mut world = sleeper().await;
    world.crash().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.driver.tasks().is_empty(), "nothing was started");
    assert_eq!(world.driver.listeners().len(), 1);
    world.driver.knock("web");
    world.until(|| async { world.running("web").await.len() == 2 }).await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_wakes_a_service_because_it_has_to_prove_itself() {
    let world = sleeper().await;
    until_asleep(&world).await;
    let arn = world.register("web").await;
    let request = UpdateServiceRequest {
        service: "web".to_owned(),
        task_definition: Some(arn.clone()),
        ..UpdateServiceRequest::default()
    };
    world.supervisor.update_service(request).await.unwrap();
    world.until(|| async { world.running("web").await.len() == 2 }).await;
    for task in world.running("web").await {
        assert_eq!(world.task(&task).await.task_definition_arn, arn);
    }
    until_asleep(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_sleeps_can_be_scaled_and_deleted() {
    let world = sleeper().await;
    until_asleep(&world).await;
    world.scale("web", 5).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.driver.tasks().is_empty(), "nobody asked for it");
    world.driver.knock("web");
    world.until(|| async { world.running("web").await.len() == 5 }).await;
    until_asleep(&world).await;
    let delete = DeleteServiceRequest { cluster: None, service: "web".to_owned(), force: Some(true) };
    world.supervisor.delete_service(delete).await.unwrap();
    world.until(|| async { world.service("web").await.status == ServiceStatus::Inactive }).await;
    assert!(world.driver.listeners().is_empty() && world.driver.tasks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_while_a_service_wakes_is_replaced() {
    let world = sleeper().await;
    until_asleep(&world).await;
    world.driver.set_faults(|faults| faults.start_fails = 0.7);
    world.driver.knock("web");
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.driver.set_faults(|faults| faults.start_fails = 0.0);
    world.until(|| async { world.running("web").await.len() == 2 }).await;
}
