//! Addresses that are listened at: by services, by load balancers, and by others.

use std::net::SocketAddr;

use rand::Rng;

use super::{SimulatedDriver, State};
use crate::driver::{ListenerSettings, PublishError, TargetGroup};

impl SimulatedDriver {
    /// Takes a port, as another program would.
    pub fn occupy(&self, address: SocketAddr) {
        self.world.lock().used_ports.insert(address);
    }

    /// Gives it back.
    pub fn vacate(&self, address: SocketAddr) {
        self.world.lock().used_ports.remove(&address);
    }
}

impl State {
    pub(super) fn publish(&mut self, group: &TargetGroup) -> Result<Option<SocketAddr>, PublishError> {
        if let Some(address) = self.listeners.get(&group.arn) {
            return Ok(Some(*address));
        }
        let Some(mut address) = group.publication.listen else { return Ok(None) };
        let chance = self.faults.publish_fails;
        if self.rng.random_bool(chance) {
            return Err(PublishError::PortInUse(address));
        }
        let any = address.port() == 0;
        while address.port() == 0 || any && self.listeners.values().any(|used| *used == address) {
            address.set_port(self.rng.random_range(30_000..60_000));
        }
        self.listen(&group.arn, address).map(Some)
    }

    pub(super) fn open_listener(&mut self, listener: &ListenerSettings) -> Result<SocketAddr, PublishError> {
        self.listen(&listener.arn, listener.address)
    }

    fn listen(&mut self, arn: &str, address: SocketAddr) -> Result<SocketAddr, PublishError> {
        let mut others = self.listeners.iter().filter(|(other, _)| *other != arn);
        if self.used_ports.contains(&address) || others.any(|(_, used)| *used == address) {
            return Err(PublishError::PortInUse(address));
        }
        self.listeners.insert(arn.to_owned(), address);
        Ok(address)
    }
}
