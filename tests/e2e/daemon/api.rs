//! The wire, as AWS's own clients use it.

use serde_json::json;

use crate::support::{Daemon, guest, post};

#[test]
fn bad_input_is_refused_by_name_and_changes_nothing() {
    let daemon = Daemon::start();
    let container = json!({ "name": "web", "image": guest("hello"), "memory": 64 });
    let table = [
        (
            "RegisterTaskDefinition",
            json!({ "family": "a", "containerDefinitions": [] }),
            "ClientException",
            "ontainer",
        ),
        (
            "RegisterTaskDefinition",
            json!({ "family": "a", "containerDefinitions": [container], "colour": "red" }),
            "InvalidParameterException",
            "colour",
        ),
        (
            "RegisterTaskDefinition",
            json!({ "family": "a b", "containerDefinitions": [container] }),
            "ClientException",
            "amily",
        ),
        ("CreateCluster", json!({ "clusterName": "no spaces" }), "InvalidParameterException", "no spaces"),
        (
            "CreateService",
            json!({ "serviceName": "web", "taskDefinition": "none", "desiredCount": -1 }),
            "InvalidParameterException",
            "desiredCount",
        ),
        (
            "CreateService",
            json!({ "serviceName": "web", "taskDefinition": "none", "desiredCount": 1_000_000_000 }),
            "InvalidParameterException",
            "desiredCount",
        ),
        (
            "DescribeTasks",
            json!({ "cluster": "nowhere", "tasks": ["a"] }),
            "ClusterNotFoundException",
            "Cluster not found.",
        ),
        ("FlyToTheMoon", json!({}), "UnknownOperationException", "FlyToTheMoon"),
    ];
    for (operation, input, code, part) in table {
        let (actual, message) = daemon.call(operation, &input).expect_err(operation);
        assert!(actual == code && message.contains(part), "{operation} {input}: {actual}: {message}");
    }
    let answer = daemon.call("ListTaskDefinitions", &json!({})).unwrap();
    assert_eq!(answer["taskDefinitionArns"], json!([]));
}

#[test]
fn what_a_web_page_can_send_does_nothing() {
    let daemon = Daemon::start();
    let target = ("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.CreateCluster");
    let json_type = ("Content-Type", "application/x-amz-json-1.1");
    let body = r#"{"clusterName":"evil"}"#;
    let table = [
        (vec![("Content-Type", "application/x-www-form-urlencoded")], 403),
        (vec![target, ("Content-Type", "application/x-www-form-urlencoded")], 403),
        (vec![target, ("Content-Type", "text/plain")], 415),
        (vec![json_type], 400),
        (vec![target, json_type, ("Host", "evil.example")], 403),
        (vec![target, json_type, ("Origin", "http://evil.example")], 403),
    ];
    for (headers, status) in table {
        let answer = post(daemon.api, "/", &headers, body).unwrap();
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert!(answer.head.to_lowercase().contains("x-amzn-requestid: "), "{answer:?}");
    }
    let answer = daemon.call("DescribeClusters", &json!({ "clusters": ["evil"] })).unwrap();
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
}
