//! Coracle.

pub mod compose;
mod paths;

pub use coracle_runtime::WASMTIME_VERSION;
pub use coracle_supervisor::model::service::MAX_DESIRED_COUNT as MAX_REPLICAS;

pub use paths::{cache_dir, data_dir, open_runtime};

/// Where the daemon's API listens unless it is told otherwise: nobody but this host can reach it.
pub const DEFAULT_API_ADDRESS: &str = "127.0.0.1:4566";
/// [`DEFAULT_API_ADDRESS`] as a URL.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

/// Whether an image is named by a file's path, against a digest or an image reference.
#[must_use]
pub fn is_file_image(image: &str) -> bool {
    image.starts_with(['.', '/']) || image.ends_with(".wasm") || image.ends_with(".wat")
}
