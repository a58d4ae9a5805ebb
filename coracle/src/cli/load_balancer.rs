//! `coracle load-balancer`, `coracle listener` and `coracle rule`

mod actions;
mod listener;
mod rule;

use coracle_supervisor::model::load_balancing::load_balancer::ADDRESS;
use serde_json::{Value, json};

pub(crate) use listener::main as listener;
pub(crate) use rule::{main as rule, named as named_rule};

use super::args::{ApiArgs, LoadBalancerCommand, LoadBalancerCreate, ResourceName};
use super::client::{CallError, Client};
use super::error::Failure;
use super::output::{self, Table};
use super::target_group::{self, text};

pub(crate) async fn main(command: LoadBalancerCommand) -> Result<(), Failure> {
    match command {
        LoadBalancerCommand::Ls(api) => ls(&api).await,
        LoadBalancerCommand::Create(args) => create(args).await,
        LoadBalancerCommand::Describe(args) => describe(args).await,
        LoadBalancerCommand::Delete(args) => {
            let client = Client::new(&args.api);
            let arn = find(&client, &args.name).await?["LoadBalancerArn"].take();
            let answer: Value =
                client.load_balancing("DeleteLoadBalancer", &json!({ "LoadBalancerArn": arn })).await?;
            output::print(args.api.output.output, &answer, || format!("{} is deleted\n", args.name))
        }
    }
}

async fn ls(api: &ApiArgs) -> Result<(), Failure> {
    let mut answer: Value = Client::new(api).load_balancing("DescribeLoadBalancers", &json!({})).await?;
    let known = answer["LoadBalancers"].take();
    output::print(api.output.output, &known, || table(&known))
}

async fn create(args: LoadBalancerCreate) -> Result<(), Failure> {
    let tags: Vec<Value> =
        args.address.iter().map(|address| json!({ "Key": ADDRESS, "Value": address.to_string() })).collect();
    let input = json!({ "Name": args.name, "Tags": tags });
    let mut answer: Value = Client::new(&args.api).load_balancing("CreateLoadBalancer", &input).await?;
    let created = answer["LoadBalancers"].take();
    output::print(args.api.output.output, &created[0], || table(&created))
}

async fn describe(args: ResourceName) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let mut load_balancer = find(&client, &args.name).await?;
    let groups = target_group::names(&client).await?;
    let mut listeners = listener::of(&client, &load_balancer).await?;
    for listener in &mut listeners {
        let input = json!({ "ListenerArn": listener["ListenerArn"] });
        let mut rules: Value = client.load_balancing("DescribeRules", &input).await?;
        listener["Rules"] = rules["Rules"].take();
    }
    let text = description(&load_balancer, &listeners, &groups);
    load_balancer["Listeners"] = json!(listeners);
    output::print(args.api.output.output, &load_balancer, || text)
}

/// A load balancer by name or ARN.
pub(super) async fn find(client: &Client, name: &str) -> Result<Value, Failure> {
    let input = match name.starts_with("arn:") {
        true => json!({ "LoadBalancerArns": [name] }),
        false => json!({ "Names": [name] }),
    };
    let answer: Result<Value, CallError> = client.load_balancing("DescribeLoadBalancers", &input).await;
    match answer {
        Ok(mut answer) => Ok(answer["LoadBalancers"][0].take()),
        Err(CallError::Refused { code, .. }) if code == "LoadBalancerNotFound" => Err(Failure::failed(
            format!("there is no load balancer {name}; `coracle load-balancer ls` lists them"),
        )),
        Err(error) => Err(error.into()),
    }
}

fn table(load_balancers: &Value) -> String {
    let mut table = Table::new(["NAME", "STATE", "ADDRESS"]);
    for known in load_balancers.as_array().into_iter().flatten() {
        table.row([text(&known["LoadBalancerName"]), state(known), text(&known["DNSName"])]);
    }
    table.render()
}

fn state(load_balancer: &Value) -> String {
    let state = &load_balancer["State"];
    match state["Reason"].as_str() {
        Some(reason) => format!("{}: {reason}", text(&state["Code"])),
        None => text(&state["Code"]),
    }
}

fn description(load_balancer: &Value, listeners: &[Value], groups: &target_group::Names) -> String {
    let lines = [
        ("name", text(&load_balancer["LoadBalancerName"])),
        ("state", state(load_balancer)),
        ("address", text(&load_balancer["DNSName"])),
        ("arn", text(&load_balancer["LoadBalancerArn"])),
    ];
    let mut description: String = lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    for listener in listeners {
        let url = format!("http://{}:{}", text(&load_balancer["DNSName"]), listener["Port"]);
        description.push_str(&format!("\nlistener {url}\n"));
        description.push_str(&rule::table(&listener["Rules"], groups));
    }
    description
}
