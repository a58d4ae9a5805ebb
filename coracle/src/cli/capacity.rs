//! `coracle capacity`

use coracle_supervisor::operations::{ReclaimCapacityRequest, ReclaimCapacityResponse};

use super::{
    args::{CapacityCommand, CapacityReclaim},
    client::Client,
    error::Failure,
    output::{self, short_id},
    task,
};

pub(crate) async fn main(command: CapacityCommand) -> Result<(), Failure> {
    match command {
        CapacityCommand::Reclaim(args) => reclaim(args).await,
    }
}

async fn reclaim(args: CapacityReclaim) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let mut tasks = Vec::with_capacity(args.tasks.len());
    for name in &args.tasks {
        tasks.push(task::find(&client, &args.cluster.cluster, name).await?.task_arn);
    }
    let request = ReclaimCapacityRequest {
        cluster: Some(args.cluster.cluster),
        tasks,
        service: args.service,
        count: args.count,
    };
    let answer: ReclaimCapacityResponse = client.coracle("ReclaimCapacity", &request).await?;
    output::print(args.cluster.api.output.output, &answer, || {
        let line = |arn: &String| format!("{} is interrupted\n", short_id(arn));
        match answer.interrupted_tasks.is_empty() && answer.failures.is_empty() {
            true => "there is no Spot task\n".to_owned(),
            false => answer.interrupted_tasks.iter().map(line).collect(),
        }
    })?;
    match answer.failures.first() {
        None => Ok(()),
        Some(failure) => {
            let arn = failure.arn.as_deref().unwrap_or_default();
            let why = failure.detail.as_deref().unwrap_or(&failure.reason);
            Err(Failure::failed(format!("{} is not interrupted: {why}", short_id(arn))))
        }
    }
}
