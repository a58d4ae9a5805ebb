use coracle_balancer::{
    HealthCheckConfig, RegisterOptions, TargetGroup, TargetGroupConfig, TargetState, TcpTarget,
    TcpTargetConfig,
};

use super::*;
use crate::model::service_connect::Alias;

fn offer(namespace: &str, name: &str, alias: Option<(&str, u16)>, container_port: u16) -> Offer {
    let aliases = alias.map(|(name, port)| Alias { name: name.to_owned(), port }).into_iter().collect();
    Offer {
        namespace: namespace.to_owned(),
        discovery_name: name.to_owned(),
        aliases,
        container_port,
        is_traffic_port: true,
    }
}

fn routing(tasks: &[&str]) -> Routing {
    let health_check = HealthCheckConfig::disabled();
    let group = TargetGroup::new(TargetGroupConfig { health_check, ..TargetGroupConfig::new("test") });
    for task in tasks {
        let target = TcpTarget::new(task.parse().unwrap(), TcpTargetConfig::default());
        group.register(*task, Arc::new(target), RegisterOptions::new(TargetState::Healthy));
    }
    Arc::new(ArcSwap::from_pointee(Forward::from(group)))
}

fn announce(directory: &Directory, arn: &str, offer: Offer, routing: Routing) {
    directory.announce(arn, vec![(offer, Way::Main(routing))]);
}

fn names(found: Vec<Found>) -> Vec<(String, bool, Vec<u16>)> {
    found.iter().map(|one| (one.name.to_string(), one.near, one.service.ports().to_vec())).collect()
}

#[tokio::test]
async fn a_task_finds_its_own_namespace_by_every_name_and_others_by_full_names_alone() {
    let directory = Directory::default();
    announce(&directory, "1", offer("shop", "orders", Some(("orders", 80)), 8080), routing(&[]));
    announce(&directory, "2", offer("bank.local", "orders", Some(("orders", 81)), 9090), routing(&[]));
    let (shop, bank, none) = (
        directory.view(Some("shop".to_owned())),
        directory.view(Some("bank.local".to_owned())),
        directory.view(None),
    );
    let in_shop = |near| vec![("orders.shop".to_owned(), near, vec![80, 8080])];
    let in_bank = |near| vec![("orders.bank.local".to_owned(), near, vec![81, 9090])];
    assert_eq!(names(shop.find("orders")), in_shop(true));
    assert_eq!(names(bank.find("orders")), in_bank(true));
    assert_eq!(names(none.find("orders")), []);
    assert_eq!(names(shop.find("orders.shop")), in_shop(true));
    assert_eq!(names(none.find("orders.shop")), in_shop(false));
    assert_eq!(names(shop.find("orders.bank.local")), in_bank(false));
    for unknown in ["bills", "bills.shop", "shop", "orders.", "", "orders.orders.shop"] {
        assert_eq!(names(shop.find(unknown)), [], "{unknown}");
    }
    directory.withdraw("1");
    assert_eq!(names(shop.find("orders")), [], "seen by those who looked before");
    directory.withdraw("1");
}

#[tokio::test]
async fn a_name_of_two_services_leads_by_its_port() {
    let directory = Directory::default();
    announce(&directory, "1", offer("shop", "one", Some(("db", 1)), 2), routing(&[]));
    announce(&directory, "2", offer("shop", "other", Some(("db", 2)), 3), routing(&[]));
    let view = directory.view(Some("shop".to_owned()));
    let expected = [("one.shop".to_owned(), true, vec![1]), ("other.shop".to_owned(), true, vec![2])];
    assert_eq!(names(view.find("db")), expected);
    assert_eq!(names(view.find("one.shop")), [("one.shop".to_owned(), true, vec![1, 2])]);
}

#[tokio::test]
async fn an_address_is_a_services_as_long_as_a_target_of_its_is_there() {
    let directory = Directory::default();
    let tasks = routing(&["127.5.0.1:8080", "127.5.0.2:8080"]);
    announce(&directory, "1", offer("shop", "orders", Some(("orders", 80)), 8080), Arc::clone(&tasks));
    let at = |view: &Arc<dyn Discovery>, address: &str| {
        view.at(address.parse().unwrap()).map(|(actual, found)| (actual.to_string(), found.near))
    };
    let (shop, none) = (directory.view(Some("shop".to_owned())), directory.view(None));
    let actual = "127.5.0.2:8080".to_owned();
    assert_eq!(at(&shop, "127.5.0.2:8080"), Some((actual.clone(), true)));
    assert_eq!(at(&shop, "127.5.0.2:80"), Some((actual.clone(), true)), "the port of its name");
    assert_eq!(at(&none, "127.5.0.2:80"), Some((actual, false)));
    for no in ["127.5.0.2:81", "127.5.0.3:8080"] {
        assert_eq!(at(&shop, no), None, "{no}");
    }
    tasks.store(routing(&["127.5.0.3:8080"]).load_full());
    assert_eq!(at(&shop, "127.5.0.2:8080"), None, "its traffic went elsewhere");
    assert!(at(&shop, "127.5.0.3:8080").is_some());
}

#[tokio::test]
async fn each_port_of_a_service_has_its_own_names_and_a_tasks_own_port_goes_before_an_alias() {
    let directory = Directory::default();
    let main = routing(&["127.5.0.1:8080"]);
    let other = Way::Other { routing: routing(&["127.5.0.1:9090"]), main: Arc::clone(&main) };
    let orders = offer("shop", "orders", Some(("orders", 9090)), 8080);
    let admin = offer("shop", "admin", Some(("orders", 81)), 9090);
    directory.announce("1", vec![(orders, Way::Main(main)), (admin, other)]);
    let view = directory.view(Some("shop".to_owned()));
    assert_eq!(names(view.find("admin.shop")), [("admin.shop".to_owned(), true, vec![81, 9090])]);
    assert_eq!(names(view.find("orders.shop")), [("orders.shop".to_owned(), true, vec![9090, 8080])]);
    let by_alias = [("orders.shop".to_owned(), true, vec![9090]), ("admin.shop".to_owned(), true, vec![81])];
    assert_eq!(names(view.find("orders")), by_alias);
    for (asked, actual, name) in [
        ("127.5.0.1:8080", "127.5.0.1:8080", "orders.shop"),
        ("127.5.0.1:9090", "127.5.0.1:9090", "admin.shop"),
        ("127.5.0.1:81", "127.5.0.1:9090", "admin.shop"),
    ] {
        let (found, service) = view.at(asked.parse().unwrap()).expect(asked);
        assert_eq!((found.to_string().as_str(), &*service.name), (actual, name), "{asked}");
    }
    directory.announce("1", Vec::new());
    assert_eq!(names(view.find("orders")), []);
}
