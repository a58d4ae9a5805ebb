//! What is refused in a file, and where.

use std::path::Path;

use super::*;

const TARGETS: &str = "targetGroups:\n  web:\n    targets: ['127.0.0.1:1']\n";

fn refusal(text: &str) -> String {
    Config::parse(text, Path::new("/")).expect_err(text).to_string()
}

#[test]
fn a_whole_file_is_understood_as_yaml_and_as_json() {
    let yaml = "
targetGroups:
  web:
    protocolVersion: HTTP1
    targets: [127.0.0.1:1, {address: '[::1]:2', weight: 3}]
    healthCheck: {path: /up, interval: 5, timeout: 2}
    attributes: {load_balancing.algorithm.type: weighted_random, stickiness.enabled: true}
    timeouts: {connect: 1, idle: 2.5, total: 60, keepAlive: 4}
  api: {protocolVersion: GRPC, targets: []}
listeners:
  http:
    listen: 127.0.0.1:0
    rules:
      - priority: 1
        conditions:
          - path-pattern: [/api/*, /v?/*]
          - http-header: {name: x-canary, values: 'yes'}
        action: {forward: api}
      - priority: 2
        conditions: [{query-string: [{key: a, value: b}, c]}, {source-ip: 10.0.0.0/8}]
        action: {redirect: {protocol: HTTPS, port: '443', statusCode: HTTP_301}}
      - priority: 3
        conditions: [{host-header: '*.example.com'}, {http-request-method: [GET, HEAD]}]
        action: {fixed-response: {statusCode: 404, contentType: text/plain, messageBody: none}}
    default: {forward: {targetGroups: {web: 9, api: 1}, stickiness: 60}}
  tcp: {listen: 127.0.0.1:0, protocol: TCP, proxyProtocol: true, default: {forward: web}}
";
    let config = Config::parse(yaml, Path::new("/")).unwrap();
    assert_eq!((config.groups.len(), config.listeners.len()), (2, 2));
    assert_eq!(config.groups["web"].targets.values().copied().collect::<Vec<_>>(), [1, 3]);
    let json = r#"{"targetGroups": {"web": {"targets": ["127.0.0.1:1"]}},
                   "listeners": {"http": {"listen": "127.0.0.1:0", "default": {"forward": "web"}}}}"#;
    assert_eq!(Config::parse(json, Path::new("/")).unwrap().listeners.len(), 1);
}

#[test]
fn rates_traces_and_certificates_are_understood() {
    let yaml = format!(
        "acme: {{termsOfServiceAgreed: true, contact: ['mailto:ops@a.test'], storage: certificates}}
tracing: {{endpoint: 'http://127.0.0.1:4318', sampleRatio: 0.5, serviceName: edge, headers: {{api-key: x}}}}
{TARGETS}listeners:
  http: {{listen: 127.0.0.1:0, default: {{forward: web}}, limits: {{receiveRate: {{bytesPerSecond: 500, grace: 5}}, sendRate: {{bytesPerSecond: 0}}}}}}
  https: {{listen: 127.0.0.1:0, protocol: HTTPS, acme: {{domains: [a.test, www.a.test]}}, default: {{forward: web}}}}
"
    );
    let config = Config::parse(&yaml, Path::new("/etc/coracle")).unwrap();
    let acme = config.acme.unwrap();
    assert_eq!(acme.storage, Path::new("/etc/coracle/certificates"));
    assert_eq!(acme.directory, coracle_balancer::LETS_ENCRYPT);
    let names = config.listeners["https"].acme.as_ref().unwrap();
    assert_eq!(names.iter().collect::<Vec<_>>(), ["a.test", "www.a.test"]);
    let tracing = config.tracing.unwrap();
    assert_eq!(tracing.endpoint, "http://127.0.0.1:4318/v1/traces");
    assert_eq!(
        (tracing.sample_ratio, tracing.service_name.as_str(), tracing.headers.len()),
        (0.5, "edge", 1)
    );
    let rates = config.listeners["http"].rates;
    let receive = rates.receive.unwrap();
    assert_eq!((receive.bytes_per_second, receive.grace.as_secs(), rates.send), (500, 5, None));
    assert_eq!(config.listeners["https"].rates, coracle_balancer::TransferRates::default());
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
    let group = |text: &str| format!("targetGroups:\n  web: {text}\n");
    let listener = |text: &str| format!("{TARGETS}listeners:\n  http: {text}\n");
    for (text, expected) in [
        (String::new(), "line 1: a mapping is expected, not nothing"),
        (
            "listener: {}".to_owned(),
            "line 1: listener: this key is not supported; supported here: targetGroups, listeners",
        ),
        (TARGETS.to_owned(), "line 1: the file has no listeners"),
        ("{\"listeners\": ".to_owned(), "not valid YAML or JSON"),
        (
            group("{targets: [localhost]}"),
            "line 2: targetGroups.web.targets[0]: IP:PORT is expected, not \"localhost\"",
        ),
        (
            group("{targets: [{address: 1.2.3.4:5, weight: 0}]}"),
            "targetGroups.web.targets[0].weight: a number from 1 to 256 is expected, not \"0\"",
        ),
        (group("{targets: [1.2.3.4:5, 1.2.3.4:5]}"), "targetGroups.web.targets[1]: 1.2.3.4:5 is given twice"),
        (
            group("{protocolVersion: HTTP3}"),
            "targetGroups.web.protocolVersion: ProtocolVersion: \"HTTP3\" is not HTTP1, HTTP2 or GRPC",
        ),
        (
            group("{attributes: {slow_start.duration_seconds: 5}}"),
            "targetGroups.web.attributes.slow_start.duration_seconds: slow_start.duration_seconds: \"5\" is not 0 (off) or seconds from 30 to 900",
        ),
        (
            group("{healthCheck: {interval: 0}}"),
            "targetGroups.web.healthCheck: HealthCheckIntervalSeconds: \"0\" is not from 0.1 to 300",
        ),
        (
            group("{timeouts: {idle: 0}}"),
            "targetGroups.web.timeouts.idle: seconds from 0.001 to 86400 are expected, not \"0\"",
        ),
        (listener("{default: {forward: web}}"), "line 5: listeners.http: listen is missing"),
        (listener("{listen: 127.0.0.1:0}"), "listeners.http: default is missing"),
        (
            listener("{listen: 127.0.0.1:0, default: {forward: other}}"),
            "listeners.http.default.forward: \"other\" is not one of the target groups: web",
        ),
        (
            listener("{listen: 127.0.0.1:0, default: {}}"),
            "listeners.http.default: exactly one of forward, redirect, fixed-response is expected",
        ),
        (
            listener("{listen: 127.0.0.1:0, protocol: UDP, default: {forward: web}}"),
            "listeners.http.protocol: HTTP, HTTPS, TCP or TLS is expected, not \"UDP\"",
        ),
        (
            listener("{listen: 127.0.0.1:0, protocol: HTTPS, default: {forward: web}}"),
            "listeners.http: certificates is missing",
        ),
        (
            listener(
                "{listen: 127.0.0.1:0, protocol: HTTPS, certificates: [{chain: /no/such, key: x}], default: {forward: web}}",
            ),
            "listeners.http.certificates[0].chain: /no/such: No such file",
        ),
        (
            listener("{listen: 127.0.0.1:0, protocol: TCP, default: {fixed-response: {statusCode: 200}}}"),
            "listeners.http: the default action of a TCP or TLS listener is forward",
        ),
        (
            listener("{listen: 127.0.0.1:0, default: {redirect: {query: a}}}"),
            "listeners.http.default.redirect: RedirectConfig.Location:",
        ),
        (
            listener("{listen: 127.0.0.1:0, default: {fixed-response: {statusCode: 302}}}"),
            "FixedResponseConfig.StatusCode: \"302\" is not a 2xx, 4xx or 5xx code",
        ),
        (
            listener("{listen: 127.0.0.1:0, rules: [{priority: 0}], default: {forward: web}}"),
            "listeners.http.rules[0].priority: a number from 1 to 50000 is expected, not \"0\"",
        ),
        (
            listener(
                "{listen: 127.0.0.1:0, rules: [{priority: 1, conditions: [{path: /}], action: {forward: web}}], default: {forward: web}}",
            ),
            "listeners.http.rules[0].conditions[0].path: this key is not supported; supported here: host-header,",
        ),
        (
            listener(
                "{listen: 127.0.0.1:0, rules: [{priority: 1, action: {forward: web}}], default: {forward: web}}",
            ),
            "listeners.http.rules[0]: Conditions: \"0 values\" is not 1 to 5 values in all",
        ),
        (
            listener(
                "{listen: 127.0.0.1:0, rules: [{priority: 1, conditions: [{path-pattern: /}], action: {forward: web}}, {priority: 1, conditions: [{path-pattern: /}], action: {forward: web}}], default: {forward: web}}",
            ),
            "listeners.http.rules: Priority: \"1\" is not a priority that no other rule of the listener has",
        ),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(expected), "{text}\n-> {refused}\nnot {expected}");
    }
    let acme = |of: &str, acme: &str| {
        format!(
            "acme: {acme}\n{TARGETS}listeners: {{s: {{listen: 127.0.0.1:0, {of}, default: {{forward: web}}}}}}\n"
        )
    };
    let names = "protocol: HTTPS, acme: {domains: [a.test]}";
    for (text, expected) in [
        (
            acme(names, "{termsOfServiceAgreed: false}"),
            "line 1: acme.termsOfServiceAgreed: true is expected: an authority gives certificates to those only who",
        ),
        (acme(names, "{}"), "line 1: acme: termsOfServiceAgreed is missing"),
        (
            acme(names, "{termsOfServiceAgreed: true, directory: 'http://ca.test'}"),
            "acme.directory: directory: \"http://ca.test\" is not a URL that begins with https://",
        ),
        (
            acme(names, "{termsOfServiceAgreed: true, contact: [ops]}"),
            "acme.contact[0]: mailto:ADDRESS is expected, not \"ops\"",
        ),
        (
            acme("protocol: HTTPS, acme: {domains: ['*.a.test']}", "{termsOfServiceAgreed: true}"),
            "listeners.s.acme.domains: domains: \"*.a.test\" is not a DNS name without wildcards",
        ),
        (
            acme("acme: {domains: [a.test]}", "{termsOfServiceAgreed: true}"),
            "listeners.s.acme: certificates are for the protocols HTTPS and TLS",
        ),
        (
            acme(names, "{termsOfServiceAgreed: true}"),
            "s has acme, which needs a listener of the protocol HTTP: the authority asks for its challenges at port 80",
        ),
        (
            listener(
                "{listen: 127.0.0.1:0, protocol: HTTPS, acme: {domains: [a.test]}, default: {forward: web}}",
            ),
            "http has acme, and the file has no acme to say from whom",
        ),
        (
            format!("tracing: {{endpoint: collector}}\n{TARGETS}"),
            "tracing.endpoint: endpoint: \"collector/v1/traces\" is not a URL that begins with http:// or https://",
        ),
        (
            format!("tracing: {{endpoint: 'http://a', sampleRatio: 2}}\n{TARGETS}"),
            "tracing.sampleRatio: sampleRatio: \"2\" is not a number from 0 to 1",
        ),
        (
            listener("{listen: 127.0.0.1:0, limits: {sendRate: {grace: 0}}, default: {forward: web}}"),
            "listeners.http.limits.sendRate.grace: seconds from 0.001 to 86400 are expected, not \"0\"",
        ),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(expected), "{text}\n-> {refused}\nnot {expected}");
    }
    let twice = format!(
        "{TARGETS}listeners:\n  a: &a {{listen: 127.0.0.1:80, default: {{forward: web}}}}\n  b: *a\n"
    );
    assert!(refusal(&twice).contains("a and b both listen on 127.0.0.1:80"), "{}", refusal(&twice));
}
