//! From one file to the next, while requests flow.
//!
//! Everything that can fail comes first and changes nothing that serves: new listeners are bound, new groups made. Then
//! groups get their targets and settings, and last the listeners their rules.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    AccessLog, Acme, Balancer, BalancerConfig, BalancerError, HeaderPolicy, Limits, Listener, ListenerConfig,
    ListenerProtocol, RegisterOptions, Routes, TargetGroup, TargetGroupConfig, TargetId, TargetState,
    TcpTarget, TcpTargetConfig, Tracer, TracingConfig, TransferRates,
};

use super::ConfigFileError;
use super::acme::{self, Keeping};
use super::config::{Config, GroupConfig, ListenerFile, Speaks};
use super::insight::{AccessLogFile, Watched};
use crate::compose::ComposeError;

/// For the connections of a listener that the next file does not have.
const DRAIN: Duration = Duration::from_secs(30);

/// To send the last spans in, when it ends.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// What listeners are opened with beside their own.
#[derive(Clone, Copy)]
struct Means<'a> {
    tracer: Option<&'a Arc<Tracer>>,
    acme: Option<&'a Acme>,
}

type Tracing = Option<(TracingConfig, Arc<Tracer>)>;

/// A balancer that serves what a file describes.
#[derive(Debug)]
pub struct Balance {
    balancer: Balancer,
    groups: HashMap<String, Group>,
    listeners: HashMap<String, Open>,
    watched: Watched,
    /// As it was asked for.
    metrics: Option<(SocketAddr, Listener)>,
    tracing: Tracing,
    acme: Option<Acme>,
}

#[derive(Debug)]
struct Group {
    balanced: Arc<TargetGroup>,
    target: TcpTargetConfig,
    targets: BTreeMap<SocketAddr, u32>,
}

#[derive(Debug)]
struct Open {
    listener: Listener,
    /// What cannot change while it is open, as it was asked for: port 0 stays the port it got.
    fixed: Fixed,
    limits: Limits,
    rates: TransferRates,
    access_log: Option<(AccessLogFile, Arc<AccessLog>)>,
    /// Of a certificate from an authority.
    keeping: Option<Keeping>,
}

#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    address: SocketAddr,
    speaks: Speaks,
    proxy_protocol: bool,
    x_forwarded_for: HeaderPolicy,
    forwarded: HeaderPolicy,
    access_log: Option<AccessLogFile>,
}

impl Fixed {
    fn of(file: &ListenerFile) -> Self {
        Self {
            address: file.address,
            speaks: file.speaks,
            proxy_protocol: file.proxy_protocol,
            x_forwarded_for: file.x_forwarded_for,
            forwarded: file.forwarded,
            access_log: file.access_log.clone(),
        }
    }
}

/// Why an access log goes on in the file it has.
#[derive(Debug, thiserror::Error)]
#[error("listeners.{listener}.accessLog")]
pub struct ReopenError {
    listener: String,
    source: io::Error,
}

impl Balance {
    /// Starts the data-plane threads, with nothing to serve yet.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start() -> Result<Self, BalancerError> {
        let balancer = Balancer::start(BalancerConfig::default())?;
        let (groups, listeners) = (HashMap::new(), HashMap::new());
        Ok(Self {
            balancer,
            groups,
            listeners,
            watched: Watched::default(),
            metrics: None,
            tracing: None,
            acme: None,
        })
    }

    /// Serves as `config` says from now on. Listeners and targets that stay keep their connections; those that go are
    /// drained. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// A listener cannot be opened, or cannot become what it is to be while it is open. Nothing has changed then.
    pub fn apply(&mut self, config: &Config) -> Result<(), ConfigFileError> {
        let acme = self.acme(config)?;
        let groups: HashMap<_, _> =
            config.groups.iter().map(|(name, group)| (name.clone(), self.group(name, group))).collect();
        let routes = config
            .listeners
            .iter()
            .map(|(name, listener)| Ok((name.clone(), routes(listener, &groups, acme.as_ref())?)))
            .collect::<Result<Vec<_>, ComposeError>>()?;
        let tracing = self.tracing(config)?;
        let tracer = tracing.as_ref().map(|(_, tracer)| tracer);
        let mut opened = self.open(config, Means { tracer, acme: acme.as_ref() })?;
        if let Err(error) = self.open_metrics(config) {
            opened.into_values().for_each(|open| close(open.listener));
            return Err(error.into());
        }
        self.change_groups(config, groups);
        self.change_tracing(tracing);
        for (name, routes) in routes {
            let file = &config.listeners[&name];
            if let Some(open) = opened.remove(&name) {
                open.listener.set_routes(routes);
                if let Some(replaced) = self.listeners.insert(name, open) {
                    close(replaced.listener);
                }
            } else if let Some(open) = self.listeners.get_mut(&name) {
                if file.acme.is_none()
                    && let Some(certificates) = acme::all(&file.certificates, None)
                {
                    open.listener.set_certificates(&certificates);
                }
                // Only then: new limits begin to count anew.
                if open.limits != file.limits {
                    open.limits = file.limits.clone();
                    open.listener.set_limits(file.limits.clone());
                }
                if open.rates != file.rates {
                    open.rates = file.rates;
                    open.listener.set_transfer_rates(file.rates);
                }
                open.listener.set_routes(routes);
            }
        }
        let gone = self.listeners.extract_if(|name, _| !config.listeners.contains_key(name));
        gone.for_each(|(_, open)| close(open.listener));
        self.acme = acme;
        self.keep_certificates(config)
    }

    /// Has those from an authority kept up. What fails here fails for the next to change something too, so that it is told.
    fn keep_certificates(&mut self, config: &Config) -> Result<(), ConfigFileError> {
        for (name, open) in &mut self.listeners {
            let file = &config.listeners[name];
            let (Some(acme), Some(names)) = (&self.acme, &file.acme) else {
                open.keeping = None;
                continue;
            };
            match &open.keeping {
                Some(keeping) if keeping.is_for(acme, names) => keeping.set_files(file.certificates.clone()),
                _ => {
                    let (files, listener) = (file.certificates.clone(), open.listener.clone());
                    // Ends the one before it.
                    open.keeping = None;
                    let keeping = Keeping::start(acme, names, files, listener);
                    open.keeping = Some(keeping.map_err(|error| place(file, format!("acme: {error}")))?);
                }
            }
        }
        Ok(())
    }

    /// From whom certificates are obtained: as now, if that stays as it is.
    fn acme(&self, config: &Config) -> Result<Option<Acme>, ComposeError> {
        let Some(wanted) = &config.acme else { return Ok(None) };
        if let Some(acme) = self.acme.as_ref().filter(|acme| acme.config() == wanted) {
            return Ok(Some(acme.clone()));
        }
        let unusable = |error: io::Error| ComposeError {
            line: None,
            path: "acme.storage".to_owned(),
            message: format!("{}: {error}", wanted.storage.display()),
        };
        Acme::open(wanted.clone()).map(Some).map_err(unusable)
    }

    /// Opens the files of all access logs anew, by their names: those that were renamed meanwhile get no more lines.
    ///
    /// # Errors
    ///
    /// A file cannot be opened, or the last lines not be written to the old one. The other logs are opened anew all the same,
    /// and this one goes on in the file it has.
    pub fn reopen_access_logs(&self) -> Result<(), ReopenError> {
        let mut reopened = Ok(());
        for (listener, open) in &self.listeners {
            let Some((file, log)) = &open.access_log else { continue };
            if let Err(source) = file.writer().and_then(|writer| log.set_writer(writer)) {
                reopened = Err(ReopenError { listener: listener.clone(), source });
            }
        }
        reopened
    }

    /// Where each listener listens, by its name.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<&str, SocketAddr> {
        let listeners = self.listeners.iter().map(|(name, open)| (name.as_str(), open.listener.local_addr()));
        let metrics = self.metrics.iter().map(|(_, listener)| ("metrics", listener.local_addr()));
        listeners.chain(metrics).collect()
    }

    /// Closes and drains everything within `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        self.balancer.shutdown(deadline).await;
        if let Some((_, tracer)) = self.tracing {
            // The spans of the last requests; whoever waits for the end does not wait for a collector that is not there.
            tokio::time::timeout(LAST_SPANS, tracer.flush()).await.ok();
        }
    }

    /// The group of this name: the one that serves, or a new one.
    fn group(&self, name: &str, config: &GroupConfig) -> Arc<TargetGroup> {
        let new = || {
            TargetGroup::new(TargetGroupConfig {
                health_check: config.health_check.clone(),
                attributes: config.attributes.clone(),
                ..TargetGroupConfig::new(name)
            })
        };
        self.groups.get(name).map_or_else(new, |group| Arc::clone(&group.balanced))
    }

    /// Who is told of requests: as now, if that stays as it is.
    fn tracing(&self, config: &Config) -> Result<Tracing, ComposeError> {
        let Some(wanted) = &config.tracing else { return Ok(None) };
        if let Some((current, tracer)) = &self.tracing
            && current == wanted
        {
            return Ok(Some((wanted.clone(), Arc::clone(tracer))));
        }
        let started = Tracer::start(wanted.clone());
        let place = |error: io::Error| ComposeError {
            line: None,
            path: "tracing".to_owned(),
            message: error.to_string(),
        };
        Ok(Some((wanted.clone(), started.map_err(place)?)))
    }

    fn change_tracing(&mut self, tracing: Tracing) {
        let tracer = tracing.as_ref().map(|(_, tracer)| Arc::clone(tracer));
        for open in self.listeners.values() {
            open.listener.set_tracer(tracer.clone());
        }
        self.watched.set_tracer(tracer);
        self.tracing = tracing;
    }

    /// Opens the listeners that are not open yet. Each answers 503 until it has its rules.
    fn open(&self, config: &Config, means: Means<'_>) -> Result<HashMap<String, Open>, ComposeError> {
        let mut opened = HashMap::new();
        for (name, file) in &config.listeners {
            match self.listeners.get(name) {
                Some(open) if open.fixed.address == file.address => {
                    if open.fixed != Fixed::of(file) {
                        opened.into_values().for_each(|open: Open| close(open.listener));
                        let message = "of an open listener only rules, certificates and limits can change; give \
                                       it another address";
                        return Err(place(file, message));
                    }
                }
                _ => match self.listen(name, file, means) {
                    Ok(open) => {
                        opened.insert(name.clone(), open);
                    }
                    Err(error) => {
                        opened.into_values().for_each(|open| close(open.listener));
                        return Err(place(file, error));
                    }
                },
            }
        }
        Ok(opened)
    }

    fn listen(&self, name: &str, file: &ListenerFile, means: Means<'_>) -> Result<Open, String> {
        let open = |log: &AccessLogFile| match log.open() {
            Ok(opened) => Ok((log.clone(), opened)),
            Err(error) => Err(format!("accessLog: {error}")),
        };
        let access_log = file.access_log.as_ref().map(open).transpose()?;
        let config = ListenerConfig {
            protocol: protocol(file, means.acme).map_err(|error| format!("acme: {error}"))?,
            proxy_protocol: file.proxy_protocol,
            x_forwarded_for: file.x_forwarded_for,
            forwarded: file.forwarded,
            limits: file.limits.clone(),
            transfer_rates: file.rates,
            tracer: means.tracer.cloned(),
            access_log: access_log.as_ref().map(|(_, log)| Arc::clone(log)),
            ..ListenerConfig::new(name, file.address)
        };
        let nothing = TargetGroup::new(TargetGroupConfig::new("nothing yet"));
        let listener = self.balancer.listen(config, nothing).map_err(|error| in_words(&error))?;
        Ok(Open {
            listener,
            fixed: Fixed::of(file),
            limits: file.limits.clone(),
            rates: file.rates,
            access_log,
            keeping: None,
        })
    }

    fn open_metrics(&mut self, config: &Config) -> Result<(), ComposeError> {
        let current = self.metrics.as_ref().map(|(address, _)| *address);
        if current == config.metrics.as_ref().map(|(address, _)| *address) {
            return Ok(());
        }
        let opened = match &config.metrics {
            None => None,
            Some((address, place)) => {
                let listen = ListenerConfig::new("metrics", *address);
                let listener = self
                    .balancer
                    .listen(listen, self.watched.group())
                    .map_err(|error| ComposeError { message: in_words(&error), ..place.clone() })?;
                Some((*address, listener))
            }
        };
        if let Some((_, replaced)) = std::mem::replace(&mut self.metrics, opened) {
            close(replaced);
        }
        Ok(())
    }

    fn change_groups(&mut self, config: &Config, groups: HashMap<String, Arc<TargetGroup>>) {
        for (name, balanced) in groups {
            let wanted = &config.groups[&name];
            let group = self.groups.entry(name).or_insert_with(|| Group {
                balanced,
                target: wanted.target,
                targets: BTreeMap::new(),
            });
            group.change(wanted);
        }
        let gone = self.groups.extract_if(|name, _| !config.groups.contains_key(name));
        for (_, group) in gone {
            for address in group.targets.keys() {
                drop(group.balanced.deregister(&TargetId::new(address.to_string())));
            }
        }
        self.watched.set(self.groups.values().map(|group| Arc::clone(&group.balanced)).collect());
    }
}

impl Group {
    fn change(&mut self, wanted: &GroupConfig) {
        if self.balanced.attributes() != wanted.attributes {
            self.balanced.set_attributes(wanted.attributes.clone());
        }
        if self.balanced.health_check() != wanted.health_check {
            self.balanced.set_health_check(wanted.health_check.clone());
        }
        let talked_to_otherwise = self.target != wanted.target;
        let serves = |address: &SocketAddr| {
            let id = TargetId::new(address.to_string());
            let usable = || self.balanced.target(&id).is_some_and(|target| target.state.is_usable());
            self.targets.contains_key(address) && usable()
        };
        // Where none of those that serve stays, nobody would be there until the first check of a new one.
        let none_stays = !self.targets.is_empty() && !wanted.targets.keys().any(serves);
        for (address, weight) in &wanted.targets {
            if self.targets.get(address) == Some(weight) && !talked_to_otherwise {
                continue;
            }
            let id = TargetId::new(address.to_string());
            // A target that was healthy is not to be missed until its first check as another one.
            let trusted = none_stays || serves(address);
            let initial = if trusted { TargetState::Healthy } else { TargetState::Initial };
            let target = Arc::new(TcpTarget::new(*address, wanted.target));
            self.balanced.register(
                id,
                target,
                RegisterOptions { weight: *weight, ..RegisterOptions::new(initial) },
            );
        }
        for address in self.targets.keys().filter(|address| !wanted.targets.contains_key(address)) {
            drop(self.balanced.deregister(&TargetId::new(address.to_string())));
        }
        self.targets.clone_from(&wanted.targets);
        self.target = wanted.target;
    }
}

fn routes(
    listener: &ListenerFile,
    groups: &HashMap<String, Arc<TargetGroup>>,
    acme: Option<&Acme>,
) -> Result<Routes, ComposeError> {
    let routes = listener.routes(groups).map_err(|error| place(listener, error.to_string()))?;
    Ok(match acme {
        // The authority comes to port 80, whatever the rules do with other requests.
        Some(acme) if listener.speaks == Speaks::Http => acme.answered_in(routes),
        _ => routes,
    })
}

fn protocol(file: &ListenerFile, acme: Option<&Acme>) -> io::Result<ListenerProtocol> {
    let obtained = match (&file.acme, acme) {
        (Some(names), Some(acme)) => Some(acme.first(names)?),
        _ => None,
    };
    Ok(match (file.speaks, acme::all(&file.certificates, obtained)) {
        (Speaks::Https, Some(certificates)) => ListenerProtocol::Https(certificates),
        (Speaks::Tls, Some(certificates)) => ListenerProtocol::Tls(certificates),
        (Speaks::Tcp, _) => ListenerProtocol::Tcp,
        // The file was refused where one has none of the certificates that it needs.
        _ => ListenerProtocol::Http,
    })
}

fn place(file: &ListenerFile, message: impl Into<String>) -> ComposeError {
    ComposeError { message: message.into(), ..file.place.clone() }
}

fn close(listener: Listener) {
    tokio::spawn(async move { listener.close(DRAIN).await });
}

fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
