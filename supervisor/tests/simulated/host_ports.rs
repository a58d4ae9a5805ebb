//! Host ports that are asked for by number.

use serde_json::json;

use coracle_supervisor::operations::*;

use crate::world::World;

async fn define(world: &World, family: &str, mode: &str, ports: serde_json::Value) {
    let container = json!({"name": "app", "image": "hello.wasm", "memory": 64, "portMappings": ports});
    world.define(json!({"family": family, "networkMode": mode, "containerDefinitions": [container]})).await;
}

async fn run(world: &World, family: &str, count: i64) -> RunTaskResponse {
    let request = RunTaskRequest {
        task_definition: family.to_owned(),
        count: Some(count),
        ..RunTaskRequest::default()
    };
    world.supervisor.run_task(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_host_port_is_given_to_one_task_at_a_time() {
    let world = World::new().await;
    define(&world, "web", "bridge", json!([{"containerPort": 80, "hostPort": 8080}])).await;
    define(&world, "other", "bridge", json!([{"containerPort": 81, "hostPort": 8080}])).await;
    define(&world, "host", "host", json!([{"containerPort": 8080}])).await;

    let both = run(&world, "web", 2).await;
    assert_eq!((both.tasks.len(), both.failures.len()), (1, 1));
    assert_eq!(both.failures[0].reason, "RESOURCE:PORTS");
    assert!(both.failures[0].arn.as_ref().unwrap().contains(":container-instance/default/"), "{both:?}");
    for family in ["web", "other", "host"] {
        let refused = run(&world, family, 1).await;
        assert_eq!((refused.tasks.len(), refused.failures.len()), (0, 1), "{family}");
    }

    let first = &both.tasks[0].task_arn;
    world.stop_task(first).await.unwrap();
    world.until_stopped(first).await;
    assert_eq!(run(&world, "other", 1).await.tasks.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn ports_that_do_not_clash_hold_nobody_up() {
    let world = World::new().await;
    define(&world, "web", "bridge", json!([{"containerPort": 80, "hostPort": 8080}])).await;
    define(&world, "udp", "bridge", json!([{"containerPort": 80, "hostPort": 8080, "protocol": "udp"}]))
        .await;
    define(&world, "dynamic", "bridge", json!([{"containerPort": 8080}])).await;
    define(&world, "own", "awsvpc", json!([{"containerPort": 8080}])).await;
    for (family, count) in [("web", 1), ("udp", 1), ("dynamic", 3), ("own", 3)] {
        let response = run(&world, family, count).await;
        assert_eq!(response.tasks.len(), usize::try_from(count).unwrap(), "{family}");
        assert!(response.failures.is_empty(), "{family}");
    }
}
