//! RegisterTargets, DeregisterTargets and DescribeTargetHealth.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use std::net::{IpAddr, SocketAddr};

use coracle_balancer::{HealthCheckPort, TargetDescription, TargetState};
use serde::{Deserialize, Serialize};

use super::{exception, target_group_not_found};
use crate::error::OperationError;
use crate::model::load_balancing::target_group::{MAX_TARGETS, TargetGroupRecord, TargetType};
use crate::model::load_balancing::{lenient, refused};
use crate::model::names::quoted;
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct TargetDescriptor {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct TargetsRequest {
    pub target_group_arn: String,
    pub targets: Vec<TargetDescriptor>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetsResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeTargetHealthResponse {
    pub target_health_descriptions: Vec<TargetHealthDescription>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetHealthDescription {
    pub target: TargetDescriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_port: Option<String>,
    pub target_health: TargetHealthState,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetHealthState {
    pub state: TargetState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Supervisor {
    /// Adds servers to a target group of the type `ip`; their first checks are sent at once. Services' tasks register by themselves.
    pub async fn register_targets(&self, request: TargetsRequest) -> Result<TargetsResponse, OperationError> {
        let register = |record: &mut TargetGroupRecord| {
            if record.target_type != TargetType::Ip {
                return Err(refused(
                    "The target group has the type instance: its targets are services' tasks, which register by themselves. Servers are targets of a group of the type ip",
                ));
            }
            record.targets.extend(addresses(record, &request.targets)?);
            if record.targets.len() > MAX_TARGETS {
                let message = format!("A target group can have at most {MAX_TARGETS} targets");
                return Err(exception("TooManyTargets", message));
            }
            Ok(())
        };
        self.change_target_group(&request.target_group_arn, register).await?;
        Ok(TargetsResponse {})
    }

    /// Takes servers out of a target group. They get no new request when this is answered, and finish those they have. Those that are not in it are no
    /// error.
    pub async fn deregister_targets(
        &self,
        request: TargetsRequest,
    ) -> Result<TargetsResponse, OperationError> {
        let deregister = |record: &mut TargetGroupRecord| {
            for address in addresses(record, &request.targets)? {
                record.targets.remove(&address);
            }
            Ok(())
        };
        self.change_target_group(&request.target_group_arn, deregister).await?;
        Ok(TargetsResponse {})
    }

    /// How the targets of a group are, or some of them. Tasks are named by their ids. Groups that services make for themselves are shown too.
    pub async fn describe_target_health(
        &self,
        request: TargetsRequest,
    ) -> Result<DescribeTargetHealthResponse, OperationError> {
        let arn = &request.target_group_arn;
        let record = self.made_target_group(arn).await?.map(|found| found.value);
        let targets = self.driver().target_health(arn);
        if record.is_none() && targets.is_empty() {
            return Err(target_group_not_found());
        }
        // Behind no listener nobody sends it a request.
        let unused = record.is_some()
            && self
                .load_balancers()
                .await?
                .iter()
                .all(|balancer| !balancer.target_groups().contains(arn.as_str()));
        let wanted = |known: &TargetHealthDescription| {
            let is = |asked: &TargetDescriptor| {
                asked.id == known.target.id && (asked.port.is_none() || asked.port == known.target.port)
            };
            request.targets.is_empty() || request.targets.iter().any(is)
        };
        let described = targets.iter().map(|target| describe(target, record.as_ref(), unused));
        Ok(DescribeTargetHealthResponse { target_health_descriptions: described.filter(wanted).collect() })
    }
}

fn addresses(
    record: &TargetGroupRecord,
    targets: &[TargetDescriptor],
) -> Result<Vec<SocketAddr>, OperationError> {
    if targets.is_empty() {
        return Err(refused("Targets must not be empty"));
    }
    let address = |target: &TargetDescriptor| {
        let address = target.id.parse::<IpAddr>().map_err(|_| {
            exception(
                "InvalidTarget",
                format!("Targets.Id must be an IP address, not {}", quoted(&target.id)),
            )
        })?;
        match target.port.unwrap_or(record.port) {
            0 => Err(refused("Targets.Port must be 1 to 65535, not 0")),
            port => Ok(SocketAddr::new(address, port)),
        }
    };
    targets.iter().map(address).collect()
}

fn describe(
    target: &TargetDescription,
    record: Option<&TargetGroupRecord>,
    unused: bool,
) -> TargetHealthDescription {
    let server = record.zip(target.address).filter(|(record, address)| record.targets.contains(address));
    let id = server.map_or_else(|| target.id.to_string(), |(_, address)| address.ip().to_string());
    // A handler has none: a request to it is a call.
    let port = target.address.map(|address| address.port());
    let checked_at = record.and_then(|record| match record.health_check.port {
        HealthCheckPort::Traffic => port,
        HealthCheckPort::Port(port) => Some(port.get()),
    });
    let target_health = match unused && target.state != TargetState::Draining {
        true => TargetHealthState {
            state: TargetState::Unused,
            reason: Some("Target.NotInUse".to_owned()),
            description: Some(
                "Target group is not configured to receive traffic from the load balancer".to_owned(),
            ),
        },
        false => TargetHealthState {
            state: target.state,
            reason: target.reason.map(str::to_owned),
            description: target.description.clone(),
        },
    };
    TargetHealthDescription {
        target: TargetDescriptor { id, port, availability_zone: None },
        health_check_port: checked_at.map(|port| port.to_string()),
        target_health,
    }
}
