use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::model::task::{LastStatus, StopCode, StopOrder};
use crate::store::Watch;
use crate::store::memory::MemoryStore;

/// A store in which something happens just before a certain key is read.
#[derive(Debug)]
struct Interrupted {
    store: MemoryStore,
    before: String,
    happens: Vec<Transaction>,
}

#[async_trait]
impl Store for Interrupted {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if key == self.before {
            for transaction in &self.happens {
                self.store.commit(transaction.clone()).await?;
            }
        }
        self.store.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.store.range(prefix).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        self.store.commit(transaction).await
    }

    async fn watch(&self, prefixes: &[&str]) -> Result<Watch, StoreError> {
        self.store.watch(prefixes).await
    }
}

fn order() -> TaskRecord {
    let order = json!({
        "id": "0123456789abcdef0123456789abcdef", "cluster": "default", "taskDefinition": {"family": "hello", "revision": 1},
        "service": null, "group": "family:hello", "startedBy": null, "launchType": "EC2", "node": "local", "createdAt": 0.0,
    });
    serde_json::from_value(order).unwrap()
}

#[tokio::test]
async fn a_task_that_ends_while_it_is_looked_up_is_not_taken_for_one_that_has_not_begun() {
    let record = order();
    let (cluster, id) = (record.cluster.clone(), record.id.clone());
    let (order_key, status_key) = (keys::standalone_task(&cluster, &id), keys::status(&cluster, &id));
    let running = TaskStatus { last_status: LastStatus::Running, version: 3, ..TaskStatus::default() };
    let stopped = StoppedTask {
        task: record.clone(),
        status: TaskStatus {
            last_status: LastStatus::Stopped,
            version: 6,
            stop: Some(StopOrder {
                code: StopCode::EssentialContainerExited,
                reason: "it is done".to_owned(),
            }),
            ..TaskStatus::default()
        },
    };
    let store = MemoryStore::new();
    store.commit(Transaction::new().put(order_key.as_str(), encode(&record))).await.unwrap();
    store.commit(Transaction::new().put(status_key.as_str(), encode(&running))).await.unwrap();
    // As the agent writes an end: between the reader's look for the order and its look for the status.
    let ends = vec![
        Transaction::new()
            .put(keys::stopped_task(&cluster, &id), encode(&stopped))
            .delete(order_key.as_str()),
        Transaction::new().delete(status_key.as_str()),
    ];
    let store = Interrupted { store, before: status_key, happens: ends };
    let records = Records { store: Arc::new(store) };
    let known = records.task(&cluster, &id).await.unwrap().unwrap();
    assert_eq!(known.status, stopped.status);
}

#[tokio::test]
async fn a_task_that_nobody_has_looked_at_yet_is_known() {
    let record = order();
    let store = MemoryStore::new();
    let key = keys::standalone_task(&record.cluster, &record.id);
    store.commit(Transaction::new().put(key, encode(&record))).await.unwrap();
    let records = Records { store: Arc::new(store) };
    let known = records.task(&record.cluster, &record.id).await.unwrap().unwrap();
    assert_eq!((known.record, known.status), (record, TaskStatus::default()));
}
