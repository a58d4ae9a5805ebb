//! From one file to the next, while requests flow.
//!
//! Everything that can fail comes first and changes nothing that serves: new listeners are bound, new groups made. Then
//! groups get their targets and settings, and last the listeners their rules.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use coracle_balancer::{
    Balancer, BalancerConfig, BalancerError, Listener, ListenerConfig, ListenerProtocol, RegisterOptions,
    Routes, TargetGroup, TargetGroupConfig, TargetId, TargetState, TcpTarget, TcpTargetConfig,
};

use super::ConfigFileError;
use super::config::{Config, GroupConfig, ListenerFile};
use crate::compose::ComposeError;

/// For the connections of a listener that the next file does not have.
const DRAIN: Duration = Duration::from_secs(30);

/// A balancer that serves what a file describes.
#[derive(Debug)]
pub struct Balance {
    balancer: Balancer,
    groups: HashMap<String, Group>,
    listeners: HashMap<String, Open>,
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
    /// As it was asked for: port 0 stays the port it got.
    address: SocketAddr,
    speaks: &'static str,
    proxy_protocol: bool,
}

impl Balance {
    /// Starts the data-plane threads, with nothing to serve yet.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start() -> Result<Self, BalancerError> {
        let balancer = Balancer::start(BalancerConfig::default())?;
        Ok(Self { balancer, groups: HashMap::new(), listeners: HashMap::new() })
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
        self.change_groups(config, groups);
        for (name, routes) in routes {
            let file = &config.listeners[&name];
            if let Some(open) = opened.remove(&name) {
                open.listener.set_routes(routes);
                if let Some(replaced) = self.listeners.insert(name, open) {
                    close(replaced.listener);
                }
            } else if let Some(open) = self.listeners.get(&name) {
                if let ListenerProtocol::Https(certificates) | ListenerProtocol::Tls(certificates) =
                    &file.protocol
                {
                    open.listener.set_certificates(certificates);
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
        self.listeners.iter().map(|(name, open)| (name.as_str(), open.listener.local_addr())).collect()
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
                Some(open) if open.address == file.address => {
                    if (open.speaks, open.proxy_protocol) != (speaks(file), file.proxy_protocol) {
                        opened.into_values().for_each(|open: Open| close(open.listener));
                        let message = "protocol and proxyProtocol of an open listener cannot change; give it \
                                       another address";
                        return Err(place(file, message));
                    }
                }
                _ => match self.listen(name, file) {
                    Ok(open) => {
                        opened.insert(name.clone(), open);
                    }
                    Err(error) => {
                        opened.into_values().for_each(|open| close(open.listener));
                        return Err(place(file, in_words(&error)));
                    }
                },
            }
        }
        Ok(opened)
    }

    fn listen(&self, name: &str, file: &ListenerFile) -> Result<Open, BalancerError> {
        let config = ListenerConfig {
            protocol: file.protocol.clone(),
            proxy_protocol: file.proxy_protocol,
            ..ListenerConfig::new(name, file.address)
        };
        let nothing = TargetGroup::new(TargetGroupConfig::new("nothing yet"));
        Ok(Open {
            listener: self.balancer.listen(config, nothing)?,
            address: file.address,
            speaks: speaks(file),
            proxy_protocol: file.proxy_protocol,
        })
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

fn speaks(file: &ListenerFile) -> &'static str {
    match file.protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https(_) => "HTTPS",
        ListenerProtocol::Tcp => "TCP",
        ListenerProtocol::Tls(_) => "TLS",
    }
}

fn close(listener: Listener) {
    tokio::spawn(async move { listener.close(DRAIN).await });
}

fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
