//! The whole house in one value: runtime, balancer, supervisor and, if wanted, the API.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use coracle_api::{
    AutoScaling, CloudWatch, Coracle, Ecs, LoadBalancing, Logs, ParameterStore, Scheduler, SecretsManager,
    Server, Services,
};
use coracle_balancer::{Balancer, BalancerConfig, BalancerError, Tracer, TracingConfig};
use coracle_runtime::network::lookup::SystemResolver;
use coracle_runtime::{Runtime, RuntimeError, Uplink};
use coracle_supervisor::{
    OperationError, Supervisor, SupervisorConfig,
    driver::local::{LocalDriver, LocalDriverConfig},
    secrets::{FileSecrets, NoSecrets, SecretKey, SecretSource},
    store::{Store, StoreError, memory::MemoryStore, redb::RedbStore},
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::paths;

/// Between two looks whether the supervisor's loops have ended.
const CLOSE_POLL: Duration = Duration::from_millis(2);

/// In the data directory: opens the secrets and parameters that the store has.
const SECRET_KEY: &str = "secrets.key";

/// A running host. Tasks end with it; what was wanted is kept where it has a data directory.
#[derive(Debug)]
pub struct Host {
    supervisor: Supervisor,
    driver: LocalDriver,
    runtime: Runtime,
    balancer: Balancer,
    /// Where it has a data directory: to close the file at the end.
    file: Option<Arc<RedbStore>>,
    api: Option<Api>,
}

#[derive(Debug)]
struct Api {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

/// What a [`Host`] is made of. Without more: everything in memory, and no API.
#[derive(Debug, Clone, Default)]
pub struct HostBuilder {
    data_dir: Option<PathBuf>,
    api: Option<SocketAddr>,
    max_instances: Option<u32>,
    host_ports: Option<IpAddr>,
    secret_key: Option<PathBuf>,
    tracing: Option<TracingConfig>,
}

/// A host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The API's address is taken.
    #[error("the API cannot listen on {address}: the port is in use; is a coracle daemon running already?")]
    ApiPortInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The API's address cannot be listened on for another reason.
    #[error("the API cannot listen on {address}")]
    ApiAddress {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the data directory.
    #[error("another coracle daemon uses the data directory {0}; stop it, or choose another directory")]
    DataDirInUse(PathBuf),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key to secrets cannot be used.
    #[error("cannot use the key to secrets {path}")]
    SecretKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The WebAssembly engine cannot be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The balancer cannot be set up.
    #[error(transparent)]
    Balancer(#[from] BalancerError),
    /// What the store has cannot be restored.
    #[error("cannot restore what was wanted")]
    Restore(#[source] OperationError),
    /// A step of the start itself failed.
    #[error("the start was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl HostError {
    /// Whether another choice of address or directory would mend it.
    #[must_use]
    pub fn is_input_error(&self) -> bool {
        matches!(
            self,
            Self::ApiPortInUse { .. }
                | Self::ApiAddress { .. }
                | Self::DataDirInUse(_)
                | Self::DataDir { .. }
                | Self::SecretKey { .. }
        )
    }
}

impl Host {
    /// Begins with a host that keeps everything in memory and has no API.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// The operations: create clusters, register task definitions, run tasks and services.
    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// What runs the tasks: their logs, and the targets behind a listener.
    #[must_use]
    pub fn driver(&self) -> &LocalDriver {
        &self.driver
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Where the API listens.
    #[must_use]
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api.as_ref().map(|api| api.address)
    }

    /// Stops in good order: no new operations, no new connections, requests under way finish, tasks are stopped. What is
    /// not done when `deadline` has passed is cut off.
    pub async fn shutdown(mut self, deadline: Duration) {
        let in_order = async {
            if let Some(api) = self.api.take() {
                api.stop.cancel();
                // It ends by itself, within its own limits; if it panicked, there is nothing left to stop.
                api.server.await.ok();
            }
            self.supervisor.shutdown(deadline).await;
            self.balancer.shutdown(deadline).await;
            drop((self.supervisor, self.driver));
            if let Some(file) = self.file {
                close(file).await;
            }
        };
        if timeout(deadline, in_order).await.is_err() {
            tracing::warn!("not everything ended in good order within {} s", deadline.as_secs_f64());
        }
    }
}

/// Closes the store's file, so that another host can open it. The supervisor's loops let go of it as they end.
async fn close(mut file: Arc<RedbStore>) {
    loop {
        match Arc::try_unwrap(file) {
            Ok(file) => return file.close().await,
            Err(shared) => file = shared,
        }
        sleep(CLOSE_POLL).await;
    }
}

impl HostBuilder {
    /// Keeps what is wanted, logs and the tasks' own volumes in this directory, which is created if it is missing, and
    /// takes secrets from the files in its `secrets`. One process at a time can use it.
    #[must_use]
    pub fn data_dir(self, directory: impl Into<PathBuf>) -> Self {
        Self { data_dir: Some(directory.into()), ..self }
    }

    /// Serves the API on this address; port 0 picks one. Whoever can reach it commands the host: let it be loopback.
    #[must_use]
    pub fn api(self, address: SocketAddr) -> Self {
        Self { api: Some(address), ..self }
    }

    /// Bounds how many instances may live at once, over all tasks; a request for which there is none is refused. Default
    /// 4,096. A host for little starts a few milliseconds sooner with less.
    #[must_use]
    pub fn max_instances(self, instances: u32) -> Self {
        Self { max_instances: Some(instances), ..self }
    }

    /// Binds the host ports of tasks at this address of the host; without it at 127.0.0.1, where other machines do not reach them.
    #[must_use]
    pub fn host_ports(self, address: IpAddr) -> Self {
        Self { host_ports: Some(address), ..self }
    }

    /// Takes the key to secrets and parameters from this file instead of `secrets.key` in the data directory: 32 bytes that only their owner may
    /// read. It is made if it is missing.
    #[must_use]
    pub fn secret_key(self, file: impl Into<PathBuf>) -> Self {
        Self { secret_key: Some(file.into()), ..self }
    }

    /// Has a span of each request that comes to a listener, and of each attempt at a task, told to a collector.
    #[must_use]
    pub fn tracing(self, config: TracingConfig) -> Self {
        Self { tracing: Some(config), ..self }
    }

    /// Blocks for a moment: a small file.
    fn open_secret_key(&self) -> Result<Option<Arc<SecretKey>>, HostError> {
        let unusable = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| HostError::SecretKey {
            path: path.to_owned(),
            source,
        };
        let path = match (&self.secret_key, &self.data_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => {
                std::fs::create_dir_all(directory).map_err(|error| unusable(directory, error.into()))?;
                directory.join(SECRET_KEY)
            }
            (None, None) => return Ok(None),
        };
        let key = SecretKey::open(&path).map_err(|error| unusable(&path, error.into()))?;
        Ok(Some(Arc::new(key)))
    }

    /// Starts the host on the current tokio runtime. What the data directory wants running starts at once.
    ///
    /// # Errors
    /// Address or directory cannot be used, or the engine cannot be set up here.
    pub async fn start(self) -> Result<Host, HostError> {
        // The address first: a second daemon is told so before it touches what belongs to the first.
        let listener = match self.api {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let config = SupervisorConfig {
            secrets: secrets(self.data_dir.as_deref()),
            secret_key: self.open_secret_key()?,
            ..SupervisorConfig::default()
        };
        let reserved = listener.iter().map(|(_, address)| *address).collect();
        let prepare = tokio::task::spawn_blocking(move || prepare(&self, reserved));
        let Parts { store, file, driver, runtime, balancer } =
            prepare.await.map_err(HostError::Interrupted)??;
        let supervisor =
            Supervisor::start(config, store, Arc::new(driver.clone())).await.map_err(HostError::Restore)?;
        let api = listener.map(|(listener, address)| {
            let services = Services::new()
                .with(Ecs::new(supervisor.clone()))
                .with(AutoScaling::new(supervisor.clone()))
                .with(CloudWatch::new(supervisor.clone()))
                .with(Logs::new(driver.clone()))
                .with(Coracle::new(supervisor.clone()))
                .with_query(LoadBalancing::new(supervisor.clone()))
                .with(SecretsManager::new(supervisor.clone()))
                .with(ParameterStore::new(supervisor.clone()))
                .with_rest(Scheduler::new(supervisor.clone()));
            let stop = CancellationToken::new();
            let server = Server::new(listener, services).with_sessions(supervisor.clone());
            let server = tokio::spawn(server.run(stop.clone()));
            Api { address, stop, server }
        });
        Ok(Host { supervisor, driver, runtime, balancer, file, api })
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), HostError> {
    let bound = TcpListener::bind(address).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => HostError::ApiPortInUse { address },
        _ => HostError::ApiAddress { address, source },
    })
}

/// What a supervisor needs.
struct Parts {
    store: Arc<dyn Store>,
    file: Option<Arc<RedbStore>>,
    driver: LocalDriver,
    runtime: Runtime,
    balancer: Balancer,
}

/// Everything that blocks: files, the engine, threads. What listens at `reserved`, no task shall reach by accident.
fn prepare(settings: &HostBuilder, reserved: Vec<SocketAddr>) -> Result<Parts, HostError> {
    let data_dir = settings.data_dir.as_deref();
    let file = data_dir.map(open_store).transpose()?.map(Arc::new);
    let store: Arc<dyn Store> = match &file {
        Some(file) => file.clone(),
        None => Arc::new(MemoryStore::new()),
    };
    let runtime = paths::open_runtime(settings.max_instances)?;
    let tracer = settings.tracing.clone().map(Tracer::start).transpose().map_err(BalancerError::Start)?;
    let balancer = Balancer::start(BalancerConfig { tracer, ..BalancerConfig::default() })?;
    let uplink = Uplink::new(Arc::new(SystemResolver), reserved, paths::http_client());
    let config = LocalDriverConfig {
        data_dir: data_dir.map(Path::to_owned),
        uplink: Some(uplink),
        host_port_address: settings.host_ports,
    };
    let driver = LocalDriver::new(config, runtime.clone(), balancer.clone());
    let unusable = |source: io::Error| HostError::DataDir {
        path: data_dir.map_or_else(std::env::temp_dir, Path::to_owned),
        source: source.into(),
    };
    Ok(Parts { store, file, driver: driver.map_err(unusable)?, runtime, balancer })
}

/// The secrets that tasks may ask for: files of the data directory.
fn secrets(data_dir: Option<&Path>) -> Arc<dyn SecretSource> {
    match data_dir {
        Some(data_dir) => Arc::new(FileSecrets::new(data_dir.join("secrets"))),
        None => Arc::new(NoSecrets),
    }
}

fn open_store(directory: &Path) -> Result<RedbStore, HostError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| HostError::DataDir {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(|error| unusable(error.into()))?;
    RedbStore::open(&directory.join("state.redb")).map_err(|error| match error {
        StoreError::InUse(_) => HostError::DataDirInUse(directory.to_owned()),
        error => unusable(error.into()),
    })
}
