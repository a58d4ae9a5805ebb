//! Deployments as a person follows them: waiting for one, taking it back, letting it go on.

use std::{
    io::{IsTerminal, Write as _, stderr},
    time::Duration,
};

use coracle_supervisor::{
    model::{
        deployment::{DeploymentStrategy, HookStatus, ServiceDeploymentStatus},
        service::{RolloutState, Service},
    },
    operations::{
        DescribeServiceDeploymentsResponse, DescribeServiceRevisionsResponse, ListServiceDeploymentsResponse,
        ServiceDeployment, ServiceDeploymentBrief, ServiceRevisionSummary,
    },
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    args::{ClusterArgs, ServiceContinue, ServiceRollback, ServiceWait},
    client::Client,
    error::Failure,
    events,
    output::{self, Table, name_of},
    service,
};

/// Between two looks at a deployment.
const POLL: Duration = Duration::from_millis(200);
/// Longest wait of commands with `--wait`.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Goes to the line's beginning and clears it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// A service and its newest deployment.
struct Look {
    service: Service,
    deployment: Option<ServiceDeployment>,
}

pub(crate) async fn wait(args: ServiceWait) -> Result<(), Failure> {
    follow(&args.cluster, &args.name, Duration::from_secs_f64(args.timeout)).await
}

/// Waits for what a command has just begun.
pub(crate) async fn wait_for_it(cluster: &ClusterArgs, name: &str) -> Result<(), Failure> {
    follow(cluster, name, PATIENCE).await
}

async fn follow(cluster: &ClusterArgs, name: &str, patience: Duration) -> Result<(), Failure> {
    let client = Client::new(&cluster.api);
    let mut line = StatusLine::default();
    let deadline = Instant::now() + patience;
    loop {
        let look = look(&client, &cluster.cluster, name).await?;
        if let Some(outcome) = outcome(&look) {
            line.clear();
            return outcome.and_then(|text| {
                output::print(cluster.api.output.output, &look.service, || format!("{text}\n"))
            });
        }
        if Instant::now() >= deadline {
            line.clear();
            let why = reasons(&look).join("; ");
            return Err(Failure::failed(format!("service {name} is not steady after {patience:?}: {why}")));
        }
        line.show(&progress(&look));
        sleep(POLL).await;
    }
}

/// How it ended, if it has.
fn outcome(look: &Look) -> Option<Result<String, Failure>> {
    let service = &look.service;
    let name = &service.service_name;
    let status = look.deployment.as_ref().map(|deployment| deployment.status);
    let reason = look.deployment.as_ref().and_then(|deployment| deployment.status_reason.clone());
    let reason = reason.unwrap_or_default();
    let primary = service.deployments.first()?;
    if primary.rollout_state == RolloutState::Failed {
        return Some(Err(Failure::failed(format!("the deployment of service {name} failed: {reason}"))));
    }
    let is_steady = service.deployments.len() == 1
        && primary.rollout_state == RolloutState::Completed
        && service.running_count == service.desired_count
        && service.pending_count == 0;
    if !is_steady {
        return None;
    }
    let revision = name_of(&service.task_definition);
    Some(match status {
        Some(ServiceDeploymentStatus::RollbackSuccessful) => Err(Failure::failed(format!(
            "the deployment of service {name} was rolled back to {revision}: {reason}"
        ))),
        _ => Ok(format!("service {name} is steady: {} tasks of {revision}", service.running_count)),
    })
}

/// What is missing until a service is steady.
fn reasons(look: &Look) -> Vec<String> {
    let service = &look.service;
    let mut reasons = Vec::new();
    let Some(primary) = service.deployments.first() else { return reasons };
    if service.running_count != service.desired_count || service.pending_count > 0 {
        reasons.push(format!(
            "{} tasks run and {} are pending, of {} wanted",
            service.running_count, service.pending_count, service.desired_count
        ));
    }
    if primary.rollout_state != RolloutState::Completed {
        reasons.push(primary.rollout_state_reason.clone());
    }
    if primary.failed_tasks > 0 {
        let cause = ["failed to launch", "is unhealthy", "failed container health checks"];
        let cause = cause.iter().find_map(|kind| events::newest_of(service, kind));
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        reasons.push(format!("{} tasks failed{cause}", primary.failed_tasks));
    }
    if let Some(deployment) = look.deployment.as_ref().filter(|deployment| deployment.finished_at.is_none()) {
        let waits = |status| deployment.lifecycle_hook_details.iter().any(|hook| hook.status == status);
        if waits(HookStatus::AwaitingAction) {
            let name = &service.service_name;
            reasons.push(format!("it waits for `coracle service continue {name}`"));
        } else if waits(HookStatus::InProgress) {
            reasons.push("it waits for a life-cycle hook".to_owned());
        }
    }
    reasons
}

/// A deployment in one line.
fn progress(look: &Look) -> String {
    let service = &look.service;
    let parts = service.deployments.iter().map(|deployment| {
        let revision = name_of(&deployment.task_definition);
        format!("{revision} {}/{}", deployment.running_count, deployment.desired_count)
    });
    let tasks = parts.collect::<Vec<_>>().join(", ");
    let stage = look.deployment.as_ref().and_then(|deployment| {
        let share = deployment.target_service_revision.requested_production_traffic_weight?;
        Some(format!(" · {} · {share}% of traffic", word(&deployment.lifecycle_stage?)))
    });
    let waiting =
        reasons(look).into_iter().filter(|reason| reason.contains("waits for") || reason.contains("failed"));
    let waiting: String = waiting.map(|reason| format!(" · {reason}")).collect();
    format!("{}: {tasks}{}{waiting}", service.service_name, stage.unwrap_or_default())
}

/// One line on a terminal that changes; nothing elsewhere.
#[derive(Default)]
struct StatusLine {
    shown: bool,
}

impl StatusLine {
    fn show(&mut self, text: &str) {
        let mut stderr = stderr();
        if stderr.is_terminal() {
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            // A terminal that is gone is no reason to stop waiting.
            write!(stderr, "{CLEAR_LINE}{text}").and_then(|()| stderr.flush()).ok();
            self.shown = true;
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            write!(stderr(), "{CLEAR_LINE}").ok();
        }
    }
}

pub(crate) async fn roll_back(args: ServiceRollback) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let cluster = args.cluster.cluster.as_str();
    let Look { service, deployment } = look(&client, cluster, &args.name).await?;
    match deployment.filter(|deployment| deployment.status == ServiceDeploymentStatus::InProgress) {
        Some(deployment) => {
            let input = json!({ "serviceDeploymentArn": deployment.service_deployment_arn });
            client.ecs::<Value>("StopServiceDeployment", &input).await?;
        }
        None => {
            let before = revision_before(&client, cluster, &service).await?;
            let input = json!({ "cluster": cluster, "service": args.name, "taskDefinition": before });
            client.ecs::<Value>("UpdateService", &input).await?;
        }
    }
    if args.wait {
        // A deployment that was taken back ends as one that was rolled back, which is what was asked for.
        return match follow(&args.cluster, &args.name, PATIENCE).await {
            Err(_) if is_rolled_back(&client, cluster, &args.name).await? => Ok(()),
            other => other,
        };
    }
    let service = service::describe(&client, cluster, &args.name).await?;
    let service = service.ok_or_else(|| service::missing(cluster, &args.name))?;
    output::print(args.cluster.api.output.output, &service, || {
        format!("service {} goes back to {}\n", service.service_name, name_of(&service.task_definition))
    })
}

async fn is_rolled_back(client: &Client, cluster: &str, name: &str) -> Result<bool, Failure> {
    let look = look(client, cluster, name).await?;
    let status = look.deployment.map(|deployment| deployment.status);
    Ok(status == Some(ServiceDeploymentStatus::RollbackSuccessful))
}

/// The task definition of the newest deployment that was completed before with another one.
async fn revision_before(client: &Client, cluster: &str, service: &Service) -> Result<String, Failure> {
    let completed = list(client, cluster, &service.service_name, &["SUCCESSFUL"]).await?;
    let arns: Vec<String> =
        completed.into_iter().map(|deployment| deployment.target_service_revision_arn).collect();
    for arn in arns {
        let input = json!({ "serviceRevisionArns": [arn] });
        let answer: DescribeServiceRevisionsResponse = client.ecs("DescribeServiceRevisions", &input).await?;
        let revision = answer.service_revisions.into_iter().next();
        if let Some(revision) = revision.filter(|known| known.task_definition != service.task_definition) {
            return Ok(revision.task_definition);
        }
    }
    Err(Failure::failed(format!(
        "service {} has no completed deployment of another revision to go back to; `coracle service deployments` lists them",
        service.service_name
    )))
}

pub(crate) async fn go_on(args: ServiceContinue) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let look = look(&client, &args.cluster.cluster, &args.name).await?;
    let waiting = look.deployment.and_then(|deployment| {
        let arn = deployment.service_deployment_arn;
        let mut hooks = deployment.lifecycle_hook_details.into_iter();
        hooks.find(|hook| hook.status == HookStatus::AwaitingAction).map(|hook| (arn, hook.hook_id))
    });
    let Some((arn, hook)) = waiting else {
        return Err(Failure::failed(format!(
            "no deployment of service {} waits; `coracle service describe {}` shows how far it is",
            args.name, args.name
        )));
    };
    let action = if args.rollback { "ROLLBACK" } else { "CONTINUE" };
    let input = json!({ "serviceDeploymentArn": arn, "hookId": hook, "action": action });
    let answer: Value = client.ecs("ContinueServiceDeployment", &input).await?;
    output::print(args.cluster.api.output.output, &answer, || {
        let goes = if args.rollback { "goes back" } else { "goes on" };
        format!("the deployment of service {} {goes}\n", args.name)
    })
}

pub(crate) async fn deployments(cluster: &ClusterArgs, name: &str) -> Result<(), Failure> {
    let client = Client::new(&cluster.api);
    let found = list(&client, &cluster.cluster, name, &[]).await?;
    output::print(cluster.api.output.output, &found, || {
        let mut table = Table::new(["DEPLOYMENT", "STATUS", "BEGAN", "TOOK", "REASON"]);
        for deployment in &found {
            let took = deployment.finished_at.map(|end| end.since(deployment.created_at));
            table.row([
                name_of(&deployment.service_deployment_arn).to_owned(),
                word(&deployment.status),
                output::at(deployment.created_at),
                took.map_or_else(|| "-".to_owned(), |took| format!("{:.1}s", took.as_secs_f64())),
                deployment.status_reason.clone().unwrap_or_default(),
            ]);
        }
        table.render()
    })
}

async fn list(
    client: &Client,
    cluster: &str,
    name: &str,
    status: &[&str],
) -> Result<Vec<ServiceDeploymentBrief>, Failure> {
    let mut all = Vec::new();
    let mut input = json!({ "cluster": cluster, "service": name, "status": status });
    loop {
        let page: ListServiceDeploymentsResponse = client.ecs("ListServiceDeployments", &input).await?;
        all.extend(page.service_deployments);
        match page.next_token {
            Some(token) => input["nextToken"] = json!(token),
            None => return Ok(all),
        }
    }
}

async fn look(client: &Client, cluster: &str, name: &str) -> Result<Look, Failure> {
    let service = service::describe(client, cluster, name).await?;
    let service = service.ok_or_else(|| service::missing(cluster, name))?;
    let deployment = newest(client, cluster, &service).await?;
    Ok(Look { service, deployment })
}

async fn newest(
    client: &Client,
    cluster: &str,
    service: &Service,
) -> Result<Option<ServiceDeployment>, Failure> {
    if service.deployments.is_empty() {
        return Ok(None);
    }
    let input = json!({ "cluster": cluster, "service": service.service_name, "maxResults": 1 });
    let page: ListServiceDeploymentsResponse = client.ecs("ListServiceDeployments", &input).await?;
    let Some(newest) = page.service_deployments.into_iter().next() else { return Ok(None) };
    let input = json!({ "serviceDeploymentArns": [newest.service_deployment_arn] });
    let answer: DescribeServiceDeploymentsResponse = client.ecs("DescribeServiceDeployments", &input).await?;
    Ok(answer.service_deployments.into_iter().next())
}

/// What a description of a service says of its newest deployment, and of why it is not steady.
pub(super) async fn description(
    client: &Client,
    cluster: &str,
    service: &Service,
) -> Result<String, Failure> {
    let Some(deployment) = newest(client, cluster, service).await? else { return Ok(String::new()) };
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<12}{value}\n");
    let strategy = deployment.deployment_configuration.strategy.unwrap_or_default();
    let stage = deployment.lifecycle_stage.filter(|_| deployment.finished_at.is_none());
    let stage = stage.map(|stage| format!(", at {}", word(&stage))).unwrap_or_default();
    line("rollout", format!("{} {}{stage}", word(&strategy), word(&deployment.status)));
    if let Some(reason) = &deployment.status_reason {
        line("reason", reason.clone());
    }
    if strategy != DeploymentStrategy::Rolling && deployment.finished_at.is_none() {
        let share = |summary: &ServiceRevisionSummary| summary.requested_production_traffic_weight;
        let old: f64 = deployment.source_service_revisions.iter().filter_map(share).sum();
        let new = share(&deployment.target_service_revision).unwrap_or(0.0);
        line("traffic", format!("{old}% to the old revision, {new}% to the new one"));
    }
    let breaker = &deployment.deployment_circuit_breaker;
    if breaker.threshold > 0 {
        let state = word(&breaker.status);
        line("breaker", format!("{state}, {} of {} failures", breaker.failure_count, breaker.threshold));
    }
    let look = Look { service: service.clone(), deployment: Some(deployment) };
    for reason in reasons(&look) {
        line("not steady", reason);
    }
    Ok(text)
}

/// A name as the API writes it.
fn word(value: &impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}
