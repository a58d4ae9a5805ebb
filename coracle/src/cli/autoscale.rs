//! `coracle service autoscale`

use std::fmt::Write as _;

use coracle_supervisor::operations::{
    DescribeScalableTargetsResponse, DescribeScalingActivitiesResponse, DescribeScalingPoliciesResponse,
    FAST_NAMESPACE, ScalableResource, TrackingConfiguration,
};
use serde_json::{Value, json};

use super::{
    args::ServiceAutoscale,
    client::Client,
    error::Failure,
    output::{self, Table, at},
};

/// Activities that a description shows.
const ACTIVITIES: usize = 10;

/// The metrics that options name: policy, metric over minutes, metric over seconds.
const METRICS: [(&str, &str, Option<&str>); 3] = [
    ("coracle-cpu", "ECSServiceAverageCPUUtilization", Some("CPUUtilization")),
    ("coracle-memory", "ECSServiceAverageMemoryUtilization", None),
    ("coracle-requests", "ALBRequestCountPerTarget", Some("RequestsPerSecondPerTarget")),
];

pub(crate) async fn main(args: ServiceAutoscale) -> Result<(), Failure> {
    let client = Client::new(&args.cluster.api);
    let cluster = output::name_of(&args.cluster.cluster);
    let resource = ScalableResource::of(cluster, &args.name);
    if args.off {
        let _: Value = client.auto_scaling("DeregisterScalableTarget", &resource).await?;
    } else if !args.is_question() {
        change(&client, &resource, &args).await?;
    }
    show(&client, &resource, &args).await
}

async fn change(
    client: &Client,
    resource: &ScalableResource,
    args: &ServiceAutoscale,
) -> Result<(), Failure> {
    let mut target = json!(resource);
    if let Some(min) = args.min {
        target["MinCapacity"] = json!(min);
    }
    if let Some(max) = args.max {
        target["MaxCapacity"] = json!(max);
    }
    let _: Value = client.auto_scaling("RegisterScalableTarget", &target).await?;
    for (value, (name, slow, fast)) in [args.cpu, args.memory, args.requests].into_iter().zip(METRICS) {
        let Some(value) = value else { continue };
        let mut configuration = json!({ "TargetValue": value });
        match fast.filter(|_| args.fast) {
            Some(metric) => {
                configuration["CustomizedMetricSpecification"] =
                    json!({ "Namespace": FAST_NAMESPACE, "MetricName": metric });
            }
            None => {
                configuration["PredefinedMetricSpecification"] = json!({ "PredefinedMetricType": slow });
            }
        }
        let mut policy = json!(resource);
        policy["PolicyName"] = json!(name);
        policy["PolicyType"] = json!("TargetTrackingScaling");
        policy["TargetTrackingScalingPolicyConfiguration"] = configuration;
        let _: Value = client.auto_scaling("PutScalingPolicy", &policy).await?;
    }
    Ok(())
}

async fn show(client: &Client, resource: &ScalableResource, args: &ServiceAutoscale) -> Result<(), Failure> {
    let all = json!({ "ServiceNamespace": "ecs", "ResourceIds": [resource.resource_id] });
    let targets: DescribeScalableTargetsResponse =
        client.auto_scaling("DescribeScalableTargets", &all).await?;
    let of = json!({ "ServiceNamespace": "ecs", "ResourceId": resource.resource_id });
    let policies: DescribeScalingPoliciesResponse =
        client.auto_scaling("DescribeScalingPolicies", &of).await?;
    let activities: DescribeScalingActivitiesResponse =
        client.auto_scaling("DescribeScalingActivities", &of).await?;
    let everything = json!({
        "scalableTargets": targets.scalable_targets,
        "scalingPolicies": policies.scaling_policies,
        "scalingActivities": activities.scaling_activities,
    });
    output::print(args.cluster.api.output.output, &everything, || {
        let Some(target) = targets.scalable_targets.first() else {
            return format!(
                "{} does not scale; `coracle service autoscale {} --min 1 --max 10 --cpu 60` lets it\n",
                args.name, args.name
            );
        };
        let mut text = format!("{}: {} to {} tasks\n", args.name, target.min_capacity, target.max_capacity);
        if !policies.scaling_policies.is_empty() {
            let mut table = Table::new(["POLICY", "METRIC", "TARGET", "PACE"]);
            for policy in &policies.scaling_policies {
                let tracking = policy.target_tracking_scaling_policy_configuration.as_ref();
                let (metric, target, pace) = tracking.map_or_else(
                    || ("an alarm's".to_owned(), "steps".to_owned(), "minutes".to_owned()),
                    tracked,
                );
                table.row([policy.policy_name.clone(), metric, target, pace]);
            }
            text.push('\n');
            text.push_str(&table.render());
        }
        for activity in activities.scaling_activities.iter().take(ACTIVITIES) {
            // Writing to a string cannot fail.
            write!(text, "\n{}  {}\n  {}\n", at(activity.start_time), activity.description, activity.cause)
                .ok();
            if !activity.details.is_empty() {
                writeln!(text, "  {}", activity.details).ok();
            }
        }
        text
    })
}

fn tracked(tracking: &TrackingConfiguration) -> (String, String, String) {
    let value = json!(tracking);
    let target = tracking.target_value.to_string();
    let name = |metric: &Value| metric.as_str().unwrap_or_default().to_owned();
    if tracking.customized_metric_specification.is_some() {
        return (name(&value["CustomizedMetricSpecification"]["MetricName"]), target, "seconds".to_owned());
    }
    (name(&value["PredefinedMetricSpecification"]["PredefinedMetricType"]), target, "minutes".to_owned())
}
