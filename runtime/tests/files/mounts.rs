//! What is where, and what may be done there.

use super::{PROBES, Probe, ephemeral, storage};
use coracle_runtime::{ContainerSpec, Mount, StorageLimits};
use std::fs;

#[tokio::test]
async fn a_guest_without_mounts_sees_no_files() {
    for guest in PROBES {
        let said = Probe::new(guest).run(&[], &["list /", "read /etc/passwd", "write /a 1", "list ."]).await;
        assert!(said.iter().all(|line| line != "ok" && !line.contains("root")), "{guest}: {said:?}");
    }
}

#[tokio::test]
async fn the_root_is_the_tasks_own_and_shows_where_mounts_are() {
    for guest in PROBES {
        let host = tempfile::tempdir().unwrap();
        fs::write(host.path().join("given"), "from the host").unwrap();
        let (storage, directory) = storage(StorageLimits::of_bytes(1 << 20));
        let mounts = [ephemeral(&storage, "root", "/"), Mount::host(host.path(), "/data/in", false)];
        let said = Probe::new(guest)
            .run(
                &mounts,
                &[
                    "list /",
                    "list /data",
                    "read /data/in/given",
                    "text /data/in/made by-the-guest",
                    "mkdir /tmp",
                    "text /tmp/own x",
                    "text relative y",
                    "read /relative",
                ],
            )
            .await;
        assert_eq!(said, ["data", "in", "from the host", "ok", "ok", "ok", "ok", "y"], "{guest}");
        assert_eq!(fs::read_to_string(host.path().join("made")).unwrap(), "by-the-guest");
        assert_eq!(fs::read_to_string(directory.join("root/tmp/own")).unwrap(), "x");
    }
}

#[tokio::test]
async fn a_handler_that_asks_for_no_files_makes_no_directory() {
    use http_body_util::{BodyExt, Empty};
    let (storage, directory) = storage(StorageLimits::of_bytes(1 << 20));
    fs::remove_dir(&directory).unwrap();
    let hello = Probe::new("hello");
    let spec =
        ContainerSpec { mounts: vec![ephemeral(&storage, "root", "/")], ..ContainerSpec::named("hello") };
    let container = hello.runtime.start(&hello.image, spec).await.unwrap();
    let request = http::Request::get("/").header("host", "test").body(Empty::new()).unwrap();
    let answer = container.handle(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_read_only_mount_can_be_changed_in_no_way() {
    for guest in PROBES {
        let host = tempfile::tempdir().unwrap();
        fs::write(host.path().join("file"), "as it was").unwrap();
        fs::create_dir(host.path().join("directory")).unwrap();
        let (storage, _) = storage(StorageLimits::of_bytes(1 << 20));
        let mounts = [ephemeral(&storage, "root", "/"), Mount::host(host.path(), "/ro", true)];
        let operations = [
            "write /ro/new 1",
            "write /ro/file 0",
            "append /ro/file 1",
            "at /ro/file 0 1",
            "size /ro/file 0",
            "mkdir /ro/new",
            "rmdir /ro/directory",
            "unlink /ro/file",
            "symlink file /ro/new",
            "link /ro/file /ro/new",
            "link /ro/file /new",
            "rename /ro/file /ro/new",
            "rename /ro/file /new",
            "keep /ro/file 1",
        ];
        let said = Probe::new(guest).run(&mounts, &operations).await;
        for (operation, said) in operations.iter().zip(&said) {
            assert!(
                ["PermissionDenied", "ReadOnlyFilesystem", "CrossesDevices"].contains(&said.as_str()),
                "{guest}: {operation}: {said}"
            );
        }
        assert_eq!(
            Probe::new(guest).run(&mounts, &["read /ro/file", "list /ro"]).await,
            ["as it was", "directory file"]
        );
        assert_eq!(fs::read_to_string(host.path().join("file")).unwrap(), "as it was");
        assert_eq!(fs::read_dir(host.path()).unwrap().count(), 2);
    }
}

#[tokio::test]
async fn each_mount_is_a_file_system_of_its_own() {
    for guest in PROBES {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mounts = [Mount::host(one.path(), "/one", false), Mount::host(other.path(), "/other", false)];
        let said = Probe::new(guest)
            .run(
                &mounts,
                &["write /one/a 1", "link /one/a /other/a", "rename /one/a /other/a", "rename /one/a /one/b"],
            )
            .await;
        assert_eq!(said, ["ok", "CrossesDevices", "CrossesDevices", "ok"], "{guest}");
    }
}

#[tokio::test]
async fn containers_of_a_task_share_its_volumes() {
    let (storage, _) = storage(StorageLimits::of_bytes(1 << 20));
    let volume = [ephemeral(&storage, "volumes/shared", "/data")];
    assert_eq!(Probe::new("fsprobe").run(&volume, &["text /data/a said"]).await, ["ok"]);
    for other in ["fsprobe-p1", "fsprobe-p3"] {
        assert_eq!(Probe::new(other).run(&volume, &["read /data/a"]).await, ["said"], "{other}");
    }
}

#[tokio::test]
async fn the_working_directory_is_told_to_the_guest() {
    for guest in PROBES {
        let (storage, _) = storage(StorageLimits::of_bytes(1 << 20));
        let spec = ContainerSpec {
            mounts: vec![ephemeral(&storage, "root", "/")],
            working_directory: Some("/work".to_owned()),
            ..ContainerSpec::named("probe")
        };
        let said = Probe::new(guest).run_with(spec, &["cwd"]).await;
        assert!(said[0].starts_with("/work "), "{guest}: {said:?}");
    }
}

/// A file system of 64 KiB that this test fills: needs the right to mount.
#[tokio::test]
async fn a_full_disk_of_the_host_is_an_error_for_the_guest_alone() {
    let mounted = tempfile::tempdir().unwrap();
    let Ok(tmpfs) = Tmpfs::mount(mounted.path()) else {
        eprintln!("skipped: mounting is not permitted here");
        return;
    };
    for guest in PROBES {
        let mounts = [Mount::host(mounted.path(), "/data", false)];
        let said = Probe::new(guest)
            .run(&mounts, &["write /data/a 1000000", "unlink /data/a", "write /data/a 10"])
            .await;
        assert_eq!(said, ["StorageFull", "ok", "ok"], "{guest}");
    }
    drop(tmpfs);
}

struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(path: &std::path::Path) -> Result<Self, ()> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(path.to_owned())).ok_or(())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _status = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
