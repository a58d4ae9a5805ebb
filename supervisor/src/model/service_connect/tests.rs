use serde_json::json;

use super::*;
use crate::operations::parse_request;

fn content() -> TaskDefinitionContent {
    let definition = json!({"family": "orders", "containerDefinitions": [{
        "name": "app",
        "image": "a.wasm",
        "portMappings": [
            {"containerPort": 8080, "name": "orders"},
            {"containerPort": 9090, "name": "metrics"},
            {"containerPort": 8080, "protocol": "udp", "name": "datagrams"},
        ],
    }]});
    TaskDefinitionContent::parse(parse_request(definition.to_string().as_bytes()).unwrap()).unwrap()
}

fn parse(configuration: Value, default: Option<&str>) -> Result<Option<ServiceConnect>, String> {
    let configuration = serde_json::from_value(configuration).map_err(|error| error.to_string())?;
    ServiceConnect::parse(&configuration, default, &content()).map_err(|error| error.to_string())
}

#[test]
fn a_port_is_offered_under_its_own_name_in_the_namespace_unless_it_has_others() {
    let plain = json!({"enabled": true, "namespace": "Shop.local", "services": [{"portName": "orders"}]});
    let connect = parse(plain, None).unwrap().unwrap();
    let [offer] = connect.offers.as_slice() else { panic!("{connect:?}") };
    assert_eq!((connect.namespace.as_str(), offer.full_name().as_str()), ("shop.local", "orders.shop.local"));
    assert_eq!((offer.aliases.as_slice(), offer.ports()), (&[][..], vec![8080]));

    let named = json!({"enabled": true, "services": [{
        "portName": "orders", "discoveryName": "o", "clientAliases": [{"port": 80, "dnsName": "the-orders"}]}]});
    let connect =
        parse(named, Some("arn:aws:servicediscovery:us-east-1:000000000000:namespace/shop")).unwrap();
    let offer = connect.unwrap().offers.remove(0);
    assert_eq!((offer.full_name().as_str(), offer.ports()), ("o.shop", vec![80, 8080]));
    assert_eq!(offer.aliases, [Alias { name: "the-orders".to_owned(), port: 80 }]);

    let unnamed = json!({"enabled": true, "namespace": "shop",
        "services": [{"portName": "orders", "clientAliases": [{"port": 81}]}]});
    let offer = parse(unnamed, None).unwrap().unwrap().offers.remove(0);
    assert_eq!(offer.aliases, [Alias { name: "orders.shop".to_owned(), port: 81 }]);
}

#[test]
fn one_that_offers_nothing_is_a_client_and_one_that_is_not_enabled_is_nothing() {
    let client = parse(json!({"enabled": true}), Some("shop")).unwrap().unwrap();
    assert_eq!((client.namespace.as_str(), client.offers), ("shop", Vec::new()));
    assert_eq!(client.configuration.namespace.as_deref(), Some("shop"));
    assert_eq!(parse(json!({"enabled": false, "namespace": "shop"}), None), Ok(None));
}

#[test]
fn what_cannot_be_is_refused_with_the_name_of_its_field() {
    let with = |service: Value| json!({"enabled": true, "namespace": "shop", "services": [service]});
    let alias = |alias: Value| with(json!({"portName": "orders", "clientAliases": [alias]}));
    for (configuration, field) in [
        (json!({}), "enabled"),
        (json!({"enabled": true, "colour": 1}), "colour"),
        (json!({"enabled": true}), "namespace must be given"),
        (json!({"enabled": true, "namespace": "a b"}), "namespace"),
        (json!({"enabled": true, "namespace": "10.0.0.1"}), "namespace"),
        (json!({"enabled": true, "namespace": "arn:aws:ecs:x:y:cluster/z"}), "namespace"),
        (json!({"enabled": true, "namespace": "a", "logConfiguration": {}}), "logConfiguration"),
        (with(json!({"portName": "nothing"})), "services[0].portName"),
        (with(json!({"portName": "datagrams"})), "protocol tcp"),
        (with(json!({"portName": "orders", "tls": {}})), "services[0].tls"),
        (with(json!({"portName": "orders", "timeout": {}})), "services[0].timeout"),
        (with(json!({"portName": "orders", "ingressPortOverride": 1})), "ingressPortOverride"),
        (with(json!({"portName": "orders", "discoveryName": "-a"})), "discoveryName"),
        (with(json!({"portName": "orders", "discoveryName": "A"})), "discoveryName"),
        (alias(json!({"port": 0})), "clientAliases[0].port"),
        (alias(json!({"port": 65536})), "clientAliases[0].port"),
        (alias(json!({"port": 1, "dnsName": "localhost"})), "dnsName"),
        (alias(json!({"port": 1, "dnsName": "127.1"})), "dnsName"),
        (alias(json!({"port": 1, "dnsName": "a..b"})), "dnsName"),
        (alias(json!({"port": 1, "testTrafficRules": {}})), "testTrafficRules"),
        (
            with(json!({"portName": "orders", "clientAliases": [{"port": 1}, {"port": 2}]})),
            "clientAliases may have one",
        ),
    ] {
        let error = parse(configuration.clone(), None).unwrap_err();
        assert!(error.contains(field), "{configuration}: {error}");
    }
    for (second, why) in [
        (json!({"portName": "metrics", "discoveryName": "orders"}), "has discoveryName \"orders\", too"),
        (
            json!({"portName": "metrics", "clientAliases": [{"port": 80, "dnsName": "o"}]}),
            "has clientAliases o:80, too",
        ),
        (json!({"portName": "nothing"}), "services[1].portName \"nothing\""),
        (json!({"portName": "metrics", "clientAliases": [{"port": 0}]}), "services[1].clientAliases[0].port"),
    ] {
        let first = json!({"portName": "orders", "clientAliases": [{"port": 80, "dnsName": "o"}]});
        let two = json!({"enabled": true, "namespace": "a", "services": [first, second]});
        let error = parse(two, None).unwrap_err();
        assert!(error.contains("services[1]") && error.contains(why), "{second}: {error}");
    }
}

#[test]
fn each_port_is_offered_by_names_of_its_own() {
    let two = json!({"enabled": true, "namespace": "shop", "services": [
        {"portName": "metrics", "clientAliases": [{"port": 81, "dnsName": "orders"}]},
        {"portName": "orders", "clientAliases": [{"port": 80, "dnsName": "orders"}]},
    ]});
    let offers = parse(two, None).unwrap().unwrap().offers;
    let seen: Vec<_> =
        offers.iter().map(|offer| (offer.full_name(), offer.ports(), offer.is_traffic_port)).collect();
    let expected = [
        ("metrics.shop".to_owned(), vec![81, 9090], false),
        ("orders.shop".to_owned(), vec![80, 8080], true),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn what_was_kept_of_one_port_or_of_none_is_still_understood() {
    let connect =
        parse(json!({"enabled": true, "namespace": "shop", "services": [{"portName": "orders"}]}), None);
    let connect = connect.unwrap().unwrap();
    let mut kept = serde_json::to_value(&connect).unwrap();
    let mut offer = kept.as_object_mut().unwrap().remove("offers").unwrap()[0].take();
    offer.as_object_mut().unwrap().remove("isTrafficPort");
    kept["offer"] = offer;
    assert_eq!(serde_json::from_value::<ServiceConnect>(kept.clone()).unwrap(), connect);
    kept["offer"] = Value::Null;
    assert_eq!(serde_json::from_value::<ServiceConnect>(kept).unwrap().offers, []);
}

#[test]
fn two_services_of_a_namespace_cannot_have_one_name() {
    let offer = |namespace: &str, name: &str, alias: u16| Offer {
        namespace: namespace.to_owned(),
        discovery_name: name.to_owned(),
        aliases: vec![Alias { name: "db".to_owned(), port: alias }],
        container_port: 1,
        is_traffic_port: true,
    };
    let one = offer("shop", "one", 80);
    assert_eq!(one.conflict(&offer("shop", "one", 81)).unwrap(), "discoveryName \"one\"");
    assert_eq!(one.conflict(&offer("shop", "other", 80)).unwrap(), "clientAliases db:80");
    assert_eq!(one.conflict(&offer("shop", "other", 81)), None);
    assert_eq!(one.conflict(&offer("bank", "one", 80)), None);
}
