//! `coracle target-group`

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::args::{
    ApiArgs, HealthCheckArgs, ResourceName, TargetGroupCommand, TargetGroupCreate, TargetGroupTargets,
    TargetTypeChoice,
};
use super::client::{CallError, Client};
use super::error::Failure;
use super::output::{self, Table};

/// Names of target groups by their ARNs.
pub(super) type Names = BTreeMap<String, String>;

pub(crate) async fn main(command: TargetGroupCommand) -> Result<(), Failure> {
    match command {
        TargetGroupCommand::Ls(api) => {
            let groups = all(&Client::new(&api)).await?;
            output::print(api.output.output, &groups, || table(&groups))
        }
        TargetGroupCommand::Create(args) => create(args).await,
        TargetGroupCommand::Describe(args) => describe(args).await,
        TargetGroupCommand::Update(args) => {
            let client = Client::new(&args.api);
            let mut input = health_check(&args.health_check);
            if input.is_empty() {
                return Err(Failure::usage(
                    "nothing to change: one of the options of the health check is expected",
                ));
            }
            input.insert("TargetGroupArn".to_owned(), arn(&client, &args.name).await?);
            show_one(&args.api, client.load_balancing("ModifyTargetGroup", &input).await?)
        }
        TargetGroupCommand::Set(args) => {
            let client = Client::new(&args.api);
            let pair = |(key, value): &(String, String)| json!({ "Key": key, "Value": value });
            let attributes: Vec<Value> = args.attributes.iter().map(pair).collect();
            let input =
                json!({ "TargetGroupArn": arn(&client, &args.name).await?, "Attributes": attributes });
            let answer: Value = client.load_balancing("ModifyTargetGroupAttributes", &input).await?;
            output::print(args.api.output.output, &answer["Attributes"], || {
                attributes_table(&answer["Attributes"])
            })
        }
        TargetGroupCommand::Register(args) => targets(args, "RegisterTargets").await,
        TargetGroupCommand::Deregister(args) => targets(args, "DeregisterTargets").await,
        TargetGroupCommand::Delete(args) => {
            let client = Client::new(&args.api);
            let input = json!({ "TargetGroupArn": arn(&client, &args.name).await? });
            let answer: Value = client.load_balancing("DeleteTargetGroup", &input).await?;
            output::print(args.api.output.output, &answer, || format!("{} is deleted\n", args.name))
        }
    }
}

async fn create(args: TargetGroupCreate) -> Result<(), Failure> {
    let mut input = health_check(&args.health_check);
    let target_type = match args.target_type {
        TargetTypeChoice::Instance => "instance",
        TargetTypeChoice::Ip => "ip",
    };
    input.extend([
        ("Name".to_owned(), json!(args.name)),
        ("Protocol".to_owned(), json!("HTTP")),
        ("Port".to_owned(), json!(args.port)),
        ("TargetType".to_owned(), json!(target_type)),
    ]);
    show_one(&args.api, Client::new(&args.api).load_balancing("CreateTargetGroup", &input).await?)
}

fn show_one(api: &ApiArgs, mut answer: Value) -> Result<(), Failure> {
    let groups = answer["TargetGroups"].take();
    output::print(api.output.output, &groups[0], || table(&groups))
}

async fn describe(args: ResourceName) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let mut group = find(&client, &args.name).await?;
    let input = json!({ "TargetGroupArn": group["TargetGroupArn"] });
    let mut attributes: Value = client.load_balancing("DescribeTargetGroupAttributes", &input).await?;
    let mut health: Value = client.load_balancing("DescribeTargetHealth", &input).await?;
    group["Attributes"] = attributes["Attributes"].take();
    group["TargetHealthDescriptions"] = health["TargetHealthDescriptions"].take();
    output::print(args.api.output.output, &group, || description(&group))
}

async fn targets(args: TargetGroupTargets, operation: &str) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let target = |text: &String| {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(json!({ "Id": address.ip().to_string(), "Port": address.port() }));
        }
        let address = text.parse::<IpAddr>();
        let address = address.map_err(|_| {
            Failure::usage(format!("IP or IP:PORT is expected, such as 127.0.0.1:9000, not {text:?}"))
        })?;
        Ok(json!({ "Id": address.to_string() }))
    };
    let targets = args.targets.iter().map(target).collect::<Result<Vec<_>, Failure>>()?;
    let group_arn = arn(&client, &args.name).await?;
    let input = json!({ "TargetGroupArn": group_arn, "Targets": targets });
    client.load_balancing::<Value>(operation, &input).await?;
    let health: Value =
        client.load_balancing("DescribeTargetHealth", &json!({ "TargetGroupArn": group_arn })).await?;
    let health = &health["TargetHealthDescriptions"];
    output::print(args.api.output.output, health, || targets_table(health))
}

fn health_check(args: &HealthCheckArgs) -> Map<String, Value> {
    let fields = [
        ("HealthCheckPath", args.health_path.as_ref().map(|path| json!(path))),
        ("Matcher", args.matcher.as_ref().map(|codes| json!({ "HttpCode": codes }))),
        ("HealthCheckIntervalSeconds", args.interval.map(|seconds| json!(seconds))),
        ("HealthCheckTimeoutSeconds", args.timeout.map(|seconds| json!(seconds))),
        ("HealthyThresholdCount", args.healthy_threshold.map(|count| json!(count))),
        ("UnhealthyThresholdCount", args.unhealthy_threshold.map(|count| json!(count))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

async fn all(client: &Client) -> Result<Value, Failure> {
    let mut answer: Value = client.load_balancing("DescribeTargetGroups", &json!({})).await?;
    Ok(answer["TargetGroups"].take())
}

/// What they are called.
pub(super) async fn names(client: &Client) -> Result<Names, Failure> {
    let groups = all(client).await?;
    let name = |group: &Value| (text(&group["TargetGroupArn"]), text(&group["TargetGroupName"]));
    Ok(groups.as_array().into_iter().flatten().map(name).collect())
}

/// A target group by name or ARN.
pub(super) async fn find(client: &Client, name: &str) -> Result<Value, Failure> {
    let input = match name.starts_with("arn:") {
        true => json!({ "TargetGroupArns": [name] }),
        false => json!({ "Names": [name] }),
    };
    let answer: Result<Value, CallError> = client.load_balancing("DescribeTargetGroups", &input).await;
    match answer {
        Ok(mut answer) => Ok(answer["TargetGroups"][0].take()),
        Err(CallError::Refused { code, .. }) if code == "TargetGroupNotFound" => Err(Failure::failed(
            format!("there is no target group {name}; `coracle target-group ls` lists them"),
        )),
        Err(error) => Err(error.into()),
    }
}

async fn arn(client: &Client, name: &str) -> Result<Value, Failure> {
    Ok(find(client, name).await?["TargetGroupArn"].take())
}

fn table(groups: &Value) -> String {
    let mut table = Table::new(["NAME", "TYPE", "PORT", "HEALTH CHECK", "LOAD BALANCER"]);
    for group in groups.as_array().into_iter().flatten() {
        let of = group["LoadBalancerArns"][0].as_str().and_then(|arn| arn.rsplit('/').nth(1));
        table.row([
            text(&group["TargetGroupName"]),
            text(&group["TargetType"]),
            text(&group["Port"]),
            check(group),
            of.unwrap_or("-").to_owned(),
        ]);
    }
    table.render()
}

fn check(group: &Value) -> String {
    match group["HealthCheckEnabled"].as_bool() {
        Some(false) => "-".to_owned(),
        _ => {
            let seconds = group["HealthCheckIntervalSeconds"].as_f64().unwrap_or_default();
            format!("{} each {seconds} s", text(&group["HealthCheckPath"]))
        }
    }
}

fn targets_table(targets: &Value) -> String {
    let mut table = Table::new(["TARGET", "PORT", "STATE", "REASON"]);
    for target in targets.as_array().into_iter().flatten() {
        let health = &target["TargetHealth"];
        let reason = health["Description"].as_str().or_else(|| health["Reason"].as_str());
        table.row([
            text(&target["Target"]["Id"]),
            target["Target"]["Port"].as_u64().map_or_else(|| "-".to_owned(), |port| port.to_string()),
            text(&health["State"]),
            reason.unwrap_or("-").to_owned(),
        ]);
    }
    table.render()
}

fn attributes_table(attributes: &Value) -> String {
    let mut table = Table::new(["ATTRIBUTE", "VALUE"]);
    for attribute in attributes.as_array().into_iter().flatten() {
        table.row([text(&attribute["Key"]), text(&attribute["Value"])]);
    }
    table.render()
}

fn description(group: &Value) -> String {
    let arn = text(&group["TargetGroupArn"]);
    let targets = targets_table(&group["TargetHealthDescriptions"]);
    let head = format!("{}\n{arn}\n", table(&json!([group])));
    format!("{head}\n{targets}\n{}", attributes_table(&group["Attributes"]))
}

/// A text as it is, and anything else as JSON has it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
