//! A service's ports beside the one that its requests come to, each with a target group of its own: they are reached by name alone.
//!
//! They are not checked. A task is as well there as its own group finds it and its containers' checks say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use coracle_balancer::{
    CustomHealth, Forward, HealthCheckConfig, RegisterOptions, Target, TargetGroup, TargetGroupConfig,
    TargetId, TargetMeter, TargetState,
};
use futures_util::future::join_all;

use super::directory::Routing;
use crate::driver;

/// Those of one of a service's target groups.
#[derive(Debug)]
pub(super) struct OtherPorts {
    of: driver::TargetGroup,
    ports: Mutex<BTreeMap<u16, Port>>,
}

#[derive(Debug)]
struct Port {
    group: Arc<TargetGroup>,
    /// Where the requests to this port go of a service that was published with the group.
    routing: Option<Routing>,
}

impl OtherPorts {
    pub(super) fn new(of: driver::TargetGroup) -> Self {
        Self { of, ports: Mutex::default() }
    }

    /// The tasks at a port.
    pub(super) fn group(&self, port: u16) -> Arc<TargetGroup> {
        Arc::clone(&self.port(&mut self.lock(), port).group)
    }

    /// Where the requests to a port go, if that was said.
    pub(super) fn routing(&self, port: u16) -> Option<Routing> {
        self.lock().get(&port)?.routing.clone()
    }

    /// Sends the requests to a port somewhere else from now on.
    pub(super) fn route(&self, port: u16, forward: Forward) -> Routing {
        let mut ports = self.lock();
        match &mut self.port(&mut ports, port).routing {
            Some(routing) => {
                routing.store(Arc::new(forward));
                Arc::clone(routing)
            }
            none => Arc::clone(none.insert(Arc::new(ArcSwap::from_pointee(forward)))),
        }
    }

    /// The ports whose requests go somewhere.
    pub(super) fn routed(&self) -> Vec<u16> {
        let ports = self.lock();
        ports.iter().filter(|(_, known)| known.routing.is_some()).map(|(port, _)| *port).collect()
    }

    /// Nobody knows yet how the task is.
    pub(super) fn register(&self, id: &TargetId, targets: impl Iterator<Item = (u16, Arc<dyn Target>)>) {
        let options = RegisterOptions {
            custom_health: CustomHealth::Unknown,
            ..RegisterOptions::new(TargetState::Initial)
        };
        for (port, target) in targets {
            self.group(port).register(id.clone(), target, options);
        }
    }

    pub(super) fn vouch(&self, id: &TargetId, health: CustomHealth) {
        for known in self.lock().values() {
            known.group.vouch(id, health);
        }
    }

    pub(super) fn meter(&self, port: u16, id: &TargetId) -> Option<TargetMeter> {
        self.lock().get(&port)?.group.meter(id)
    }

    /// Takes a task out at once. Resolves when it has no request any more, or after the deregistration delay.
    pub(super) fn deregister(&self, id: &TargetId) -> impl Future<Output = ()> + Send + 'static + use<> {
        let draining: Vec<_> = self.lock().values().map(|known| known.group.deregister(id)).collect();
        async move {
            join_all(draining).await;
        }
    }

    fn port<'a>(&self, ports: &'a mut BTreeMap<u16, Port>, port: u16) -> &'a mut Port {
        ports.entry(port).or_insert_with(|| Port {
            group: TargetGroup::new(TargetGroupConfig {
                name: format!("{}:{port}", self.of.name),
                arn: None,
                health_check: HealthCheckConfig::disabled(),
                attributes: self.of.publication.attributes(),
            }),
            routing: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, Port>> {
        // Guards single map operations.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
