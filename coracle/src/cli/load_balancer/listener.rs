//! `coracle listener`

use serde_json::{Value, json};

use super::{Client, Failure, actions, find, target_group, text};
use crate::cli::args::{ListenerCommand, ListenerCreate, ListenerUpdate};
use crate::cli::output::{self, Table};

pub(crate) async fn main(command: ListenerCommand) -> Result<(), Failure> {
    match command {
        ListenerCommand::Ls(args) => {
            let client = Client::new(&args.api);
            let listeners = of(&client, &find(&client, &args.name).await?).await?;
            let groups = target_group::names(&client).await?;
            output::print(args.api.output.output, &listeners, || table(&listeners, &groups))
        }
        ListenerCommand::Create(args) => create(args).await,
        ListenerCommand::Update(args) => update(args).await,
        ListenerCommand::Delete(args) => {
            let client = Client::new(&args.api);
            let arn = named(&client, &args.listener).await?;
            let answer: Value =
                client.load_balancing("DeleteListener", &json!({ "ListenerArn": arn })).await?;
            output::print(args.api.output.output, &answer, || format!("{} is closed\n", args.listener))
        }
    }
}

async fn create(args: ListenerCreate) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let load_balancer = find(&client, &args.load_balancer).await?;
    let action = actions::required(&client, &args.action).await?;
    let input = json!({
        "LoadBalancerArn": load_balancer["LoadBalancerArn"],
        "Protocol": "HTTP",
        "Port": args.port,
        "DefaultActions": [action],
    });
    let mut answer: Value = client.load_balancing("CreateListener", &input).await?;
    output::print(args.api.output.output, &answer["Listeners"][0].take(), || {
        format!("listens on http://{}:{}\n", text(&load_balancer["DNSName"]), args.port)
    })
}

async fn update(args: ListenerUpdate) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let mut input = json!({ "ListenerArn": named(&client, &args.listener).await? });
    let action = actions::wanted(&client, &args.action).await?;
    if action.is_none() && args.port.is_none() {
        return Err(Failure::usage(
            "nothing to change: --port, --target-group, --fixed-response or --redirect is expected",
        ));
    }
    if let Some(action) = action {
        input["DefaultActions"] = json!([action]);
    }
    if let Some(port) = args.port {
        input["Port"] = json!(port);
    }
    let mut answer: Value = client.load_balancing("ModifyListener", &input).await?;
    let listeners = [answer["Listeners"][0].take()];
    let groups = target_group::names(&client).await?;
    output::print(args.api.output.output, &listeners[0], || table(&listeners, &groups))
}

/// The listeners of a load balancer.
pub(super) async fn of(client: &Client, load_balancer: &Value) -> Result<Vec<Value>, Failure> {
    let input = json!({ "LoadBalancerArn": load_balancer["LoadBalancerArn"] });
    let mut answer: Value = client.load_balancing("DescribeListeners", &input).await?;
    serde_json::from_value(answer["Listeners"].take()).map_err(Failure::failed)
}

/// The ARN of a listener that is named by `LOAD_BALANCER:PORT`, or by it.
pub(super) async fn named(client: &Client, name: &str) -> Result<Value, Failure> {
    if name.starts_with("arn:") {
        return Ok(json!(name));
    }
    let wanted = || Failure::usage(format!("LOAD_BALANCER:PORT is expected, such as web:8080, not {name:?}"));
    let (load_balancer, port) = name.rsplit_once(':').ok_or_else(wanted)?;
    let port: u16 = port.parse().map_err(|_| wanted())?;
    let listeners = of(client, &find(client, load_balancer).await?).await?;
    let found = listeners.into_iter().find(|listener| listener["Port"] == port);
    let mut found = found.ok_or_else(|| {
        Failure::failed(format!(
            "{load_balancer} does not listen on port {port}; `coracle listener ls {load_balancer}` shows where it does"
        ))
    })?;
    Ok(found["ListenerArn"].take())
}

fn table(listeners: &[Value], groups: &target_group::Names) -> String {
    let mut table = Table::new(["PORT", "PROTOCOL", "DEFAULT"]);
    for listener in listeners {
        table.row([
            text(&listener["Port"]),
            text(&listener["Protocol"]),
            actions::described(&listener["DefaultActions"][0], groups),
        ]);
    }
    table.render()
}
