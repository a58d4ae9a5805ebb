//! CloudWatch's PutMetricAlarm, DescribeAlarms and DeleteAlarms, for alarms on services: what raises step scaling policies.
#![expect(
    missing_docs,
    reason = "requests and responses are AWS's own: its API reference documents their fields"
)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::OperationError;
use crate::model::alarm::{Alarm, Comparison, MAX_ALARMS, Statistic};
use crate::model::names::{ClusterName, ServiceName, quoted};
use crate::model::scaling::Metric;
use crate::records::{encode, keys};
use crate::store::Transaction;
use crate::supervisor::Supervisor;

/// CloudWatch: "AlarmActions: Maximum number of 5 items".
const MAX_ACTIONS: usize = 5;
/// CloudWatch: "AlarmDescription: ... Maximum length of 1024".
const MAX_DESCRIPTION: usize = 1_024;
/// A service's metrics are kept for an hour.
const MAX_SECONDS: u32 = 3_600;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutMetricAlarmRequest {
    pub alarm_name: String,
    pub namespace: String,
    pub metric_name: String,
    pub dimensions: Vec<Dimension>,
    pub comparison_operator: Comparison,
    pub threshold: f64,
    pub period: u32,
    pub evaluation_periods: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datapoints_to_alarm: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistic: Option<Statistic>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarm_actions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm_description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Dimension {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PutMetricAlarmResponse {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct DescribeAlarmsRequest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alarm_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeAlarmsResponse {
    pub metric_alarms: Vec<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteAlarmsRequest {
    pub alarm_names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeleteAlarmsResponse {}

impl Supervisor {
    /// Creates an alarm, or changes the one of this name.
    pub async fn put_metric_alarm(
        &self,
        request: PutMetricAlarmRequest,
    ) -> Result<PutMetricAlarmResponse, OperationError> {
        let alarm = parse(request)?;
        let alarms = self.records().list::<Alarm>(keys::ALARMS).await?;
        if alarms.len() >= MAX_ALARMS && alarms.iter().all(|other| other.name != alarm.name) {
            return Err(OperationError::LimitExceeded(format!("There can be at most {MAX_ALARMS} alarms.")));
        }
        let put = Transaction::new().put(keys::alarm(&alarm.name), encode(&alarm));
        self.records().commit(put).await?;
        Ok(PutMetricAlarmResponse {})
    }

    /// The alarms there are, or those that are named.
    pub async fn describe_alarms(
        &self,
        request: DescribeAlarmsRequest,
    ) -> Result<DescribeAlarmsResponse, OperationError> {
        let alarms = self.records().list::<Alarm>(keys::ALARMS).await?;
        let wanted =
            |alarm: &Alarm| request.alarm_names.is_empty() || request.alarm_names.contains(&alarm.name);
        let metric_alarms = alarms.iter().filter(|alarm| wanted(alarm)).map(described).collect();
        Ok(DescribeAlarmsResponse { metric_alarms })
    }

    /// Deletes alarms. Those that do not exist are no error.
    pub async fn delete_alarms(
        &self,
        request: DeleteAlarmsRequest,
    ) -> Result<DeleteAlarmsResponse, OperationError> {
        super::bounded("AlarmNames", request.alarm_names.len(), 100)?;
        let delete = request
            .alarm_names
            .iter()
            .fold(Transaction::new(), |delete, name| delete.delete(keys::alarm(name)));
        self.records().commit(delete).await?;
        Ok(DeleteAlarmsResponse {})
    }
}

fn parse(request: PutMetricAlarmRequest) -> Result<Alarm, OperationError> {
    let refuse = |field: &str, allowed: &str, was: &dyn std::fmt::Display| {
        Err(OperationError::invalid(format!("{field} must be {allowed}, not {was}.")))
    };
    let name = &request.alarm_name;
    // The name becomes the last part of a key.
    if !(1..=255).contains(&name.chars().count()) || name.contains('/') || name.chars().any(char::is_control)
    {
        return refuse("AlarmName", "1 to 255 printable characters without /", &quoted(name));
    }
    let metric = match (request.namespace.as_str(), request.metric_name.as_str()) {
        ("AWS/ECS", "CPUUtilization") => Metric::Cpu,
        ("AWS/ECS", "MemoryUtilization") => Metric::Memory,
        ("AWS/ApplicationELB", "RequestCountPerTarget") => Metric::Requests,
        (namespace, name) => {
            let known = "CPUUtilization or MemoryUtilization of AWS/ECS, or RequestCountPerTarget of AWS/ApplicationELB";
            return refuse("MetricName", known, &format_args!("{} of {}", quoted(name), quoted(namespace)));
        }
    };
    let dimension = |name: &str| request.dimensions.iter().find(|of| of.name == name).map(|of| &of.value);
    let (Some(cluster), Some(service)) = (dimension("ClusterName"), dimension("ServiceName")) else {
        return Err(OperationError::invalid("Dimensions must name a ClusterName and a ServiceName."));
    };
    let (cluster, service) = (ClusterName::parse(cluster)?, ServiceName::parse(service)?);
    let (period, periods) = (request.period, request.evaluation_periods);
    if period == 0 || !period.is_multiple_of(60) {
        return refuse("Period", "a multiple of 60", &period);
    }
    if periods == 0 || period.saturating_mul(periods) > MAX_SECONDS {
        return refuse("EvaluationPeriods", "at least 1, and with Period at most an hour together", &periods);
    }
    let datapoints = request.datapoints_to_alarm.unwrap_or(periods);
    if !(1..=periods).contains(&datapoints) {
        return refuse("DatapointsToAlarm", "1 to EvaluationPeriods", &datapoints);
    }
    if !request.threshold.is_finite() {
        return refuse("Threshold", "a number", &request.threshold);
    }
    let length = request.alarm_description.as_ref().map_or(0, |text| text.chars().count());
    if length > MAX_DESCRIPTION {
        return refuse("AlarmDescription", "at most 1024 characters", &length);
    }
    if request.alarm_actions.len() > MAX_ACTIONS {
        return refuse("AlarmActions", "at most 5", &request.alarm_actions.len());
    }
    Ok(Alarm {
        name: request.alarm_name,
        description: request.alarm_description,
        metric,
        cluster,
        service,
        comparison: request.comparison_operator,
        threshold: request.threshold,
        period,
        evaluation_periods: periods as usize,
        datapoints_to_alarm: datapoints as usize,
        statistic: request.statistic.unwrap_or(Statistic::Average),
        actions: request.alarm_actions,
        actions_enabled: request.actions_enabled.unwrap_or(true),
    })
}

fn described(alarm: &Alarm) -> Value {
    let (namespace, metric) = match alarm.metric {
        Metric::Cpu => ("AWS/ECS", "CPUUtilization"),
        Metric::Memory => ("AWS/ECS", "MemoryUtilization"),
        Metric::Requests => ("AWS/ApplicationELB", "RequestCountPerTarget"),
    };
    let dimensions = [("ClusterName", alarm.cluster.as_str()), ("ServiceName", alarm.service.as_str())]
        .map(|(name, value)| json!({ "Name": name, "Value": value }));
    let mut described = json!({
        "AlarmName": alarm.name,
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": dimensions,
        "ComparisonOperator": alarm.comparison,
        "Threshold": alarm.threshold,
        "Period": alarm.period,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints_to_alarm,
        "Statistic": alarm.statistic,
        "AlarmActions": alarm.actions,
        "ActionsEnabled": alarm.actions_enabled,
    });
    if let Some(description) = &alarm.description {
        described["AlarmDescription"] = json!(description);
    }
    described
}
