//! Where requests reach a task: its ends in the target groups of its service.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use coracle_balancer::{CustomHealth, Target, TcpTarget, TcpTargetConfig};
use coracle_runtime::ImageKind;
use tokio::sync::watch;

use super::failure;
use super::sandbox::{LocalSandbox, answers_in_process};
use super::targets::HandlerTarget;
use crate::driver::{Sandbox, StartFailure, StartFailureKind, TargetGroup};
use crate::model::task::TargetHealth;
use crate::model::task_definition::{ContainerDefinition, TransportProtocol};

/// A port of the task that only those reach who find its service by name.
struct OtherEnd {
    port: u16,
    container: String,
    target: Arc<dyn Target>,
}

impl LocalSandbox {
    /// Puts the task into a target group, and where it is found by name into those of its other ports.
    pub(super) fn join(
        &self,
        group: &TargetGroup,
        vouched: CustomHealth,
    ) -> Result<watch::Receiver<TargetHealth>, StartFailure> {
        let (container, target) = self.target()?;
        let others = self.other_ends();
        let (group, id) = (self.driver.targets.group(group), &self.launch.id);
        let ports = others.iter().map(|end| (end.port, Arc::clone(&end.target)));
        let health = group.register(id, target, ports, vouched);
        let main = group.meter(id).map(|meter| (container, meter));
        let others =
            others.into_iter().filter_map(|end| Some((end.container, group.meter_at(end.port, id)?)));
        let mut state = self.lock();
        state.asked = main.into_iter().chain(others).collect();
        state.group = Some(group);
        Ok(health)
    }

    /// The task's side of a target group, its handler or the address of its server, and the container that it is of.
    fn target(&self) -> Result<(String, Arc<dyn Target>), StartFailure> {
        let content = &self.launch.definition.content;
        let cannot = |why: &str| failure(StartFailureKind::ResourceInitialization, why);
        let said = self.launch.traffic.as_ref();
        let name = said.map(|(container, _)| container.as_str()).or_else(|| content.traffic_container());
        let name = name.ok_or_else(|| cannot("no container can be published"))?;
        let definition = content.container(name).ok_or_else(|| cannot("no container can be published"))?;
        let port = said.map(|(_, port)| *port).or_else(|| definition.first_port());
        let target = self
            .target_at(definition, port)
            .ok_or_else(|| cannot("the published container has not started, or has no port"))?;
        Ok((name.to_owned(), target))
    }

    /// Those beside that one, each of whichever container has its port.
    fn other_ends(&self) -> Vec<OtherEnd> {
        let containers = &self.launch.definition.content.container_definitions;
        let has = |container: &&ContainerDefinition, port: u16| {
            let mut tcp =
                container.port_mappings.iter().filter(|port| port.protocol == TransportProtocol::Tcp);
            tcp.any(|mapping| mapping.container_port == Some(port))
        };
        let end = |port: u16| {
            let container = containers.iter().find(|container| has(container, port))?;
            let target = self.target_at(container, Some(port))?;
            Some(OtherEnd { port, container: container.name.clone(), target })
        };
        self.launch.other_ports.iter().filter_map(|port| end(*port)).collect()
    }

    /// Where servers listen that requests come to, once they do.
    pub(super) fn listens_at(&self) -> Vec<SocketAddr> {
        let main = self.target().ok().and_then(|(_, target)| target.address());
        main.into_iter().chain(self.other_ends().iter().filter_map(|end| end.target.address())).collect()
    }

    fn target_at(&self, definition: &ContainerDefinition, port: Option<u16>) -> Option<Arc<dyn Target>> {
        let image = self.images.get(&definition.name);
        if let Some(image) = image.filter(|image| answers_in_process(image, definition)) {
            let container = self.lock().containers.get(&definition.name).cloned()?;
            // One that answers the CGI way has no port open.
            let address = self.site().answers_at().filter(|_| image.kind() == ImageKind::Handler);
            let socket = address.zip(port).map(SocketAddr::from);
            return Some(Arc::new(HandlerTarget { container, socket }));
        }
        let address = self.address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Some(Arc::new(TcpTarget::new(SocketAddr::new(address, port?), TcpTargetConfig::default())))
    }
}
