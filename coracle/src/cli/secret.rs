//! `coracle secret`

use std::io::{self, Read};
use std::path::Path;

use coracle_supervisor::operations::{
    DeleteSecretRequest, GetSecretValueRequest, GetSecretValueResponse, ListSecretsRequest,
    ListSecretsResponse, PutSecretValueRequest, SecretResponse,
};
use coracle_supervisor::secrets::SecretValue;
use serde_json::{Value, json};

use super::{
    args::{SecretCommand, SecretName, SecretPut},
    client::{CallError, Client},
    error::Failure,
    output::{self, Table, at},
};

/// More than any value may have; the daemon tells what it may.
const MAX_INPUT: u64 = 1 << 20;

pub(crate) async fn main(command: SecretCommand) -> Result<(), Failure> {
    match command {
        SecretCommand::Put(args) => put(args).await,
        SecretCommand::Get(args) => get(args).await,
        SecretCommand::Ls(api) => {
            let client = Client::new(&api);
            let mut secrets = Vec::new();
            let mut request = ListSecretsRequest::default();
            loop {
                let page: ListSecretsResponse = client.secrets("ListSecrets", &request).await?;
                secrets.extend(page.secret_list);
                request.next_token = page.next_token;
                if request.next_token.is_none() {
                    break;
                }
            }
            output::print(api.output.output, &secrets, || {
                let mut table = Table::new(["SECRET", "CHANGED", "ARN"]);
                for secret in &secrets {
                    table.row([secret.name.clone(), at(secret.last_changed_date), secret.arn.clone()]);
                }
                table.render()
            })
        }
        SecretCommand::Delete(args) => {
            let request = DeleteSecretRequest {
                secret_id: args.name.clone(),
                force_delete_without_recovery: Some(true),
                ..DeleteSecretRequest::default()
            };
            let answer: Value = Client::new(&args.api).secrets("DeleteSecret", &request).await?;
            output::print(args.api.output.output, &answer, || format!("{} is deleted\n", args.name))
        }
    }
}

async fn put(args: SecretPut) -> Result<(), Failure> {
    let client = Client::new(&args.api);
    let value = SecretValue::new(read(args.file.as_deref())?);
    let request = PutSecretValueRequest {
        secret_id: args.name.clone(),
        secret_string: value.clone(),
        client_request_token: None,
        version_stages: None,
    };
    let put: Result<SecretResponse, CallError> = client.secrets("PutSecretValue", &request).await;
    let answer = match put {
        Err(CallError::Refused { code, .. }) if code == "ResourceNotFoundException" => {
            let create = json!({ "Name": args.name, "SecretString": value });
            client.secrets("CreateSecret", &create).await?
        }
        put => put?,
    };
    output::print(args.api.output.output, &answer, || format!("{}\n", answer.arn))
}

/// A value from a file or standard input, without the line end at its end.
pub(super) fn read(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    match file {
        Some(file) => {
            std::fs::File::open(file).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text))
        }
        None => io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text),
    }
    .map_err(Failure::io)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

async fn get(args: SecretName) -> Result<(), Failure> {
    let request = GetSecretValueRequest { secret_id: args.name, ..GetSecretValueRequest::default() };
    let answer: GetSecretValueResponse = Client::new(&args.api).secrets("GetSecretValue", &request).await?;
    output::print(args.api.output.output, &answer, || format!("{}\n", answer.secret_string.expose()))
}
