//! Images: bytes to compiled code, and what kind of program it is.

use crate::engine::{Platform, RuntimeError, Shared, Wasi};
use crate::metering::Metering;
use coracle_runtime_host::state::{ComponentState, ModuleState};
use memchr::memmem;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::{self, Component};
use wasmtime::{Engine, Module};
use wasmtime_wasi_http::{p2, p3};

/// What the names of all interfaces of WASI 0.3 contain.
const PREVIEW3: &[u8] = b"@0.3.";

/// What all binary forms begin with.
const MAGIC: &[u8] = b"\0asm";

/// The size of a page of linear memory, in bytes.
const PAGE: u64 = 65_536;

/// What a program does when it runs, found from what it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// Answers HTTP requests in process: exports `wasi:http/handler` or `wasi:http/incoming-handler`.
    Handler,
    /// Runs from its start to an exit code: exports `wasi:cli/run` or a core `_start`. With a port to listen on it
    /// is a server, without one a job.
    Command,
}

/// The version of WASI that a program was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// A core module with `wasi_snapshot_preview1` imports.
    Preview1,
    /// A component of WASI 0.2.
    Preview2,
    /// A component of WASI 0.3.
    Preview3,
}

/// An image is not one, or not one that can run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("cannot read the image {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are neither WebAssembly nor its text form.
    #[error("not a WebAssembly image: {0}")]
    NotWebAssembly(String),
    /// It is WebAssembly, but damaged, truncated or using what the engine does not have.
    #[error("invalid WebAssembly image: {0}")]
    Invalid(String),
    /// It needs something that no task gets. All of the missing imports are named.
    #[error("the image imports what this host does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// It has none of the exports that make a program.
    #[error(
        "the image has nothing to run: it exports neither wasi:http/incoming-handler, wasi:http/handler, wasi:cli/run \
         nor _start"
    )]
    NoEntryPoint,
    /// It needs an engine of its own (for WASI 0.3, or to count fuel), which could not be set up.
    #[error(transparent)]
    Engine(RuntimeError),
}

/// A compiled image. A handle: clones are the same image.
#[derive(Clone)]
pub struct Image {
    inner: Arc<Inner>,
}

struct Inner {
    digest: String,
    minimum_memory: u64,
    metering: Metering,
    program: Program,
}

/// A compiled program with its imports linked: all that can be done before it is instantiated.
pub(crate) enum Program {
    HandlerP2(p2::bindings::ProxyPre<ComponentState>),
    HandlerP3(p3::bindings::ServicePre<ComponentState>),
    CommandP2(wasmtime_wasi::p2::bindings::CommandPre<ComponentState>),
    CommandP3(wasmtime_wasi::p3::bindings::CommandPre<ComponentState>),
    CommandP1(wasmtime::InstancePre<ModuleState>),
}

impl Program {
    /// The engine it was compiled by and runs on.
    pub(crate) fn engine(&self) -> &Engine {
        match self {
            Self::HandlerP2(pre) => pre.engine(),
            Self::HandlerP3(pre) => pre.engine(),
            Self::CommandP2(pre) => pre.engine(),
            Self::CommandP3(pre) => pre.engine(),
            Self::CommandP1(pre) => pre.module().engine(),
        }
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Image")
            .field("digest", &self.digest())
            .field("kind", &self.kind())
            .field("abi", &self.abi())
            .finish()
    }
}

impl Image {
    /// The digest of the bytes the image was made of, as `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// What the program does.
    pub fn kind(&self) -> ImageKind {
        match self.inner.program {
            Program::HandlerP2(_) | Program::HandlerP3(_) => ImageKind::Handler,
            Program::CommandP1(_) | Program::CommandP2(_) | Program::CommandP3(_) => ImageKind::Command,
        }
    }

    /// The WASI it was made for.
    pub fn abi(&self) -> Abi {
        match self.inner.program {
            Program::CommandP1(_) => Abi::Preview1,
            Program::HandlerP2(_) | Program::CommandP2(_) => Abi::Preview2,
            Program::HandlerP3(_) | Program::CommandP3(_) => Abi::Preview3,
        }
    }

    /// The bytes of linear memory that one instance starts with: the largest memory's minimum. A container with less
    /// could never start.
    pub fn minimum_memory(&self) -> u64 {
        self.inner.minimum_memory
    }

    /// What its code does to yield.
    pub fn metering(&self) -> Metering {
        self.inner.metering
    }

    pub(crate) fn program(&self) -> &Program {
        &self.inner.program
    }

    /// Where the bytes speak of WASI 0.3, the platform for it is tried first, else the other. What that one does not take is tried on the
    /// first, which knows more.
    pub(crate) fn load(runtime: &Shared, bytes: &[u8], metering: Metering) -> Result<Self, ImageError> {
        let digest = hex_digest(bytes);
        let load = |wasi| {
            let platform = runtime.platform(wasi, metering).map_err(ImageError::Engine)?;
            Self::load_on(platform, metering, bytes, &digest)
        };
        if memmem::find(bytes, PREVIEW3).is_none() {
            match load(Wasi::Sequential) {
                Err(_) if may_be_component(bytes) => {}
                result => return result,
            }
        }
        load(Wasi::Concurrent)
    }

    fn load_on(
        platform: &Platform,
        metering: Metering,
        bytes: &[u8],
        digest: &str,
    ) -> Result<Self, ImageError> {
        let code = match Code::from_cache(platform, digest) {
            Some(code) => code,
            None => Code::compile(platform, bytes, digest)?,
        };
        let inner = Inner {
            digest: format!("sha256:{digest}"),
            minimum_memory: code.minimum_memory(),
            metering,
            program: code.link(platform)?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

fn hex_digest(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ok = write!(hex, "{byte:02x}");
    }
    hex
}

/// Compiled code, not linked yet.
enum Code {
    Component(Component),
    Module(Module),
}

impl Code {
    fn from_cache(platform: &Platform, digest: &str) -> Option<Self> {
        let cache = platform.cache()?;
        let path = cache.path(digest);
        let kind = Engine::detect_precompiled_file(&path).ok()??;
        // SAFETY: the file lies in a directory that only this user can write (`CodeCache::open`) and that only
        // `CodeCache::store` writes to, with what this engine's compiler made; it is never changed in place.
        let code = unsafe {
            match kind {
                wasmtime::Precompiled::Component => {
                    Component::deserialize_file(platform.engine(), &path).map(Self::Component)
                }
                wasmtime::Precompiled::Module => {
                    Module::deserialize_file(platform.engine(), &path).map(Self::Module)
                }
            }
        };
        code.inspect_err(|error| {
            tracing::debug!(%error, digest, "a cache entry cannot be used and is compiled anew");
            cache.remove(digest);
        })
        .ok()
    }

    fn compile(platform: &Platform, bytes: &[u8], digest: &str) -> Result<Self, ImageError> {
        let binary = to_binary(bytes)?;
        let invalid = |error: wasmtime::Error| ImageError::Invalid(one_line(&error));
        let (code, compiled) = if is_component(&binary) {
            let component = Component::from_binary(platform.engine(), &binary).map_err(invalid)?;
            let compiled = component.serialize();
            (Self::Component(component), compiled)
        } else {
            let module = Module::from_binary(platform.engine(), &binary).map_err(invalid)?;
            let compiled = module.serialize();
            (Self::Module(module), compiled)
        };
        if let Some(cache) = platform.cache() {
            // Without the cache the image runs all the same; only the next start is slow.
            let stored =
                compiled.map_err(std::io::Error::other).and_then(|bytes| cache.store(digest, &bytes));
            if let Err(error) = stored {
                tracing::warn!(%error, "compiled code could not be cached");
            }
        }
        Ok(code)
    }

    fn minimum_memory(&self) -> u64 {
        let pages = match self {
            // A component whose instances are imported has no known need; there are none here.
            Self::Component(component) => {
                component.resources_required().and_then(|need| need.max_initial_memory_size)
            }
            Self::Module(module) => module.resources_required().max_initial_memory_size,
        };
        pages.unwrap_or(0).saturating_mul(PAGE)
    }

    fn link(self, platform: &Platform) -> Result<Program, ImageError> {
        match self {
            Self::Component(component) => link_component(platform, &component),
            Self::Module(module) => link_module(platform, &module),
        }
    }
}

fn link_component(platform: &Platform, component: &Component) -> Result<Program, ImageError> {
    let linker = platform.component_linker();
    let pre = linker
        .instantiate_pre(component)
        .map_err(|error| unknown_imports(missing_in_component(linker, component), &error))?;
    // The HTTP exports first: programs of some toolchains export wasi:cli/run beside them.
    if let Ok(pre) = p3::bindings::ServicePre::new(pre.clone()) {
        return Ok(Program::HandlerP3(pre));
    }
    if let Ok(pre) = p2::bindings::ProxyPre::new(pre.clone()) {
        return Ok(Program::HandlerP2(pre));
    }
    if let Ok(pre) = wasmtime_wasi::p3::bindings::CommandPre::new(pre.clone()) {
        return Ok(Program::CommandP3(pre));
    }
    match wasmtime_wasi::p2::bindings::CommandPre::new(pre) {
        Ok(pre) => Ok(Program::CommandP2(pre)),
        Err(_) => Err(ImageError::NoEntryPoint),
    }
}

fn link_module(platform: &Platform, module: &Module) -> Result<Program, ImageError> {
    let internal = |error: wasmtime::Error| ImageError::Invalid(one_line(&error));
    let linker = platform.module_linker().map_err(internal)?;
    let known = |import: &wasmtime::ImportType<'_>| {
        import.module() == "wasi_snapshot_preview1" || import.module() == "wasi_unstable"
    };
    let missing: Vec<_> = module
        .imports()
        .filter(|import| !known(import))
        .map(|import| format!("{}::{}", import.module(), import.name()))
        .collect();
    if !missing.is_empty() {
        return Err(ImageError::UnknownImports(missing));
    }
    if !matches!(module.get_export("_start"), Some(wasmtime::ExternType::Func(_))) {
        return Err(ImageError::NoEntryPoint);
    }
    let pre = linker.instantiate_pre(module).map_err(|error| unknown_imports(Vec::new(), &error))?;
    Ok(Program::CommandP1(pre))
}

/// Imports whose package the host has nothing of. What remains (an interface that a known package lacks, a
/// function of another type) is in the linker's own error.
fn missing_in_component(linker: &component::Linker<ComponentState>, component: &Component) -> Vec<String> {
    const PROVIDED: [&str; 7] = [
        "wasi:cli/",
        "wasi:clocks/",
        "wasi:filesystem/",
        "wasi:http/",
        "wasi:io/",
        "wasi:random/",
        "wasi:sockets/",
    ];
    let engine = linker.engine();
    let component_type = component.component_type();
    let imports = component_type.imports(engine);
    imports
        .filter(|(name, _)| !PROVIDED.iter().any(|package| name.starts_with(package)))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn unknown_imports(missing: Vec<String>, error: &wasmtime::Error) -> ImageError {
    if missing.is_empty() {
        return ImageError::UnknownImports(vec![one_line(error)]);
    }
    ImageError::UnknownImports(missing)
}

/// Both binary forms as they are, text assembled.
fn to_binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    if bytes.starts_with(MAGIC) {
        if bytes.len() < 8 {
            return Err(ImageError::Invalid("truncated after its first bytes".to_owned()));
        }
        return Ok(Cow::Borrowed(bytes));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(ImageError::NotWebAssembly(r"it begins neither with \0asm nor with text".to_owned()));
    };
    // Comments may come first; without an opening parenthesis anywhere it is not even a try at the text form.
    if !text.contains('(') {
        return Err(ImageError::NotWebAssembly(
            r"it begins neither with \0asm nor with (module or (component".to_owned(),
        ));
    }
    assemble(text).map(Cow::Owned)
}

#[cfg(feature = "text")]
fn assemble(text: &str) -> Result<Vec<u8>, ImageError> {
    let refused = |error: wat::Error| crate::exit::first_line(&error.to_string()).to_owned();
    wat::parse_str(text).map_err(|error| ImageError::NotWebAssembly(refused(error)))
}

#[cfg(not(feature = "text"))]
fn assemble(_text: &str) -> Result<Vec<u8>, ImageError> {
    Err(ImageError::NotWebAssembly("this build of coracle takes no text form".to_owned()))
}

/// Bytes 6 and 7 of a binary are its layer: 0 a core module, 1 a component.
fn is_component(binary: &[u8]) -> bool {
    binary.get(6..8) == Some(&[1, 0])
}

/// Whether the bytes, text or binary, are anything but a core module's.
fn may_be_component(bytes: &[u8]) -> bool {
    is_component(bytes) || !bytes.starts_with(MAGIC)
}

/// An error and its causes on one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    for (index, cause) in error.chain().enumerate() {
        let cause = cause.to_string();
        if index > 0 {
            text.push_str(": ");
        }
        text.push_str(crate::exit::first_line(&cause));
    }
    text
}
