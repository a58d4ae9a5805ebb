//! `coracle rule`

use serde_json::{Value, json};

use super::{Client, Failure, actions, listener, target_group, text};
use crate::cli::args::{RuleCommand, RuleCreate};
use crate::cli::output::{self, Table};

pub(crate) async fn main(command: RuleCommand) -> Result<(), Failure> {
    match command {
        RuleCommand::Ls(args) => {
            let client = Client::new(&args.api);
            let rules = of(&client, &args.listener).await?;
            let groups = target_group::names(&client).await?;
            output::print(args.api.output.output, &rules, || table(&rules, &groups))
        }
        RuleCommand::Create(args) => create(*args).await,
        RuleCommand::Delete(args) => {
            let client = Client::new(&args.api);
            let arn = named(&client, &args.listener, Some(args.priority)).await?;
            let answer: Value = client.load_balancing("DeleteRule", &json!({ "RuleArn": arn })).await?;
            output::print(args.api.output.output, &answer, || {
                format!("rule {} of {} is deleted\n", args.priority, args.listener)
            })
        }
    }
}

async fn create(args: RuleCreate) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let conditions = conditions(&args);
    if conditions.is_empty() {
        return Err(Failure::usage(
            "a rule needs a condition: --host, --path, --method, --header, --query or --source-ip",
        ));
    }
    let input = json!({
        "ListenerArn": listener::named(&client, &args.listener).await?,
        "Priority": args.priority,
        "Conditions": conditions,
        "Actions": [actions::required(&client, &args.action).await?],
    });
    let mut answer: Value = client.load_balancing("CreateRule", &input).await?;
    let rules = answer["Rules"].take();
    let groups = target_group::names(&client).await?;
    output::print(args.api.output.output, &rules[0], || table(&rules, &groups))
}

fn conditions(args: &RuleCreate) -> Vec<Value> {
    let of = |field: &str, config: &str, values: &[String]| match values.is_empty() {
        true => None,
        false => Some(json!({ "Field": field, config: { "Values": values } })),
    };
    let plain = [
        of("host-header", "HostHeaderConfig", &args.host),
        of("path-pattern", "PathPatternConfig", &args.path),
        of("http-request-method", "HttpRequestMethodConfig", &args.method),
        of("source-ip", "SourceIpConfig", &args.source_ip),
    ];
    let header = |(name, value): &(String, String)| {
        let config = json!({ "HttpHeaderName": name, "Values": [value] });
        json!({ "Field": "http-header", "HttpHeaderConfig": config })
    };
    let query = |(key, value): &(String, String)| {
        let config = json!({ "Values": [{ "Key": key, "Value": value }] });
        json!({ "Field": "query-string", "QueryStringConfig": config })
    };
    plain
        .into_iter()
        .flatten()
        .chain(args.header.iter().map(header))
        .chain(args.query.iter().map(query))
        .collect()
}

async fn of(client: &Client, name: &str) -> Result<Value, Failure> {
    let input = json!({ "ListenerArn": listener::named(client, name).await? });
    let mut answer: Value = client.load_balancing("DescribeRules", &input).await?;
    Ok(answer["Rules"].take())
}

/// The ARN of a listener's rule with this priority; without one its default rule's.
pub(crate) async fn named(client: &Client, listener: &str, priority: Option<u32>) -> Result<Value, Failure> {
    let priority = priority.map_or_else(|| "default".to_owned(), |priority| priority.to_string());
    let mut rules = of(client, listener).await?;
    let mut known = rules.as_array_mut().into_iter().flatten();
    let found = known.find(|rule| rule["Priority"] == priority.as_str());
    let found = found.ok_or_else(|| {
        Failure::failed(format!(
            "{listener} has no rule of priority {priority}; `coracle rule ls {listener}` lists them"
        ))
    })?;
    Ok(found["RuleArn"].take())
}

pub(super) fn table(rules: &Value, groups: &target_group::Names) -> String {
    let mut table = Table::new(["PRIORITY", "CONDITIONS", "ACTION"]);
    for rule in rules.as_array().into_iter().flatten() {
        let conditions = rule["Conditions"].as_array().into_iter().flatten().map(condition);
        let conditions: Vec<String> = conditions.collect();
        table.row([
            text(&rule["Priority"]),
            if conditions.is_empty() { "-".to_owned() } else { conditions.join(" and ") },
            actions::described(&rule["Actions"][0], groups),
        ]);
    }
    table.render()
}

fn condition(condition: &Value) -> String {
    let configs = ["HostHeaderConfig", "PathPatternConfig", "HttpRequestMethodConfig", "SourceIpConfig"];
    let plain = configs.iter().find_map(|config| condition[config]["Values"].as_array());
    let values = plain.or_else(|| condition["Values"].as_array());
    let values = values.or_else(|| condition["HttpHeaderConfig"]["Values"].as_array());
    let values = values.or_else(|| condition["QueryStringConfig"]["Values"].as_array());
    let value = |value: &Value| match value {
        Value::Object(pair) => {
            let key = pair.get("Key").map(|key| format!("{}=", text(key))).unwrap_or_default();
            format!("{key}{}", pair.get("Value").map(text).unwrap_or_default())
        }
        plain => text(plain),
    };
    let values: Vec<String> = values.into_iter().flatten().map(value).collect();
    let field = match condition["HttpHeaderConfig"]["HttpHeaderName"].as_str() {
        Some(name) => format!("http-header {name}"),
        None => text(&condition["Field"]),
    };
    format!("{field} {}", values.join(" or "))
}
