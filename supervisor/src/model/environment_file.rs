//! A container's `environmentFiles`: variables in files of the host.

use serde::{Deserialize, Serialize};

use super::names::quoted;

/// ECS: "You can specify up to ten environment files."
pub const MAX_ENVIRONMENT_FILES: usize = 10;
/// Largest file that is read. A process's whole environment is not larger on Linux either.
pub const MAX_ENVIRONMENT_FILE: u64 = 256 * 1024;

/// Where variables are read from when a container starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentFile {
    /// A path of this host, or a `file://` URL.
    pub value: String,
    /// ECS knows `s3` alone; with a path of this host both mean the same.
    #[serde(rename = "type")]
    pub kind: EnvironmentFileType,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentFileType {
    /// ECS's only one.
    S3,
    /// A file of this host.
    File,
}

impl EnvironmentFile {
    /// The path meant. The error names the field.
    pub fn path(&self) -> Result<&str, String> {
        if self.value.starts_with("arn:") {
            return Err(format!(
                "'environmentFiles' names an object of S3, which is not read here: {}. Give the path of a file of this host.",
                quoted(&self.value)
            ));
        }
        let path = self.value.strip_prefix("file://").unwrap_or(&self.value);
        if !path.starts_with('/') || path.contains('\0') {
            return Err(format!(
                "'environmentFiles' must name an absolute path of this host, not {}.",
                quoted(&self.value)
            ));
        }
        // ECS: "The file must have a .env file extension."
        if !path.ends_with(".env") {
            return Err(format!(
                "'environmentFiles' must have the extension .env, but was {}.",
                quoted(&self.value)
            ));
        }
        Ok(path)
    }
}

/// Reads a file in ECS's format: "Each line in an environment file must contain an environment variable in VARIABLE=VALUE format. Spaces or
/// quotation marks are included as part of the values. Lines beginning with # are treated as comments and are ignored." The error names the line.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() && !line.contains('\0') => {
                variables.push((name.to_owned(), value.to_owned()));
            }
            // Not the line itself: it may hold a secret.
            _ => return Err(format!("line {} is not VARIABLE=VALUE", number + 1)),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_they_are() {
        let text = "# a comment\nA=1\r\n\nB = \"two\" # no comment\nC=\nD=a=b\n";
        let expected = [("A", "1"), ("B ", " \"two\" # no comment"), ("C", ""), ("D", "a=b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("A=1\nsecret"), Err("line 2 is not VARIABLE=VALUE".to_owned()));
        assert!(parse("=1").is_err());
    }

    #[test]
    fn only_absolute_paths_of_this_host_are_files() {
        let path = |value: &str| {
            let file = EnvironmentFile { value: value.to_owned(), kind: EnvironmentFileType::S3 };
            file.path().map(str::to_owned)
        };
        assert_eq!(path("/etc/app.env").as_deref(), Ok("/etc/app.env"));
        assert_eq!(path("file:///etc/app.env").as_deref(), Ok("/etc/app.env"));
        assert!(path("arn:aws:s3:::bucket/app.env").expect_err("s3").contains("S3"));
        for value in ["app.env", "", "/etc/app.txt", "s3://bucket/app.env"] {
            assert!(path(value).expect_err(value).contains("environmentFiles"));
        }
    }
}
