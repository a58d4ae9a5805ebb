//! `coracle task-definition`

use std::{io::Read, path::Path};

use coracle_supervisor::model::task_definition::TaskDefinition;
use serde_json::{Value, json};

use super::{
    args::TaskDefinitionCommand,
    client::Client,
    error::Failure,
    output::{self, Table, name_of},
};

pub(crate) async fn main(command: TaskDefinitionCommand) -> Result<(), Failure> {
    match command {
        TaskDefinitionCommand::Register(args) => {
            let definition = read(&args.file)?;
            let answer: Value = Client::new(&args.api).ecs("RegisterTaskDefinition", &definition).await?;
            print_name(args.api.output.output, &answer)
        }
        TaskDefinitionCommand::Ls(args) => {
            let input = args.family.map_or_else(|| json!({}), |family| json!({ "familyPrefix": family }));
            let arns =
                Client::new(&args.api).list("ListTaskDefinitions", input, "taskDefinitionArns").await?;
            output::print(args.api.output.output, &arns, || {
                let mut table = Table::new(["TASK DEFINITION"]);
                arns.iter().for_each(|arn| table.row([name_of(arn).to_owned()]));
                table.render()
            })
        }
        TaskDefinitionCommand::Describe(args) => {
            let input = json!({ "taskDefinition": args.name });
            let mut answer: Value = Client::new(&args.api).ecs("DescribeTaskDefinition", &input).await?;
            let raw = answer["taskDefinition"].take();
            let definition: TaskDefinition = serde_json::from_value(raw.clone()).map_err(Failure::failed)?;
            output::print(args.api.output.output, &raw, || table(&definition))
        }
        TaskDefinitionCommand::Deregister(args) => {
            let input = json!({ "taskDefinition": args.name });
            let answer: Value = Client::new(&args.api).ecs("DeregisterTaskDefinition", &input).await?;
            print_name(args.api.output.output, &answer)
        }
    }
}

fn print_name(format: super::args::OutputFormat, answer: &Value) -> Result<(), Failure> {
    let definition = &answer["taskDefinition"];
    output::print(format, definition, || {
        format!("{}\n", name_of(definition["taskDefinitionArn"].as_str().unwrap_or_default()))
    })
}

/// The file's JSON. Relative paths in it, of images and environment files, are meant from the file's directory, while the
/// daemon would take them from its own.
fn read(file: &Path) -> Result<Value, Failure> {
    let shown = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|content| text = content)
    };
    read.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    let mut definition: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{shown} is not JSON: {error}")))?;
    // Standard input's is ours.
    make_paths_absolute(&mut definition, file.parent().unwrap_or(file))?;
    Ok(definition)
}

fn make_paths_absolute(definition: &mut Value, directory: &Path) -> Result<(), Failure> {
    let Some(containers) = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    let absolute = |text: &mut String| -> Result<(), Failure> {
        let path = std::path::absolute(directory.join(&*text)).map_err(Failure::io)?;
        *text = path.display().to_string();
        Ok(())
    };
    for container in containers {
        if let Some(Value::String(image)) = container.get_mut("image")
            && coracle::is_file_image(image)
        {
            absolute(image)?;
        }
        let files = container.get_mut("environmentFiles").and_then(Value::as_array_mut);
        for file in files.into_iter().flatten() {
            if let Some(Value::String(path)) = file.get_mut("value")
                && !path.starts_with("arn:")
                && !path.contains("://")
            {
                absolute(path)?;
            }
        }
    }
    Ok(())
}

fn table(definition: &TaskDefinition) -> String {
    let content = &definition.content;
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "{} ({}), cpu {}, memory {}\n\n",
        definition.id(),
        if definition.deregistered_at.is_some() { "INACTIVE" } else { "ACTIVE" },
        or_none(&content.cpu),
        or_none(&content.memory),
    );
    let mut table = Table::new(["CONTAINER", "IMAGE", "CPU", "MEMORY", "PORTS", "ESSENTIAL"]);
    for container in &content.container_definitions {
        let ports: Vec<_> = container
            .port_mappings
            .iter()
            .filter_map(|port| Some(port.container_port?.to_string()))
            .collect();
        table.row([
            container.name.clone(),
            container.image.clone(),
            if container.cpu == 0 { "-".to_owned() } else { container.cpu.to_string() },
            container.memory.map_or_else(|| "-".to_owned(), |memory| memory.to_string()),
            if ports.is_empty() { "-".to_owned() } else { ports.join(",") },
            container.is_essential().to_string(),
        ]);
    }
    text.push_str(&table.render());
    text
}
