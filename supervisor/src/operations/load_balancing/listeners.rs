//! CreateListener, DescribeListeners, ModifyListener and DeleteListener.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{exception, listener_not_found, load_balancer_not_found, only};
use crate::error::OperationError;
use crate::model::load_balancing::action::Action;
use crate::model::load_balancing::arn::{Kind, Named};
use crate::model::load_balancing::load_balancer::{
    DefaultRule, ListenerRecord, LoadBalancerRecord, MAX_LISTENERS,
};
use crate::model::load_balancing::{lenient, refused};
use crate::supervisor::Supervisor;

/// What HTTPS would need.
const NO_TLS: &str = ": certificates of load balancers are not supported; `coracle balance` speaks HTTPS";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct CreateListenerRequest {
    pub load_balancer_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_actions: Vec<Action>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeListenersRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_arn: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listener_arns: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ModifyListenerRequest {
    pub listener_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_actions: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListenersResponse {
    pub listeners: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteListenerRequest {
    pub listener_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteListenerResponse {}

impl Supervisor {
    /// Opens a port of a load balancer. It listens when this is answered.
    pub async fn create_listener(
        &self,
        request: CreateListenerRequest,
    ) -> Result<ListenersResponse, OperationError> {
        let arn = &request.load_balancer_arn;
        let named = self.named(arn, |kind| kind == Kind::LoadBalancer, load_balancer_not_found)?;
        only("Protocol", request.protocol.as_deref(), "HTTP", NO_TLS)?;
        let port = given_port(request.port)?.ok_or_else(|| refused("Port is missing: 1 to 65535"))?;
        let action = Action::only("DefaultActions", request.default_actions)?;
        let (id, default) = (self.new_resource_id(), self.new_resource_id());
        let create = |record: &mut LoadBalancerRecord| {
            refuse_taken(record, port)?;
            if record.listeners.len() >= MAX_LISTENERS {
                let message = format!("A load balancer can have at most {MAX_LISTENERS} listeners");
                return Err(exception("TooManyListeners", message));
            }
            let default = DefaultRule { id: default, action };
            record.listeners.push(ListenerRecord { id: id.clone(), port, default, rules: Vec::new() });
            Ok(())
        };
        let (record, ()) = self.change_load_balancer(named, load_balancer_not_found, create).await?;
        let listeners = self.describe(&record, |listener| listener.id == id);
        Ok(ListenersResponse { listeners })
    }

    /// The listeners of a load balancer, or those that are named.
    pub async fn describe_listeners(
        &self,
        request: DescribeListenersRequest,
    ) -> Result<ListenersResponse, OperationError> {
        let mut listeners = Vec::new();
        if let Some(arn) = &request.load_balancer_arn {
            let named = self.named(arn, |kind| kind == Kind::LoadBalancer, load_balancer_not_found)?;
            let record = self.load_balancer_of(named, load_balancer_not_found).await?.value;
            listeners = self.describe(&record, |_| true);
        } else if request.listener_arns.is_empty() {
            return Err(refused("LoadBalancerArn or ListenerArns must be given"));
        }
        for arn in &request.listener_arns {
            let (named, id) = self.named_listener(arn)?;
            let record = self.load_balancer_of(named, listener_not_found).await?.value;
            let described = self.describe(&record, |listener| listener.id == id);
            listeners.push(described.into_iter().next().ok_or_else(listener_not_found)?);
        }
        Ok(ListenersResponse { listeners })
    }

    /// Changes a listener's port or what it does by default. No connection is closed unless the port changes.
    pub async fn modify_listener(
        &self,
        request: ModifyListenerRequest,
    ) -> Result<ListenersResponse, OperationError> {
        let (named, id) = self.named_listener(&request.listener_arn)?;
        only("Protocol", request.protocol.as_deref(), "HTTP", NO_TLS)?;
        let port = given_port(request.port)?;
        let action = match request.default_actions.is_empty() {
            true => None,
            false => Some(Action::only("DefaultActions", request.default_actions)?),
        };
        let modify = |record: &mut LoadBalancerRecord| {
            if let Some(port) =
                port.filter(|port| listener(record, id).is_ok_and(|known| known.port != *port))
            {
                refuse_taken(record, port)?;
            }
            let listener = listener(record, id)?;
            listener.port = port.unwrap_or(listener.port);
            if let Some(action) = action {
                listener.default.action = action;
            }
            Ok(())
        };
        let (record, ()) = self.change_load_balancer(named, listener_not_found, modify).await?;
        Ok(ListenersResponse { listeners: self.describe(&record, |listener| listener.id == id) })
    }

    /// Closes a listener and forgets its rules.
    pub async fn delete_listener(
        &self,
        request: DeleteListenerRequest,
    ) -> Result<DeleteListenerResponse, OperationError> {
        let (named, id) = self.named_listener(&request.listener_arn)?;
        let delete = |record: &mut LoadBalancerRecord| {
            listener(record, id)?;
            record.listeners.retain(|known| known.id != id);
            Ok(())
        };
        self.change_load_balancer(named, listener_not_found, delete).await?;
        Ok(DeleteListenerResponse {})
    }

    /// The load balancer and the id in a listener's ARN.
    pub(super) fn named_listener<'a>(&self, arn: &'a str) -> Result<(Named<'a>, &'a str), OperationError> {
        match self.identity().parse_load_balancing(arn) {
            Some(named @ Named { kind: Kind::Listener { id }, .. }) => Ok((named, id)),
            _ => Err(listener_not_found()),
        }
    }

    fn describe(&self, record: &LoadBalancerRecord, wanted: impl Fn(&ListenerRecord) -> bool) -> Vec<Value> {
        let described = |listener: &ListenerRecord| {
            json!({
                "ListenerArn": self.identity().listener(record, listener),
                "LoadBalancerArn": self.identity().load_balancer(record),
                "Port": listener.port,
                "Protocol": "HTTP",
                "DefaultActions": [listener.default.action],
            })
        };
        record.listeners.iter().filter(|listener| wanted(listener)).map(described).collect()
    }
}

/// One of a load balancer's listeners.
pub(super) fn listener<'a>(
    record: &'a mut LoadBalancerRecord,
    id: &str,
) -> Result<&'a mut ListenerRecord, OperationError> {
    record.listeners.iter_mut().find(|listener| listener.id == id).ok_or_else(listener_not_found)
}

fn given_port(port: Option<u16>) -> Result<Option<u16>, OperationError> {
    match port {
        Some(0) => Err(refused("Port must be 1 to 65535, not 0")),
        port => Ok(port),
    }
}

fn refuse_taken(record: &LoadBalancerRecord, port: u16) -> Result<(), OperationError> {
    match record.listeners.iter().any(|listener| listener.port == port) {
        false => Ok(()),
        true => Err(exception(
            "DuplicateListener",
            format!("A listener already exists on this port for this load balancer: {port}"),
        )),
    }
}
