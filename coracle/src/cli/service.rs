//! `coracle service`

mod attachment;

use coracle_supervisor::model::{
    deployment::pace::{BAKE_TIME, STEP_BAKE_TIME},
    publication::{ASLEEP, ENDPOINT, LISTEN, SCALE_TO_ZERO, TEST_LISTEN},
    scheduling_strategy::SchedulingStrategy,
    service::Service,
    service_connect::ServiceConnectConfiguration,
    task_definition::TaskDefinition,
};
use serde_json::{Value, json};

use super::{
    args::{ClusterArgs, DeploymentOptions, ServiceCommand, ServiceCreate, ServiceUpdate, StrategyChoice},
    client::Client,
    error::Failure,
    output::{self, Table, name_of},
    rollout,
};
use attachment::Attach;

/// How many services one call describes: ECS's limit.
const BATCH: usize = 10;
/// Events that a description shows.
const EVENTS: usize = 10;

pub(crate) async fn main(command: ServiceCommand) -> Result<(), Failure> {
    match command {
        ServiceCommand::Ls(cluster) => {
            let services = all(&Client::new(&cluster.api), &cluster.cluster).await?;
            output::print(cluster.api.output.output, &services, || table(&services))
        }
        ServiceCommand::Create(args) => create(*args).await,
        ServiceCommand::Describe(args) => {
            let client = Client::new(&args.cluster.api);
            let cluster = args.cluster.cluster.as_str();
            let service = describe(&client, cluster, &args.name).await?;
            let service = service.ok_or_else(|| missing(cluster, &args.name))?;
            let rollout = rollout::description(&client, cluster, &service).await?;
            output::print(args.cluster.api.output.output, &service, || description(&service, &rollout))
        }
        ServiceCommand::Scale(args) => {
            let input = json!({ "cluster": args.cluster.cluster, "service": args.name, "desiredCount": args.replicas });
            change(&args.cluster, "UpdateService", &input).await
        }
        ServiceCommand::Update(args) => update(args).await,
        ServiceCommand::Wait(args) => rollout::wait(args).await,
        ServiceCommand::Rollback(args) => rollout::roll_back(args).await,
        ServiceCommand::Continue(args) => rollout::go_on(args).await,
        ServiceCommand::Deployments(args) => rollout::deployments(&args.cluster, &args.name).await,
        ServiceCommand::Autoscale(args) => super::autoscale::main(args).await,
        ServiceCommand::Delete(args) => {
            let input = json!({ "cluster": args.cluster.cluster, "service": args.name, "force": args.force });
            change(&args.cluster, "DeleteService", &input).await
        }
    }
}

async fn create(mut args: ServiceCreate) -> Result<(), Failure> {
    let group = Attach::take(&mut args);
    if args.deployments.strategy != StrategyChoice::Rolling
        && group.as_ref().is_some_and(|group| !group.has_alternate())
    {
        return Err(Failure::usage(
            "a strategy that runs two revisions side by side needs --alternate-target-group and --production-rule beside --target-group",
        ));
    }
    let mut tags: Vec<_> =
        args.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    tags.extend(args.listen.map(|address| json!({ "key": LISTEN, "value": address.to_string() })));
    tags.extend(args.health_path.map(|path| json!({ "key": "coracle.health-check.path", "value": path })));
    let deployments = args.deployments;
    let tag = |key: &str, value: String| json!({ "key": key, "value": value });
    tags.extend(deployments.test_listen.map(|address| tag(TEST_LISTEN, address.to_string())));
    tags.extend(args.scale_to_zero.map(|seconds| tag(SCALE_TO_ZERO, seconds.to_string())));
    tags.extend(deployments.bake_time.map(|seconds| tag(BAKE_TIME, seconds.to_string())));
    tags.extend(deployments.step_bake_time.map(|seconds| tag(STEP_BAKE_TIME, seconds.to_string())));
    let mut input = json!({
        "cluster": args.cluster.cluster,
        "deploymentConfiguration": configuration(&deployments),
        "serviceName": args.name,
        "taskDefinition": args.task_definition,
        "enableExecuteCommand": true,
        "tags": tags,
    });
    match args.daemon {
        true => input["schedulingStrategy"] = json!(SchedulingStrategy::Daemon),
        false => input["desiredCount"] = json!(args.replicas),
    }
    if let Some(namespace) = args.namespace {
        let mut connect = json!({ "enabled": true, "namespace": namespace });
        if let Some(port_name) = args.port_name {
            let client = Client::new(&args.cluster.api);
            connect["services"] = offer(&client, &args.name, &args.task_definition, &port_name).await?;
        }
        input["serviceConnectConfiguration"] = connect;
    }
    if let Some(group) = &group {
        input["loadBalancers"] =
            json!([attachment::wanted(&args.cluster, &args.task_definition, group).await?]);
    }
    change_and(args.wait, &args.cluster, "CreateService", &input, &args.name).await
}

/// A port of a task definition under the service's own name, in its namespace and alone.
async fn offer(
    client: &Client,
    service: &str,
    task_definition: &str,
    port_name: &str,
) -> Result<Value, Failure> {
    let input = json!({ "taskDefinition": task_definition });
    let mut answer: Value = client.ecs("DescribeTaskDefinition", &input).await?;
    let definition: TaskDefinition =
        serde_json::from_value(answer["taskDefinition"].take()).map_err(Failure::failed)?;
    let containers = definition.content.container_definitions.iter();
    let mut ports = containers.flat_map(|container| &container.port_mappings);
    let port = ports.find(|port| port.name.as_deref() == Some(port_name));
    let port = port.and_then(|port| port.container_port).ok_or_else(|| {
        Failure::usage(format!(
            "--port-name: no port mapping of {} has the name {port_name}",
            definition.id()
        ))
    })?;
    let name = service.to_ascii_lowercase();
    let alias = json!({ "port": port, "dnsName": name });
    Ok(json!([{ "portName": port_name, "discoveryName": name, "clientAliases": [alias] }]))
}

fn configuration(options: &DeploymentOptions) -> Value {
    let mut configuration = json!({});
    let percent = options.step_percent;
    match options.strategy {
        StrategyChoice::Rolling => {}
        StrategyChoice::BlueGreen => configuration["strategy"] = json!("BLUE_GREEN"),
        StrategyChoice::Linear => {
            configuration["strategy"] = json!("LINEAR");
            if let Some(percent) = percent {
                configuration["linearConfiguration"] = json!({ "stepPercent": percent });
            }
        }
        StrategyChoice::Canary => {
            configuration["strategy"] = json!("CANARY");
            if let Some(percent) = percent {
                configuration["canaryConfiguration"] = json!({ "canaryPercent": percent });
            }
        }
    }
    if options.strategy == StrategyChoice::BlueGreen && options.bake_time.is_none() {
        configuration["bakeTimeInMinutes"] = json!(0);
    }
    if options.circuit_breaker {
        configuration["deploymentCircuitBreaker"] = json!({ "enable": true, "rollback": true });
    }
    let hooks = hooks(options);
    if !hooks.is_empty() {
        configuration["lifecycleHooks"] = json!(hooks);
    }
    configuration
}

fn hooks(options: &DeploymentOptions) -> Vec<Value> {
    let stage = |text: &String| text.to_uppercase().replace('-', "_");
    let pauses: Vec<String> = options.pauses.iter().map(stage).collect();
    let pause = (!pauses.is_empty()).then(|| json!({ "targetType": "PAUSE", "lifecycleStages": pauses }));
    let calls = options.hooks.iter().map(
        |(at, url)| json!({ "targetType": "AWS_LAMBDA", "hookTargetArn": url, "lifecycleStages": [stage(at)] }),
    );
    pause.into_iter().chain(calls).collect()
}

async fn update(args: ServiceUpdate) -> Result<(), Failure> {
    let mut input = json!({ "cluster": args.cluster.cluster, "service": args.name });
    if let Some(task_definition) = args.task_definition {
        input["taskDefinition"] = json!(task_definition);
    }
    if let Some(replicas) = args.replicas {
        input["desiredCount"] = json!(replicas);
    }
    if args.force_new_deployment {
        input["forceNewDeployment"] = json!(true);
    }
    change_and(args.wait, &args.cluster, "UpdateService", &input, &args.name).await
}

/// An operation whose answer is the service as it is now wanted.
async fn change(cluster: &ClusterArgs, operation: &str, input: &Value) -> Result<(), Failure> {
    let mut answer: Value = Client::new(&cluster.api).ecs(operation, input).await?;
    let service: Service = serde_json::from_value(answer["service"].take()).map_err(Failure::failed)?;
    output::print(cluster.api.output.output, &service, || table(std::slice::from_ref(&service)))
}

/// The same, and if a person wants to `wait`, what became of it.
async fn change_and(
    wait: bool,
    cluster: &ClusterArgs,
    operation: &str,
    input: &Value,
    name: &str,
) -> Result<(), Failure> {
    if !wait {
        return change(cluster, operation, input).await;
    }
    Client::new(&cluster.api).ecs::<Value>(operation, input).await?;
    rollout::wait_for_it(cluster, name).await
}

async fn all(client: &Client, cluster: &str) -> Result<Vec<Service>, Failure> {
    let arns = client.list("ListServices", json!({ "cluster": cluster }), "serviceArns").await?;
    let input = json!({ "cluster": cluster, "include": ["TAGS"] });
    let mut services: Vec<Service> =
        client.describe("DescribeServices", input, ("services", BATCH), &arns).await?;
    services.sort_by(|a, b| a.service_name.cmp(&b.service_name));
    Ok(services)
}

/// One service, if there is one of that name.
pub(super) async fn describe(client: &Client, cluster: &str, name: &str) -> Result<Option<Service>, Failure> {
    let input = json!({ "cluster": cluster, "include": ["TAGS"] });
    let found = client.describe("DescribeServices", input, ("services", BATCH), &[name.to_owned()]).await?;
    Ok(found.into_iter().next())
}

/// Those of these names, or all of a cluster's.
pub(super) async fn named(client: &Client, cluster: &str, names: &[String]) -> Result<Vec<Service>, Failure> {
    if names.is_empty() {
        return all(client, cluster).await;
    }
    let input = json!({ "cluster": cluster });
    Ok(client.describe("DescribeServices", input, ("services", BATCH), names).await?)
}

pub(super) fn missing(cluster: &str, name: &str) -> Failure {
    Failure::failed(format!(
        "there is no service {name} in cluster {cluster}; `coracle service ls` lists them"
    ))
}

fn table(services: &[Service]) -> String {
    let mut table = Table::new(["SERVICE", "STATUS", "RUNNING", "TASK DEFINITION", "AGE", "ENDPOINT"]);
    for service in services {
        table.row([
            service.service_name.clone(),
            status(service),
            format!("{}/{}", service.running_count, service.desired_count),
            name_of(&service.task_definition).to_owned(),
            output::ago(service.created_at),
            endpoint(service).to_owned(),
        ]);
    }
    table.render()
}

fn status(service: &Service) -> String {
    let asleep = service.tags.iter().any(|tag| tag.key == ASLEEP);
    let asleep = if asleep { " (asleep)" } else { "" };
    format!("{}{asleep}", format!("{:?}", service.status).to_uppercase())
}

/// Where it can be reached: the address bound, or the one asked for before it is.
fn endpoint(service: &Service) -> &str {
    let tag = |key: &str| service.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str());
    tag(ENDPOINT).or_else(|| tag(LISTEN)).unwrap_or("-")
}

fn connect(service: &Service) -> Option<&ServiceConnectConfiguration> {
    service.deployments.first()?.service_connect_configuration.as_ref()
}

/// Where its tasks find others by name.
fn namespace(service: &Service) -> Option<&str> {
    connect(service)?.namespace.as_deref()
}

/// What others find it by.
fn names(service: &Service) -> String {
    let Some(namespace) = namespace(service) else { return "-".to_owned() };
    let offers = connect(service).map(|connect| connect.services.as_slice()).unwrap_or_default();
    let mut names = Vec::new();
    for offer in offers {
        let full_name = format!("{}.{namespace}", offer.discovery_name.as_ref().unwrap_or(&offer.port_name));
        let aliases = offer.client_aliases.iter();
        let aliases = aliases.map(|alias| (alias.dns_name.as_ref().unwrap_or(&full_name), alias.port));
        let aliases: Vec<String> = aliases.map(|(name, port)| format!("{name}:{port}")).collect();
        names.push(full_name);
        names.extend(aliases);
    }
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

/// `rollout` is about its newest deployment.
fn description(service: &Service, rollout: &str) -> String {
    let lines = [
        ("service", service.service_name.clone()),
        ("cluster", name_of(&service.cluster_arn).to_owned()),
        ("status", status(service)),
        (
            "tasks",
            format!(
                "{} running, {} pending, {} desired",
                service.running_count, service.pending_count, service.desired_count
            ),
        ),
        ("scheduling", service.scheduling_strategy.as_str().to_owned()),
        ("endpoint", endpoint(service).to_owned()),
        ("targets", attachment::described(service)),
        ("namespace", namespace(service).unwrap_or("-").to_owned()),
        ("names", names(service)),
        ("created", output::at(service.created_at)),
    ];
    let head: String = lines.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect();
    let mut table = Table::new(["DEPLOYMENT", "STATUS", "TASK DEFINITION", "RUNNING", "FAILED", "ROLLOUT"]);
    for deployment in &service.deployments {
        table.row([
            deployment.id.clone(),
            deployment.status.clone(),
            name_of(&deployment.task_definition).to_owned(),
            format!("{}/{}", deployment.running_count, deployment.desired_count),
            deployment.failed_tasks.to_string(),
            deployment.rollout_state_reason.clone(),
        ]);
    }
    let mut text = format!("{head}{rollout}\n{}", table.render());
    if !service.events.is_empty() {
        let mut events = Table::new(["TIME", "EVENT"]);
        for event in service.events.iter().take(EVENTS) {
            events.row([output::at(event.created_at), event.message.clone()]);
        }
        text = format!("{text}\n{}", events.render());
    }
    text
}
