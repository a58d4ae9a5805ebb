//! Ways out of a mounted directory, tried one by one and generated.

use super::{PROBES, Probe, ephemeral, storage};
use coracle_runtime::{Mount, StorageLimits};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What lies outside, and must be neither read nor changed.
const SECRET: &str = "the-secret-of-the-host";

/// A file beside it whose name no guest thinks of: who sees it has listed what is outside.
const MARK: &str = "only-outside";

/// A directory with a mount and, beside it, a secret.
struct Trap {
    directory: tempfile::TempDir,
}

impl Trap {
    fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("inside/sub")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/secret"), SECRET).unwrap();
        fs::write(directory.path().join("outside").join(MARK), "").unwrap();
        fs::write(directory.path().join("inside/plain"), "plain").unwrap();
        // Links that the host's own user left there.
        let inside = directory.path().join("inside");
        symlink("../outside", inside.join("up")).unwrap();
        symlink("../outside/secret", inside.join("up-file")).unwrap();
        symlink(directory.path().join("outside"), inside.join("absolute")).unwrap();
        symlink(directory.path().join("outside/secret"), inside.join("absolute-file")).unwrap();
        symlink("/", inside.join("host")).unwrap();
        symlink("/proc/self/root", inside.join("proc")).unwrap();
        symlink("/proc/self/cwd", inside.join("cwd")).unwrap();
        symlink("../outside/new", inside.join("dangling")).unwrap();
        symlink("sub", inside.join("good")).unwrap();
        Self { directory }
    }

    fn mount(&self) -> Mount {
        Mount::host(self.directory.path().join("inside"), "/data", false)
    }

    fn outside(&self) -> String {
        self.directory.path().join("outside").display().to_string()
    }

    fn assert_untouched(&self, said: &[String]) {
        let outside = self.directory.path().join("outside");
        assert!(said.iter().all(|line| !line.contains(SECRET)), "the secret was read: {said:?}");
        assert!(said.iter().all(|line| !line.contains(MARK)), "listed: {said:?}");
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), SECRET, "{said:?}");
        let mut names: Vec<_> =
            fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [MARK, "secret"], "{said:?}");
        let links = fs::metadata(outside.join("secret"))
            .map(|metadata| std::os::unix::fs::MetadataExt::nlink(&metadata));
        assert_eq!(links.unwrap(), 1, "{said:?}");
    }
}

#[tokio::test]
async fn no_link_and_no_dots_lead_out() {
    for guest in PROBES {
        let trap = Trap::set();
        let outside = trap.outside();
        let mut operations = vec![
            format!("read {outside}/secret"),
            format!("read /data/../{}", &outside[1..]),
            "symlink / /data/root".to_owned(),
            format!("symlink {outside} /data/out"),
            "symlink ../outside /data/sideways".to_owned(),
            "symlink ../../outside /data/sub/sideways".to_owned(),
            "symlink sub/../../outside/secret /data/clever".to_owned(),
        ];
        for path in [
            "up/secret",
            "up-file",
            "absolute/secret",
            "absolute-file",
            "dangling",
            "sideways/secret",
            "sub/sideways/secret",
            "clever",
            "out/secret",
            "../outside/secret",
            "sub/../../outside/secret",
            "good/../../outside/secret",
            "./../outside/secret",
            "sub/.././../outside/secret",
            "/../outside/secret",
        ] {
            for operation in ["read", "stat", "unlink", "append", "write", "size", "text", "keep", "readlink"]
            {
                // The links themselves are the guest's to remove: not before all else was tried.
                if operation == "unlink" && !path.contains('/') {
                    continue;
                }
                operations.push(format!("{operation} /data/{path} 1"));
            }
            operations.push(format!("link /data/{path} /data/stolen"));
            operations.push("read /data/stolen".to_owned());
            operations.push("unlink /data/stolen".to_owned());
        }
        for path in
            ["up", "absolute", "sideways", "..", "sub/../..", "good/../../outside", "up/.", "absolute/."]
        {
            for operation in ["list", "mkdir", "rmdir"] {
                operations.push(format!("{operation} /data/{path}"));
            }
            operations.push(format!("write /data/{path}/made 1"));
            operations.push(format!("mkdir /data/{path}/made"));
            operations.push(format!("symlink plain /data/{path}/made"));
            operations.push(format!("link /data/plain /data/{path}/made"));
            operations.push(format!("rename /data/plain /data/{path}/made"));
            operations.push(format!("rename /data/{path}/secret /data/stolen"));
            operations.push("read /data/stolen".to_owned());
        }
        for path in ["host/etc/passwd", "proc/etc/passwd", "cwd/Cargo.toml", "../../../../../../etc/passwd"] {
            operations.push(format!("read /data/{path}"));
        }
        let said = Probe::new(guest).run(&[trap.mount()], &operations).await;
        assert!(
            said.iter().all(|line| !line.contains("root:") && !line.contains("[package]")),
            "{guest}: {said:?}"
        );
        trap.assert_untouched(&said);
    }
}

#[tokio::test]
async fn links_that_stay_inside_work() {
    for guest in PROBES {
        let trap = Trap::set();
        let operations = [
            "text /data/good/a here",
            "read /data/sub/a",
            "symlink ../plain /data/sub/back",
            "read /data/sub/back",
            "read /data/good/../plain",
        ];
        let said = Probe::new(guest).run(&[trap.mount()], &operations).await;
        assert_eq!(said, ["ok", "here", "ok", "plain", "plain"], "{guest}");
    }
}

/// One guest turns a directory into a link that leads out and back, again and again, while another goes through it.
#[tokio::test(flavor = "multi_thread")]
async fn no_rename_in_the_middle_of_a_path_leads_out() {
    for guest in PROBES {
        let trap = Trap::set();
        let swap = [
            "rename /data/sub /data/away",
            "rename /data/up /data/sub",
            "rename /data/sub /data/up",
            "rename /data/away /data/sub",
        ];
        let swaps: Vec<_> = swap.iter().cycle().take(4 * 200).collect();
        let tries = [
            "read /data/sub/secret",
            "write /data/sub/made 1",
            "mkdir /data/sub/dir",
            "list /data/sub",
            "symlink a /data/sub/made",
            "unlink /data/sub/secret",
            "link /data/sub/secret /data/stolen",
            "read /data/stolen",
            "unlink /data/sub/made",
            "rmdir /data/sub/dir",
        ];
        let tries: Vec<_> = tries.iter().cycle().take(10 * 200).collect();
        let (one, other) = (Probe::new(guest), Probe::new(guest));
        let mounts = [trap.mount()];
        let (_, said) = tokio::join!(one.run(&mounts, &swaps), other.run(&mounts, &tries));
        assert!(said.iter().any(|line| line == "ok"), "{guest}: it did get somewhere: {said:?}");
        trap.assert_untouched(&said);
    }
}

/// Names that paths are made of: some exist, some are links that lead out, some are made by the guest.
fn component() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "..", ".", "sub", "good", "up", "up-file", "absolute", "host", "proc", "plain", "outside", "secret",
        "a", "b", "made", "", "dangling", "cwd",
    ])
    .prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(component(), 1..6).prop_map(|parts| format!("/data/{}", parts.join("/")))
}

/// A link's target: relative, or absolute, or the way to what is outside.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(component(), 1..6).prop_map(|parts| parts.join("/")),
        prop::collection::vec(component(), 1..4).prop_map(|parts| format!("/{}", parts.join("/"))),
        Just("OUTSIDE".to_owned()),
        Just("OUTSIDE/secret".to_owned()),
        Just("../outside".to_owned()),
    ]
}

fn operation() -> impl Strategy<Value = String> {
    prop_oneof![
        (prop::sample::select(vec!["read", "list", "mkdir", "rmdir", "unlink", "stat", "readlink"]), path())
            .prop_map(|(operation, path)| format!("{operation} {path}")),
        (prop::sample::select(vec!["write", "append", "size", "keep", "text"]), path())
            .prop_map(|(operation, path)| format!("{operation} {path} 3")),
        (target(), path()).prop_map(|(target, path)| format!("symlink {target} {path}")),
        (prop::sample::select(vec!["link", "rename"]), path(), path())
            .prop_map(|(operation, from, to)| format!("{operation} {from} {to}")),
    ]
}

/// `PROPTEST_CASES` for a long run.
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Whatever paths and links a guest thinks of, in whatever order.
#[test]
fn no_sequence_of_operations_leads_out() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let probes: Vec<_> = PROBES.iter().map(|guest| Probe::new(guest)).collect();
    let mut runner = TestRunner::new(config());
    let sequences = prop::collection::vec(operation(), 50..150);
    runner
        .run(&sequences, |operations| {
            for probe in &probes {
                let trap = Trap::set();
                let outside = trap.outside();
                let operations: Vec<_> =
                    operations.iter().map(|text| text.replace("OUTSIDE", &outside)).collect();
                let said = runtime.block_on(probe.run(&[trap.mount()], &operations));
                prop_assert_eq!(said.len(), operations.len());
                trap.assert_untouched(&said);
            }
            Ok(())
        })
        .unwrap();
}

/// How much there really is below a directory: files' sizes by inode, and names.
fn truth(directory: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let mut files = std::collections::BTreeMap::new();
    let mut names = 0;
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            names += 1;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.is_file() {
                files.insert(metadata.ino(), metadata.len());
            }
        }
    }
    (files.values().sum(), names)
}

fn growth() -> impl Strategy<Value = String> {
    let path = || {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 1..3)
            .prop_map(|parts| format!("/{}", parts.join("/")))
    };
    prop_oneof![
        (prop::sample::select(vec!["write", "append", "size", "keep"]), path(), 0u32..60_000)
            .prop_map(|(operation, path, bytes)| format!("{operation} {path} {bytes}")),
        (path(), 0u32..60_000, 0u32..60_000).prop_map(|(path, at, bytes)| format!("at {path} {at} {bytes}")),
        (prop::sample::select(vec!["mkdir", "rmdir", "unlink"]), path())
            .prop_map(|(operation, path)| format!("{operation} {path}")),
        (prop::sample::select(vec!["link", "rename", "symlink"]), path(), path())
            .prop_map(|(operation, from, to)| format!("{operation} {from} {to}")),
        Just("drop".to_owned()),
    ]
}

/// Whatever a guest does, what is charged is what is there, and never more than the limit.
#[test]
fn no_sequence_of_operations_gets_past_the_limit() {
    const LIMIT: StorageLimits = StorageLimits { bytes: 200_000, names: 20 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let probes: Vec<_> = PROBES.iter().map(|guest| Probe::new(guest)).collect();
    let mut runner = TestRunner::new(config());
    runner
        .run(&prop::collection::vec(growth(), 20..120), |operations| {
            for probe in &probes {
                let (storage, directory) = storage(LIMIT);
                runtime.block_on(probe.run(&[ephemeral(&storage, "root", "/")], &operations));
                let (bytes, names) = truth(&directory.join("root"));
                let used = storage.quota().used();
                prop_assert_eq!(used.names, names);
                prop_assert_eq!(used.bytes, bytes + names * coracle_runtime::NAME_BYTES);
                prop_assert!(used.bytes <= LIMIT.bytes && used.names <= LIMIT.names, "{:?}", used);
            }
            Ok(())
        })
        .unwrap();
}
