//! How much a task may keep.

use super::{DEADLINE, PROBES, Probe, ephemeral, storage};
use coracle_runtime::{ContainerSpec, MAX_OPEN_FILES, NAME_BYTES, StorageLimits};

const KIB: u64 = 1024;

/// Room for `kib` KiB in one file.
fn limits(kib: u64) -> StorageLimits {
    StorageLimits { bytes: kib * KIB + NAME_BYTES, names: 100 }
}

#[tokio::test]
async fn a_full_storage_says_no_space_and_has_room_again_once_something_is_removed() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (storage, directory) = storage(limits(256));
        let said = probe
            .run(
                &[ephemeral(&storage, "root", "/")],
                &[
                    "write /a 262144", // just as much as there is room for
                    "append /a 1",
                    "at /a 262143 1", // within what it has
                    "at /a 262143 2",
                    "size /a 262145",
                    "write /b 0",
                    "unlink /a",
                    "write /b 200000",
                    "write /c 100000",
                    "write /b 1",
                    "write /c 100000",
                    "stat /c",
                ],
            )
            .await;
        let full = "StorageFull";
        let expected = ["ok", full, "ok", full, full, full, "ok", "ok", full, "ok", "ok", "100000"];
        assert_eq!(said, expected, "{guest}");
        // The second name of the last two does not fit beside 256 KiB, but it does beside a small file.
        assert_eq!(
            storage.quota().used(),
            StorageLimits { bytes: 100_001 + 2 * NAME_BYTES, names: 2 },
            "{guest}"
        );
        assert_eq!(std::fs::metadata(directory.join("root/b")).unwrap().len(), 1);
        drop(storage);
        // The container's last thread may still be letting go of it.
        tokio::time::timeout(DEADLINE, async {
            while directory.exists() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("removed with the task");
    }
}

#[tokio::test]
async fn every_way_to_make_a_file_longer_is_charged() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        for (operation, length) in [
            ("write /a 1000000", 0..=256 * KIB),
            ("append /a 1000000", 0..=256 * KIB),
            ("at /a 100000 1000000", 0..=256 * KIB),
            ("at /a 4000000000000 1", 0..=0),
            ("size /a 262145", 0..=0),
            ("size /a 9000000000000000000", 0..=0),
        ] {
            let (storage, directory) = storage(limits(256));
            let said = probe.run(&[ephemeral(&storage, "root", "/")], &["write /a 0", operation]).await;
            assert_eq!(said[1], "StorageFull", "{guest}: {operation}");
            let on_disk = std::fs::metadata(directory.join("root/a")).unwrap().len();
            assert!(length.contains(&on_disk), "{guest}: {operation}: {on_disk}");
            assert_eq!(storage.quota().used().bytes, on_disk + NAME_BYTES, "{guest}: {operation}");
        }
    }
}

#[tokio::test]
async fn names_are_limited_too() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (storage, _) = storage(StorageLimits { bytes: 1 << 30, names: 10 });
        let said = probe
            .run(
                &[ephemeral(&storage, "root", "/")],
                &[
                    "many /f 100",
                    "mkdir /d",
                    "symlink f0 /s",
                    "link /f0 /l",
                    "unlink /f9",
                    "mkdir /d",
                    "rmdir /d",
                    "symlink f0 /s",
                    "unlink /s",
                    "link /f0 /l",
                    "rename /l /f1",
                    "mkdir /d",
                    "mkdir /e",
                ],
            )
            .await;
        let full = "StorageFull";
        let expected = ["10", full, full, full, "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", full];
        assert_eq!(said, expected, "{guest}");
        assert_eq!(storage.quota().used().names, 10, "{guest}");
    }
}

#[tokio::test]
async fn a_file_without_a_name_counts_until_it_is_closed() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (storage, _) = storage(limits(256));
        let said = probe
            .run(
                &[ephemeral(&storage, "root", "/")],
                &["keep /a 200000", "unlink /a", "write /b 100000", "drop", "write /b 100000"],
            )
            .await;
        assert_eq!(said, ["ok", "ok", "StorageFull", "ok", "ok"], "{guest}");
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_gives_its_room_back() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (storage, _) = storage(StorageLimits { bytes: 256 * KIB, names: 100 });
        let said = probe
            .run(
                &[ephemeral(&storage, "root", "/")],
                &[
                    "write /a 100000",
                    "write /b 100000",
                    "rename /b /a",
                    "write /c 100000",
                    "link /a /d",
                    "rename /a /d", // two names of one file: nothing happens
                    "unlink /a",
                    "stat /d",
                    "write /e 100000",
                    "unlink /d",
                    "write /e 100000",
                ],
            )
            .await;
        let expected = ["ok", "ok", "ok", "ok", "ok", "ok", "ok", "100000", "StorageFull", "ok", "ok"];
        assert_eq!(said, expected, "{guest}");
    }
}

#[tokio::test]
async fn one_task_that_is_full_harms_no_other() {
    let probe = Probe::new("fsprobe");
    let ((one, _), (other, _)) = (storage(limits(64)), storage(limits(64)));
    let said = probe.run(&[ephemeral(&one, "root", "/")], &["write /a 1000000"]).await;
    assert_eq!(said, ["StorageFull"]);
    let said = probe.run(&[ephemeral(&other, "root", "/")], &["write /a 65536"]).await;
    assert_eq!(said, ["ok"]);
}

#[tokio::test]
async fn all_directories_of_a_task_count_together() {
    let probe = Probe::new("fsprobe");
    let (storage, _) = storage(StorageLimits { bytes: 128 * KIB, names: 100 });
    let mounts = [ephemeral(&storage, "root", "/"), ephemeral(&storage, "volume", "/data")];
    let said = probe
        .run(&mounts, &["write /a 60000", "write /data/b 60000", "unlink /a", "write /data/b 100000"])
        .await;
    assert_eq!(said, ["ok", "StorageFull", "ok", "ok"]);
}

/// In preview 2 the adapter that toolchains link in has a limit of its own, of 128.
#[tokio::test]
async fn a_guest_cannot_take_all_descriptors_of_the_host() {
    let probe = Probe::new("fsprobe-p1");
    let (storage, _) = storage(limits(64));
    let mounts = [ephemeral(&storage, "root", "/")];
    let said = probe
        .run(&mounts, &["write /a 1", "open /a 5000", "open /a 1", "write /b 1", "drop", "open /a 5000"])
        .await;
    let most = MAX_OPEN_FILES.to_string();
    assert_eq!(said[..3], ["ok", &most, "0"]);
    assert_ne!(said[3], "ok");
    assert_eq!(said[4..], ["ok", &most]);
}

#[tokio::test]
async fn a_container_may_be_given_fewer_open_files() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (storage, _) = storage(limits(64));
        let spec = ContainerSpec {
            mounts: vec![ephemeral(&storage, "root", "/")],
            open_files: 3,
            ..ContainerSpec::named("probe")
        };
        let said =
            probe.run_with(spec, &["write /a 1", "open /a 9", "write /b 1", "drop", "write /b 1"]).await;
        assert_eq!(said[..2], ["ok", "3"], "{guest}");
        assert_ne!(said[2], "ok", "{guest}");
        assert_eq!(said[3..], ["ok", "ok"], "{guest}");
    }
}
