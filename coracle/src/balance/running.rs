//! From one file to the next, while requests flow.
//!
//! Everything that can fail comes first and changes nothing that serves: new listeners are bound, new groups made. Then
//! groups get their targets and settings, and last the listeners their rules.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Balancer, BalancerConfig, BalancerError, HeaderPolicy, Limits, Listener, ListenerConfig,
    ListenerProtocol, RegisterOptions, Routes, TargetGroup, TargetGroupConfig, TargetId, TargetState,
    TcpTarget, TcpTargetConfig,
};

use super::ConfigFileError;
use super::config::{Config, GroupConfig, ListenerFile};
use super::insight::{AccessLogFile, Watched};
use crate::compose::ComposeError;

/// For the connections of a listener that the next file does not have.
const DRAIN: Duration = Duration::from_secs(30);

/// A balancer that serves what a file describes.
#[derive(Debug)]
pub struct Balance {
    balancer: Balancer,
    groups: HashMap<String, Group>,
    listeners: HashMap<String, Open>,
    watched: Watched,
    /// As it was asked for.
    metrics: Option<(SocketAddr, Listener)>,
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
}

#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    address: SocketAddr,
    speaks: &'static str,
    proxy_protocol: bool,
    x_forwarded_for: HeaderPolicy,
    forwarded: HeaderPolicy,
    access_log: Option<AccessLogFile>,
}

impl Fixed {
    fn of(file: &ListenerFile) -> Self {
        Self {
            address: file.address,
            speaks: match file.protocol {
                ListenerProtocol::Http => "HTTP",
                ListenerProtocol::Https(_) => "HTTPS",
                ListenerProtocol::Tcp => "TCP",
                ListenerProtocol::Tls(_) => "TLS",
            },
            proxy_protocol: file.proxy_protocol,
            x_forwarded_for: file.x_forwarded_for,
            forwarded: file.forwarded,
            access_log: file.access_log.clone(),
        }
    }
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
        Ok(Self { balancer, groups, listeners, watched: Watched::default(), metrics: None })
    }

    /// Serves as `config` says from now on. Listeners and targets that stay keep their connections; those that go are
    /// drained. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// A listener cannot be opened, or cannot become what it is to be while it is open. Nothing has changed then.
    pub fn apply(&mut self, config: &Config) -> Result<(), ConfigFileError> {
        let groups: HashMap<_, _> =
            config.groups.iter().map(|(name, group)| (name.clone(), self.group(name, group))).collect();
        let routes = config
            .listeners
            .iter()
            .map(|(name, listener)| Ok((name.clone(), routes(listener, &groups)?)))
            .collect::<Result<Vec<_>, ComposeError>>()?;
        let mut opened = self.open(config)?;
        if let Err(error) = self.open_metrics(config) {
            opened.into_values().for_each(|open| close(open.listener));
            return Err(error.into());
        }
        self.change_groups(config, groups);
        for (name, routes) in routes {
            let file = &config.listeners[&name];
            if let Some(open) = opened.remove(&name) {
                open.listener.set_routes(routes);
                if let Some(replaced) = self.listeners.insert(name, open) {
                    close(replaced.listener);
                }
            } else if let Some(open) = self.listeners.get_mut(&name) {
                if let ListenerProtocol::Https(certificates) | ListenerProtocol::Tls(certificates) =
                    &file.protocol
                {
                    open.listener.set_certificates(certificates);
                }
                // Only then: new limits begin to count anew.
                if open.limits != file.limits {
                    open.limits = file.limits.clone();
                    open.listener.set_limits(file.limits.clone());
                }
                open.listener.set_routes(routes);
            }
        }
        let gone = self.listeners.extract_if(|name, _| !config.listeners.contains_key(name));
        gone.for_each(|(_, open)| close(open.listener));
        Ok(())
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

    /// Opens the listeners that are not open yet. Each answers 503 until it has its rules.
    fn open(&self, config: &Config) -> Result<HashMap<String, Open>, ComposeError> {
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
                _ => match self.listen(name, file) {
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

    fn listen(&self, name: &str, file: &ListenerFile) -> Result<Open, String> {
        let open = |log: &AccessLogFile| log.open().map_err(|error| format!("accessLog: {error}"));
        let config = ListenerConfig {
            protocol: file.protocol.clone(),
            proxy_protocol: file.proxy_protocol,
            x_forwarded_for: file.x_forwarded_for,
            forwarded: file.forwarded,
            limits: file.limits.clone(),
            access_log: file.access_log.as_ref().map(open).transpose()?,
            ..ListenerConfig::new(name, file.address)
        };
        let nothing = TargetGroup::new(TargetGroupConfig::new("nothing yet"));
        let listener = self.balancer.listen(config, nothing).map_err(|error| in_words(&error))?;
        Ok(Open { listener, fixed: Fixed::of(file), limits: file.limits.clone() })
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
        for (address, weight) in &wanted.targets {
            let known = self.targets.get(address);
            if known == Some(weight) && !talked_to_otherwise {
                continue;
            }
            let id = TargetId::new(address.to_string());
            // A target that was healthy is not to be missed until its first check as another one.
            let usable = self.balanced.target(&id).is_some_and(|target| target.state.is_usable());
            let initial = if known.is_some() && usable { TargetState::Healthy } else { TargetState::Initial };
            let target = Arc::new(TcpTarget::new(*address, wanted.target));
            self.balanced.register(id, target, RegisterOptions { initial, weight: *weight });
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
) -> Result<Routes, ComposeError> {
    listener.routes(groups).map_err(|error| place(listener, error.to_string()))
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
