//! Which requests a rule is for.

use coracle_balancer::{Condition, ConfigError};
use serde::{Deserialize, Serialize};

use crate::model::names::quoted;

/// One condition, as ELBv2 writes it. Of host and path it may have the values in `Values`, as before there were the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
#[expect(
    missing_docs,
    reason = "the fields are ELBv2's own: its API reference documents them under these names"
)]
pub struct RuleCondition {
    pub field: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_header_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_pattern_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_request_method_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip_config: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_header_config: Option<HttpHeaderConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_string_config: Option<QueryStringConfig>,
}

/// What is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Values {
    /// Any of them.
    pub values: Vec<String>,
}

/// A header field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct HttpHeaderConfig {
    /// Its name.
    pub http_header_name: String,
    /// Any of them.
    pub values: Vec<String>,
}

/// Parameters of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct QueryStringConfig {
    /// Any of them.
    pub values: Vec<QueryStringKeyValuePair>,
}

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct QueryStringKeyValuePair {
    /// Its name; any if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its value.
    pub value: String,
}

impl RuleCondition {
    /// The same as the balancer takes it. The error names the field.
    pub fn compile(&self) -> Result<Condition, String> {
        let of = |config: &Option<Values>, make: fn(&[&str]) -> Result<Condition, ConfigError>| {
            let values = config.as_ref().map_or(&self.values, |config| &config.values);
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            make(&values).map_err(|error| error.to_string())
        };
        match self.field.as_str() {
            "host-header" => {
                of(&self.host_header_config, |values| Condition::host_header(values.iter().copied()))
            }
            "path-pattern" => {
                of(&self.path_pattern_config, |values| Condition::path_pattern(values.iter().copied()))
            }
            "http-request-method" => of(&self.http_request_method_config, |values| {
                Condition::http_request_method(values.iter().copied())
            }),
            "source-ip" => of(&self.source_ip_config, |values| Condition::source_ip(values.iter().copied())),
            "http-header" => {
                let config = self.http_header_config.as_ref().ok_or("HttpHeaderConfig is missing")?;
                let values = config.values.iter().map(String::as_str);
                Condition::http_header(&config.http_header_name, values).map_err(|error| error.to_string())
            }
            "query-string" => {
                let config = self.query_string_config.as_ref().ok_or("QueryStringConfig is missing")?;
                let pairs = config.values.iter().map(|pair| (pair.key.as_deref(), pair.value.as_str()));
                Condition::query_string(pairs).map_err(|error| error.to_string())
            }
            other => Err(format!(
                "Field must be host-header, path-pattern, http-header, http-request-method, query-string or source-ip, not {}",
                quoted(other)
            )),
        }
    }
}
