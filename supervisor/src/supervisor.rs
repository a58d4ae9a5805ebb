//! The supervisor: the operations' common ground, and the loops that make what they write come true.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::agent::history::History;
use crate::agent::{Agent, Shutdown, restore};
use crate::autoscaling::sample::Metrics;
use crate::autoscaling::{Engine, Running};
use crate::clock::{Clock, Timestamp};
use crate::driver::Driver;
use crate::error::OperationError;
use crate::hooks::{HookCaller, HttpHooks};
use crate::ingress::Ingress;
use crate::load_balancing::{self, LoadBalancing};
use crate::metering::Meter;
use crate::model::arn::Identity;
use crate::model::deployment::NewIds;
use crate::model::names::{NodeId, TaskId, deployment_id, revision_id, service_deployment_id};
use crate::model::service::ServiceRecord;
use crate::records::{Records, ServiceKey};
use crate::scheduler::{self, Scheduler};
use crate::schedules::Schedules;
use crate::secrets::vault::Vault;
use crate::secrets::{NoSecrets, SecretKey, SecretSource};
use crate::sessions::Sessions;
use crate::store::{Store, StoreError};

/// For the write of what tasks used, where stopping them has taken all the time there was.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// Settings of a supervisor.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// Region and account in ARNs.
    pub identity: Identity,
    /// Where timestamps come from.
    pub clock: Clock,
    /// Makes ids and jitter repeatable, for tests. Random when absent.
    pub seed: Option<u64>,
    /// Environment that every container of every task gets, under its own definition's.
    pub environment: Vec<(String, String)>,
    /// Where the values of containers' secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// What calls deployments' life-cycle hooks.
    pub hooks: Arc<dyn HookCaller>,
    /// Opens the secrets and parameters that are kept in the store. Without one they end with the process.
    pub secret_key: Option<Arc<SecretKey>>,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            clock: Clock::host(),
            seed: None,
            environment: Vec::new(),
            secrets: Arc::new(NoSecrets),
            hooks: Arc::new(HttpHooks::default()),
            secret_key: None,
        }
    }
}

/// Runs what is wanted. Cheap to clone: all clones are the same supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    loops: Arc<Loops>,
}

/// A supervisor as its own loops hold it.
#[derive(Clone, Debug)]
pub(crate) struct WeakSupervisor {
    pub(crate) shared: Arc<Shared>,
    loops: Weak<Loops>,
}

impl WeakSupervisor {
    /// The supervisor, unless it is gone.
    pub(crate) fn upgrade(&self) -> Option<Supervisor> {
        Some(Supervisor { shared: Arc::clone(&self.shared), loops: self.loops.upgrade()? })
    }
}

/// The loops, which end with the last clone of their supervisor.
#[derive(Debug)]
struct Loops {
    tasks: Mutex<JoinSet<()>>,
    scheduler: AbortHandle,
    schedules: OnceLock<AbortHandle>,
    agent: Mutex<Option<oneshot::Sender<Shutdown>>>,
}

/// What operations and loops share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: SupervisorConfig,
    pub(crate) node: NodeId,
    pub(crate) records: Records,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) ingress: Ingress,
    pub(crate) load_balancing: LoadBalancing,
    pub(crate) rng: Mutex<StdRng>,
    /// What there is to measure.
    pub(crate) running: Running,
    /// The newest values of services' metrics.
    pub(crate) metrics: Metrics,
    /// Secrets and parameters that people put here.
    pub(crate) vault: Vault,
    /// What tasks use.
    pub(crate) meter: Meter,
    /// Tasks that run here, and those who talk to them.
    pub(crate) sessions: Sessions,
    /// Held while a service is being created: binding its listener and writing its record are two steps, and two requests for one name must not mix them.
    creating: tokio::sync::Mutex<()>,
}

impl Supervisor {
    /// Starts the loops over what the store holds. What the last process left undone is brought in order first: standalone tasks that were not
    /// over are shown as stopped, and services start their tasks anew.
    pub async fn start(
        config: SupervisorConfig,
        store: Arc<dyn Store>,
        driver: Arc<dyn Driver>,
    ) -> Result<Self, OperationError> {
        let mut rng = config.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        let records = Records { store };
        let secret_key = match &config.secret_key {
            Some(key) => Arc::clone(key),
            None => Arc::new(SecretKey::random().map_err(|error| StoreError::Failed(Arc::new(error)))?),
        };
        let shared = Arc::new(Shared {
            node: restore::node(&records, NodeId::random(&mut rng)).await?,
            vault: Vault::new(records.clone(), secret_key),
            records,
            ingress: Ingress::new(Arc::clone(&driver), config.identity.clone()),
            load_balancing: LoadBalancing::new(Arc::clone(&driver), config.identity.clone()),
            driver,
            rng: Mutex::new(rng),
            running: Running::default(),
            metrics: Metrics::default(),
            meter: Meter::default(),
            sessions: Sessions::default(),
            creating: tokio::sync::Mutex::default(),
            config,
        });
        restore::standalone_tasks(&shared).await?;
        load_balancing::restore(&shared).await?;

        let mut tasks = JoinSet::new();
        let (ask, asked) = oneshot::channel();
        tasks.spawn(Agent::new(Arc::clone(&shared)).run(asked));
        tasks.spawn(History::new(Arc::clone(&shared)).run());
        tasks.spawn(Meter::run(Arc::clone(&shared)));
        tasks.spawn(load_balancing::run(Arc::clone(&shared)));
        tasks.spawn(Engine::new(Arc::clone(&shared)).run());
        let scheduler = tasks.spawn(Scheduler::new(Arc::clone(&shared)).run());
        let loops = Loops {
            tasks: Mutex::new(tasks),
            scheduler,
            schedules: OnceLock::new(),
            agent: Mutex::new(Some(ask)),
        };
        let supervisor = Self { shared, loops: Arc::new(loops) };
        let schedules = lock(&supervisor.loops.tasks).spawn(Schedules::new(supervisor.downgrade()).run());
        supervisor.loops.schedules.get_or_init(|| schedules);
        Ok(supervisor)
    }

    /// Stops in good order: nothing new is started, listeners finish the requests in flight, then every task is stopped, all within `deadline`.
    /// Services stay wanted, and come back with the next start.
    pub async fn shutdown(&self, deadline: Duration) {
        let by = Instant::now() + deadline;
        self.loops.scheduler.abort();
        if let Some(schedules) = self.loops.schedules.get() {
            schedules.abort();
        }
        tokio::join!(self.shared.ingress.close(deadline), self.shared.load_balancing.close(deadline));
        let ask = lock(&self.loops.agent).take();
        if let Some(ask) = ask {
            let (done, all_stopped) = oneshot::channel();
            // Neither fails unless the agent has ended by itself.
            ask.send(Shutdown { deadline: by, done }).ok();
            all_stopped.await.ok();
        }
        // What was used to the last second.
        let left = by.saturating_duration_since(Instant::now()).max(LAST_WRITE);
        match timeout(left, self.shared.meter.write(&self.shared)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "cannot write what was used"),
            Err(_elapsed) => tracing::error!("what was used could not be written in time"),
        }
        lock(&self.loops.tasks).abort_all();
    }

    /// Ends every loop and task at once and in no order, as the death of the process would. What was acknowledged is in the store.
    pub fn kill(&self) {
        lock(&self.loops.tasks).abort_all();
    }

    /// For a loop that calls operations: it does not keep the supervisor that ends it.
    pub(crate) fn downgrade(&self) -> WeakSupervisor {
        WeakSupervisor { shared: Arc::clone(&self.shared), loops: Arc::downgrade(&self.loops) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.config.identity
    }

    pub(crate) fn records(&self) -> &Records {
        &self.shared.records
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.shared.driver
    }

    pub(crate) fn ingress(&self) -> &Ingress {
        &self.shared.ingress
    }

    pub(crate) fn load_balancing(&self) -> &LoadBalancing {
        &self.shared.load_balancing
    }

    /// Sends a service's requests where its record says.
    pub(crate) fn route(&self, key: &ServiceKey, record: &ServiceRecord) {
        scheduler::route(&self.shared, key, record);
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.shared.sessions
    }

    pub(crate) fn new_session_token(&self) -> (String, String) {
        self.shared.random(|rng| {
            (
                format!("ecs-execute-command-{:016x}", rng.random::<u64>()),
                format!("{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>()),
            )
        })
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.shared.vault
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.shared.node
    }

    pub(crate) fn creating(&self) -> &tokio::sync::Mutex<()> {
        &self.shared.creating
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.now()
    }

    pub(crate) fn new_task_id(&self) -> TaskId {
        self.shared.random(TaskId::random)
    }

    pub(crate) fn new_deployment_ids(&self) -> NewIds {
        self.shared.random(|rng| NewIds {
            deployment: deployment_id(rng),
            revision: revision_id(rng),
            service_deployment: service_deployment_id(rng),
        })
    }
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn random<T>(&self, make: impl FnOnce(&mut StdRng) -> T) -> T {
        make(&mut lock(&self.rng))
    }
}

/// None of what these locks guard can be left half changed: generators generate, and sets and options change in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
