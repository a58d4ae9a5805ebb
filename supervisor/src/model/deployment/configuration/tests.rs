use serde_json::{Value, json};

use super::*;

fn parse(over: &DeploymentConfiguration, request: Value) -> Result<DeploymentConfiguration, String> {
    let request = request.to_string();
    let request = crate::operations::parse_request(request.as_bytes()).map_err(|error| error.to_string())?;
    over.updated(Some(request), Pace::default(), DeploymentLimits::default())
        .map_err(|error| error.to_string())
}

fn new(request: Value) -> Result<DeploymentConfiguration, String> {
    parse(&DeploymentConfiguration::default(), request)
}

#[test]
fn a_bad_field_is_refused_with_its_name_and_what_is_allowed() {
    let hook = |hook: Value| json!({"strategy": "LINEAR", "lifecycleHooks": [hook]});
    let breaker = |kind: &str, value: i64| {
        let threshold = json!({"type": kind, "value": value});
        json!({"deploymentCircuitBreaker": {"enable": true, "rollback": true, "thresholdConfiguration": threshold}})
    };
    for (request, field) in [
        (json!({"strategy": "BIG_BANG"}), "strategy"),
        (json!({"strategy": "BLUE_GREEN"}), "bakeTimeInMinutes"),
        (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1441}), "bakeTimeInMinutes"),
        (json!({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0.5}), "bakeTimeInMinutes"),
        (json!({"linearConfiguration": {}}), "linearConfiguration"),
        (json!({"strategy": "LINEAR", "canaryConfiguration": {}}), "canaryConfiguration"),
        (json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}}), "stepPercent"),
        (json!({"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 3.05}}), "stepPercent"),
        (json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0}}), "canaryPercent"),
        (
            json!({"strategy": "CANARY", "canaryConfiguration": {"canaryBakeTimeInMinutes": -1}}),
            "canaryBakeTimeInMinutes",
        ),
        (
            json!({"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]}),
            "lifecycleHooks",
        ),
        (hook(json!({"targetType": "PAUSE"})), "lifecycleHooks[0].lifecycleStages"),
        (hook(json!({"targetType": "PAUSE", "lifecycleStages": ["CLEAN_UP"]})), "lifecycleStages[0]"),
        (hook(json!({"lifecycleStages": ["POST_SCALE_UP"]})), "lifecycleHooks[0].hookTargetArn"),
        (
            hook(json!({"hookTargetArn": "arn:aws:lambda:x", "lifecycleStages": ["POST_SCALE_UP"]})),
            "lifecycleHooks[0].hookTargetArn",
        ),
        (
            hook(json!({"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"],
                "timeoutConfiguration": {"timeoutInMinutes": 20_161}})),
            "lifecycleHooks[0].timeoutConfiguration.timeoutInMinutes",
        ),
        (breaker("COUNT", 0), "deploymentCircuitBreaker.thresholdConfiguration.value"),
        (breaker("PERCENT", 1), "deploymentCircuitBreaker.thresholdConfiguration.type"),
        (json!({"deploymentCircuitBreaker": {"enable": true}}), "deploymentCircuitBreaker"),
        (json!({"alarms": {"enable": true}}), "alarms"),
        (json!({"minimumHealthyPercent": 101}), "minimumHealthyPercent"),
        (json!({"maximumPercent": 99}), "maximumPercent"),
    ] {
        let error = new(request.clone()).unwrap_err();
        assert!(error.contains(field), "{request}: {error}");
    }
}

#[test]
fn what_a_request_does_not_say_stays_and_what_another_strategy_needs_goes() {
    let canary =
        json!({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 40.0}, "maximumPercent": 150});
    let canary = new(canary).unwrap();
    let breaker = json!({"deploymentCircuitBreaker": {"enable": true, "rollback": false}});
    let with_breaker = parse(&canary, breaker).unwrap();
    assert_eq!(with_breaker.canary_configuration, canary.canary_configuration);
    assert_eq!(
        with_breaker.limits(),
        DeploymentLimits { minimum_healthy_percent: 100, maximum_percent: 150 }
    );
    let rolling = parse(&with_breaker, json!({"strategy": "ROLLING"})).unwrap();
    assert_eq!(rolling.canary_configuration, None);
    assert!(rolling.breaker().is_some());
}

#[test]
fn a_configuration_is_given_back_as_it_came() {
    let request = json!({
        "minimumHealthyPercent": 50, "maximumPercent": 200, "strategy": "LINEAR", "bakeTimeInMinutes": 5,
        "deploymentCircuitBreaker": {"enable": true, "rollback": true, "resetOnHealthyTask": false},
        "alarms": {"alarmNames": ["a"], "rollback": true, "enable": true},
        "linearConfiguration": {"stepPercent": 25.0, "stepBakeTimeInMinutes": 1},
        "lifecycleHooks": [{"hookTargetArn": "http://127.0.0.1:9/", "roleArn": "arn:aws:iam::0:role/r",
            "lifecycleStages": ["POST_SCALE_UP"], "hookDetails": {"a": 1}}],
    });
    assert_eq!(serde_json::to_value(new(request.clone()).unwrap()).unwrap(), request);
}
