//! Secrets in files: one file each, that only its owner may read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{SecretError, SecretSource, SecretValue};

/// Secrets Manager: "The secret value ... 65,536 bytes".
pub(crate) const MAX_SECRET: u64 = 65_536;
/// Secrets Manager ends the name in an ARN with a hyphen and six characters of its own.
const ARN_SUFFIX: usize = 7;

/// A directory whose files are secrets: `<directory>/<name>`, where a name's slashes are directories.
///
/// A file that others may read is no secret and is refused, as ssh refuses a key. One line end at the end of a file is not part of the value,
/// because editors and `echo` leave one.
#[derive(Clone, Debug)]
pub struct FileSecrets {
    directory: PathBuf,
}

impl FileSecrets {
    /// The secrets in `directory`, which need not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn read(&self, name: &str) -> Result<SecretValue, SecretError> {
        // Checked when it was parsed; a path that leaves the directory must not depend on that.
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(SecretError::Unusable(format!("{name:?} is no secret's name")));
        }
        let path = self.directory.join(name);
        match read(&path) {
            Err(SecretError::Missing(_)) => match without_arn_suffix(name) {
                Some(name) => read(&self.directory.join(name)),
                None => Err(missing(&path)),
            },
            known => known,
        }
    }
}

#[async_trait]
impl SecretSource for FileSecrets {
    async fn secret(&self, name: &str) -> Result<SecretValue, SecretError> {
        let (secrets, name) = (self.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || secrets.read(&name)).await;
        read.unwrap_or_else(|error| Err(SecretError::Unusable(error.to_string())))
    }
}

/// `db` of `db-AbCdEf`.
pub(super) fn without_arn_suffix(name: &str) -> Option<&str> {
    let (name, suffix) = name.split_at_checked(name.len().checked_sub(ARN_SUFFIX)?)?;
    let characters = suffix.strip_prefix('-')?;
    (!name.is_empty() && characters.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(name)
}

fn read(path: &Path) -> Result<SecretValue, SecretError> {
    let unusable = |why: String| SecretError::Unusable(format!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(path),
        _ => unusable(error.to_string()),
    })?;
    // Of the open file: another one cannot take its place between the look and the reading.
    let metadata = file.metadata().map_err(|error| unusable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unusable("is not a file".to_owned()));
    }
    if !is_private(&metadata) {
        return Err(unusable(
            "others than its owner may read or write it; mend that with chmod 600".to_owned(),
        ));
    }
    if metadata.len() > MAX_SECRET {
        return Err(unusable(format!("is larger than {MAX_SECRET} bytes")));
    }
    let mut value = String::new();
    // Not the error's own words for text that is no UTF-8, which could quote it.
    let read = file.take(MAX_SECRET + 2).read_to_string(&mut value);
    read.map_err(|error| unusable(format!("cannot be read as text ({})", error.kind())))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    if value.contains('\0') {
        return Err(unusable("has a NUL character, which no environment can hold".to_owned()));
    }
    Ok(SecretValue::new(value))
}

fn missing(path: &Path) -> SecretError {
    SecretError::Missing(path.display().to_string())
}

#[cfg(unix)]
pub(super) fn is_private(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o077 == 0
}

#[cfg(not(unix))]
pub(super) fn is_private(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn secrets(files: &[(&str, &str, u32)]) -> (tempfile::TempDir, FileSecrets) {
        let directory = tempfile::tempdir().unwrap();
        for (name, value, mode) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, value).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*mode)).unwrap();
        }
        let secrets = FileSecrets::new(directory.path());
        (directory, secrets)
    }

    #[tokio::test]
    async fn a_private_files_content_is_the_value() {
        let (_directory, secrets) = secrets(&[("db", "pass word\n", 0o600), ("prod/key", "a\r\nb", 0o400)]);
        assert_eq!(secrets.secret("db").await.unwrap().expose(), "pass word");
        assert_eq!(secrets.secret("db-AbCdEf").await.unwrap().expose(), "pass word");
        assert_eq!(secrets.secret("prod/key").await.unwrap().expose(), "a\r\nb");
    }

    #[tokio::test]
    async fn what_is_missing_or_not_private_is_refused_without_its_value() {
        let (directory, secrets) = secrets(&[("open", "seen", 0o640), ("zero", "se\0en", 0o600)]);
        let missing = directory.path().join("none").display().to_string();
        assert_eq!(secrets.secret("none").await, Err(SecretError::Missing(missing)));
        for (name, why) in
            [("open", "chmod 600"), ("zero", "NUL"), ("../open", "no secret's name"), (".", "no secret's")]
        {
            let error = secrets.secret(name).await.unwrap_err();
            assert!(
                error.to_string().contains(why) && !error.to_string().contains("seen"),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_value_is_not_shown() {
        assert_eq!(format!("{:?}", SecretValue::new("hidden")), "SecretValue(..)");
    }
}
