//! The scheduler: keeps every service at what it should be.
//!
//! One loop owns a decoded picture of the services and their tasks, fed by a watch. A change marks its service; for each marked service the
//! pure functions compare what is wanted with what is there ([`plan`], [`intent`], [`rollout`]) and say what to do, which this loop then does by writing orders to
//! the store. So a change costs work for its own service only, a task's end is answered as soon as it is seen, and a loop that missed
//! anything does the right thing the next time it looks: at the latest at the resync.

mod deed;
mod ending;
mod events;
mod hook;
mod idle;
mod intent;
mod picture;
mod plan;
mod rollout;
mod throttle;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::model::deployment::Ending;
use crate::model::names::TaskId;
use crate::records::{ServiceKey, keys};
use crate::store::{StoreError, Watch, WatchEnded};
use crate::supervisor::Shared;
use picture::ServicePicture;
pub(crate) use rollout::route;

/// What the scheduler looks at.
const WATCHED: [&str; 4] = [keys::SERVICES, keys::SERVICE_TASKS, keys::STATUSES, keys::STOPPED_SERVICE_TASKS];
/// How often everything is read anew, in case something was missed.
const RESYNC: Duration = Duration::from_secs(60);
/// Pause before looking at a store again that failed.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// INACTIVE services that can still be described.
const MAX_INACTIVE: usize = 100;
/// Pause before trying again what failed in the background: a durable write, or a listener whose port somebody else has.
const BACKGROUND_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    services: HashMap<ServiceKey, ServicePicture>,
    /// The service of each task in `services`.
    owners: HashMap<TaskId, ServiceKey>,
    marked: BTreeSet<ServiceKey>,
    timers: BTreeSet<(Instant, ServiceKey)>,
    /// Durable writes, which wait for the disk: they must not hold up another service's healing.
    background: JoinSet<Done>,
    /// Oldest first.
    inactive: VecDeque<ServiceKey>,
}

/// A background write ended.
#[derive(Debug)]
struct Done {
    key: ServiceKey,
    /// To be told as an event.
    problem: Option<String>,
    /// A deployment was given up.
    ending: Option<Ending>,
    /// A life-cycle hook that was called.
    called: Option<String>,
    /// A request waits for a service that sleeps.
    woken: bool,
}

impl Done {
    fn of(key: ServiceKey) -> Self {
        Self { key, problem: None, ending: None, called: None, woken: false }
    }
}

impl Scheduler {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            services: HashMap::new(),
            owners: HashMap::new(),
            marked: BTreeSet::new(),
            timers: BTreeSet::new(),
            background: JoinSet::new(),
            inactive: VecDeque::new(),
        }
    }

    /// Runs until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            if let Err(error) = self.keep().await {
                tracing::error!(%error, "the scheduler cannot use the store");
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }

    /// One stretch from reading everything to the next time.
    async fn keep(&mut self) -> Result<(), StoreError> {
        let mut watch = self.shared.records.store.watch(&WATCHED).await?;
        self.read_all(&watch);
        let resync = Instant::now() + RESYNC;
        while Instant::now() < resync {
            self.act().await?;
            let timer = self.timers.first().map_or(resync, |(at, _)| resync.min(*at));
            tokio::select! {
                biased;
                change = watch.next() => match change {
                    Ok(change) => self.see_all(change, &mut watch),
                    Err(WatchEnded) => return Ok(()),
                },
                Some(done) = self.background.join_next() => match done {
                    Ok(done) => self.background_done(done),
                    // What waited for a request that nobody waits for any more.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "a background write of the scheduler failed"),
                },
                () = sleep_until(timer) => self.mark_due(),
            }
        }
        Ok(())
    }

    /// Sees everything that is there already before acting: ten tasks of a service that end together are one reason to act.
    fn see_all(&mut self, first: crate::store::Change, watch: &mut Watch) {
        self.see(first);
        while let Some(change) = watch.try_next() {
            self.see(change);
        }
    }

    fn mark(&mut self, key: &ServiceKey) {
        if !self.marked.contains(key) {
            self.marked.insert(key.clone());
        }
    }

    fn mark_due(&mut self) {
        let now = Instant::now();
        while let Some((at, key)) = self.timers.pop_first() {
            if at > now {
                self.timers.insert((at, key));
                return;
            }
            self.mark(&key);
        }
    }

    async fn act(&mut self) -> Result<(), StoreError> {
        while let Some(key) = self.marked.pop_first() {
            if let Err(error) = self.reconcile(&key).await {
                // It is looked at again with everything else.
                self.marked.insert(key);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn reconcile(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        let Some(service) = self.services.get_mut(key) else { return Ok(()) };
        tracing::trace!(service = %key.name, "looks at a service");
        let intent = service.intend(&self.shared);
        if let Some(at) = intent.look_again {
            self.timers.insert((at, key.clone()));
        }
        self.carry_out(key, intent).await
    }

    fn background_done(&mut self, done: Done) {
        // What it wrote was published, and seen here, before it ended: the watch is read first.
        if let Some(service) = self.services.get_mut(&done.key) {
            match done.called {
                Some(hook) => {
                    service.calling.remove(&hook);
                }
                None if done.woken => service.idle.wake(Instant::now()),
                None => service.writing = false,
            }
            if let Some(problem) = done.problem {
                service.events.problem(problem);
            }
            if let Some(ending) = done.ending {
                service.events.given_up(&ending);
            }
            self.mark(&done.key);
        }
    }
}
