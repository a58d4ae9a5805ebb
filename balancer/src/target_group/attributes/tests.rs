//! Reading and writing attributes.

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<TargetGroupAttributes, ConfigError> {
    TargetGroupAttributes::from_pairs(pairs.iter().copied())
}

#[test]
fn defaults_are_elbs() {
    let attributes = read(&[]).unwrap();
    assert_eq!(attributes, TargetGroupAttributes::default());
    let pairs = attributes.to_pairs();
    for pair in [
        ("deregistration_delay.timeout_seconds", "300"),
        ("slow_start.duration_seconds", "0"),
        ("load_balancing.algorithm.type", "round_robin"),
        ("stickiness.enabled", "false"),
    ] {
        assert!(pairs.iter().any(|(key, value)| (*key, value.as_str()) == pair), "{pair:?}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let all: [&[(&str, &str)]; 5] = [
        &[
            ("coracle.retry.attempts", "2"),
            ("coracle.retry.max_body_bytes", "0"),
            ("coracle.hold.timeout_seconds", "300"),
            ("coracle.outlier_detection.consecutive_failures", "5"),
        ],
        &[],
        &[("stickiness.enabled", "true"), ("stickiness.lb_cookie.duration_seconds", "604800")],
        &[
            ("stickiness.enabled", "true"),
            ("stickiness.type", "app_cookie"),
            ("stickiness.app_cookie.cookie_name", "session"),
            ("stickiness.app_cookie.duration_seconds", "1"),
        ],
        &[
            ("slow_start.duration_seconds", "900"),
            ("load_balancing.algorithm.type", "weighted_random"),
            ("deregistration_delay.timeout_seconds", "0"),
            ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "50"),
        ],
    ];
    for pairs in all {
        let attributes = read(pairs).unwrap();
        let written = attributes.to_pairs();
        let again = written.iter().map(|(key, value)| (*key, value.as_str()));
        assert_eq!(TargetGroupAttributes::from_pairs(again).unwrap(), attributes);
    }
}

#[test]
fn errors_name_the_key_and_what_is_allowed() {
    let cases: [(&[(&str, &str)], &str); 13] = [
        (&[("coracle.retry.attempts", "6")], "coracle.retry.attempts: \"6\" is not a number from 0 to 5"),
        (
            &[("deregistration_delay.timeout_seconds", "3601")],
            "deregistration_delay.timeout_seconds: \"3601\" is not seconds from 0 to 3600",
        ),
        (
            &[("slow_start.duration_seconds", "29")],
            "slow_start.duration_seconds: \"29\" is not 0 (off) or seconds from 30 to 900",
        ),
        (
            &[("slow_start.duration_seconds", "+30")],
            "slow_start.duration_seconds: \"+30\" is not 0 (off) or seconds from 30 to 900",
        ),
        (
            &[("load_balancing.algorithm.type", "fastest")],
            "load_balancing.algorithm.type: \"fastest\" is not one of round_robin, \
             least_outstanding_requests, weighted_random, power_of_two_choices, maglev",
        ),
        (
            &[
                ("slow_start.duration_seconds", "30"),
                ("load_balancing.algorithm.type", "least_outstanding_requests"),
            ],
            "slow_start.duration_seconds: \"30\" is not 0 with load_balancing.algorithm.type \
             least_outstanding_requests",
        ),
        (&[("stickiness.enabled", "yes")], "stickiness.enabled: \"yes\" is not true or false"),
        (
            &[("stickiness.type", "source_ip")],
            "stickiness.type: \"source_ip\" is not lb_cookie or app_cookie",
        ),
        (
            &[("stickiness.lb_cookie.duration_seconds", "0")],
            "stickiness.lb_cookie.duration_seconds: \"0\" is not seconds from 1 to 604800",
        ),
        (
            &[("stickiness.app_cookie.cookie_name", "AWSALBTGX")],
            "stickiness.app_cookie.cookie_name: \"AWSALBTGX\" is not a cookie name that does not begin \
             with AWSALB",
        ),
        (
            &[("stickiness.enabled", "true"), ("stickiness.type", "app_cookie")],
            "stickiness.app_cookie.cookie_name: \"\" is not a cookie name, which stickiness.type \
             app_cookie needs",
        ),
        (
            &[(MINIMUM_PERCENTAGE, "101")],
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage: \"101\" is \
             not off or a number from 1 to 100",
        ),
        (
            &[(MINIMUM_COUNT, "0")],
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count: \"0\" is not a \
             number from 1",
        ),
    ];
    for (pairs, message) in cases {
        assert_eq!(read(pairs).unwrap_err().to_string(), message);
    }
    let unknown = read(&[("slow_start", "1")]).unwrap_err().to_string();
    assert!(unknown.starts_with("Attributes: \"slow_start\" is not one of deregistration_delay."));
}

#[test]
fn the_larger_minimum_counts() {
    let minimum = |count, percentage| MinimumHealthy { count, percentage }.of(10);
    assert_eq!(minimum(1, None), 1);
    assert_eq!(minimum(1, Some(25)), 3);
    assert_eq!(minimum(4, Some(25)), 4);
}
