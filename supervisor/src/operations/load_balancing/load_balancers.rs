//! CreateLoadBalancer, DescribeLoadBalancers and DeleteLoadBalancer.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{exception, load_balancer_not_found, only};
use crate::error::OperationError;
use crate::model::load_balancing::arn::Kind;
use crate::model::load_balancing::load_balancer::{LoadBalancerRecord, MAX_LOAD_BALANCERS, Scheme};
use crate::model::load_balancing::{ResourceTag, check_name, check_tags};
use crate::records::{encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct CreateLoadBalancerRequest {
    pub name: String,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_mappings: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<ResourceTag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeLoadBalancersRequest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_arns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LoadBalancersResponse {
    pub load_balancers: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteLoadBalancerRequest {
    pub load_balancer_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteLoadBalancerResponse {}

impl Supervisor {
    /// Creates a load balancer without listeners. Subnets and security groups are taken and mean nothing: who gets in is decided by the address it listens at.
    pub async fn create_load_balancer(
        &self,
        request: CreateLoadBalancerRequest,
    ) -> Result<LoadBalancersResponse, OperationError> {
        check_name(&request.name)?;
        only("Type", request.kind.as_deref(), "application", ": load balancers pass on HTTP requests here")?;
        check_tags(&request.tags)?;
        let record = LoadBalancerRecord {
            address: LoadBalancerRecord::address_in(&request.tags)?,
            id: self.new_resource_id(),
            scheme: request.scheme.unwrap_or_default(),
            created_at: self.now(),
            tags: request.tags,
            listeners: Vec::new(),
            name: request.name,
        };
        let _changing = self.load_balancing().change().await;
        if self.load_balancers().await?.len() >= MAX_LOAD_BALANCERS {
            let message =
                format!("The maximum number of load balancers has been reached: {MAX_LOAD_BALANCERS}");
            return Err(exception("TooManyLoadBalancers", message));
        }
        let key = keys::load_balancer(&record.name);
        let create = Transaction::new().when(Compare::Absent(key.clone())).put(key, encode(&record));
        match self.records().commit(create).await? {
            Outcome::Committed(_) => {
                Ok(LoadBalancersResponse { load_balancers: vec![self.described(&record)] })
            }
            Outcome::Conflict(_) => Err(exception(
                "DuplicateLoadBalancerName",
                format!("A load balancer with the name '{}' exists", record.name),
            )),
        }
    }

    /// The load balancers there are, or those that are named.
    pub async fn describe_load_balancers(
        &self,
        request: DescribeLoadBalancersRequest,
    ) -> Result<LoadBalancersResponse, OperationError> {
        let known = self.load_balancers().await?;
        let (arns, names) = (&request.load_balancer_arns, &request.names);
        let all = arns.is_empty() && names.is_empty();
        let arn_of = |record: &LoadBalancerRecord| self.identity().load_balancer(record);
        let wanted = |record: &&LoadBalancerRecord| {
            all || names.contains(&record.name) || arns.contains(&arn_of(record))
        };
        let missing = names.iter().any(|name| known.iter().all(|record| record.name != *name))
            || arns.iter().any(|arn| known.iter().all(|record| arn_of(record) != *arn));
        if missing {
            return Err(load_balancer_not_found());
        }
        let load_balancers = known.iter().filter(wanted).map(|record| self.described(record)).collect();
        Ok(LoadBalancersResponse { load_balancers })
    }

    /// Deletes a load balancer with its listeners and rules; its target groups stay. One that is not there is no error.
    pub async fn delete_load_balancer(
        &self,
        request: DeleteLoadBalancerRequest,
    ) -> Result<DeleteLoadBalancerResponse, OperationError> {
        let arn = &request.load_balancer_arn;
        let named = self.named(arn, |kind| kind == Kind::LoadBalancer, load_balancer_not_found)?;
        let mut changing = self.load_balancing().change().await;
        match self.load_balancer_of(named, load_balancer_not_found).await {
            Ok(found) => {
                let key = keys::load_balancer(named.name);
                let delete =
                    Transaction::new().when(Compare::Revision(key.clone(), found.revision)).delete(key);
                if let Outcome::Conflict(_) = self.records().commit(delete).await? {
                    return Err(OperationError::Conflict);
                }
                changing.remove(named.name).await;
            }
            Err(OperationError::Exception { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(DeleteLoadBalancerResponse {})
    }

    fn described(&self, record: &LoadBalancerRecord) -> Value {
        let listeners = record.listeners.iter().map(|listener| self.identity().listener(record, listener));
        let problem = listeners.into_iter().find_map(|arn| self.load_balancing().problem(&arn));
        let state = match problem {
            None => json!({ "Code": "active" }),
            Some(reason) => json!({ "Code": "active_impaired", "Reason": reason }),
        };
        json!({
            "LoadBalancerArn": self.identity().load_balancer(record),
            "LoadBalancerName": record.name,
            "DNSName": record.dns_name(),
            "CreatedTime": record.created_at,
            "Scheme": record.scheme,
            "State": state,
            "Type": "application",
            "IpAddressType": if record.address.is_ipv4() { "ipv4" } else { "dualstack" },
        })
    }
}
