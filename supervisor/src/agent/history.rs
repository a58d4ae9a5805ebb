//! Tasks that are over stay visible for a while: ECS keeps them "at least an hour". So do the tokens of RunTask requests, for a day.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::model::names::TaskId;
use crate::model::task::StoppedTask;
use crate::operations::RunToken;
use crate::records::{decode, keys};
use crate::store::{Change, Entry, SESSION, StoreError, Transaction};
use crate::supervisor::Shared;

/// How long a task that is over can be described.
const KEEP_STOPPED: Duration = Duration::from_secs(3600);
/// Most tasks that are over which are kept (and up to 50 more for a moment); beyond it the oldest go before their hour. A crashing service must not fill the store.
const MAX_STOPPED: usize = 1000;
/// How long a RunTask's client token is remembered: ECS's is 24 hours too.
const KEEP_TOKENS: Duration = Duration::from_secs(24 * 3600);
const TOKEN_SWEEP: Duration = Duration::from_secs(3600);
/// Tasks beyond the cap or the hour that are forgotten together: one flush for many.
const BATCH: usize = 50;
const STORE_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct History {
    shared: Arc<Shared>,
    /// Oldest first.
    stopped: VecDeque<(Instant, Arc<str>)>,
}

impl History {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stopped: VecDeque::new() }
    }

    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.keep().await {
                tracing::error!(%error, "cannot tidy up stopped tasks");
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.shared.records.store);
        let mut watch = store.watch(&[keys::STOPPED_TASKS, keys::STOPPED_SERVICE_TASKS]).await?;
        self.load(&watch.snapshot);
        let mut token_sweep = Instant::now();
        loop {
            if Instant::now() >= token_sweep {
                self.forget_tokens().await?;
                token_sweep = Instant::now() + TOKEN_SWEEP;
            }
            self.forget_tasks().await?;
            let next =
                self.stopped.front().map_or(token_sweep, |(at, _)| token_sweep.min(*at + KEEP_STOPPED));
            tokio::select! {
                change = watch.next() => match change {
                    Ok(Change::Put(entry)) => self.stopped.push_back((Instant::now(), entry.key)),
                    Ok(Change::Delete(..)) => {}
                    Err(_) => return Ok(()),
                },
                // A full second apart at least, so that tasks which stopped one after another are forgotten together.
                () = sleep_until(next.max(Instant::now() + Duration::from_secs(1))) => {}
            }
        }
    }

    /// Takes over what was there before, by the time it stopped at.
    fn load(&mut self, snapshot: &[Entry]) {
        let (now, wall) = (Instant::now(), self.shared.now());
        let mut found: Vec<(Instant, Arc<str>)> = snapshot
            .iter()
            .map(|entry| {
                let at = decode::<StoppedTask>(entry).ok().and_then(|stopped| stopped.status.stopped_at);
                let age = at.map_or(KEEP_STOPPED, |at| wall.since(at));
                (now.checked_sub(age).unwrap_or(now), Arc::clone(&entry.key))
            })
            .collect();
        found.sort();
        self.stopped = found.into();
    }

    async fn forget_tasks(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        let expired =
            self.stopped.iter().take_while(|(at, _)| now.duration_since(*at) >= KEEP_STOPPED).count();
        let beyond = self.stopped.len().saturating_sub(MAX_STOPPED);
        // One at a time would be a flush for each task that stops from then on.
        let mut surplus = expired.max(if beyond >= BATCH { beyond } else { 0 });
        while surplus > 0 {
            let batch: Vec<Arc<str>> =
                self.stopped.iter().take(surplus.min(BATCH)).map(|(_, key)| Arc::clone(key)).collect();
            for session in [true, false] {
                let of_kind = batch.iter().filter(|key| key.starts_with(SESSION) == session);
                let forget = of_kind.fold(Transaction::new(), |forget, key| forget.delete(&**key));
                if !forget.ops.is_empty() {
                    self.shared.records.commit(forget).await?;
                }
            }
            for id in batch.iter().filter_map(|key| key.rsplit('/').next().and_then(TaskId::parse)) {
                self.shared.driver.forget(&id).await;
            }
            self.stopped.drain(..batch.len());
            surplus -= batch.len();
        }
        Ok(())
    }

    async fn forget_tokens(&self) -> Result<(), StoreError> {
        let now = self.shared.now();
        let tokens = self.shared.records.store.range(keys::RUN_TOKENS).await?;
        let old = tokens
            .iter()
            .filter(|entry| decode::<RunToken>(entry).is_ok_and(|token| now.since(token.at) >= KEEP_TOKENS));
        let forget = old.fold(Transaction::new(), |forget, entry| forget.delete(&*entry.key));
        if !forget.ops.is_empty() {
            self.shared.records.commit(forget).await?;
        }
        Ok(())
    }
}
