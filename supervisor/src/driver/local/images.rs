//! From an image reference to a compiled image.
//!
//! A reference is a path to a file, or the `sha256:` digest of an image that was loaded before. Names in registries come with the registry.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use coracle_runtime::{Image, ImageError, Runtime};
use tokio::sync::OnceCell;

use super::in_words;

/// Compiled images that are kept at hand. Beyond it they are dropped, and read from the runtime's own cache when needed again.
const MAX_IMAGES: usize = 512;

/// An image cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("image {0} was not loaded before")]
    UnknownDigest(String),
    #[error(
        "image {reference} cannot be read: {why} (images are files or digests of loaded ones; registries come later)"
    )]
    Unreadable { reference: String, why: String },
    #[error("image {reference}: {why}")]
    Refused { reference: String, why: String },
}

/// The images in use.
pub(super) struct Images {
    runtime: Runtime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_path: HashMap<PathBuf, Loaded>,
    by_digest: HashMap<String, Image>,
}

struct Loaded {
    stamp: Stamp,
    image: Arc<OnceCell<Image>>,
}

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl Images {
    pub(super) fn new(runtime: Runtime) -> Self {
        Self { runtime, state: Mutex::default() }
    }

    /// The image, compiled at most once however many tasks ask at the same time.
    pub(super) async fn load(&self, reference: &str) -> Result<Image, LoadError> {
        if reference.starts_with("sha256:") {
            let known = self.lock().by_digest.get(reference).cloned();
            return known.ok_or_else(|| LoadError::UnknownDigest(reference.to_owned()));
        }
        let path = PathBuf::from(reference.strip_prefix("file://").unwrap_or(reference));
        let unreadable = |why: String| LoadError::Unreadable { reference: reference.to_owned(), why };
        let metadata = tokio::fs::metadata(&path).await.map_err(|error| unreadable(error.to_string()))?;
        let stamp = Stamp { modified: metadata.modified().ok(), length: metadata.len() };
        let cell = self.cell(&path, stamp);
        let image = cell.get_or_try_init(|| self.compile(path, reference)).await?;
        Ok(image.clone())
    }

    fn cell(&self, path: &Path, stamp: Stamp) -> Arc<OnceCell<Image>> {
        let mut state = self.lock();
        if let Some(loaded) = state.by_path.get(path)
            && loaded.stamp == stamp
        {
            return Arc::clone(&loaded.image);
        }
        if state.by_path.len() >= MAX_IMAGES {
            state.by_path.clear();
        }
        let image = Arc::new(OnceCell::new());
        state.by_path.insert(path.to_owned(), Loaded { stamp, image: Arc::clone(&image) });
        image
    }

    async fn compile(&self, path: PathBuf, reference: &str) -> Result<Image, LoadError> {
        let runtime = self.runtime.clone();
        let loaded = tokio::task::spawn_blocking(move || runtime.load_file(&path)).await;
        let refused = |why: String| LoadError::Refused { reference: reference.to_owned(), why };
        let image = match loaded {
            Ok(Ok(image)) => image,
            Ok(Err(ImageError::Read { source, .. })) => {
                return Err(LoadError::Unreadable {
                    reference: reference.to_owned(),
                    why: source.to_string(),
                });
            }
            Ok(Err(error)) => return Err(refused(in_words(&error))),
            Err(error) => return Err(refused(format!("the compiler failed: {error}"))),
        };
        let mut state = self.lock();
        if state.by_digest.len() >= MAX_IMAGES {
            state.by_digest.clear();
        }
        state.by_digest.insert(image.digest().to_owned(), image.clone());
        Ok(image)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Guards single map operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
