//! The durable store: one redb file, read once at the start and from then on only written.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::engine::{Engine, Lifetime};
use super::{Entry, Op, Outcome, Store, StoreError, Transaction, Watch};

/// Key -> revision of the last put, then the value.
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("entries");
/// The newest revision, so that revisions go on after a restart.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";

/// Transactions that may wait for the committing thread; the next ones wait to be taken in.
const QUEUE: usize = 1024;
/// Most transactions that share one flush. Bounds how long the first of a batch waits for the others' changes to be written.
const MAX_BATCH: usize = 256;

/// A store in one file.
///
/// Reads come from memory. Durable transactions go through a thread of their own, which takes all that wait, writes them in one redb transaction
/// and flushes once: with `n` writers at a time, each flush acknowledges up to `n` transactions. Nothing is visible or answered before its
/// flush. Session transactions never touch the disk nor wait for it.
#[derive(Debug)]
pub struct RedbStore {
    engine: Arc<Engine>,
    queue: mpsc::Sender<Request>,
    /// Resolves when the committing thread has closed the file.
    closed: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

#[derive(Debug)]
struct Request {
    transaction: Transaction,
    answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl RedbStore {
    /// Opens or creates the file. Blocks: call it before the loops start, or from a blocking thread.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(path.display().to_string()),
            error => failed(error),
        })?;
        Self::over(database)
    }

    /// A store over a database that is open already: tests bring one whose disk loses what was not flushed.
    pub(crate) fn over(database: Database) -> Result<Self, StoreError> {
        let engine = Arc::new(load(&database)?);
        let (queue, requests) = mpsc::channel(QUEUE);
        let (on_close, closed) = oneshot::channel();
        let committer = Committer { database, engine: Arc::clone(&engine), requests };
        let run = move || {
            committer.run();
            // Nobody may be waiting for it.
            on_close.send(()).ok();
        };
        thread::Builder::new().name("store".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { engine, queue, closed: tokio::sync::Mutex::new(Some(closed)) })
    }

    /// Waits for everything queued to be durable and for the file to be closed, so that another store can open it.
    pub async fn close(self) {
        drop(self.queue);
        if let Some(closed) = self.closed.into_inner() {
            closed.await.ok();
        }
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.engine.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        Ok(self.engine.range(prefix))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        if Lifetime::of(&transaction)? == Lifetime::Session {
            return Ok(self.engine.commit(&transaction));
        }
        let (answer, answered) = oneshot::channel();
        self.queue.send(Request { transaction, answer }).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    async fn watch(&self, prefixes: &[&str]) -> Result<Watch, StoreError> {
        Ok(self.engine.watch(prefixes))
    }
}

fn load(database: &Database) -> Result<Engine, StoreError> {
    let write = database.begin_write().map_err(failed)?;
    // Creates the tables of a new file, so that reading needs no special case.
    write.open_table(ENTRIES).map_err(failed)?;
    write.open_table(META).map_err(failed)?;
    write.commit().map_err(failed)?;

    let read = database.begin_read().map_err(failed)?;
    let revision = read
        .open_table(META)
        .map_err(failed)?
        .get(REVISION)
        .map_err(failed)?
        .map_or(0, |found| found.value());
    let table = read.open_table(ENTRIES).map_err(failed)?;
    let mut entries = Vec::new();
    for row in table.iter().map_err(failed)? {
        let (key, value) = row.map_err(failed)?;
        let (revision, value) = value.value();
        entries.push(Entry { key: Arc::from(key.value()), value: Bytes::copy_from_slice(value), revision });
    }
    Ok(Engine::restored(entries, revision))
}

/// The thread that owns the file.
#[derive(Debug)]
struct Committer {
    database: Database,
    engine: Arc<Engine>,
    requests: mpsc::Receiver<Request>,
}

impl Committer {
    fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < MAX_BATCH
                && let Ok(next) = self.requests.try_recv()
            {
                batch.push(next);
            }
            self.commit(batch);
        }
    }

    fn commit(&self, batch: Vec<Request>) {
        let outcomes = self.engine.prepare(batch.iter().map(|request| &request.transaction));
        let prepared: Vec<(&Transaction, u64)> = batch
            .iter()
            .zip(&outcomes)
            .filter_map(|(request, outcome)| match outcome {
                Outcome::Committed(revision) => Some((&request.transaction, *revision)),
                Outcome::Conflict(_) => None,
            })
            .collect();
        let durable = self.write(&prepared);
        if durable.is_ok() {
            for (transaction, revision) in prepared {
                self.engine.publish(transaction, revision);
            }
        }
        for (request, outcome) in batch.into_iter().zip(outcomes) {
            // A conflict too waits for the flush: it may be with a change of this very batch.
            let answer = durable.clone().map(|()| outcome);
            // The caller may have stopped waiting.
            request.answer.send(answer).ok();
        }
    }

    fn write(&self, prepared: &[(&Transaction, u64)]) -> Result<(), StoreError> {
        let Some((_, newest)) = prepared.last() else { return Ok(()) };
        let mut write = self.database.begin_write().map_err(failed)?;
        write.set_durability(Durability::Immediate).map_err(failed)?;
        {
            let mut entries = write.open_table(ENTRIES).map_err(failed)?;
            for (transaction, revision) in prepared {
                for op in &transaction.ops {
                    match op {
                        Op::Put(key, value) => {
                            entries.insert(key.as_str(), (*revision, &value[..])).map_err(failed)?
                        }
                        Op::Delete(key) => entries.remove(key.as_str()).map_err(failed)?,
                    };
                }
            }
            write.open_table(META).map_err(failed)?.insert(REVISION, *newest).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Failed(Arc::new(error))
}
