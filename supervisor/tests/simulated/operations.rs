//! What operations accept and refuse, in ECS's words.

use coracle_supervisor::OperationError;
use coracle_supervisor::operations::*;

use crate::world::World;

async fn register(world: &World, body: &str) -> Result<RegisterTaskDefinitionResponse, OperationError> {
    world.supervisor.register_task_definition(parse_request(body.as_bytes())?).await
}

#[tokio::test(start_paused = true)]
async fn a_task_definition_that_cannot_be_is_refused_with_its_reason() {
    let world = World::new().await;
    let long = "x".repeat(256);
    for (body, code, message) in [
        (r#"{"family": "a"}"#.to_owned(), "ClientException", "Container list cannot be empty."),
        (r#"{"family": "a", "containerDefinitions": []}"#.to_owned(), "ClientException", "Container list cannot be empty."),
        (r#"{"containerDefinitions": [{"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "Family should not be null or empty."),
        (format!(r#"{{"family": "{long}", "containerDefinitions": [{{"name": "a", "image": "i"}}]}}"#), "ClientException", "Family contains invalid characters."),
        (r#"{"family": "a b", "containerDefinitions": [{"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "Family contains invalid characters."),
        (r#"{"family": "a", "containerDefinitions": [{"image": "i"}]}"#.to_owned(), "ClientException", "Container.name should not be null or empty."),
        (r#"{"family": "a", "containerDefinitions": [{"name": "../a", "image": "i"}]}"#.to_owned(), "ClientException", "Container.name contains invalid characters."),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a"}]}"#.to_owned(), "ClientException", "Container.image should not be null or empty."),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "Container.name must be unique"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "essential": false}]}"#.to_owned(), "ClientException", "At least one container in a task definition must be marked as essential."),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "memory": 5}]}"#.to_owned(), "ClientException", "'memory' must be at least 6 MiB"),
        (r#"{"family": "a", "memory": "64", "containerDefinitions": [{"name": "a", "image": "i", "memory": 65}]}"#.to_owned(), "ClientException", "'memory' must not be greater than the task's"),
        (r#"{"family": "a", "cpu": "256", "containerDefinitions": [{"name": "a", "image": "i", "cpu": 257}]}"#.to_owned(), "ClientException", "total 'cpu' of the containers"),
        (r#"{"family": "a", "cpu": "lots", "containerDefinitions": [{"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "Invalid 'cpu' setting for task"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "memory": -1}]}"#.to_owned(), "InvalidParameterException", "containerDefinitions[0].memory"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "memry": 1}]}"#.to_owned(), "InvalidParameterException", "unknown field `memry`"),
        (r#"{"family": "a", "colour": "red"}"#.to_owned(), "InvalidParameterException", "unknown field `colour`"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "portMappings": [{"containerPort": 70000}]}]}"#.to_owned(), "InvalidParameterException", "portMappings[0].containerPort"),
        (r#"{"family": "a", "networkMode": "awsvpc", "containerDefinitions": [{"name": "a", "image": "i", "portMappings": [{"containerPort": 80, "hostPort": 81}]}]}"#.to_owned(), "ClientException", "'hostPort' (81)"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}]}"#.to_owned(), "ClientException", "Unknown volume 'v'."),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "dependsOn": [{"containerName": "b", "condition": "START"}]}]}"#.to_owned(), "ClientException", "there is no container 'b'"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "dependsOn": [{"containerName": "b", "condition": "START"}]}, {"name": "b", "image": "i", "dependsOn": [{"containerName": "a", "condition": "START"}]}]}"#.to_owned(), "ClientException", "must not form a cycle"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i"}, {"name": "b", "image": "i", "dependsOn": [{"containerName": "a", "condition": "SUCCESS"}]}]}"#.to_owned(), "ClientException", "cannot be set on an essential container"),
        (r#"{"family": "a", "containerDefinitions": [{"name": "a", "image": "i", "dockerLabels": {"coracle.fuel": "much"}}]}"#.to_owned(), "ClientException", "coracle.fuel must be a whole number above 0, or unlimited"),
        (r#"{"family": "a", "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "3072", "containerDefinitions": [{"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "No Fargate configuration exists for given values."),
        (r#"{"family": "a", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512", "containerDefinitions": [{"name": "a", "image": "i"}]}"#.to_owned(), "ClientException", "Fargate only supports network mode 'awsvpc'."),
        ("{".to_owned(), "SerializationException", "not JSON"),
    ] {
        let error = register(&world, &body).await.expect_err(&body);
        assert_eq!(error.code(), code, "{body}: {error}");
        assert!(error.to_string().contains(message), "{body}: {error}");
    }
    let list = ListTaskDefinitionsRequest::default();
    assert!(world.supervisor.list_task_definitions(list).await.unwrap().task_definition_arns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_given_back_as_it_was_registered_and_never_changes() {
    let world = World::new().await;
    let body = r#"{"family": "web", "cpu": "0.25 vCPU", "memory": "1 GB", "taskRoleArn": "arn:aws:iam::1:role/r",
        "containerDefinitions": [{"name": "app", "image": "hello.wasm", "essential": true,
            "healthCheck": {"command": ["CMD", "true"]}, "logConfiguration": {"logDriver": "awslogs"},
            "ulimits": [{"name": "nofile", "softLimit": 1, "hardLimit": 1}]}],
        "ephemeralStorage": {"sizeInGiB": 21}, "tags": [{"key": "team", "value": "a"}]}"#;
    let first = register(&world, body).await.unwrap();
    assert_eq!(first.task_definition.revision, 1);
    assert_eq!(
        first.task_definition.task_definition_arn,
        "arn:aws:ecs:us-east-1:000000000000:task-definition/web:1"
    );
    assert_eq!(register(&world, body).await.unwrap().task_definition.revision, 2);

    let describe = |reference: &str| DescribeTaskDefinitionRequest {
        task_definition: reference.to_owned(),
        include: vec!["TAGS".to_owned()],
    };
    let described = world.supervisor.describe_task_definition(describe("web:1")).await.unwrap();
    assert_eq!(described.task_definition, first.task_definition);
    assert_eq!(described.tags[0].key, "team");
    let json = serde_json::to_value(&described.task_definition).unwrap();
    assert_eq!(json["cpu"], "256");
    assert_eq!(json["memory"], "1024");
    assert_eq!(json["containerDefinitions"][0]["healthCheck"]["command"][0], "CMD");
    assert_eq!(json["ephemeralStorage"]["sizeInGiB"], 21);
    assert_eq!(json["status"], "ACTIVE");

    let deregister =
        |reference: &str| DeregisterTaskDefinitionRequest { task_definition: reference.to_owned() };
    world.supervisor.deregister_task_definition(deregister("web:2")).await.unwrap();
    let latest = world.supervisor.describe_task_definition(describe("web")).await.unwrap();
    assert_eq!(latest.task_definition.revision, 1, "the newest that is ACTIVE");
    let error = world.create_service("web", 1, &[]).await.map(|service| service.task_definition);
    assert!(error.unwrap().ends_with("web:1"));
    let run = RunTaskRequest { task_definition: "web:2".to_owned(), ..RunTaskRequest::default() };
    assert_eq!(world.supervisor.run_task(run).await.unwrap_err().to_string(), "TaskDefinition is inactive");
    assert_eq!(
        register(&world, body).await.unwrap().task_definition.revision,
        3,
        "a number is never given again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_is_refused_with_its_reason() {
    let world = World::new().await;
    world.register("web").await;
    for (desired, allowed) in [(-1, false), (1_000_000_000, false), (5001, false), (0, true)] {
        match world.create_service("web", desired, &[]).await {
            Ok(_) => assert!(allowed, "{desired}"),
            Err(error) => {
                assert!(!allowed, "{desired}: {error}");
                assert_eq!(error.code(), "InvalidParameterException");
                assert_eq!(error.to_string(), format!("desiredCount must be 0 to 5000, not {desired}."));
            }
        }
    }
    assert!(world.scale("web", -1).await.unwrap_err().to_string().starts_with("desiredCount must be"));
    for name in ["", "a b", "a/b", &"x".repeat(256)] {
        let mut request = world.service_request("web", 1, &[]);
        request.service_name = name.to_owned();
        let error = world.supervisor.create_service(request).await.unwrap_err();
        assert_eq!(error.code(), "InvalidParameterException", "{name}");
        assert!(error.to_string().contains("serviceName must match"), "{error}");
    }
    let mut request = world.service_request("other", 1, &[]);
    let error = world.supervisor.create_service(request.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("ClientException", "TaskDefinition not found."));
    request.cluster = Some("nowhere".to_owned());
    let error = world.supervisor.create_service(request).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("ClusterNotFoundException", "Cluster not found.")
    );
    let error = world.scale("nothing", 1).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("ServiceNotFoundException", "Service not found.")
    );
    let error = parse_request::<CreateServiceRequest>(br#"{"serviceName": "a", "replicas": 3}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `replicas`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_creation_is_the_same_service_only_with_the_same_token() {
    let world = World::new().await;
    world.register("web").await;
    let mut request = world.service_request("web", 1, &[]);
    request.client_token = Some("once".to_owned());
    let first = world.supervisor.create_service(request.clone()).await.unwrap().service;
    let again = world.supervisor.create_service(request.clone()).await.unwrap().service;
    assert_eq!(first.created_at, again.created_at);
    request.client_token = None;
    let error = world.supervisor.create_service(request).await.unwrap_err();
    assert_eq!(error.to_string(), "Creation of service was not idempotent.");
}

#[tokio::test(start_paused = true)]
async fn a_repeated_run_with_the_same_token_starts_nothing_more() {
    let world = World::new().await;
    world.register("job").await;
    let request = RunTaskRequest {
        task_definition: "job".to_owned(),
        count: Some(2),
        client_token: Some("once".to_owned()),
        ..RunTaskRequest::default()
    };
    let arns = |response: RunTaskResponse| -> Vec<String> {
        response.tasks.into_iter().map(|task| task.task_arn).collect()
    };
    let first = arns(world.supervisor.run_task(request.clone()).await.unwrap());
    let again = arns(world.supervisor.run_task(request).await.unwrap());
    assert_eq!(first, again);
    for count in [0, 11, -1] {
        let request = RunTaskRequest {
            task_definition: "job".to_owned(),
            count: Some(count),
            ..RunTaskRequest::default()
        };
        let error = world.supervisor.run_task(request).await.unwrap_err();
        assert_eq!(error.to_string(), format!("count must be 1 to 10, not {count}."));
    }
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        world
            .supervisor
            .create_cluster(parse_request(format!(r#"{{"clusterName": "{name}"}}"#).as_bytes()).unwrap())
            .await
            .unwrap();
    }
    let mut seen = Vec::new();
    let mut request = ListClustersRequest { max_results: Some(2), next_token: None };
    for _ in 0..10 {
        let page = world.supervisor.list_clusters(request.clone()).await.unwrap();
        assert!(page.cluster_arns.len() <= 2);
        seen.extend(page.cluster_arns);
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    let names: Vec<&str> = seen.iter().filter_map(|arn| arn.rsplit('/').next()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "default", "e"]);
    let bad = ListClustersRequest { max_results: Some(101), next_token: None };
    assert_eq!(world.supervisor.list_clusters(bad).await.unwrap_err().code(), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_told_item_by_item() {
    let world = World::new().await;
    world.register("web").await;
    world.create_service("web", 0, &[]).await.unwrap();
    let request = DescribeServicesRequest {
        services: vec!["web".to_owned(), "other".to_owned()],
        ..DescribeServicesRequest::default()
    };
    let response = world.supervisor.describe_services(request).await.unwrap();
    assert_eq!(response.services.len(), 1);
    assert_eq!(response.failures[0].reason, "MISSING");
    assert_eq!(
        response.failures[0].arn.as_deref(),
        Some("arn:aws:ecs:us-east-1:000000000000:service/default/other")
    );
    let id = "0".repeat(32);
    assert_eq!(world.describe_tasks(&[id]).await.failures[0].reason, "MISSING");
    let error = world.stop_task(&"0".repeat(32)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("InvalidParameterException", "The referenced task was not found.")
    );
}

#[tokio::test(start_paused = true)]
async fn tags_are_kept_on_everything_and_a_services_place_is_settled_at_its_creation() {
    let world = World::new().await;
    let definition = world.register("web").await;
    let service =
        world.create_service("web", 1, &[("coracle.listen", "127.0.0.1:0"), ("team", "a")]).await.unwrap();
    world.until_steady("web").await;
    let task = world.running("web").await.remove(0);
    for arn in [service.cluster_arn, service.service_arn.clone(), definition, task] {
        let tag = |body: String| parse_request::<TagResourceRequest>(body.as_bytes()).unwrap();
        let request = tag(format!(r#"{{"resourceArn": "{arn}", "tags": [{{"key": "k", "value": "1"}}]}}"#));
        world.supervisor.tag_resource(request).await.unwrap();
        let list = ListTagsForResourceRequest { resource_arn: arn.clone() };
        let tags = world.supervisor.list_tags_for_resource(list.clone()).await.unwrap().tags;
        assert!(tags.iter().any(|tag| tag.key == "k" && tag.value == "1"), "{arn}: {tags:?}");
        let untag = UntagResourceRequest { resource_arn: arn.clone(), tag_keys: vec!["k".to_owned()] };
        world.supervisor.untag_resource(untag).await.unwrap();
        let tags = world.supervisor.list_tags_for_resource(list).await.unwrap().tags;
        assert!(tags.iter().all(|tag| tag.key != "k"), "{arn}: {tags:?}");
    }
    let request = UntagResourceRequest {
        resource_arn: service.service_arn,
        tag_keys: vec!["coracle.listen".to_owned()],
    };
    assert!(world.supervisor.untag_resource(request).await.is_err());
}
