//! Where things are kept on this host.

use std::{env, path::PathBuf};

use coracle_runtime::{HttpClient, Runtime, RuntimeConfig, RuntimeError};

/// Where a daemon keeps what is wanted: `$XDG_DATA_HOME/coracle`, else `~/.local/share/coracle`. `None` where there is
/// no home directory.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    Some(base("XDG_DATA_HOME", ".local/share")?.join("coracle"))
}

/// Where compiled code is kept between runs: `$XDG_CACHE_HOME/coracle/compiled`, else `~/.cache/coracle/compiled`.
/// `None` where there is no home directory.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Some(base("XDG_CACHE_HOME", ".cache")?.join("coracle/compiled"))
}

/// The XDG Base Directory Specification: "All paths set in these environment variables must be absolute. If an
/// implementation encounters a relative path ... it should consider the path invalid and ignore it."
fn base(variable: &str, below_home: &str) -> Option<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.or_else(|| Some(env::home_dir().filter(|home| home.is_absolute())?.join(below_home)))
}

/// The client of the requests that tasks send. It trusts the certificate authorities of Mozilla's list and those in the PEM file that
/// `SSL_CERT_FILE` names, OpenSSL's own variable.
#[must_use]
pub fn http_client() -> HttpClient {
    let Some(path) = env::var_os("SSL_CERT_FILE").map(PathBuf::from) else { return HttpClient::default() };
    match HttpClient::trusting_file(&path) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the certificates of SSL_CERT_FILE are not trusted: they cannot be read");
            HttpClient::default()
        }
    }
}

/// A runtime with the user's cache of compiled code; without one where that cannot be used, as then only starts are
/// slower. `max_instances` is [`RuntimeConfig`]'s.
///
/// # Errors
/// The engine cannot be set up on this host.
pub fn open_runtime(max_instances: Option<u32>) -> Result<Runtime, RuntimeError> {
    let config = RuntimeConfig { max_instances, ..RuntimeConfig::default() };
    match Runtime::new(RuntimeConfig { cache_dir: cache_dir(), ..config.clone() }) {
        Err(RuntimeError::Cache { path, source }) => {
            tracing::warn!(path = %path.display(), %source, "compiled code is not kept: the cache cannot be used");
            Runtime::new(config)
        }
        result => result,
    }
}
