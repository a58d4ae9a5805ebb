//! `coracle service`

use coracle_supervisor::model::{
    publication::{ENDPOINT, LISTEN},
    service::Service,
};
use serde_json::{Value, json};

use super::{
    args::{ClusterArgs, ServiceCommand, ServiceCreate, ServiceUpdate},
    client::Client,
    error::Failure,
    output::{self, Table, name_of},
};

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
        ServiceCommand::Create(args) => create(args).await,
        ServiceCommand::Describe(args) => {
            let service =
                describe(&Client::new(&args.cluster.api), &args.cluster.cluster, &args.name).await?;
            let service = service.ok_or_else(|| missing(&args.cluster.cluster, &args.name))?;
            output::print(args.cluster.api.output.output, &service, || description(&service))
        }
        ServiceCommand::Scale(args) => {
            let input = json!({ "cluster": args.cluster.cluster, "service": args.name, "desiredCount": args.replicas });
            change(&args.cluster, "UpdateService", &input).await
        }
        ServiceCommand::Update(args) => update(args).await,
        ServiceCommand::Autoscale(args) => super::autoscale::main(args).await,
        ServiceCommand::Delete(args) => {
            let input = json!({ "cluster": args.cluster.cluster, "service": args.name, "force": args.force });
            change(&args.cluster, "DeleteService", &input).await
        }
    }
}

async fn create(args: ServiceCreate) -> Result<(), Failure> {
    let mut tags: Vec<_> =
        args.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    tags.extend(args.listen.map(|address| json!({ "key": LISTEN, "value": address.to_string() })));
    tags.extend(args.health_path.map(|path| json!({ "key": "coracle.health-check.path", "value": path })));
    let input = json!({
        "cluster": args.cluster.cluster,
        "serviceName": args.name,
        "taskDefinition": args.task_definition,
        "desiredCount": args.replicas,
        "enableExecuteCommand": true,
        "tags": tags,
    });
    change(&args.cluster, "CreateService", &input).await
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
    change(&args.cluster, "UpdateService", &input).await
}

/// An operation whose answer is the service as it is now wanted.
async fn change(cluster: &ClusterArgs, operation: &str, input: &Value) -> Result<(), Failure> {
    let mut answer: Value = Client::new(&cluster.api).ecs(operation, input).await?;
    let service: Service = serde_json::from_value(answer["service"].take()).map_err(Failure::failed)?;
    output::print(cluster.api.output.output, &service, || table(std::slice::from_ref(&service)))
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

fn missing(cluster: &str, name: &str) -> Failure {
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
    format!("{:?}", service.status).to_uppercase()
}

/// Where it can be reached: the address bound, or the one asked for before it is.
fn endpoint(service: &Service) -> &str {
    let tag = |key: &str| service.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str());
    tag(ENDPOINT).or_else(|| tag(LISTEN)).unwrap_or("-")
}

fn description(service: &Service) -> String {
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
        ("endpoint", endpoint(service).to_owned()),
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
    let mut text = format!("{head}\n{}", table.render());
    if !service.events.is_empty() {
        let mut events = Table::new(["TIME", "EVENT"]);
        for event in service.events.iter().take(EVENTS) {
            events.row([output::at(event.created_at), event.message.clone()]);
        }
        text = format!("{text}\n{}", events.render());
    }
    text
}
