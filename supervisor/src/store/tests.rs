use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use ::redb::{Builder, StorageBackend};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::memory::MemoryStore;
use super::redb::RedbStore;
use super::*;

fn put(key: &str, value: &str) -> Transaction {
    Transaction::new().put(key, value.to_owned())
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.get(key).await.unwrap()?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

/// Every test of the semantics, for both implementations.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Arc<dyn Store>) -> F) {
    test(Arc::new(MemoryStore::new())).await;
    let directory = tempfile::tempdir().unwrap();
    test(Arc::new(RedbStore::open(&directory.path().join("store")).unwrap())).await;
}

#[tokio::test]
async fn a_transaction_happens_whole_or_not_at_all() {
    on_both(|store| async move {
        store.commit(put("a", "1").put("b", "1")).await.unwrap();
        let refused = put("a", "2").put("c", "2").when(Compare::Absent("b".to_owned()));
        let outcome = store.commit(refused).await.unwrap();
        assert_eq!(outcome, Outcome::Conflict(Compare::Absent("b".to_owned())));
        assert_eq!(value(&*store, "a").await.as_deref(), Some("1"));
        assert_eq!(value(&*store, "c").await, None);
    })
    .await;
}

#[tokio::test]
async fn compare_and_swap_lets_one_of_two_writers_through() {
    on_both(|store| async move {
        store.commit(put("a", "0")).await.unwrap();
        let revision = store.get("a").await.unwrap().unwrap().revision;
        let swap = |value: &str| put("a", value).when(Compare::Revision("a".to_owned(), revision));
        let (first, second) = tokio::join!(store.commit(swap("1")), store.commit(swap("2")));
        let committed = [first.unwrap(), second.unwrap()]
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Committed(_)))
            .count();
        assert_eq!(committed, 1);
    })
    .await;
}

#[tokio::test]
async fn an_empty_prefix_can_be_required() {
    on_both(|store| async move {
        let delete = || Transaction::new().when(Compare::NoneUnder("service/".to_owned())).delete("cluster");
        store.commit(put("cluster", "").put("service/a", "")).await.unwrap();
        assert!(matches!(store.commit(delete()).await.unwrap(), Outcome::Conflict(Compare::NoneUnder(_))));
        store.commit(Transaction::new().delete("service/a")).await.unwrap();
        assert!(matches!(store.commit(delete()).await.unwrap(), Outcome::Committed(_)));
    })
    .await;
}

#[tokio::test]
async fn a_range_is_in_order_and_ends_with_its_prefix() {
    on_both(|store| async move {
        store.commit(put("a/2", "").put("a/1", "").put("a0", "").put("b", "").put("a", "")).await.unwrap();
        let keys: Vec<String> =
            store.range("a/").await.unwrap().iter().map(|entry| entry.key.to_string()).collect();
        assert_eq!(keys, ["a/1", "a/2"]);
    })
    .await;
}

#[tokio::test]
async fn a_watch_sees_what_there_is_and_then_every_change_in_order() {
    on_both(|store| async move {
        store.commit(put("a/1", "old").put("b", "")).await.unwrap();
        let mut watch = store.watch(&["a/", "session/a/"]).await.unwrap();
        assert_eq!(watch.snapshot.len(), 1);
        store.commit(put("a/2", "new").delete("a/1")).await.unwrap();
        store.commit(put("b", "unseen")).await.unwrap();
        store.commit(put("session/a/1", "session")).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(match watch.next().await.unwrap() {
                Change::Put(entry) => format!("+{}", entry.key),
                Change::Delete(key, _) => format!("-{key}"),
            });
        }
        assert_eq!(seen, ["+a/2", "-a/1", "+session/a/1"]);
        assert!(watch.try_next().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_falls_too_far_behind_ends_instead_of_growing() {
    let store = MemoryStore::new();
    let mut watch = store.watch(&["a"]).await.unwrap();
    for _ in 0..70_000 {
        store.commit(put("a", "")).await.unwrap();
    }
    let mut seen = 0;
    while watch.next().await.is_ok() {
        seen += 1;
    }
    assert!(seen < 70_000, "{seen}");
}

#[tokio::test]
async fn revisions_grow() {
    on_both(|store| async move {
        let mut last = 0;
        for key in ["a", "session/a", "b", "a", "session/a"] {
            let Outcome::Committed(revision) = store.commit(put(key, "")).await.unwrap() else {
                panic!("refused")
            };
            assert!(revision > last, "{revision} after {last}");
            last = revision;
        }
    })
    .await;
}

#[tokio::test]
async fn durable_and_session_keys_do_not_mix_in_one_transaction() {
    on_both(|store| async move {
        let error = store.commit(put("a", "").put("session/a", "")).await.unwrap_err();
        assert!(matches!(error, StoreError::MixedLifetimes));
    })
    .await;
}

#[tokio::test]
async fn a_reopened_store_holds_what_was_durable_and_goes_on_with_its_revisions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = RedbStore::open(&path).unwrap();
    store.commit(put("a", "1").put("b", "1")).await.unwrap();
    store.commit(put("session/a", "1")).await.unwrap();
    let Outcome::Committed(revision) = store.commit(put("a", "2").delete("b")).await.unwrap() else {
        panic!("refused")
    };
    store.close().await;
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some("2"));
    assert_eq!(value(&store, "b").await, None);
    assert_eq!(value(&store, "session/a").await, None);
    let Outcome::Committed(next) = store.commit(put("c", "")).await.unwrap() else { panic!("refused") };
    assert!(next > revision);
}

#[tokio::test]
async fn a_file_that_is_open_already_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let _open = RedbStore::open(&path).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn transactions_that_wait_together_share_a_flush() {
    let disk = Disk::default();
    let store = Arc::new(RedbStore::over(disk.open()).unwrap());
    let before = disk.flushes();
    let writers = (0..200).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(put(&format!("key/{number}"), "")).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert!(matches!(writer.await.unwrap(), Outcome::Committed(_)));
    }
    let flushes = disk.flushes() - before;
    assert!(flushes < 100, "{flushes} flushes for 200 transactions");
}

/// What was acknowledged is on the disk, and no transaction is there in part, whenever the power goes: any of the writes that were not
/// flushed may be lost, and others not.
#[tokio::test]
async fn no_acknowledged_write_is_lost_and_none_is_half_there_after_a_loss_of_power() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = Disk::default();
        let store = Arc::new(RedbStore::over(disk.open()).unwrap());
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, acknowledged, disk) =
                    (Arc::clone(&store), Arc::clone(&acknowledged), disk.clone());
                tokio::spawn(async move {
                    for number in 0..60_u32 {
                        let (left, right) = (format!("{writer}/left"), format!("{writer}/right"));
                        let text = number.to_string();
                        store.commit(put(&left, &text).put(right, text)).await.unwrap();
                        // Once the power is off, nobody hears an acknowledgement any more.
                        disk.if_powered(|| {
                            acknowledged.lock().unwrap().insert(writer, number);
                        });
                    }
                })
            })
            .collect();
        let enough = rng.random_range(0..300);
        let acknowledgements = || acknowledged.lock().unwrap().values().map(|number| number + 1).sum::<u32>();
        while acknowledgements() < enough {
            tokio::task::yield_now().await;
        }
        let after = disk.lose_power(&mut rng);
        for writer in writers {
            writer.await.unwrap();
        }
        let restored = RedbStore::over(after.open()).unwrap();
        let acknowledged = acknowledged.lock().unwrap().clone();
        for (writer, number) in &acknowledged {
            let left = value(&restored, &format!("{writer}/left")).await.unwrap();
            let right = value(&restored, &format!("{writer}/right")).await;
            assert_eq!(Some(&left), right.as_ref(), "seed {seed}: half a transaction");
            assert!(
                left.parse::<u32>().unwrap() >= *number,
                "seed {seed}: {left} after {number} was acknowledged"
            );
        }
    }
}

/// A disk in memory that knows what was flushed.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    content: Vec<u8>,
    durable: Vec<u8>,
    unflushed: Vec<(usize, Vec<u8>)>,
    flushes: u32,
    off: bool,
}

impl Disk {
    fn open(&self) -> ::redb::Database {
        Builder::new().create_with_backend(self.clone()).unwrap()
    }

    fn flushes(&self) -> u32 {
        self.0.lock().unwrap().flushes
    }

    fn if_powered(&self, act: impl FnOnce()) {
        let platter = self.0.lock().unwrap();
        if !platter.off {
            act();
        }
    }

    /// The disk as it is found afterwards. Writes to this one go on and change nothing.
    fn lose_power(&self, rng: &mut StdRng) -> Self {
        let mut platter = self.0.lock().unwrap();
        platter.off = true;
        let mut content = platter.durable.clone();
        content.resize(platter.content.len().max(content.len()), 0);
        for (offset, bytes) in &platter.unflushed {
            if rng.random_bool(0.5) && offset + bytes.len() <= content.len() {
                content[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        Self(Arc::new(Mutex::new(Platter { durable: content.clone(), content, ..Platter::default() })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let bytes = platter.content.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().content.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if !platter.off {
            platter.durable = platter.content.clone();
            platter.unflushed.clear();
            platter.flushes += 1;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        platter.content[start..start + data.len()].copy_from_slice(data);
        platter.unflushed.push((start, data.to_vec()));
        Ok(())
    }
}
