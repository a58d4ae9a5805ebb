//! `coracle ps`

use coracle_supervisor::model::task::Task;

use super::{args::PsArgs, client::Client, cluster, error::Failure, output, task};

pub(crate) async fn main(args: PsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let clusters = match args.cluster {
        Some(cluster) => vec![cluster],
        None => cluster::all(&client).await?.into_iter().map(|cluster| cluster.cluster_name).collect(),
    };
    let mut tasks: Vec<Task> = Vec::new();
    for cluster in clusters {
        tasks.extend(task::all(&client, &cluster, None, args.all).await?);
    }
    output::print(args.api.output.output, &tasks, || task::table(&tasks))
}
