//! `coracle task`, and what other commands show of tasks.

mod crashes;
mod protect;

use coracle_supervisor::model::task::Task;
use serde_json::{Value, json};

use super::{
    args::{OverrideArgs, TaskCommand, TaskRun},
    client::Client,
    error::Failure,
    output::{self, Table, name_of, short_id},
};

pub(crate) async fn main(command: TaskCommand) -> Result<(), Failure> {
    match command {
        TaskCommand::Run(args) => run(args).await,
        TaskCommand::Ls(args) => {
            let client = Client::new(&args.cluster.api);
            let tasks = all(&client, &args.cluster.cluster, args.service.as_deref(), args.all).await?;
            output::print(args.cluster.api.output.output, &tasks, || table(&tasks))
        }
        TaskCommand::Describe(args) => {
            let client = Client::new(&args.cluster.api);
            let task = find(&client, &args.cluster.cluster, &args.task).await?;
            let crashes = crashes::of(&client, &task).await?;
            output::print(args.cluster.api.output.output, &task, || {
                description(&task) + &crashes::summary(&task, &crashes)
            })
        }
        TaskCommand::Protect(args) => protect::main(args).await,
        TaskCommand::Crashes(args) => crashes::main(args).await,
        TaskCommand::Stop(args) => {
            let client = Client::new(&args.cluster.api);
            let task = find(&client, &args.cluster.cluster, &args.task).await?;
            let input =
                json!({ "cluster": args.cluster.cluster, "task": task.task_arn, "reason": args.reason });
            let answer: Value = client.ecs("StopTask", &input).await?;
            output::print(args.cluster.api.output.output, &answer["task"], || {
                format!("{} is stopping\n", short_id(&task.task_arn))
            })
        }
    }
}

async fn run(args: TaskRun) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let mut input = json!({
        "cluster": args.cluster.cluster,
        "taskDefinition": args.task_definition,
        "count": args.count,
        "startedBy": "coracle",
        "enableExecuteCommand": true,
    });
    if let Some(overrides) = overrides(&client, &args.task_definition, &args.overrides).await? {
        input["overrides"] = overrides;
    }
    let mut answer: Value = client.ecs("RunTask", &input).await?;
    if let Some(failure) = answer["failures"].get(0) {
        return Err(Failure::failed(format!(
            "no task was started: {}",
            failure["reason"].as_str().unwrap_or_default()
        )));
    }
    let tasks: Vec<Task> = serde_json::from_value(answer["tasks"].take()).map_err(Failure::failed)?;
    output::print(args.cluster.api.output.output, &tasks, || {
        tasks.iter().map(|task| format!("{}\n", name_of(&task.task_arn))).collect()
    })
}

/// RunTask's overrides, where the first container's environment or arguments are to be others.
pub(super) async fn overrides(
    client: &Client,
    task_definition: &str,
    args: &OverrideArgs,
) -> Result<Option<Value>, Failure> {
    let OverrideArgs { environment, arguments } = args;
    if environment.is_empty() && arguments.is_empty() {
        return Ok(None);
    }
    let name = first_container(client, task_definition).await?;
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let mut container = json!({ "name": name, "environment": environment });
    if !arguments.is_empty() {
        container["command"] = json!(arguments);
    }
    Ok(Some(json!({ "containerOverrides": [container] })))
}

async fn first_container(client: &Client, task_definition: &str) -> Result<String, Failure> {
    let answer: Value =
        client.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": task_definition })).await?;
    let name = answer["taskDefinition"]["containerDefinitions"][0]["name"].as_str();
    Ok(name.unwrap_or_default().to_owned())
}

/// The tasks of a cluster, or of one of its services; newest first.
pub(super) async fn all(
    client: &Client,
    cluster: &str,
    service: Option<&str>,
    stopped: bool,
) -> Result<Vec<Task>, Failure> {
    let mut arns = Vec::new();
    for status in if stopped { &["RUNNING", "STOPPED"][..] } else { &["RUNNING"] } {
        let mut input = json!({ "cluster": cluster, "desiredStatus": status });
        if let Some(service) = service {
            input["serviceName"] = json!(service);
        }
        arns.extend(client.list("ListTasks", input, "taskArns").await?);
    }
    // One that stopped between the two lists is in both.
    arns.sort();
    arns.dedup();
    let mut tasks: Vec<Task> =
        client.describe("DescribeTasks", json!({ "cluster": cluster }), ("tasks", 100), &arns).await?;
    tasks.sort_by(|a, b| b.created_at.seconds().total_cmp(&a.created_at.seconds()));
    Ok(tasks)
}

/// The one task that `name` means: an ARN, an id, or the beginning of one.
pub(super) async fn find(client: &Client, cluster: &str, name: &str) -> Result<Task, Failure> {
    let id = name_of(name);
    let tasks = all(client, cluster, None, true).await?;
    let mut matching =
        tasks.into_iter().filter(|task| !id.is_empty() && name_of(&task.task_arn).starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(task), None) => Ok(task),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("several tasks' ids begin with {id}; give more of it")))
        }
        (None, _) => Err(Failure::failed(format!(
            "there is no task {id} in cluster {cluster}; `coracle ps --all` lists the tasks of all clusters"
        ))),
    }
}

pub(super) fn table(tasks: &[Task]) -> String {
    let mut table = Table::new(["TASK", "CLUSTER", "GROUP", "TASK DEFINITION", "STATUS", "AGE", "ADDRESS"]);
    for task in tasks {
        let addresses: Vec<_> = addresses(task).collect();
        table.row([
            short_id(&task.task_arn).to_owned(),
            name_of(&task.cluster_arn).to_owned(),
            task.group.clone(),
            name_of(&task.task_definition_arn).to_owned(),
            status(task),
            output::ago(task.created_at),
            if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") },
        ]);
    }
    table.render()
}

/// Where the task's ports are reached on the host; its own address where it has one that it listens at.
fn addresses(task: &Task) -> impl Iterator<Item = String> + '_ {
    let bindings = task.containers.iter().flat_map(|container| &container.network_bindings);
    let interfaces = task.containers.iter().take(1).flat_map(|container| &container.network_interfaces);
    bindings
        .map(|binding| format!("{}:{}", binding.bind_ip, binding.host_port))
        .chain(interfaces.map(|interface| interface.private_ipv4_address.clone()))
}

/// The status, with the exit codes once there are any.
fn status(task: &Task) -> String {
    let codes: Vec<_> =
        task.containers.iter().filter_map(|container| Some(container.exit_code?.to_string())).collect();
    let status = task.last_status.as_str();
    if codes.is_empty() { status.to_owned() } else { format!("{status} ({})", codes.join(",")) }
}

fn description(task: &Task) -> String {
    let mut lines = vec![
        ("task", name_of(&task.task_arn).to_owned()),
        ("cluster", name_of(&task.cluster_arn).to_owned()),
        ("group", task.group.clone()),
        ("definition", name_of(&task.task_definition_arn).to_owned()),
        ("status", task.last_status.as_str().to_owned()),
        ("created", output::at(task.created_at)),
    ];
    lines.extend(task.started_at.map(|at| ("started", output::at(at))));
    lines.extend(task.stopped_at.map(|at| ("stopped", output::at(at))));
    let code = task.stop_code.map(|code| format!(" ({code:?})")).unwrap_or_default();
    lines.extend(task.stopped_reason.as_ref().map(|reason| ("reason", format!("{reason}{code}"))));
    let head: String = lines.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect();

    let mut table = Table::new(["CONTAINER", "STATUS", "HEALTH", "RESTARTS", "EXIT CODE", "IMAGE", "REASON"]);
    for container in &task.containers {
        table.row([
            container.name.clone(),
            format!("{:?}", container.last_status).to_uppercase(),
            format!("{:?}", container.health_status).to_uppercase(),
            container.restart_count.to_string(),
            container.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            container.image.clone(),
            container.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    format!("{head}\n{}", table.render())
}
