//! `coracle cluster`

use coracle_supervisor::model::cluster::Cluster;
use serde_json::{Value, json};

use super::{
    args::{ApiArgs, ClusterCommand},
    client::Client,
    error::Failure,
    output::{self, Table},
};

pub(crate) async fn main(command: ClusterCommand) -> Result<(), Failure> {
    match command {
        ClusterCommand::Ls(api) => ls(&api).await,
        ClusterCommand::Create(args) => {
            let answer: Value =
                Client::new(&args.api).ecs("CreateCluster", &json!({ "clusterName": args.name })).await?;
            output::print(args.api.output.output, &answer["cluster"], || format!("{}\n", args.name))
        }
        ClusterCommand::Describe(args) => {
            let cluster = describe(&Client::new(&args.api), &args.name).await?;
            output::print(args.api.output.output, &cluster, || table(std::slice::from_ref(&cluster)))
        }
        ClusterCommand::Delete(args) => {
            let answer: Value =
                Client::new(&args.api).ecs("DeleteCluster", &json!({ "cluster": args.name })).await?;
            output::print(args.api.output.output, &answer["cluster"], || {
                format!("{} is deleted\n", args.name)
            })
        }
    }
}

async fn ls(api: &ApiArgs) -> Result<(), Failure> {
    let clusters = all(&Client::new(api)).await?;
    output::print(api.output.output, &clusters, || table(&clusters))
}

/// Every cluster there is.
pub(super) async fn all(client: &Client) -> Result<Vec<Cluster>, Failure> {
    let arns = client.list("ListClusters", json!({}), "clusterArns").await?;
    Ok(client.describe("DescribeClusters", json!({}), ("clusters", 100), &arns).await?)
}

async fn describe(client: &Client, name: &str) -> Result<Cluster, Failure> {
    let found = client.describe("DescribeClusters", json!({}), ("clusters", 100), &[name.to_owned()]).await?;
    found.into_iter().next().ok_or_else(|| {
        Failure::failed(format!("there is no cluster {name}; `coracle cluster ls` lists them"))
    })
}

fn table(clusters: &[Cluster]) -> String {
    let mut table = Table::new(["NAME", "STATUS", "SERVICES", "RUNNING", "PENDING"]);
    for cluster in clusters {
        table.row([
            cluster.cluster_name.clone(),
            cluster.status.clone(),
            cluster.active_services_count.to_string(),
            cluster.running_tasks_count.to_string(),
            cluster.pending_tasks_count.to_string(),
        ]);
    }
    table.render()
}
