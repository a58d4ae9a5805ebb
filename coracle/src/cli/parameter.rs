//! `coracle parameter`

use coracle_supervisor::operations::{
    DeleteParameterRequest, DescribeParametersRequest, DescribeParametersResponse, GetParameterRequest,
    GetParameterResponse, GetParametersByPathRequest, GetParametersByPathResponse, Parameter,
    ParameterMetadata, PutParameterRequest, PutParameterResponse,
};
use coracle_supervisor::secrets::SecretValue;
use serde_json::Value;

use super::{
    args::{ParameterCommand, ParameterList, ParameterName, ParameterPut},
    client::{CallError, Client},
    error::Failure,
    output::{self, Table, at},
    secret,
};

/// What is shown of each.
const COLUMNS: [&str; 4] = ["PARAMETER", "TYPE", "VERSION", "CHANGED"];

pub(crate) async fn main(command: ParameterCommand) -> Result<(), Failure> {
    match command {
        ParameterCommand::Put(args) => put(args).await,
        ParameterCommand::Get(args) => get(args).await,
        ParameterCommand::Ls(args) => match args.path.clone() {
            Some(path) => ls_path(args, path).await,
            None => ls(args).await,
        },
        ParameterCommand::Delete(args) => {
            let request = DeleteParameterRequest { name: args.name.clone() };
            let answer: Value = Client::new(&args.api).parameters("DeleteParameter", &request).await?;
            output::print(args.api.output.output, &answer, || format!("{} is deleted\n", args.name))
        }
    }
}

/// One that exists keeps its type: only without one there is a parameter of this name to be made.
async fn put(args: ParameterPut) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let value = match args.value {
        Some(value) => value,
        None => secret::read(args.file.as_deref())?,
    };
    let kind = if args.secure { "SecureString" } else { "String" };
    let mut request = PutParameterRequest {
        name: args.name,
        value: SecretValue::new(value),
        kind: Some(kind.to_owned()),
        description: None,
        overwrite: None,
        tier: None,
        data_type: None,
    };
    let put: Result<PutParameterResponse, CallError> = client.parameters("PutParameter", &request).await;
    let answer = match put {
        Err(CallError::Refused { code, .. }) if code == "ParameterAlreadyExists" => {
            request.kind = args.secure.then(|| kind.to_owned());
            request.overwrite = Some(true);
            client.parameters("PutParameter", &request).await?
        }
        put => put?,
    };
    output::print(args.api.output.output, &answer, || format!("version {}\n", answer.version))
}

async fn get(args: ParameterName) -> Result<(), Failure> {
    let request = GetParameterRequest { name: args.name, with_decryption: Some(true) };
    let answer: GetParameterResponse = Client::new(&args.api).parameters("GetParameter", &request).await?;
    output::print(args.api.output.output, &answer, || format!("{}\n", answer.parameter.value.expose()))
}

async fn ls(args: ParameterList) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let mut parameters: Vec<ParameterMetadata> = Vec::new();
    let mut request = DescribeParametersRequest::default();
    loop {
        let page: DescribeParametersResponse = client.parameters("DescribeParameters", &request).await?;
        parameters.extend(page.parameters);
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    output::print(args.api.output.output, &parameters, || {
        let mut table = Table::new(COLUMNS);
        for parameter in &parameters {
            table.row([
                parameter.name.clone(),
                parameter.kind.clone(),
                parameter.version.to_string(),
                at(parameter.last_modified_date),
            ]);
        }
        table.render()
    })
}

async fn ls_path(args: ParameterList, path: String) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut request = GetParametersByPathRequest {
        path,
        recursive: Some(args.recursive),
        with_decryption: Some(args.values),
        ..GetParametersByPathRequest::default()
    };
    loop {
        let page: GetParametersByPathResponse = client.parameters("GetParametersByPath", &request).await?;
        parameters.extend(page.parameters);
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    output::print(args.api.output.output, &parameters, || table(&parameters, args.values))
}

fn table(parameters: &[Parameter], values: bool) -> String {
    let facts = |parameter: &Parameter| {
        [
            parameter.name.clone(),
            parameter.kind.clone(),
            parameter.version.to_string(),
            at(parameter.last_modified_date),
        ]
    };
    if !values {
        let mut table = Table::new(COLUMNS);
        parameters.iter().for_each(|parameter| table.row(facts(parameter)));
        return table.render();
    }
    let [name, kind, version, changed] = COLUMNS;
    let mut table = Table::new([name, kind, version, changed, "VALUE"]);
    for parameter in parameters {
        let [name, kind, version, changed] = facts(parameter);
        table.row([name, kind, version, changed, parameter.value.expose().to_owned()]);
    }
    table.render()
}
