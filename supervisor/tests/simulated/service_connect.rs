//! Services that find each other by name: what is accepted, what drivers are told, and what deployments make of it.

use std::time::Duration;

use coracle_supervisor::OperationError;
use coracle_supervisor::model::service::{LaunchType, ServiceStatus};
use coracle_supervisor::model::service_connect::{
    Alias, Offer, ServiceConnectConfiguration, ServiceConnectDefaults,
};
use coracle_supervisor::operations::*;
use serde_json::{Value, json};

use crate::world::World;

/// A family with a port of this name.
async fn define(world: &World, family: &str, port: u16) -> String {
    let port = json!({"containerPort": port, "name": "http"});
    let container = json!({"name": "app", "image": "hello.wasm", "memory": 64, "portMappings": [port]});
    world.define(json!({"family": family, "containerDefinitions": [container]})).await
}

fn connect(configuration: Value) -> Option<ServiceConnectConfiguration> {
    Some(serde_json::from_value(configuration).unwrap())
}

fn found_as(name: &str) -> Option<ServiceConnectConfiguration> {
    let alias = json!({"port": 80, "dnsName": name});
    let offer = json!({"portName": "http", "discoveryName": name, "clientAliases": [alias]});
    connect(json!({"enabled": true, "namespace": "shop.local", "services": [offer]}))
}

async fn create(
    world: &World,
    name: &str,
    connect: Option<ServiceConnectConfiguration>,
    tags: &[(&str, &str)],
) -> Result<(), OperationError> {
    let request = CreateServiceRequest {
        service_connect_configuration: connect,
        ..world.service_request(name, 2, tags)
    };
    world.supervisor.create_service(request).await.map(drop)
}

async fn update(world: &World, request: UpdateServiceRequest) -> Result<(), OperationError> {
    let request = UpdateServiceRequest { service: "orders".to_owned(), ..request };
    world.supervisor.update_service(request).await.map(drop)
}

fn offer(name: &str, container_port: u16) -> Offer {
    Offer {
        namespace: "shop.local".to_owned(),
        discovery_name: name.to_owned(),
        aliases: vec![Alias { name: name.to_owned(), port: 80 }],
        container_port,
        is_traffic_port: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_found_from_its_creation_until_its_deletion_and_shown_with_its_names() {
    let mut world = World::new().await;
    define(&world, "orders", 8080).await;
    create(&world, "orders", found_as("orders"), &[]).await.unwrap();
    assert_eq!(world.driver.offers(), [offer("orders", 8080)], "at once");
    world.until_steady("orders").await;
    let service = world.service("orders").await;
    let deployment = &service.deployments[0];
    assert_eq!(deployment.service_connect_configuration, found_as("orders"));
    let resource = &deployment.service_connect_resources[0];
    assert_eq!(resource.discovery_name, "orders");
    assert!(resource.discovery_arn.ends_with(":service/orders.shop.local"), "{}", resource.discovery_arn);
    assert_eq!(service.load_balancers, [], "it has no listener");
    for task in world.driver.tasks() {
        assert_eq!(world.driver.place(&task), Some((Some("shop.local".to_owned()), true)));
    }
    world.crash().await;
    world.until(|| async { world.driver.offers() == [offer("orders", 8080)] }).await;

    let delete = DeleteServiceRequest { cluster: None, service: "orders".to_owned(), force: Some(true) };
    world.supervisor.delete_service(delete).await.unwrap();
    world.until(|| async { world.service("orders").await.status == ServiceStatus::Inactive }).await;
    assert_eq!(world.driver.offers(), []);
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn each_of_a_services_ports_is_found_by_its_own_names_which_no_other_service_may_have() {
    let world = World::new().await;
    let ports = json!([{"containerPort": 8080, "name": "http"}, {"containerPort": 9090, "name": "admin"}]);
    let container = json!({"name": "app", "image": "hello.wasm", "memory": 64, "portMappings": ports});
    world.define(json!({"family": "orders", "containerDefinitions": [container]})).await;
    define(&world, "other", 8080).await;
    let two = connect(json!({"enabled": true, "namespace": "shop.local", "services": [
        {"portName": "http", "discoveryName": "orders", "clientAliases": [{"port": 80, "dnsName": "orders"}]},
        {"portName": "admin"},
    ]}));
    create(&world, "orders", two, &[]).await.unwrap();
    let admin = Offer { aliases: Vec::new(), is_traffic_port: false, ..offer("admin", 9090) };
    assert_eq!(world.driver.offers(), [admin, offer("orders", 8080)]);
    let service = world.service("orders").await;
    let shown = service.deployments[0].service_connect_resources.iter();
    let shown: Vec<&str> = shown.map(|resource| resource.discovery_name.as_str()).collect();
    assert_eq!(shown, ["orders", "admin"]);
    for taken in ["orders", "admin"] {
        let error = create(&world, "other", found_as(taken), &[]).await.unwrap_err().to_string();
        let expected =
            format!("services[0]: discoveryName \"{taken}\" is in use in the namespace shop.local");
        assert!(error.contains(&expected), "{error}");
    }
    update(
        &world,
        UpdateServiceRequest { service_connect_configuration: found_as("orders"), ..Default::default() },
    )
    .await
    .unwrap();
    world.until(|| async { world.driver.offers() == [offer("orders", 8080)] }).await;
    create(&world, "other", found_as("admin"), &[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_is_in_the_namespace_and_others_are_not() {
    let world = World::new().await;
    for family in ["client", "loner"] {
        define(&world, family, 8080).await;
    }
    let client = connect(json!({"enabled": true, "namespace": "shop.local"}));
    create(&world, "client", client, &[]).await.unwrap();
    create(&world, "loner", connect(json!({"enabled": false})), &[]).await.unwrap();
    for (name, namespace) in [("client", Some("shop.local".to_owned())), ("loner", None)] {
        world.until_steady(name).await;
        for arn in world.running(name).await {
            assert_eq!(world.driver.place(&world.task_id(&arn)), Some((namespace.clone(), false)), "{name}");
        }
    }
    let alone = world.run_task("client", 1).await.unwrap();
    world.until(|| async { world.driver.place(&world.task_id(&alone[0])).is_some() }).await;
    assert_eq!(world.driver.place(&world.task_id(&alone[0])), Some((None, false)));
    assert_eq!(world.driver.offers(), []);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_has_a_namespace_for_those_who_name_none() {
    let world = World::new().await;
    let cluster = |namespace: &str| CreateClusterRequest {
        cluster_name: Some("town".to_owned()),
        service_connect_defaults: Some(ServiceConnectDefaults { namespace: namespace.to_owned() }),
        ..CreateClusterRequest::default()
    };
    let error = world.supervisor.create_cluster(cluster("a b")).await.unwrap_err().to_string();
    assert!(error.contains("serviceConnectDefaults.namespace"), "{error}");
    world.supervisor.create_cluster(cluster("town.local")).await.unwrap();
    define(&world, "orders", 8080).await;
    let offers = json!({"enabled": true, "services": [{"portName": "http"}]});
    let error = create(&world, "orders", connect(offers.clone()), &[]).await.unwrap_err().to_string();
    assert!(error.contains("serviceConnectConfiguration.namespace must be given"), "{error}");
    let request = CreateServiceRequest {
        cluster: Some("town".to_owned()),
        service_connect_configuration: connect(offers),
        ..world.service_request("orders", 1, &[])
    };
    world.supervisor.create_service(request).await.unwrap();
    assert_eq!(world.driver.offers()[0].full_name(), "http.town.local");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_of_one_service_until_that_is_gone() {
    let world = World::new().await;
    for family in ["orders", "other"] {
        define(&world, family, 8080).await;
    }
    create(&world, "orders", found_as("orders"), &[]).await.unwrap();
    let error = create(&world, "other", found_as("orders"), &[]).await.unwrap_err().to_string();
    assert!(error.contains("discoveryName \"orders\" is in use in the namespace shop.local"), "{error}");
    assert!(error.contains("by the service orders of the cluster default"), "{error}");
    create(&world, "other", found_as("other"), &[]).await.unwrap();
    let rename = UpdateServiceRequest {
        service_connect_configuration: found_as("other"),
        ..UpdateServiceRequest::default()
    };
    let error = update(&world, rename).await.unwrap_err().to_string();
    assert!(error.contains("discoveryName \"other\" is in use"), "{error}");
    let delete = DeleteServiceRequest { cluster: None, service: "other".to_owned(), force: Some(true) };
    world.supervisor.delete_service(delete).await.unwrap();
    let rename = UpdateServiceRequest {
        service_connect_configuration: found_as("other"),
        ..UpdateServiceRequest::default()
    };
    update(&world, rename).await.unwrap();
    world.until(|| async { world.driver.offers() == [offer("other", 8080)] }).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_of_its_names_is_a_deployment_and_nothing_else_forgets_them() {
    let world = World::new().await;
    define(&world, "orders", 8080).await;
    create(&world, "orders", None, &[]).await.unwrap();
    world.until_steady("orders").await;
    let first = world.service("orders").await.deployments[0].id.clone();
    let change = |connect| UpdateServiceRequest {
        service_connect_configuration: connect,
        ..UpdateServiceRequest::default()
    };
    update(&world, change(found_as("orders"))).await.unwrap();
    world.until_steady("orders").await;
    let second = world.service("orders").await.deployments[0].id.clone();
    assert_ne!(first, second);
    assert_eq!(world.driver.offers(), [offer("orders", 8080)]);
    for task in world.driver.tasks() {
        assert_eq!(world.driver.place(&task), Some((Some("shop.local".to_owned()), true)));
    }

    update(&world, change(found_as("orders"))).await.unwrap();
    assert_eq!(world.service("orders").await.deployments[0].id, second, "nothing changed");
    // Another revision with another port, and not a word of its names.
    define(&world, "orders", 9090).await;
    let next = UpdateServiceRequest {
        task_definition: Some("orders".to_owned()),
        ..UpdateServiceRequest::default()
    };
    update(&world, next).await.unwrap();
    world.until_steady("orders").await;
    assert_eq!(world.driver.offers(), [offer("orders", 9090)]);
    // One without the port that is offered.
    world.register("orders").await;
    let next = UpdateServiceRequest {
        task_definition: Some("orders".to_owned()),
        ..UpdateServiceRequest::default()
    };
    let error = update(&world, next).await.unwrap_err().to_string();
    assert!(error.contains("portName \"http\""), "{error}");

    update(&world, change(connect(json!({"enabled": false})))).await.unwrap();
    world.until_steady("orders").await;
    assert_eq!(world.driver.offers(), []);
    assert_eq!(world.service("orders").await.deployments[0].service_connect_configuration, None);
    assert_eq!(world.driver.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn while_names_come_the_tasks_without_them_stay_until_there_are_others() {
    let world = World::new().await;
    define(&world, "orders", 8080).await;
    create(&world, "orders", None, &[]).await.unwrap();
    world.until_steady("orders").await;
    world.driver.set_faults(|faults| faults.prepare_fails = 1.0);
    let names = UpdateServiceRequest {
        service_connect_configuration: found_as("orders"),
        ..UpdateServiceRequest::default()
    };
    update(&world, names).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.running("orders").await.len(), 2, "they are as healthy as before");
    world.driver.set_faults(|faults| faults.prepare_fails = 0.0);
    world.until_steady("orders").await;
    assert_eq!(world.running("orders").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_is_given_up_takes_its_names_back() {
    let world = World::new().await;
    define(&world, "orders", 8080).await;
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true}});
    let request = CreateServiceRequest {
        deployment_configuration: Some(serde_json::from_value(breaker).unwrap()),
        ..world.service_request("orders", 2, &[])
    };
    world.supervisor.create_service(request).await.unwrap();
    world.until_steady("orders").await;
    world.driver.set_faults(|faults| faults.prepare_fails = 1.0);
    let names = UpdateServiceRequest {
        service_connect_configuration: found_as("orders"),
        ..UpdateServiceRequest::default()
    };
    update(&world, names).await.unwrap();
    world.until(|| async { world.driver.offers() == [offer("orders", 8080)] }).await;
    world.until(|| async { world.driver.offers().is_empty() }).await;
    world.driver.set_faults(|faults| faults.prepare_fails = 0.0);
    world.until_steady("orders").await;
    let service = world.service("orders").await;
    assert_eq!(service.deployments[0].service_connect_configuration, None);
    assert_eq!((service.running_count, service.launch_type), (2, LaunchType::EC2));
}

#[tokio::test(start_paused = true)]
async fn one_without_a_listener_sleeps_and_is_woken_too() {
    let world = World::new().await;
    define(&world, "orders", 8080).await;
    create(&world, "orders", found_as("orders"), &[("coracle.scale-to-zero", "60")]).await.unwrap();
    world.until_steady("orders").await;
    world.until(|| async { world.driver.tasks().is_empty() }).await;
    assert_eq!(world.driver.offers(), [offer("orders", 8080)], "it is still found");
    world.driver.knock("orders");
    world.until(|| async { world.running("orders").await.len() == 2 }).await;
}

#[tokio::test(start_paused = true)]
async fn what_means_nothing_without_names_is_refused_as_before() {
    let world = World::new().await;
    define(&world, "orders", 8080).await;
    let tags = [("coracle.scale-to-zero", "60")];
    let error = create(&world, "orders", None, &tags).await.unwrap_err().to_string();
    assert!(error.contains("coracle.scale-to-zero means nothing without coracle.listen"), "{error}");
    let request = CreateServiceRequest {
        service_registries: Some(json!([{"registryArn": "arn:aws:servicediscovery:x:y:service/srv-1"}])),
        ..world.service_request("orders", 1, &[])
    };
    let error = world.supervisor.create_service(request).await.unwrap_err().to_string();
    assert!(error.contains("serviceRegistries is not supported: use serviceConnectConfiguration"), "{error}");
    for (mapping, why) in [
        (json!({"containerPort": 1, "name": "Http"}), "'name' of a port mapping"),
        (json!({"containerPort": 1, "name": "-a"}), "'name' of a port mapping"),
    ] {
        let container = json!({"name": "app", "image": "a.wasm", "portMappings": [mapping]});
        let definition = json!({"family": "a", "containerDefinitions": [container]});
        let request = parse_request(definition.to_string().as_bytes()).unwrap();
        let error = world.supervisor.register_task_definition(request).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
