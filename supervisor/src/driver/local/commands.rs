//! Other programs inside a task: a health check's command, or one that a person executes.
//!
//! Such a program has everything of its container's: environment, volumes, network, and the task's CPU and memory. It is one of these:
//!
//! - a WebAssembly file, when the first word ends in `.wasm` or `.wat`: in a volume of the container, by its path there; else next to the container's
//!   image, when the path is relative; else of the host;
//! - else the container's own image with these words as its arguments, as long as the image is a command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_runtime::{
    Container, ContainerSpec, Exit, Image, ImageKind, InputPipe, Metering, Mount, MountSource, Output, Stdin,
    Stream, output_pipe,
};
use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt};

use super::in_words;
use super::sandbox::{LocalSandbox, observed};
use crate::driver::{Execution, OutputStream, Unrunnable};
use crate::model::health_check::{HealthCheck, Probe};
use crate::model::task_definition::ContainerDefinition;

/// Bytes of a person's input that a program need not have read yet.
const INPUT_BUFFER: usize = 64 * 1024;

/// A program that can be started, without input and output yet.
pub(super) struct Program {
    pub(super) image: Image,
    pub(super) spec: ContainerSpec,
}

impl LocalSandbox {
    /// The program that `words` mean in a container. The error is a sentence for people.
    pub(super) async fn program(&self, container: &str, words: &[String]) -> Result<Program, String> {
        let definition = self.launch.definition.content.container(container);
        let (Some(definition), Some(own)) = (definition, self.images.get(container)) else {
            return Err(format!("there is no container '{container}'"));
        };
        let Some(first) = words.first() else { return Err("there is no command".to_owned()) };
        let spec = self.spec(definition).map_err(|failure| failure.to_string())?;
        // It ends with whoever asked for it, and has the container's limits, not its input.
        let spec = ContainerSpec { stdin: Stdin::Null, ends_by_itself: false, ..spec };
        if !is_file(first) {
            if own.kind() != ImageKind::Command {
                return Err(no_command(container, first));
            }
            let spec = ContainerSpec { args: words.to_vec(), ..spec };
            return Ok(Program { image: own.clone(), spec });
        }
        let mounts = self.mounts.get(container).map(Vec::as_slice).unwrap_or_default();
        let path = resolve(first, mounts, &definition.image)?;
        let image = self.driver.images.load(&path.to_string_lossy(), Metering::for_budget(spec.fuel)).await;
        let image = image.map_err(|error| error.to_string())?;
        if image.kind() != ImageKind::Command {
            return Err(format!("{first} is no command but a handler"));
        }
        let spec = ContainerSpec { name: first.clone(), args: words[1..].to_vec(), ..spec };
        Ok(Program { image, spec })
    }
}

impl LocalSandbox {
    pub(super) async fn start_program(&self, program: Program) -> Result<EndedWithItsOwner, String> {
        let started = self.driver.runtime.start(&program.image, program.spec).await;
        Ok(EndedWithItsOwner(started.map_err(|error| in_words(&error))?))
    }

    /// Runs a program that a person talks to.
    pub(super) async fn run_inside(
        &self,
        container: &str,
        words: &[String],
        interactive: bool,
    ) -> Result<Execution, String> {
        if self.container(container).is_none_or(|container| container.exit().is_some()) {
            return Err(format!("container '{container}' is not running"));
        }
        let program = self.program(container, words).await?;
        let (stdin, reader) = tokio::io::duplex(INPUT_BUFFER);
        let (pipe, output) = output_pipe(interactive);
        let spec = ContainerSpec {
            stdin: Stdin::Pipe(InputPipe::new(reader, interactive)),
            output: Output::Pipe(pipe),
            ..program.spec
        };
        let running = self.start_program(Program { spec, ..program }).await?;
        let output = stream::unfold(output, |mut output| async move {
            let (stream, bytes) = output.next().await?;
            let stream = match stream {
                Stream::Stdout => OutputStream::Stdout,
                Stream::Stderr => OutputStream::Stderr,
            };
            Some(((stream, bytes), output))
        });
        let exit = async move { observed(running.wait().await) };
        Ok(Execution { stdin: Box::pin(stdin), output: output.boxed(), exit: exit.boxed() })
    }
}

/// A program that nobody waits for any more is ended.
pub(super) struct EndedWithItsOwner(Container);

impl EndedWithItsOwner {
    pub(super) async fn wait(&self) -> Exit {
        self.0.wait().await
    }
}

impl Drop for EndedWithItsOwner {
    fn drop(&mut self) {
        if self.0.exit().is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let container = self.0.clone();
            runtime.spawn(async move { container.stop(Duration::ZERO).await });
        }
    }
}

/// Refuses a health check whose command could never run, before a task is made that would never be healthy.
pub(super) fn check_health_command(container: &ContainerDefinition, image: &Image) -> Result<(), Unrunnable> {
    let plan = container.health_check.as_ref().map(HealthCheck::parse);
    match plan {
        Some(Ok(Some(plan))) => match &plan.probe {
            Probe::Command(words) if image.kind() != ImageKind::Command && !is_file(&words[0]) => {
                Err(Unrunnable(format!(
                    "Container '{0}': healthCheck.command: {1}.",
                    container.name,
                    no_command(&container.name, &words[0])
                )))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn no_command(container: &str, word: &str) -> String {
    format!(
        "the image of container '{container}' is a handler, which cannot be run with the argument {word:?}; name a file that ends in .wasm"
    )
}

fn is_file(word: &str) -> bool {
    let extension = Path::new(word).extension();
    extension.is_some_and(|extension| extension == "wasm" || extension == "wat")
}

/// The host's path of a WebAssembly file as a container sees it.
fn resolve(file: &str, mounts: &[Mount], image: &str) -> Result<PathBuf, String> {
    let mut mounts: Vec<&Mount> = mounts.iter().collect();
    // Of a directory inside another one, the inner.
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.guest.len()));
    for mount in mounts {
        let Ok(inside) = Path::new(file).strip_prefix(&mount.guest) else { continue };
        let (root, is_own) = (mount.source.path(), matches!(mount.source, MountSource::Ephemeral { .. }));
        // The task's own files, which begin at `/`, do not hide the host's.
        if is_own && !root.join(inside).exists() {
            continue;
        }
        let real =
            |path: &Path| path.canonicalize().map_err(|error| format!("{file} cannot be read: {error}"));
        let path = real(&root.join(inside))?;
        // The guest may have put a link there, which must not lead out of the volume.
        if !path.starts_with(real(&root)?) {
            return Err(format!("{file} leads out of its volume"));
        }
        return Ok(path);
    }
    if Path::new(file).is_absolute() {
        return Ok(PathBuf::from(file));
    }
    let image = Path::new(image.strip_prefix("file://").unwrap_or(image));
    match image.parent() {
        Some(directory) if directory.is_absolute() => Ok(directory.join(file)),
        _ => Err(format!("{file} is relative, but the container's image is no file it could be next to")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_for_in_the_volumes_then_beside_the_image_then_on_the_host() {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("check.wasm"), "").unwrap();
        let mount = Mount::host(host.path(), "/data", false);
        let mounts = [mount];
        let inside = resolve("/data/check.wasm", &mounts, "/images/web.wasm").unwrap();
        assert_eq!(inside, host.path().canonicalize().unwrap().join("check.wasm"));
        let beside = resolve("check.wasm", &mounts, "file:///images/web.wasm").unwrap();
        assert_eq!(beside, Path::new("/images/check.wasm"));
        assert_eq!(resolve("/a/check.wasm", &mounts, "sha256:00").unwrap(), Path::new("/a/check.wasm"));
        assert!(resolve("check.wasm", &mounts, "sha256:00").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn no_link_leads_out_of_a_volume() {
        let (host, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("a.wasm"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), host.path().join("link")).unwrap();
        let mounts = [Mount::host(host.path(), "/data", false)];
        let up = format!("/data/../{}/a.wasm", outside.path().file_name().unwrap().display());
        for file in ["/data/link/a.wasm", &up] {
            assert!(resolve(file, &mounts, "").unwrap_err().contains("leads out"), "{file}");
        }
    }
}
