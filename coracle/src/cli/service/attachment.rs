//! The target groups that a service is given.

use coracle_supervisor::model::service::Service;
use coracle_supervisor::model::task_definition::{ContainerDefinition, TaskDefinition};
use serde_json::{Value, json};

use super::{Client, ClusterArgs, Failure, ServiceCreate};
use crate::cli::{load_balancer, target_group};

/// What is said of them.
pub(super) struct Attach {
    group: String,
    container: Option<String>,
    alternate: Option<String>,
    production_rule: Option<String>,
    test_rule: Option<String>,
}

impl Attach {
    /// Whether there is one for each of two revisions.
    pub(super) fn has_alternate(&self) -> bool {
        self.alternate.is_some()
    }

    /// What is said of them, if anything is.
    pub(super) fn take(args: &mut ServiceCreate) -> Option<Self> {
        Some(Self {
            group: args.target_group.take()?,
            container: args.container.take(),
            alternate: args.alternate_target_group.take(),
            production_rule: args.production_rule.take(),
            test_rule: args.test_rule.take(),
        })
    }
}

/// ECS's description of a load balancer.
pub(super) async fn wanted(
    cluster: &ClusterArgs,
    task_definition: &str,
    attach: &Attach,
) -> Result<Value, Failure> {
    let client = Client::new(&cluster.api);
    let group = target_group::find(&client, &attach.group).await?;
    let (container, port) = match &attach.container {
        Some(given) => given_container(given)?,
        None => first_port(&client, task_definition).await?,
    };
    let mut wanted = json!({
        "targetGroupArn": group["TargetGroupArn"],
        "containerName": container,
        "containerPort": port,
    });
    if let Some(alternate) = &attach.alternate {
        let alternate = target_group::find(&client, alternate).await?;
        let mut advanced = json!({ "alternateTargetGroupArn": alternate["TargetGroupArn"] });
        for (field, rule) in
            [("productionListenerRule", &attach.production_rule), ("testListenerRule", &attach.test_rule)]
        {
            if let Some(rule) = rule {
                advanced[field] = named_rule(&client, rule).await?;
            }
        }
        wanted["advancedConfiguration"] = advanced;
    }
    Ok(wanted)
}

fn given_container(given: &str) -> Result<(String, u16), Failure> {
    let parsed = given.rsplit_once(':').and_then(|(name, port)| Some((name.to_owned(), port.parse().ok()?)));
    parsed.ok_or_else(|| Failure::usage(format!("--container: NAME:PORT is expected, not {given:?}")))
}

/// The container and port that requests come to by themselves.
async fn first_port(client: &Client, task_definition: &str) -> Result<(String, u16), Failure> {
    let input = json!({ "taskDefinition": task_definition });
    let mut answer: Value = client.ecs("DescribeTaskDefinition", &input).await?;
    let definition: TaskDefinition =
        serde_json::from_value(answer["taskDefinition"].take()).map_err(Failure::failed)?;
    let content = &definition.content;
    let name = content.traffic_container();
    let port = name.and_then(|name| content.container(name)).and_then(ContainerDefinition::first_port);
    name.map(str::to_owned).zip(port).ok_or_else(|| {
        Failure::usage(format!(
            "{} has no port mapping that requests could come to: give a container one in portMappings",
            definition.id()
        ))
    })
}

/// A rule by `LOAD_BALANCER:PORT` or `LOAD_BALANCER:PORT/PRIORITY`, or its ARN.
async fn named_rule(client: &Client, given: &str) -> Result<Value, Failure> {
    if given.starts_with("arn:") {
        return Ok(json!(given));
    }
    let (listener, priority) = match given.split_once('/') {
        None => (given, None),
        Some((listener, priority)) => {
            let priority = priority.parse().map_err(|_| {
                Failure::usage(format!(
                    "LOAD_BALANCER:PORT/PRIORITY is expected, such as web:8080/10, not {given:?}"
                ))
            })?;
            (listener, Some(priority))
        }
    };
    load_balancer::named_rule(client, listener, priority).await
}

/// Where requests come from, in words.
pub(super) fn described(service: &Service) -> String {
    let Some(attached) = service.load_balancers.first() else { return "-".to_owned() };
    let name = attached.target_group_arn.rsplit('/').nth(1).unwrap_or_default();
    match (&attached.container_name, attached.container_port) {
        (Some(container), Some(port)) => format!("{name}, at {container}:{port}"),
        _ => name.to_owned(),
    }
}
