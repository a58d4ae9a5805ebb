use super::*;
use proptest::prelude::*;
use std::os::unix::fs::FileExt;

fn quota(bytes: u64) -> Arc<Quota> {
    Quota::new(StorageLimits { bytes, names: 4 })
}

fn file_of(size: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size).unwrap();
    file
}

#[test]
fn a_write_is_charged_for_the_growth_alone() {
    let quota = quota(1000);
    let file = quota.opened(1, 0);
    let on_disk = file_of(600);
    file.write_to(600).unwrap().finish(true, &on_disk);
    file.write_to(300).unwrap().finish(true, &on_disk);
    assert_eq!(quota.used().bytes, 600);
    assert_eq!(file.append(401).unwrap_err(), NoSpace);
    file.append(400).unwrap().finish(true, &on_disk);
    assert_eq!(quota.used().bytes, 1000);
}

#[test]
fn what_a_failed_write_did_not_use_comes_back() {
    let quota = quota(1000);
    let file = quota.opened(1, 0);
    file.write_to(900).unwrap().finish(false, &file_of(100));
    assert_eq!(quota.used().bytes, 100);
}

#[test]
fn a_file_is_not_measured_while_another_write_is_under_way() {
    let quota = quota(1000);
    let (one, other) = (quota.opened(1, 0), quota.opened(1, 0));
    let under_way = other.write_to(900).unwrap();
    one.resize(0).unwrap().finish(false, &file_of(0));
    assert_eq!(quota.used().bytes, 900, "the other write may yet use it");
    under_way.finish(true, &file_of(900));
    assert_eq!(quota.used().bytes, 900);
}

#[test]
fn an_abandoned_write_is_measured_when_the_file_is_opened_again() {
    let quota = quota(1000);
    let file = quota.opened(1, 0);
    drop(file.write_to(900).unwrap());
    drop(file);
    assert_eq!(quota.used().bytes, 900);
    drop(quota.opened(1, 10));
    assert_eq!(quota.used().bytes, 10);
}

#[test]
fn a_removed_file_is_charged_until_it_is_closed() {
    let quota = quota(100_000);
    quota.charge_name().unwrap().made();
    let file = quota.opened(1, 0);
    file.write_to(500).unwrap().finish(true, &file_of(500));
    quota.name_removed();
    quota.file_removed(1, 500);
    assert_eq!(quota.used(), StorageLimits { bytes: 500, names: 0 });
    file.append(100).unwrap().finish(true, &file_of(600));
    drop(file);
    assert_eq!(quota.used(), StorageLimits { bytes: 0, names: 0 });
}

#[test]
fn names_are_limited_by_their_number_and_by_bytes() {
    let quota = quota(100_000);
    let names: Vec<_> = (0..4).map(|_| quota.charge_name().unwrap()).collect();
    assert_eq!(quota.charge_name().unwrap_err(), NoSpace);
    drop(names);
    assert_eq!(quota.used(), StorageLimits { bytes: 0, names: 0 });

    let small = Quota::new(StorageLimits { bytes: NAME_BYTES, names: 4 });
    small.charge_name().unwrap().made();
    assert_eq!(small.charge_name().unwrap_err(), NoSpace);
}

/// What a guest might do to one of three files.
#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Write { file: usize, at: u64, length: u64 },
    Append { file: usize, length: u64 },
    Resize { file: usize, size: u64 },
    Abandon { file: usize, at: u64, length: u64 },
    Close(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0usize..3;
    prop_oneof![
        file.clone().prop_map(Step::Open),
        (file.clone(), 0u64..300, 1u64..200).prop_map(|(file, at, length)| Step::Write { file, at, length }),
        (file.clone(), 1u64..200).prop_map(|(file, length)| Step::Append { file, length }),
        (file.clone(), 0u64..400).prop_map(|(file, size)| Step::Resize { file, size }),
        (file.clone(), 0u64..300, 1u64..200).prop_map(|(file, at, length)| Step::Abandon {
            file,
            at,
            length
        }),
        file.clone().prop_map(Step::Close),
        file.prop_map(Step::Remove),
    ]
}

/// A file on disk, how often it is open, and whether it still has its name.
#[derive(Default)]
struct Slot {
    file: Option<File>,
    identity: u64,
    open: Vec<Arc<OpenFile>>,
    nameless: bool,
}

fn size(file: &File) -> u64 {
    file.metadata().unwrap().len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// However a guest opens, writes, appends, truncates, breaks off, closes and removes: what is charged covers what its files
    /// have, and never passes the limit; when all is gone, nothing is charged.
    #[test]
    fn the_charge_is_never_below_the_truth_nor_above_the_limit(steps in prop::collection::vec(step(), 1..120)) {
        const LIMIT: u64 = 700;
        let quota = quota(LIMIT);
        let mut slots = [Slot::default(), Slot::default(), Slot::default()];
        let mut identities = 0;
        for step in steps {
            match step {
                Step::Open(index) => {
                    let slot = &mut slots[index];
                    if slot.nameless {
                        continue;
                    }
                    if slot.file.is_none() {
                        identities += 1;
                        (slot.file, slot.identity) = (Some(file_of(0)), identities);
                    }
                    let measured = size(slot.file.as_ref().unwrap());
                    slot.open.push(quota.opened(slot.identity, measured));
                }
                Step::Write { file, at, length } => {
                    let (Some(on_disk), Some(open)) = (&slots[file].file, slots[file].open.last()) else { continue };
                    if let Ok(write) = open.write_to(at + length) {
                        on_disk.write_all_at(&vec![1; usize::try_from(length).unwrap()], at).unwrap();
                        write.finish(true, on_disk);
                    }
                }
                Step::Append { file, length } => {
                    let (Some(on_disk), Some(open)) = (&slots[file].file, slots[file].open.last()) else { continue };
                    if let Ok(write) = open.append(length) {
                        on_disk.set_len(size(on_disk) + length).unwrap();
                        write.finish(true, on_disk);
                    }
                }
                Step::Resize { file, size } => {
                    let (Some(on_disk), Some(open)) = (&slots[file].file, slots[file].open.last()) else { continue };
                    if let Ok(write) = open.resize(size) {
                        on_disk.set_len(size).unwrap();
                        write.finish(false, on_disk);
                    }
                }
                Step::Abandon { file, at, length } => {
                    let (Some(on_disk), Some(open)) = (&slots[file].file, slots[file].open.last()) else { continue };
                    if let Ok(write) = open.write_to(at + length) {
                        on_disk.write_all_at(&vec![1; usize::try_from(length / 2).unwrap()], at).unwrap();
                        drop(write);
                    }
                }
                Step::Close(index) => {
                    let slot = &mut slots[index];
                    slot.open.pop();
                    if slot.open.is_empty() && slot.nameless {
                        *slot = Slot::default();
                    }
                }
                Step::Remove(index) => {
                    let slot = &mut slots[index];
                    let Some(file) = slot.file.as_ref().filter(|_| !slot.nameless) else { continue };
                    quota.file_removed(slot.identity, size(file));
                    slot.nameless = true;
                    if slot.open.is_empty() {
                        *slot = Slot::default();
                    }
                }
            }
            let truth: u64 = slots.iter().filter_map(|slot| slot.file.as_ref()).map(size).sum();
            let charged = quota.used().bytes;
            prop_assert!(charged >= truth, "charged {charged}, in use {truth}");
            prop_assert!(charged <= LIMIT, "charged {charged}");
        }
        for slot in &mut slots {
            if let Some(file) = slot.file.as_ref().filter(|_| !slot.nameless) {
                quota.file_removed(slot.identity, size(file));
            }
            slot.open.clear();
        }
        prop_assert_eq!(quota.used().bytes, 0);
    }
}
