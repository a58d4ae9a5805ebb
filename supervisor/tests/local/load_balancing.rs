//! Load balancers, listeners, rules and target groups over the real balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use coracle_supervisor::OperationError;
use coracle_supervisor::operations::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::host::{Host, get, guest};

fn request<T: serde::de::DeserializeOwned>(body: &Value) -> T {
    parse_request(body.to_string().as_bytes()).unwrap()
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn code(error: &OperationError) -> &'static str {
    error.code()
}

/// What tests do with load balancers.
impl Host {
    async fn load_balancer(&self, name: &str) -> String {
        let made = self.supervisor.create_load_balancer(request(&json!({ "Name": name }))).await.unwrap();
        made.load_balancers[0]["LoadBalancerArn"].as_str().unwrap().to_owned()
    }

    /// Its targets are checked at `/health`, and often.
    async fn target_group(&self, name: &str, more: Value) -> String {
        let mut body = json!({
            "Name": name, "Port": 80, "HealthCheckPath": "/health", "HealthCheckIntervalSeconds": 0.5,
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.supervisor.create_target_group(request(&body)).await.unwrap();
        made.target_groups[0]["TargetGroupArn"].as_str().unwrap().to_owned()
    }

    /// The listener's ARN and where it listens.
    async fn listener(&self, load_balancer: &str, action: Value) -> (String, SocketAddr) {
        let port = free_port().await;
        let body = json!({ "LoadBalancerArn": load_balancer, "Port": port, "DefaultActions": [action] });
        let made = self.supervisor.create_listener(request(&body)).await.unwrap();
        (made.listeners[0]["ListenerArn"].as_str().unwrap().to_owned(), at(port))
    }

    async fn rule(
        &self,
        listener: &str,
        priority: u32,
        path: &str,
        action: Value,
    ) -> Result<String, OperationError> {
        let condition = json!({ "Field": "path-pattern", "Values": [path] });
        let body = json!({
            "ListenerArn": listener, "Priority": priority, "Conditions": [condition], "Actions": [action],
        });
        let made = self.supervisor.create_rule(request(&body)).await?;
        Ok(made.rules[0]["RuleArn"].as_str().unwrap().to_owned())
    }

    async fn rules(&self, listener: &str) -> Vec<Value> {
        let described = self.supervisor.describe_rules(request(&json!({ "ListenerArn": listener }))).await;
        described.unwrap().rules
    }

    /// The states of a group's targets.
    async fn states(&self, group: &str) -> BTreeMap<String, Value> {
        let described = self
            .supervisor
            .describe_target_health(request(&json!({ "TargetGroupArn": group })))
            .await
            .unwrap();
        let state = |known: TargetHealthDescription| (known.target.id, json!(known.target_health.state));
        described.target_health_descriptions.into_iter().map(state).collect()
    }

    async fn define(&self, family: &str) {
        let ports = json!({ "portMappings": [{ "containerPort": 8080 }] });
        self.register(family, &guest("hello"), ports).await;
    }

    async fn attach(&self, name: &str, load_balancer: Value, more: Value) -> Result<(), OperationError> {
        let mut body = json!({
            "serviceName": name, "taskDefinition": "hello", "desiredCount": 2, "loadBalancers": [load_balancer],
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.supervisor.create_service(request(&body)).await.map(drop)
    }
}

fn forward(group: &str) -> Value {
    json!({ "Type": "forward", "TargetGroupArn": group })
}

fn answer(status: &str, body: &str) -> Value {
    json!({ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": status, "MessageBody": body } })
}

fn app(group: &str) -> Value {
    json!({ "targetGroupArn": group, "containerName": "app", "containerPort": 8080 })
}

/// Requests on one connection.
struct Connection(TcpStream);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn get(&mut self, path: &str) -> String {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        let length = loop {
            assert_eq!(self.0.read(&mut byte).await.unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
            if answer.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&answer).to_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                break length.unwrap().parse().unwrap();
            }
        };
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }
}

#[tokio::test]
async fn a_service_answers_behind_a_load_balancer_and_a_change_of_rules_closes_no_connection() {
    let host = Host::new().await;
    host.define("hello").await;
    let balancer = host.load_balancer("web").await;
    let group = host.target_group("blue", json!({})).await;
    let refused = host.attach("web", app(&group), json!({})).await.unwrap_err().to_string();
    assert!(refused.ends_with("does not have an associated load balancer."), "{refused}");

    let (listener, address) = host.listener(&balancer, forward(&group)).await;
    host.attach("web", app(&group), json!({})).await.unwrap();
    host.until_steady("web").await;
    let (mut seen, mut connection) = (BTreeSet::new(), Connection::open(address).await);
    for _ in 0..2 {
        seen.insert(connection.get("/").await);
    }
    let ids = host.running("web").await.into_iter().map(|arn| arn.rsplit('/').next().unwrap().to_owned());
    let ids: BTreeSet<String> = ids.collect();
    assert_eq!(seen, ids.iter().map(|id| format!("hello from {id}\n")).collect());
    let healthy: BTreeMap<String, Value> = ids.into_iter().map(|id| (id, json!("healthy"))).collect();
    assert_eq!(host.states(&group).await, healthy);

    let rule = host.rule(&listener, 10, "/closed/*", answer("200", "closed")).await.unwrap();
    assert_eq!(connection.get("/closed/a").await, "closed");
    let other = json!({ "RuleArn": rule, "Actions": [answer("200", "open")] });
    host.supervisor.modify_rule(request(&other)).await.unwrap();
    assert_eq!(connection.get("/closed/a").await, "open");
    host.supervisor.delete_rule(request(&json!({ "RuleArn": rule }))).await.unwrap();
    assert!(connection.get("/closed/a").await.starts_with("hello from "));
}

#[tokio::test]
async fn a_change_that_cannot_be_made_is_refused_by_name_and_changes_nothing() {
    let host = Host::new().await;
    let balancer = host.load_balancer("web").await;
    let group = host.target_group("blue", json!({})).await;
    let (listener, address) = host.listener(&balancer, answer("200", "first")).await;
    let rule = host.rule(&listener, 10, "/a", answer("200", "second")).await.unwrap();
    let before = host.rules(&listener).await;

    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = held.local_addr().unwrap().port();
    let on =
        |port: u16| json!({ "LoadBalancerArn": balancer, "Port": port, "DefaultActions": [forward(&group)] });
    let in_use = host.supervisor.create_listener(request(&on(taken))).await.unwrap_err();
    assert_eq!(
        (code(&in_use), in_use.to_string()),
        ("ValidationError", format!("127.0.0.1:{taken} is already in use"))
    );
    let twice = host.supervisor.create_listener(request(&on(address.port()))).await.unwrap_err();
    assert_eq!(code(&twice), "DuplicateListener");

    let no_group = forward(&group.replace("blue", "green"));
    let weight = json!({ "TargetGroupArn": group, "Weight": 1000 });
    let heavy = json!({ "Type": "forward", "ForwardConfig": { "TargetGroups": [weight] } });
    for (priority, path, action, expected, word) in [
        (10, "/b", forward(&group), "PriorityInUse", "'10'"),
        (0, "/b", forward(&group), "ValidationError", "Priority"),
        (11, "b\u{7f}", forward(&group), "ValidationError", "PathPatternConfig"),
        (11, "/b", no_group, "TargetGroupNotFound", "green"),
        (11, "/b", heavy, "ValidationError", "Weight"),
        (11, "/b", answer("302", ""), "ValidationError", "StatusCode"),
        (11, "/b", json!({ "Type": "forward" }), "ValidationError", "TargetGroupArn"),
    ] {
        let error = host.rule(&listener, priority, path, action).await.unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let second = host.rule(&listener, 11, "/b", answer("200", "third")).await.unwrap();
    let swap = |one: u32| json!({ "RulePriorities": [{ "RuleArn": rule, "Priority": one }] });
    let error = host.supervisor.set_rule_priorities(request(&swap(11))).await.unwrap_err();
    assert_eq!(code(&error), "PriorityInUse");
    host.supervisor.delete_rule(request(&json!({ "RuleArn": second }))).await.unwrap();
    assert_eq!(host.rules(&listener).await, before);
    assert_eq!(get(address, "/a").await, (200, "second".to_owned()));
    assert_eq!(get(address, "/b").await, (200, "first".to_owned()));
}

#[tokio::test]
async fn servers_are_targets_by_their_addresses_and_get_no_request_once_they_are_out() {
    let host = Host::new().await;
    host.define("hello").await;
    let balancer = host.load_balancer("web").await;
    let servers = host.target_group("servers", json!({ "TargetType": "ip" })).await;
    let tasks = host.target_group("tasks", json!({})).await;
    let (_, front) = host.listener(&balancer, forward(&servers)).await;
    // A listener of this very balancer is as good a server as any.
    let (_, back) = host.listener(&balancer, answer("200", "from the back")).await;
    let target = |group: &str, id: &str| {
        request(
            &json!({ "TargetGroupArn": group, "Targets": [{ "Id": id, "Port": back.port().to_string() }] }),
        )
    };
    for (group, id, expected) in
        [(&tasks, "127.0.0.1", "ValidationError"), (&servers, "task-1", "InvalidTarget")]
    {
        let error = host.supervisor.register_targets(target(group, id)).await.unwrap_err();
        assert_eq!(code(&error), expected, "{error}");
    }
    assert_eq!(get(front, "/").await.0, 503);
    host.supervisor.register_targets(target(&servers, "127.0.0.1")).await.unwrap();
    host.until(|| async { host.states(&servers).await.get("127.0.0.1") == Some(&json!("healthy")) }).await;
    assert_eq!(get(front, "/").await, (200, "from the back".to_owned()));
    host.supervisor.deregister_targets(target(&servers, "127.0.0.1")).await.unwrap();
    assert_eq!(get(front, "/").await.0, 503);
}

#[tokio::test]
async fn a_canary_shifts_the_requests_of_its_rule_and_the_rule_is_its_own_again_when_the_service_is_gone() {
    let host = Host::new().await;
    host.define("hello").await;
    let balancer = host.load_balancer("web").await;
    let (blue, green) =
        (host.target_group("blue", json!({})).await, host.target_group("green", json!({})).await);
    let (listener, address) = host.listener(&balancer, answer("404", "nothing")).await;
    let production = host.rule(&listener, 10, "/*", forward(&blue)).await.unwrap();
    let canary = json!({
        "strategy": "CANARY", "canaryConfiguration": { "canaryPercent": 40.0 },
    });
    let alone =
        host.attach("web", app(&blue), json!({ "deploymentConfiguration": canary })).await.unwrap_err();
    assert!(alone.to_string().contains("advancedConfiguration"), "{alone}");
    let mut attached = app(&blue);
    attached["advancedConfiguration"] =
        json!({ "alternateTargetGroupArn": green, "productionListenerRule": production });
    let tags = json!([
        { "key": "coracle.step-bake-time", "value": "3" }, { "key": "coracle.bake-time", "value": "0" },
    ]);
    let more = json!({ "deploymentConfiguration": canary, "tags": tags });
    host.attach("web", attached, more).await.unwrap();
    host.until_steady("web").await;
    let weights = || async {
        let rules = host.rules(&listener).await;
        let groups = rules[0]["Actions"][0]["ForwardConfig"]["TargetGroups"].as_array().unwrap().clone();
        groups.iter().map(|group| group["Weight"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(weights().await, [100, 0]);
    let old: BTreeSet<String> =
        host.running("web").await.iter().map(|arn| arn.rsplit('/').next().unwrap().to_owned()).collect();
    let update = json!({ "service": "web", "forceNewDeployment": true });
    host.supervisor.update_service(request(&update)).await.unwrap();
    host.until(|| async { weights().await == [60, 40] }).await;
    let mut new = 0;
    for _ in 0..100 {
        let (status, body) = get(address, "/").await;
        assert_eq!(status, 200, "{body}");
        new += u32::from(!old.contains(body.trim_start_matches("hello from ").trim_end()));
    }
    assert_eq!(new, 40);
    let in_use = host.supervisor.delete_rule(request(&json!({ "RuleArn": production }))).await.unwrap_err();
    assert_eq!(code(&in_use), "OperationNotPermitted");
    host.until(|| async { weights().await == [0, 100] }).await;
    host.until_steady("web").await;

    let delete = json!({ "service": "web", "force": true });
    host.supervisor.delete_service(request(&delete)).await.unwrap();
    host.until(|| async { host.rules(&listener).await[0]["Actions"][0] == forward(&blue) }).await;
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted_and_goes_in_its_order() {
    let host = Host::new().await;
    host.define("hello").await;
    let (web, other) = (host.load_balancer("web").await, host.load_balancer("other").await);
    let group = host.target_group("blue", json!({})).await;
    let (listener, address) = host.listener(&web, forward(&group)).await;
    host.attach("web", app(&group), json!({})).await.unwrap();
    let second = host.attach("second", app(&group), json!({})).await.unwrap_err().to_string();
    assert!(second.contains("in use by the service web"), "{second}");
    let port = free_port().await;
    let shared = json!({ "LoadBalancerArn": other, "Port": port, "DefaultActions": [forward(&group)] });
    let shared = host.supervisor.create_listener(request(&shared)).await.unwrap_err();
    assert_eq!(code(&shared), "TargetGroupAssociationLimit");

    let delete_group = || host.supervisor.delete_target_group(request(&json!({ "TargetGroupArn": group })));
    let error = delete_group().await.unwrap_err();
    assert!(error.to_string().ends_with("is currently in use by a listener or a rule"), "{error}");
    host.supervisor.delete_listener(request(&json!({ "ListenerArn": listener }))).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    let error = delete_group().await.unwrap_err();
    assert!(error.to_string().ends_with("is currently in use by the service 'web'"), "{error}");
    let unused = host.states(&group).await;
    assert!(unused.values().all(|state| state == "unused"), "{unused:?}");
    host.supervisor.delete_service(request(&json!({ "service": "web", "force": true }))).await.unwrap();
    host.until(|| async { delete_group().await.is_ok() }).await;
    for balancer in [&web, &web, &other] {
        let delete = json!({ "LoadBalancerArn": balancer });
        host.supervisor.delete_load_balancer(request(&delete)).await.unwrap();
    }
    let left = host.supervisor.describe_load_balancers(request(&json!({}))).await.unwrap();
    assert_eq!(left.load_balancers, Vec::<Value>::new());
}

#[tokio::test]
async fn a_request_to_a_service_that_sleeps_waits_behind_a_load_balancer_too() {
    let host = Host::new().await;
    host.define("hello").await;
    let balancer = host.load_balancer("web").await;
    let group = host.target_group("blue", json!({})).await;
    let (_, address) = host.listener(&balancer, forward(&group)).await;
    let tags = json!([{ "key": "coracle.scale-to-zero", "value": "0.2" }]);
    host.attach("web", app(&group), json!({ "tags": tags })).await.unwrap();
    host.until_steady("web").await;
    host.until(|| async { host.running("web").await.is_empty() }).await;
    let (status, body) = get(address, "/").await;
    assert_eq!(status, 200, "{body}");
}
