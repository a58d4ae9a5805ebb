use super::*;
use crate::network::lookup::SystemResolver;
use crate::network::task::Transport;
use crate::network::{HttpClient, TaskNetwork, Uplink};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty};
use wasmtime_wasi::sockets::SocketAddrUse;

/// A service on 8080 whose one task is at an address.
#[derive(Debug)]
struct At(Option<SocketAddr>);

impl Service for At {
    fn ports(&self) -> &[u16] {
        &[8080]
    }

    fn addresses(&self, _: IpAddr) -> BoxFuture<'static, Vec<SocketAddr>> {
        let addresses = self.0.into_iter().collect();
        async { addresses }.boxed()
    }

    fn answer(&self, _: Request<Content>, _: IpAddr) -> BoxFuture<'static, Response<Content>> {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        async { Response::new(empty) }.boxed()
    }
}

/// Where the task of `orders` listens, to which its clients come on 8080.
const ORDERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 7, 0, 1)), 3000);
const BILLS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 7, 0, 2)), 8080);

/// `orders` is near and `bills` is not; `empty` is near and has no task.
#[derive(Debug)]
struct Town;

impl Town {
    fn found(near: bool, name: &str, address: Option<SocketAddr>) -> Found {
        Found { near, name: name.into(), service: Arc::new(At(address)) }
    }
}

impl Discovery for Town {
    fn find(&self, name: &str) -> Vec<Found> {
        match name {
            "orders" | "orders.shop.local" => vec![Self::found(true, "orders.shop.local", Some(ORDERS))],
            "empty" => vec![Self::found(true, "empty.shop.local", None)],
            "bills.bank.local" => vec![Self::found(false, "bills.bank.local", Some(BILLS))],
            "two" => vec![
                Self::found(true, "one.shop.local", Some(ORDERS)),
                Self::found(true, "other.shop.local", Some(ORDERS)),
            ],
            _ => Vec::new(),
        }
    }

    fn at(&self, address: SocketAddr) -> Option<(SocketAddr, Found)> {
        match (address.ip(), address.port()) {
            (ip, 3000 | 8080) if ip == ORDERS.ip() => {
                Some((ORDERS, Self::found(true, "orders.shop.local", Some(ORDERS))))
            }
            (ip, 8080) if ip == BILLS.ip() => {
                Some((BILLS, Self::found(false, "bills.bank.local", Some(BILLS))))
            }
            _ => None,
        }
    }
}

fn container(egress: &str) -> Network {
    let uplink = Uplink::new(Arc::new(SystemResolver), Vec::new(), HttpClient::default());
    let task = TaskNetwork::with_address(Ipv4Addr::new(127, 9, 9, 9), uplink);
    task.with_discovery(Arc::new(Town)).container(egress.parse().unwrap())
}

fn goes(network: &Network, url: &str) -> &'static str {
    match network.service_of(&Request::get(url).body(()).unwrap()) {
        Destination::Service(_) => "to a service",
        Destination::Closed => "to a closed port",
        Destination::Elsewhere => "elsewhere",
    }
}

#[test]
fn a_neighbour_is_reached_by_each_of_its_names_on_its_ports_and_on_80() {
    let network = container("");
    for (url, where_to) in [
        ("http://orders:8080/", "to a service"),
        ("http://orders/", "to a service"),
        ("http://ORDERS.Shop.Local./a", "to a service"),
        ("http://orders:81/", "to a closed port"),
        ("http://two:8080/", "to a service"),
        ("http://two/", "to a closed port"),
        ("https://orders:8080/", "elsewhere"),
        ("http://other/", "elsewhere"),
        ("http://localhost/", "elsewhere"),
        ("http://127.7.0.1:8080/", "elsewhere"),
    ] {
        assert_eq!(goes(&network, url), where_to, "{url}");
    }
}

#[test]
fn one_of_another_namespace_takes_an_egress_that_names_it() {
    for (egress, url, where_to) in [
        ("", "http://bills.bank.local:8080/", "elsewhere"),
        ("*", "http://bills.bank.local:8080/", "elsewhere"),
        ("bills", "http://bills.bank.local:8080/", "elsewhere"),
        ("bills.bank.local", "http://bills.bank.local:8080/", "to a service"),
        ("bills.bank.local", "http://bills.bank.local/", "to a service"),
        ("*.bank.local:8080", "http://bills.bank.local:8080/", "to a service"),
        ("*.bank.local:8080", "http://bills.bank.local/", "to a closed port"),
        ("bills.bank.local:443", "http://bills.bank.local:8080/", "to a closed port"),
    ] {
        assert_eq!(goes(&container(egress), url), where_to, "{egress:?} {url}");
    }
}

#[tokio::test]
async fn a_lookup_gives_the_tasks_addresses_to_those_who_may_reach_them() {
    let network = container("");
    assert_eq!(network.lookup("Orders").await, Ok(vec![ORDERS.ip()]));
    assert_eq!(network.lookup("empty").await, Err(LookupError::NotFound));
    assert_eq!(network.lookup("bills.bank.local").await, Err(LookupError::Denied));
    assert_eq!(network.lookup("unknown.shop.local").await, Err(LookupError::Denied));
    assert_eq!(container("*.bank.local").lookup("bills.bank.local").await, Ok(vec![BILLS.ip()]));
}

#[tokio::test]
async fn a_connection_is_made_to_their_ports_and_to_nothing_else_of_theirs() {
    let permits = |network: &Network, wanted: SocketAddr| {
        let address = network.destination(wanted, Transport::Tcp);
        network.permits(address, SocketAddrUse::TcpConnect).then_some(address)
    };
    let at = |of: SocketAddr, port| SocketAddr::new(of.ip(), port);
    let network = container("");
    // The port of its name leads to where the task listens.
    assert_eq!(permits(&network, at(ORDERS, 8080)), Some(ORDERS));
    assert_eq!(permits(&network, ORDERS), Some(ORDERS));
    assert_eq!(permits(&network, at(ORDERS, 22)), None);
    assert_eq!(permits(&network, BILLS), None);
    assert_eq!(permits(&network, "127.7.0.9:8080".parse().unwrap()), None);
    assert!(!network.permits(ORDERS, SocketAddrUse::UdpSend), "what is found is found over TCP");
    assert_eq!(permits(&container("bills.bank.local:8080"), BILLS), Some(BILLS));
    assert_eq!(permits(&container("bills.bank.local:443"), BILLS), None);
    assert_eq!(permits(&container("*"), BILLS), None);
    assert_eq!(network.route("orders", 8080).await, Ok(vec![ORDERS]));
    assert_eq!(network.route("orders", 22).await, Err(LookupError::Denied));
}

#[tokio::test]
async fn a_task_without_a_network_finds_nobody() {
    let uplink = Uplink::new(Arc::new(SystemResolver), Vec::new(), HttpClient::default());
    let network = TaskNetwork::none(uplink).with_discovery(Arc::new(Town)).container("".parse().unwrap());
    assert_eq!(goes(&network, "http://orders:8080/"), "elsewhere");
    assert_eq!(network.lookup("orders").await, Err(LookupError::Denied));
}
