//! Load balancers by the command line, as the class makes them by hand, and by the forms that AWS's own clients send.

use serde_json::json;

use crate::support::{Daemon, eventually, free_address, get, guest, post};

/// Where requests are answered, and by whom.
fn answers(address: std::net::SocketAddr, times: usize) -> std::collections::BTreeSet<String> {
    let answer = |_| {
        let answer = get(address, "/").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    (0..times).map(answer).collect()
}

#[test]
fn a_load_balancer_is_made_used_survives_a_kill_and_is_cleaned_up_in_order() {
    let daemon = Daemon::start();
    let ports = json!([{ "containerPort": 8080 }]);
    daemon.register("hello", json!({ "image": guest("hello"), "memory": 64, "portMappings": ports }));
    let address = free_address();
    daemon.output("load-balancer create web");
    daemon.output("target-group create blue --health-path /health --interval 1");
    let listen = format!("listener create web --port {} --target-group blue", address.port());
    assert!(daemon.output(&listen).stdout.contains(&format!("http://{address}")));
    daemon.output("service create web -t hello -r 4 --target-group blue --wait");
    assert_eq!(answers(address, 8).len(), 4);
    assert_eq!(daemon.output("target-group describe blue").stdout.matches("   healthy ").count(), 4);
    assert!(daemon.output("service describe web").stdout.contains("blue, at hello:8080"));
    let rule = format!(
        "rule create web:{} --priority 10 --path /closed --fixed-response 503:closed",
        address.port()
    );
    daemon.output(&rule);
    assert_eq!(get(address, "/closed").unwrap().status, 503);

    let daemon = daemon.kill_and_restart();
    daemon.output("service wait web");
    assert_eq!(answers(address, 8).len(), 4);
    let closed = get(address, "/closed").unwrap();
    assert_eq!((closed.status, closed.body.as_str()), (503, "closed"));
    let described = daemon.output("load-balancer describe web").stdout;
    assert!(described.contains("path-pattern /closed") && described.contains("active"), "{described}");

    for (line, why) in [
        ("target-group delete blue", "in use by a listener or a rule"),
        ("listener create web --port 1 --target-group no", "`coracle target-group ls` lists them"),
    ] {
        let refused = daemon.command(line).output();
        assert!(refused.code == Some(1) && refused.stderr.contains(why), "{line}: {refused:?}");
    }
    daemon.output("service delete web --force");
    daemon.output("load-balancer delete web");
    assert!(get(address, "/").is_err());
    eventually(
        "the target group to be free",
        || daemon.command("target-group delete blue").output(),
        |output| output.code == Some(0),
    );
    assert_eq!(daemon.output("target-group ls --output json").stdout.trim(), "[]");
}

#[test]
fn aws_s_own_clients_make_load_balancers_by_forms() {
    let daemon = Daemon::start();
    let form = |body: &str| {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("X-Amz-Date", "20261128T000000Z"),
        ];
        post(daemon.api, "/", &headers, &format!("{body}&Version=2015-12-01")).unwrap()
    };
    let text = |xml: &str, element: &str| {
        let rest =
            xml.split(&format!("<{element}>")).nth(1).unwrap_or_else(|| panic!("no {element} in {xml}"));
        rest.split('<').next().unwrap().replace(':', "%3A").replace('/', "%2F")
    };
    let address = free_address();
    let made = form("Action=CreateLoadBalancer&Name=web&Subnets.member.1=subnet-1&SecurityGroups=");
    assert_eq!(made.status, 200, "{made:?}");
    let balancer = text(&made.body, "LoadBalancerArn");
    let made = form("Action=CreateTargetGroup&Name=blue&Protocol=HTTP&Port=80&VpcId=vpc-1&TargetType=ip");
    let group = text(&made.body, "TargetGroupArn");
    assert_eq!(text(&made.body, "HealthCheckIntervalSeconds"), "30");
    let listener = form(&format!(
        "Action=CreateListener&LoadBalancerArn={balancer}&Protocol=HTTP&Port={}&DefaultActions.member.1.Type=forward\
         &DefaultActions.member.1.TargetGroupArn={group}",
        address.port()
    ));
    let listener = text(&listener.body, "ListenerArn");
    let rule = form(&format!(
        "Action=CreateRule&ListenerArn={listener}&Priority=5&Conditions.member.1.Field=path-pattern\
         &Conditions.member.1.Values.member.1=%2Fteapot&Actions.member.1.Type=fixed-response\
         &Actions.member.1.FixedResponseConfig.StatusCode=418"
    ));
    assert_eq!(rule.status, 200, "{rule:?}");
    assert_eq!(get(address, "/teapot").unwrap().status, 418);
    let refused = form(&format!("Action=DeleteTargetGroup&TargetGroupArn={group}"));
    assert_eq!((refused.status, text(&refused.body, "Code").as_str()), (400, "ResourceInUse"));
    let wrong = form("Action=CreateTargetGroup&Name=green&Port=many");
    assert_eq!((wrong.status, text(&wrong.body, "Code").as_str()), (400, "ValidationError"));
    assert!(wrong.body.contains("Port"), "{wrong:?}");
}
