//! A container's `secrets`: variables whose values are kept elsewhere.

use serde::{Deserialize, Serialize};

use super::names::quoted;

/// A variable and where its value is, as ECS writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are ECS's own: its API reference documents them under these names"
)]
pub struct Secret {
    pub name: String,
    pub value_from: String,
}

/// Who keeps a secret on AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretService {
    /// Secrets Manager.
    SecretsManager,
    /// Systems Manager's Parameter Store.
    ParameterStore,
}

/// What `valueFrom` names: a secret, and perhaps one key of the JSON in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReference {
    /// The secret's or the parameter's name: letters, digits and `/_+=.@-`; no part is `.` or `..`.
    pub name: String,
    /// Of the JSON object that the secret is; none is the whole of it.
    pub json_key: Option<String>,
    /// As an ARN says it; none for a plain name.
    pub service: Option<SecretService>,
}

impl SecretReference {
    /// Reads a parameter's name, or an ARN of Secrets Manager (`...:secret:NAME[:JSON-KEY[:STAGE[:VERSION]]]`) or of the Parameter Store
    /// (`...:parameter/NAME`). The error names the field.
    pub fn parse(value_from: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("'secrets.valueFrom' {why}, but was {}.", quoted(value_from)));
        let (name, json_key, service) = match value_from.strip_prefix("arn:") {
            None => (value_from, None, None),
            Some(arn) => {
                // partition:service:region:account:resource
                let mut parts = arn.splitn(5, ':');
                let (service, resource) = (parts.nth(1), parts.nth(2));
                match (service, resource) {
                    (Some("ssm"), Some(resource)) => match resource.strip_prefix("parameter/") {
                        Some(name) => (name, None, Some(SecretService::ParameterStore)),
                        None => return refuse("must name a parameter"),
                    },
                    (Some("secretsmanager"), Some(resource)) => {
                        let Some(resource) = resource.strip_prefix("secret:") else {
                            return refuse("must name a secret");
                        };
                        let mut parts = resource.split(':');
                        let (name, key) = (parts.next().unwrap_or_default(), parts.next());
                        // One version of each secret is kept.
                        if parts.any(|part| !part.is_empty() && part != "AWSCURRENT") {
                            return refuse("must not name a version other than AWSCURRENT");
                        }
                        (name, key.filter(|key| !key.is_empty()), Some(SecretService::SecretsManager))
                    }
                    _ => {
                        return refuse("must be a name, or an ARN of Secrets Manager or the Parameter Store");
                    }
                }
            }
        };
        let name = name.strip_prefix('/').unwrap_or(name);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if name.is_empty() || name.len() > 512 || !name.bytes().all(is_plain) {
            return refuse("must have a name of 1 to 512 letters, digits and /_+=.@-");
        }
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return refuse("must have a name whose parts between slashes are not empty, . or ..");
        }
        Ok(Self { name: name.to_owned(), json_key: json_key.map(str::to_owned), service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value_from: &str) -> Option<(String, Option<String>)> {
        SecretReference::parse(value_from).ok().map(|reference| (reference.name, reference.json_key))
    }

    #[test]
    fn names_and_both_services_arns_are_understood() {
        let whole = |name: &str| Some((name.to_owned(), None));
        assert_eq!(parsed("db-password"), whole("db-password"));
        assert_eq!(parsed("/prod/db"), whole("prod/db"));
        assert_eq!(parsed("arn:aws:ssm:us-east-1:000000000000:parameter/prod/db"), whole("prod/db"));
        let arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";
        assert_eq!(parsed(arn), whole("db-AbCdEf"));
        let key = Some(("db-AbCdEf".to_owned(), Some("password".to_owned())));
        assert_eq!(parsed(&format!("{arn}:password")), key);
        assert_eq!(parsed(&format!("{arn}:password:AWSCURRENT:")), key);
        assert_eq!(parsed(&format!("{arn}:::")), whole("db-AbCdEf"));
    }

    #[test]
    fn what_names_nothing_or_leaves_its_place_is_refused_by_name() {
        for value_from in [
            "",
            "/",
            "../etc/passwd",
            "a/../b",
            "a//b",
            "a b",
            "a\0",
            "arn:aws:s3:::bucket",
            "arn:",
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:a:b:AWSPREVIOUS:",
            "arn:aws:ssm:us-east-1:000000000000:document/a",
        ] {
            let error = SecretReference::parse(value_from).expect_err(value_from);
            assert!(error.starts_with("'secrets.valueFrom'"), "{error}");
        }
    }
}
