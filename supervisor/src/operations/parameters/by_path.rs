//! GetParametersByPath: the parameters of a branch of the hierarchy that slashes in their names make.

use serde::{Deserialize, Serialize};

use super::{Parameter, SECURE, SERVICE};
use crate::error::OperationError;
use crate::model::names::quoted;
use crate::operations::page;
use crate::secrets::vault::{Sealed, plain};
use crate::supervisor::Supervisor;

/// Systems Manager: "MaxResults ... Minimum value of 1. Maximum value of 10". It is also what a page has unless it is asked for fewer.
const MAX_RESULTS: usize = 10;
/// Systems Manager: "Path ... Maximum length of 2048".
const MAX_PATH: usize = 2048;
/// Systems Manager: "A parameter name hierarchy can have a maximum of 15 levels."
const MAX_LEVELS: usize = 15;
/// Systems Manager: a filter's "Values ... Minimum number of 1 item. Maximum number of 50 items."
const MAX_VALUES: usize = 50;
/// What Systems Manager calls the key that an account's SecureStrings are sealed with unless they name another. Here all are sealed with the host's own.
const DEFAULT_KEY: &str = "alias/aws/ssm";

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct GetParametersByPathRequest {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameter_filters: Vec<ParameterStringFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_decryption: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ParameterStringFilter {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetParametersByPathResponse {
    pub parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Supervisor {
    /// The parameters right below a path with their values, or all below it, by name. A path without any is an empty list.
    pub async fn get_parameters_by_path(
        &self,
        request: GetParametersByPathRequest,
    ) -> Result<GetParametersByPathResponse, OperationError> {
        let branch = Branch::parse(&request.path, request.recursive.unwrap_or_default())?;
        let filters = request.parameter_filters.iter().map(Filter::parse);
        let filters = filters.collect::<Result<Vec<_>, OperationError>>()?;
        if let Some(asked) = request.max_results
            && !usize::try_from(asked).is_ok_and(|asked| (1..=MAX_RESULTS).contains(&asked))
        {
            return Err(OperationError::invalid(format!(
                "MaxResults must be 1 to {MAX_RESULTS}, not {asked}."
            )));
        }
        let mut records = self.vault().list(SERVICE).await?;
        records.retain(|record| branch.has(plain(&record.name)));
        records.retain(|record| filters.iter().all(|filter| filter.takes(record)));
        let names = records.iter().map(|record| plain(&record.name).to_owned()).collect();
        let page = page(names, request.next_token.as_deref(), request.max_results, MAX_RESULTS, false)
            .map_err(|_| invalid_token())?;
        records.retain(|record| page.items.iter().any(|name| name == plain(&record.name)));
        let told = records.into_iter().map(|record| self.told(record, request.with_decryption));
        Ok(GetParametersByPathResponse {
            parameters: told.collect::<Result<_, _>>()?,
            next_token: page.next_token,
        })
    }
}

/// What is asked for of the hierarchy.
struct Branch {
    /// What its parameters' names begin with, without the slash in front and with one at its end; nothing for the root.
    prefix: String,
    recursive: bool,
}

impl Branch {
    fn parse(path: &str, recursive: bool) -> Result<Self, OperationError> {
        let levels = path.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let is_level = |level: &str| {
            !level.is_empty()
                && level.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=.@-".contains(&byte))
        };
        let good = levels.filter(|levels| {
            path.len() <= MAX_PATH
                && (levels.is_empty()
                    || levels.split('/').count() <= MAX_LEVELS && levels.split('/').all(is_level))
        });
        let Some(levels) = good else {
            return Err(OperationError::invalid(format!(
                "Path must begin with a forward slash and have at most {MAX_LEVELS} levels, each of letters, digits and _+=.@-, such as /shop/prod; it was {}.",
                quoted(path)
            )));
        };
        let prefix = if levels.is_empty() { String::new() } else { format!("{levels}/") };
        Ok(Self { prefix, recursive })
    }

    /// Whether a plain name is in it. The last part of a name is the parameter's own, and no path.
    fn has(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix).is_some_and(|rest| self.recursive || !rest.contains('/'))
    }
}

/// One of the request's `ParameterFilters`: all must agree, each with one of its values.
struct Filter {
    subject: Subject,
    begins_with: bool,
    values: Vec<String>,
}

enum Subject {
    Type,
    KeyId,
    /// One version of each parameter is kept, and none has a label.
    Label,
}

impl Filter {
    fn parse(filter: &ParameterStringFilter) -> Result<Self, OperationError> {
        let refuse = |code, message: String| Err(OperationError::Exception { code, message });
        let subject = match filter.key.as_str() {
            "Type" => Subject::Type,
            "KeyId" => Subject::KeyId,
            "Label" => Subject::Label,
            other => {
                let message =
                    format!("ParameterFilters.Key must be Type, KeyId or Label here, not {}.", quoted(other));
                return refuse("InvalidFilterKey", message);
            }
        };
        let begins_with = match (filter.option.as_deref(), &subject) {
            (None | Some("Equals"), _) => false,
            (Some("BeginsWith"), Subject::Type | Subject::KeyId) => true,
            (Some(other), _) => {
                let allowed =
                    if matches!(subject, Subject::Label) { "Equals" } else { "Equals or BeginsWith" };
                let message = format!(
                    "ParameterFilters.Option of the key {} must be {allowed}, not {}.",
                    filter.key,
                    quoted(other)
                );
                return refuse("InvalidFilterOption", message);
            }
        };
        if !(1..=MAX_VALUES).contains(&filter.values.len()) || filter.values.iter().any(String::is_empty) {
            let message = format!(
                "ParameterFilters.Values of the key {} must have 1 to {MAX_VALUES} items, none of them empty.",
                filter.key
            );
            return refuse("InvalidFilterValue", message);
        }
        Ok(Self { subject, begins_with, values: filter.values.clone() })
    }

    fn takes(&self, record: &Sealed) -> bool {
        let kind = record.kind.as_deref();
        let of_it = match self.subject {
            Subject::Type => kind,
            Subject::KeyId => (kind == Some(SECURE)).then_some(DEFAULT_KEY),
            Subject::Label => None,
        };
        of_it.is_some_and(|of_it| {
            let agrees =
                |value: &String| if self.begins_with { of_it.starts_with(value) } else { of_it == value };
            self.values.iter().any(agrees)
        })
    }
}

fn invalid_token() -> OperationError {
    let message = "NextToken is not one that an earlier answer gave.".to_owned();
    OperationError::Exception { code: "InvalidNextToken", message }
}
