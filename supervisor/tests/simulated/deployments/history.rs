//! Service deployments and revisions as they are listed, described and stopped.

use coracle_supervisor::model::deployment::ServiceDeploymentStatus;
use coracle_supervisor::operations::*;
use serde_json::json;

use super::revision_of;
use crate::world::World;

#[tokio::test(start_paused = true)]
async fn each_deployment_is_kept_with_its_revision_and_the_newest_hundred_of_them() {
    let mut world = World::new().await;
    world.deployed(json!({}), &[]).await;
    for number in 2..=105 {
        let arn = world.roll_out(&format!("{number}.wasm")).await;
        world.until_steady("web").await;
        world
            .until(|| async {
                world.service_deployment(&arn).await.status == ServiceDeploymentStatus::Successful
            })
            .await;
    }
    world.crash().await;
    let mut arns = Vec::new();
    let mut next_token = None;
    loop {
        let request = ListServiceDeploymentsRequest {
            service: "web".to_owned(),
            status: vec![ServiceDeploymentStatus::Successful],
            max_results: Some(30),
            next_token,
            ..ListServiceDeploymentsRequest::default()
        };
        let page = world.supervisor.list_service_deployments(request).await.unwrap();
        arns.extend(page.service_deployments);
        next_token = page.next_token;
        if next_token.is_none() {
            break;
        }
    }
    assert_eq!(arns.len(), 100);
    let newest = DescribeServiceRevisionsRequest {
        service_revision_arns: vec![
            arns[0].target_service_revision_arn.clone(),
            arns[99].target_service_revision_arn.clone(),
            "arn:aws:ecs:us-east-1:000000000000:service-revision/default/web/1".to_owned(),
        ],
    };
    let described = world.supervisor.describe_service_revisions(newest).await.unwrap();
    let images: Vec<&str> = described
        .service_revisions
        .iter()
        .map(|revision| revision.container_images[0].image.as_str())
        .collect();
    assert_eq!(images, ["105.wasm", "6.wasm"]);
    assert_eq!(described.failures.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_deployment_ends_the_one_before_it() {
    let world = World::new().await;
    world.deployed(json!({}), &[]).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("bad.wasm".to_owned());
    });
    let first = world.roll_out("bad.wasm").await;
    let second = world.roll_out("better.wasm").await;
    world.until_steady("web").await;
    let first = world.service_deployment(&first).await;
    assert_eq!(first.status, ServiceDeploymentStatus::Stopped);
    assert!(first.finished_at.is_some() && first.stopped_at.is_some(), "{first:?}");
    let second = world.service_deployment(&second).await;
    assert_eq!(second.status, ServiceDeploymentStatus::Successful);
    assert_eq!(second.source_service_revisions.len(), 2);
    assert_eq!((second.target_service_revision.running_task_count, second.lifecycle_stage), (4, None));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_can_be_stopped_which_rolls_it_back() {
    let world = World::new().await;
    world.deployed(json!({}), &[("coracle.listen", "127.0.0.1:0")]).await;
    world.driver.set_faults(|faults| {
        faults.missing_images.insert("bad.wasm".to_owned());
    });
    let done = world.service_deployments().await.remove(0).service_deployment_arn;
    let error = world.stop_deployment(&done).await.unwrap_err().to_string();
    assert_eq!(error, "The service deployment is not in progress.");
    let arn = world.roll_out("bad.wasm").await;
    world.stop_deployment(&arn).await.unwrap();
    world.until_steady("web").await;
    let stopped = world.service_deployment(&arn).await;
    assert_eq!(stopped.status, ServiceDeploymentStatus::RollbackSuccessful);
    assert!(stopped.stopped_at.is_some());
    assert_eq!(revision_of(&world.service("web").await), "1");

    let unknown = arn.replace("web/", "web/x");
    assert_eq!(
        world.stop_deployment(&unknown).await.unwrap_err().code(),
        "ServiceDeploymentNotFoundException"
    );
    let other = "arn:aws:ecs:us-east-1:000000000000:service/default/web";
    assert_eq!(world.stop_deployment(other).await.unwrap_err().code(), "InvalidParameterException");
}
