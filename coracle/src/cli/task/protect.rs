//! `coracle task protect`

use coracle_supervisor::operations::TaskProtectionResponse;
use serde_json::json;

use super::find;
use crate::cli::{
    args::TaskProtect,
    client::Client,
    error::Failure,
    output::{self, Table, short_id},
};

pub(crate) async fn main(args: TaskProtect) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let mut tasks = Vec::with_capacity(args.tasks.len());
    for task in &args.tasks {
        tasks.push(find(&client, &args.cluster.cluster, task).await?.task_arn);
    }
    let mut input =
        json!({ "cluster": args.cluster.cluster, "tasks": tasks, "protectionEnabled": !args.off });
    if !args.off {
        input["expiresInMinutes"] = json!(args.minutes);
    }
    let answer: TaskProtectionResponse = client.ecs("UpdateTaskProtection", &input).await?;
    output::print(args.cluster.api.output.output, &answer, || table(&answer))?;
    match answer.failures.first() {
        None => Ok(()),
        Some(failure) => {
            let arn = failure.arn.as_deref().unwrap_or_default();
            let why = failure.detail.as_deref().unwrap_or(&failure.reason);
            Err(Failure::failed(format!("{} is not protected: {why}", short_id(arn))))
        }
    }
}

fn table(answer: &TaskProtectionResponse) -> String {
    if answer.protected_tasks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["TASK", "PROTECTED UNTIL"]);
    for task in &answer.protected_tasks {
        let until = task.expiration_date.map_or_else(|| "-".to_owned(), output::at);
        table.row([short_id(&task.task_arn).to_owned(), until]);
    }
    table.render()
}
