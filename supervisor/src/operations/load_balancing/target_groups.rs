//! CreateTargetGroup, DescribeTargetGroups, ModifyTargetGroup, DeleteTargetGroup, and their attributes.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use std::collections::BTreeMap;

use coracle_balancer::HealthCheckConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{exception, load_balancer_not_found, only, target_group_not_found};
use crate::error::OperationError;
use crate::model::load_balancing::load_balancer::LoadBalancerRecord;
use crate::model::load_balancing::target_group::{
    MAX_TARGET_GROUPS, TargetGroupRecord, TargetType, parse_attributes,
};
use crate::model::load_balancing::{ResourceTag, check_name, check_tags, lenient, refused};
use crate::model::service::ServiceRecord;
use crate::records::{encode, keys};
use crate::store::{Compare, Outcome, Transaction};
use crate::supervisor::Supervisor;

/// The fields of a request that are the health check's.
const HEALTH_CHECK: [&str; 9] = [
    "HealthCheckEnabled",
    "HealthCheckProtocol",
    "HealthCheckPath",
    "HealthCheckPort",
    "HealthCheckIntervalSeconds",
    "HealthCheckTimeoutSeconds",
    "HealthyThresholdCount",
    "UnhealthyThresholdCount",
    "Matcher",
];

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct CreateTargetGroupRequest {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_type: Option<TargetType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_interval_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_timeout_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub healthy_threshold_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub unhealthy_threshold_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<ResourceTag>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct ModifyTargetGroupRequest {
    pub target_group_arn: String,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_port: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_interval_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub health_check_timeout_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub healthy_threshold_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::value")]
    pub unhealthy_threshold_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeTargetGroupsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer_arn: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_group_arns: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetGroupsResponse {
    pub target_groups: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteTargetGroupRequest {
    pub target_group_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteTargetGroupResponse {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribeTargetGroupAttributesRequest {
    pub target_group_arn: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ModifyTargetGroupAttributesRequest {
    pub target_group_arn: String,
    #[serde(default)]
    pub attributes: Vec<TargetGroupAttribute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct TargetGroupAttribute {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetGroupAttributesResponse {
    pub attributes: Vec<TargetGroupAttribute>,
}

impl Supervisor {
    /// Creates a target group. The same once more is answered as it is.
    pub async fn create_target_group(
        &self,
        request: CreateTargetGroupRequest,
    ) -> Result<TargetGroupsResponse, OperationError> {
        check_name(&request.name)?;
        check_tags(&request.tags)?;
        only("Protocol", request.protocol.as_deref(), "HTTP", "")?;
        only("ProtocolVersion", request.protocol_version.as_deref(), "HTTP1", "")?;
        let port = request.port.filter(|port| *port > 0);
        let record = TargetGroupRecord {
            id: self.new_resource_id(),
            port: port.ok_or_else(|| refused("Port is missing: 1 to 65535"))?,
            target_type: request.target_type.unwrap_or_default(),
            health_check: health_check(None, &request)?,
            attributes: BTreeMap::new(),
            targets: Default::default(),
            created_at: self.now(),
            name: request.name,
            tags: request.tags,
        };
        let changing = self.load_balancing().change().await;
        let known: Vec<TargetGroupRecord> = self.records().list(keys::TARGET_GROUPS).await?;
        if let Some(known) = known.iter().find(|known| known.name == record.name) {
            let settings = |of: &TargetGroupRecord| (of.port, of.target_type, of.health_check.clone());
            if settings(known) != settings(&record) {
                let message = format!(
                    "A target group with the same name '{}' exists, but with different settings",
                    record.name
                );
                return Err(exception("DuplicateTargetGroupName", message));
            }
            let described = self.target_group_view(known, &self.load_balancers().await?);
            return Ok(TargetGroupsResponse { target_groups: vec![described] });
        }
        if known.len() >= MAX_TARGET_GROUPS {
            let message =
                format!("The maximum number of target groups has been reached: {MAX_TARGET_GROUPS}");
            return Err(exception("TooManyTargetGroups", message));
        }
        let key = keys::target_group(&record.name);
        let create = Transaction::new().when(Compare::Absent(key.clone())).put(key, encode(&record));
        if let Outcome::Conflict(_) = self.records().commit(create).await? {
            return Err(OperationError::Conflict);
        }
        changing.keep(&record);
        Ok(TargetGroupsResponse { target_groups: vec![self.target_group_view(&record, &[])] })
    }

    /// The target groups there are, or those that are named or that a load balancer uses. Those that services make for themselves are not shown.
    pub async fn describe_target_groups(
        &self,
        request: DescribeTargetGroupsRequest,
    ) -> Result<TargetGroupsResponse, OperationError> {
        let known: Vec<TargetGroupRecord> = self.records().list(keys::TARGET_GROUPS).await?;
        let balancers = self.load_balancers().await?;
        let (arns, names) = (&request.target_group_arns, &request.names);
        let arn_of = |record: &TargetGroupRecord| self.identity().made_target_group(record);
        let missing = names.iter().any(|name| known.iter().all(|record| record.name != *name))
            || arns.iter().any(|arn| known.iter().all(|record| arn_of(record) != *arn));
        if missing {
            return Err(target_group_not_found());
        }
        let of = match &request.load_balancer_arn {
            None => None,
            Some(arn) => {
                let of = balancers.iter().find(|record| self.identity().load_balancer(record) == *arn);
                Some(of.ok_or_else(load_balancer_not_found)?.target_groups())
            }
        };
        let all = arns.is_empty() && names.is_empty();
        let wanted = |record: &&TargetGroupRecord| {
            let arn = arn_of(record);
            (all || names.contains(&record.name) || arns.contains(&arn))
                && of.as_ref().is_none_or(|of| of.contains(arn.as_str()))
        };
        let target_groups =
            known.iter().filter(wanted).map(|record| self.target_group_view(record, &balancers)).collect();
        Ok(TargetGroupsResponse { target_groups })
    }

    /// Changes how targets are checked. They are checked the new way at once.
    pub async fn modify_target_group(
        &self,
        request: ModifyTargetGroupRequest,
    ) -> Result<TargetGroupsResponse, OperationError> {
        let modify = |record: &mut TargetGroupRecord| {
            record.health_check = health_check(Some(&record.health_check), &request)?;
            Ok(())
        };
        let record = self.change_target_group(&request.target_group_arn, modify).await?;
        let described = self.target_group_view(&record, &self.load_balancers().await?);
        Ok(TargetGroupsResponse { target_groups: vec![described] })
    }

    /// Changes attributes; those that are not named stay as they are.
    pub async fn modify_target_group_attributes(
        &self,
        request: ModifyTargetGroupAttributesRequest,
    ) -> Result<TargetGroupAttributesResponse, OperationError> {
        let modify = |record: &mut TargetGroupRecord| {
            let given = request.attributes.iter().map(|given| (given.key.clone(), given.value.clone()));
            record.attributes.extend(given);
            record.parsed_attributes().map(drop)
        };
        let record = self.change_target_group(&request.target_group_arn, modify).await?;
        attributes(&record)
    }

    /// A target group's attributes, all of them.
    pub async fn describe_target_group_attributes(
        &self,
        request: DescribeTargetGroupAttributesRequest,
    ) -> Result<TargetGroupAttributesResponse, OperationError> {
        let found = self.made_target_group(&request.target_group_arn).await?;
        attributes(&found.ok_or_else(target_group_not_found)?.value)
    }

    /// Deletes a target group that no rule and no service uses. One that is not there is no error.
    pub async fn delete_target_group(
        &self,
        request: DeleteTargetGroupRequest,
    ) -> Result<DeleteTargetGroupResponse, OperationError> {
        let arn = &request.target_group_arn;
        let _creating = self.creating().lock().await;
        let changing = self.load_balancing().change().await;
        let Some(found) = self.made_target_group(arn).await? else { return Ok(DeleteTargetGroupResponse {}) };
        let in_use = |by: String| {
            exception("ResourceInUse", format!("Target group '{arn}' is currently in use by {by}"))
        };
        if self.load_balancers().await?.iter().any(|record| record.target_groups().contains(arn.as_str())) {
            return Err(in_use("a listener or a rule".to_owned()));
        }
        if let Some(service) = self.service_of(arn).await? {
            return Err(in_use(format!("the service '{}'", service.name)));
        }
        let key = keys::target_group(&found.value.name);
        let delete = Transaction::new().when(Compare::Revision(key.clone(), found.revision)).delete(key);
        if let Outcome::Conflict(_) = self.records().commit(delete).await? {
            return Err(OperationError::Conflict);
        }
        changing.forget(&found.value);
        Ok(DeleteTargetGroupResponse {})
    }

    /// Changes a target group, one change at a time, and has the balancer follow.
    pub(super) async fn change_target_group(
        &self,
        arn: &str,
        change: impl FnOnce(&mut TargetGroupRecord) -> Result<(), OperationError>,
    ) -> Result<TargetGroupRecord, OperationError> {
        let changing = self.load_balancing().change().await;
        let found = self.made_target_group(arn).await?.ok_or_else(target_group_not_found)?;
        let mut record = found.value;
        change(&mut record)?;
        let key = keys::target_group(&record.name);
        let put =
            Transaction::new().when(Compare::Revision(key.clone(), found.revision)).put(key, encode(&record));
        if let Outcome::Conflict(_) = self.records().commit(put).await? {
            return Err(OperationError::Conflict);
        }
        changing.keep(&record);
        Ok(record)
    }

    /// The service whose tasks a target group has.
    pub(in crate::operations) async fn service_of(
        &self,
        target_group_arn: &str,
    ) -> Result<Option<ServiceRecord>, OperationError> {
        let services: Vec<ServiceRecord> = self.records().list(keys::SERVICES).await?;
        let has = |service: &ServiceRecord| {
            service
                .attachment()
                .is_some_and(|attachment| attachment.groups().any(|group| group == target_group_arn))
        };
        Ok(services.into_iter().find(has))
    }

    fn target_group_view(&self, record: &TargetGroupRecord, balancers: &[LoadBalancerRecord]) -> Value {
        let arn = self.identity().made_target_group(record);
        let of = balancers.iter().filter(|balancer| balancer.target_groups().contains(arn.as_str()));
        let mut view = fields_of(&record.health_check);
        view.retain(|_, value| !value.is_null());
        view.extend(fields_of(&json!({
            "TargetGroupArn": arn,
            "TargetGroupName": record.name,
            "Protocol": "HTTP",
            "ProtocolVersion": "HTTP1",
            "Port": record.port,
            "TargetType": record.target_type,
            "IpAddressType": "ipv4",
            "LoadBalancerArns": of.map(|balancer| self.identity().load_balancer(balancer)).collect::<Vec<_>>(),
        })));
        Value::Object(view)
    }
}

fn attributes(record: &TargetGroupRecord) -> Result<TargetGroupAttributesResponse, OperationError> {
    let pairs = parse_attributes(&record.attributes)?.to_pairs();
    let attribute = |(key, value): (&str, String)| TargetGroupAttribute { key: key.to_owned(), value };
    Ok(TargetGroupAttributesResponse { attributes: pairs.into_iter().map(attribute).collect() })
}

/// A health check as a request has it, over the one that there was.
fn health_check(
    before: Option<&HealthCheckConfig>,
    request: &impl Serialize,
) -> Result<HealthCheckConfig, OperationError> {
    let mut given = fields_of(request);
    given.retain(|field, _| HEALTH_CHECK.contains(&field.as_str()));
    let mut fields = before.map(fields_of).unwrap_or_default();
    fields.extend(given);
    serde_json::from_value(Value::Object(fields)).map_err(|error| refused(error.to_string()))
}

fn fields_of(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        // What is serialized here are structures with named fields.
        _ => Map::new(),
    }
}
