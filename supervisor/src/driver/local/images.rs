//! From an image reference to a compiled image.
//!
//! A reference is a path to a file, or the `sha256:` digest of an image that was loaded before. Names in registries come with the registry.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use coracle_runtime::{Image, ImageError, Metering, Runtime};
use tokio::sync::OnceCell;

use super::in_words;
use crate::model::labels::ContainerSettings;
use crate::model::task_definition::ContainerDefinition;

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
    by_path: HashMap<(PathBuf, Metering), Loaded>,
    by_digest: HashMap<(String, Metering), Image>,
    /// Where an image was found last, to load it once more for another way of metering.
    paths: HashMap<String, PathBuf>,
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

    /// The image of a container, as the container needs it metered.
    pub(super) async fn of(&self, container: &ContainerDefinition) -> Result<Image, LoadError> {
        // Labels are checked when a definition is registered; those that cannot be read are refused where the container is made.
        let fuel = ContainerSettings::of(container).ok().and_then(|settings| settings.fuel);
        self.load(&container.image, Metering::for_budget(fuel)).await
    }

    /// The image, compiled at most once however many tasks ask at the same time.
    pub(super) async fn load(&self, reference: &str, metering: Metering) -> Result<Image, LoadError> {
        if !reference.starts_with("sha256:") {
            let path = PathBuf::from(reference.strip_prefix("file://").unwrap_or(reference));
            return self.load_file(path, reference, metering).await;
        }
        let unknown = || LoadError::UnknownDigest(reference.to_owned());
        let key = (reference.to_owned(), metering);
        let (known, path) = {
            let state = self.lock();
            (state.by_digest.get(&key).cloned(), state.paths.get(reference).cloned())
        };
        if let Some(image) = known {
            return Ok(image);
        }
        // It was loaded to be metered in the other way, and the file may have changed since.
        let image = self.load_file(path.ok_or_else(unknown)?, reference, metering).await?;
        if image.digest() == reference { Ok(image) } else { Err(unknown()) }
    }

    async fn load_file(
        &self,
        path: PathBuf,
        reference: &str,
        metering: Metering,
    ) -> Result<Image, LoadError> {
        let unreadable = |why: String| LoadError::Unreadable { reference: reference.to_owned(), why };
        let metadata = tokio::fs::metadata(&path).await.map_err(|error| unreadable(error.to_string()))?;
        let stamp = Stamp { modified: metadata.modified().ok(), length: metadata.len() };
        let cell = self.cell(&path, metering, stamp);
        let image = cell.get_or_try_init(|| self.compile(path, reference, metering)).await?;
        Ok(image.clone())
    }

    fn cell(&self, path: &Path, metering: Metering, stamp: Stamp) -> Arc<OnceCell<Image>> {
        let mut state = self.lock();
        let key = (path.to_owned(), metering);
        if let Some(loaded) = state.by_path.get(&key)
            && loaded.stamp == stamp
        {
            return Arc::clone(&loaded.image);
        }
        if state.by_path.len() >= MAX_IMAGES {
            state.by_path.clear();
        }
        let image = Arc::new(OnceCell::new());
        state.by_path.insert(key, Loaded { stamp, image: Arc::clone(&image) });
        image
    }

    async fn compile(&self, path: PathBuf, reference: &str, metering: Metering) -> Result<Image, LoadError> {
        let (runtime, file) = (self.runtime.clone(), path.clone());
        let loaded = tokio::task::spawn_blocking(move || runtime.load_file_metered(&file, metering)).await;
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
            state.paths.clear();
        }
        state.paths.insert(image.digest().to_owned(), path);
        state.by_digest.insert((image.digest().to_owned(), metering), image.clone());
        Ok(image)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Guards single map operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
