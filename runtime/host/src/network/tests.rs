use super::*;
use proptest::prelude::*;

const OWN: Ipv4Addr = Ipv4Addr::new(127, 5, 6, 7);

fn task(reserved: &[&str]) -> TaskNetwork {
    let reserved = reserved.iter().map(|address| at(address)).collect();
    TaskNetwork::with_address(OWN, Uplink::new(Arc::new(SystemResolver), reserved, HttpClient::default()))
}

fn network(egress: &str) -> Network {
    task(&[]).container(egress.parse().unwrap())
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connects(network: &Network, wanted: &str) -> bool {
    network.permits(network.destination(at(wanted), Transport::Tcp), SocketAddrUse::TcpConnect)
}

#[test]
fn without_a_network_nothing_is_permitted_and_with_the_hosts_everything() {
    let uses = [
        SocketAddrUse::TcpBind,
        SocketAddrUse::TcpListen,
        SocketAddrUse::TcpAccept,
        SocketAddrUse::TcpConnect,
        SocketAddrUse::UdpBind,
        SocketAddrUse::UdpSend,
        SocketAddrUse::UdpReceive,
    ];
    for purpose in uses {
        assert!(!Network::none().permits(at("127.0.0.1:80"), purpose));
        assert!(Network::host().permits(at("127.0.0.1:80"), purpose));
    }
    assert_eq!(Network::host().destination(at("127.0.0.1:80"), Transport::Tcp), at("127.0.0.1:80"));
    let binding = Network::host().bind_address(at("0.0.0.0:80"), Transport::Tcp);
    assert_eq!(binding, Binding { address: at("0.0.0.0:80"), in_place_of_v6: false });
}

#[test]
fn wildcard_and_localhost_are_the_tasks_own_address_when_bound() {
    let network = network("");
    for (wanted, in_place_of_v6) in
        [("0.0.0.0:80", false), ("127.0.0.1:80", false), ("[::]:80", true), ("[::1]:80", true)]
    {
        let binding = network.bind_address(at(wanted), Transport::Tcp);
        assert_eq!(binding, Binding { address: at("127.5.6.7:80"), in_place_of_v6 }, "{wanted}");
        assert_eq!(network.bind_address(at(wanted), Transport::Udp), binding, "{wanted}");
        assert!(network.permits(binding.address, SocketAddrUse::TcpBind));
    }
    for elsewhere in ["127.0.0.1:80", "127.5.6.8:80", "0.0.0.0:80", "[::]:80", "192.0.2.1:80"] {
        assert!(!network.permits(at(elsewhere), SocketAddrUse::TcpBind), "{elsewhere}");
        assert!(!network.permits(at(elsewhere), SocketAddrUse::UdpBind), "{elsewhere}");
        assert!(!network.permits(at(elsewhere), SocketAddrUse::TcpListen), "{elsewhere}");
    }
    assert!(!network.permits(at("0.0.0.0:0"), SocketAddrUse::TcpListen));
}

#[test]
fn a_datagram_client_is_bound_to_all_addresses_only_where_it_may_send_to_the_outside() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let wanted = at(wildcard);
        assert_eq!(network("").bind_address(wanted, Transport::Udp).address, at("127.5.6.7:0"));
        assert_eq!(network("10.0.0.1").bind_address(wanted, Transport::Udp).address, wanted);
        assert_eq!(network("10.0.0.1").bind_address(wanted, Transport::Tcp).address, at("127.5.6.7:0"));
    }
    let network = network("10.0.0.1:53");
    assert!(network.permits(at("10.0.0.1:53"), SocketAddrUse::UdpReceive));
    assert!(!network.permits(at("10.0.0.2:53"), SocketAddrUse::UdpReceive), "a stranger");
}

#[test]
fn containers_of_a_task_reach_each_other_and_only_where_one_of_them_listens() {
    let task = task(&[]);
    let (one, other) = (task.container(Egress::default()), task.container(Egress::default()));
    let localhosts =
        ["127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[::ffff:127.0.0.1]:80", "127.5.6.7:80"];
    for localhost in localhosts {
        // Another program of the host may listen to this port on all addresses, the task's among them.
        assert!(!connects(&one, localhost), "{localhost}");
    }
    assert!(one.is_closed(at("127.5.6.7:80")));
    let permit = one.task().socket().unwrap();
    let port = permit.open(Transport::Tcp, 80);
    for localhost in localhosts {
        assert!(connects(&one, localhost) && connects(&other, localhost), "{localhost}");
    }
    assert!(!other.permits(at("127.5.6.7:80"), SocketAddrUse::UdpSend), "TCP is not UDP");
    drop(port);
    assert!(!connects(&one, "127.0.0.1:80"));
    assert_eq!(one.shown(at("127.5.6.7:80")), at("127.0.0.1:80"));
    assert_eq!(one.shown(at("127.5.6.8:80")), at("127.5.6.8:80"));
}

#[test]
fn other_tasks_and_the_host_are_out_of_reach() {
    for egress in ["", "*", "example.com"] {
        let network = network(egress);
        for target in
            ["127.5.6.8:80", "127.0.0.1:4566", "127.0.0.53:53", "169.254.169.254:80", "[fe80::1]:80"]
        {
            assert!(!connects(&network, target), "{target} with {egress:?}");
            assert!(!network.permits(at(target), SocketAddrUse::UdpSend), "{target} with {egress:?}");
        }
        assert_eq!(connects(&network, "192.0.2.1:80"), egress == "*");
    }
    // A pattern that can mean nothing else.
    assert!(connects(&network("127.5.6.8:80"), "127.5.6.8:80"));
    assert!(connects(&network("127.0.0.1:5432"), "127.0.0.1:5432"));
    assert!(!connects(&network("127.0.0.1:5432"), "127.0.0.1:5433"));
}

#[test]
fn the_hosts_api_needs_a_pattern_of_just_its_address() {
    let reach = |reserved: &str, egress: &str, target: &str| {
        connects(&task(&[reserved]).container(egress.parse().unwrap()), target)
    };
    assert!(!reach("127.0.0.1:4566", "127.0.0.0/8", "127.0.0.1:4566"));
    assert!(reach("127.0.0.1:4566", "127.0.0.0/8", "127.0.0.1:4567"));
    assert!(reach("127.0.0.1:4566", "127.0.0.1:4566", "127.0.0.1:4566"));
    // On all addresses, it is at every one of them.
    assert!(!reach("0.0.0.0:4566", "127.0.0.0/8", "127.3.3.3:4566"));
    assert!(reach("0.0.0.0:4566", "192.0.2.0/24", "192.0.2.1:4566"), "which is another machine's");
}

#[test]
fn who_wrote_may_be_answered() {
    let network = network("");
    let client = at("127.0.0.1:40000");
    assert_eq!(network.destination(client, Transport::Udp), at("127.5.6.7:40000"));
    assert!(network.permits(client, SocketAddrUse::UdpReceive));
    assert_eq!(network.destination(client, Transport::Udp), client);
    assert!(network.permits(client, SocketAddrUse::UdpSend));
    assert!(!network.permits(client, SocketAddrUse::TcpConnect));
    assert!(!network.permits(at("127.0.0.1:40001"), SocketAddrUse::UdpSend));
}

#[tokio::test]
async fn a_route_leads_only_to_addresses_that_are_granted() {
    use lookup::LookupError::{Denied, Prohibited};
    let task = task(&[]);
    let network = task.container("192.0.2.0/24:80,a.example".parse().unwrap());
    assert_eq!(network.route("192.0.2.1", 80).await, Ok(vec![at("192.0.2.1:80")]));
    assert_eq!(network.route("192.0.2.1", 81).await, Err(Denied));
    assert_eq!(network.route("[2001:db8::1]", 80).await, Err(Denied));
    assert_eq!(network.route("b.example", 80).await, Err(Denied));
    assert_eq!(network.route("127.0.0.1", 80).await, Err(Denied));
    assert_eq!(network.route("localhost", 80).await, Err(Prohibited));
    let _port = task.open(Transport::Tcp, 80);
    assert_eq!(network.route("localhost", 80).await, Ok(vec![at("127.5.6.7:80")]));
    assert_eq!(Network::none().route("localhost", 80).await, Err(Denied));
    assert_eq!(Network::none().route("192.0.2.1", 80).await, Err(Denied));
}

#[test]
fn a_task_has_so_many_sockets_over_all_its_containers() {
    let task = task(&[]);
    let (one, other) = (task.container(Egress::default()), task.container(Egress::default()));
    let mut sockets: Vec<_> = (0..task::MAX_SOCKETS).map(|_| one.task().socket().unwrap()).collect();
    assert!(other.task().socket().is_none());
    sockets.pop();
    assert!(other.task().socket().is_some());
    drop(sockets);
    assert_eq!(one.task().sockets(), 0);
}

#[derive(Debug)]
struct Told(SocketAddr);

impl Metadata for Told {
    fn answer(
        &self,
        path: &str,
        _: Option<bytes::Bytes>,
    ) -> futures_util::future::BoxFuture<'static, metadata::MetadataAnswer> {
        let body = path.to_owned().into();
        Box::pin(async { metadata::MetadataAnswer { status: http::StatusCode::OK, body } })
    }

    fn takes(&self, _: &str) -> bool {
        false
    }

    fn listener(&self) -> Option<SocketAddr> {
        Some(self.0)
    }
}

#[test]
fn the_metadata_endpoint_is_reached_whatever_is_granted_and_nothing_else_by_it() {
    let listener = at("127.0.0.1:4321");
    let task = task(&["127.0.0.1:4321"]).with_metadata(Arc::new(Told(listener)));
    let network = task.container(Egress::default());
    assert!(!connects(&network, "127.0.0.1:4321"), "nobody was sent there yet, and nobody may guess it");
    for endpoint in ["169.254.170.2:80", "[::ffff:169.254.170.2]:80"] {
        assert!(connects(&network, endpoint), "{endpoint}");
        assert_eq!(network.destination(at(endpoint), Transport::Tcp), listener);
    }
    assert_eq!(network.shown(listener), metadata::ADDRESS);
    for other in ["169.254.170.2:81", "169.254.169.254:80", "127.0.0.1:80", "127.0.0.1:4321"] {
        assert!(!connects(&network, other), "{other}");
    }
    let udp = network.destination(metadata::ADDRESS, Transport::Udp);
    assert!(!network.permits(udp, SocketAddrUse::UdpSend));
    assert!(!connects(&Network::none(), "169.254.170.2:80"));

    let request = |uri: &str| Request::get(uri).body(()).unwrap();
    for ours in ["http://169.254.170.2/v4/x", "http://169.254.170.2:80/"] {
        assert!(network.metadata(&request(ours)).is_some(), "{ours}");
    }
    for other in [
        "https://169.254.170.2/",
        "http://169.254.170.2:81/",
        "http://169.254.170.3/",
        "http://localhost/",
        "/v4/x",
    ] {
        assert!(network.metadata(&request(other)).is_none(), "{other}");
    }
    assert!(self::network("").metadata(&request("http://169.254.170.2/")).is_none(), "this task has none");
}

/// Addresses of all kinds, those in which an IPv4 address hides included.
fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from),
        (0..1_u32 << 24).prop_map(|low| Ipv4Addr::from(0x7f00_0000 | low)),
        prop::sample::select(vec![
            OWN,
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(169, 254, 169, 254),
            Ipv4Addr::new(127, 5, 6, 8),
        ]),
    ];
    let ip = (v4, any::<u128>(), 0..7_u8).prop_map(|(v4, bits, form)| {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        match form {
            0..=2 => v4.into(),
            3 => Ipv6Addr::from(bits).into(),
            4 => v4.to_ipv6_mapped().into(),
            5 => Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
            _ => Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into(),
        }
    });
    (ip, any::<u16>()).prop_map(|(ip, port): (IpAddr, u16)| SocketAddr::new(ip, port))
}

proptest! {
    #[test]
    fn no_address_leads_out_of_a_task_that_is_granted_nothing(wanted in address()) {
        let network = network("");
        let target = network.destination(wanted, Transport::Tcp);
        prop_assert!(!network.permits(target, SocketAddrUse::TcpConnect), "{target}");
        let target = network.destination(wanted, Transport::Udp);
        prop_assert!(!network.permits(target, SocketAddrUse::UdpSend), "{target}");
    }

    #[test]
    fn a_star_leads_to_every_address_but_the_special_ones(wanted in address()) {
        let network = network("*,*.example.com,a.example");
        let target = network.destination(wanted, Transport::Tcp);
        let is_granted = wanted.port() > 0 && !special::is_special(wanted.ip());
        prop_assert_eq!(network.permits(target, SocketAddrUse::TcpConnect), is_granted, "{}", target);
    }

    #[test]
    fn a_network_of_addresses_leads_to_those_in_it_and_no_others(wanted in address(), bits: u32, length in 0..=32_u8) {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let granted = Ipv4Addr::from(bits & mask);
        let network = network(&format!("{granted}/{length}"));
        let target = network.destination(wanted, Transport::Tcp);
        let inside = |ip: IpAddr| matches!(ip.to_canonical(), IpAddr::V4(v4) if u32::from(v4) & mask == bits & mask);
        if network.permits(target, SocketAddrUse::TcpConnect) {
            prop_assert!(inside(target.ip()) && target == wanted && target.ip().to_canonical() != OWN);
        } else {
            prop_assert!(!inside(wanted.ip()) || target.ip().to_canonical() == OWN || target.port() == 0, "{target}");
        }
    }

    #[test]
    fn whatever_is_bound_is_bound_at_the_tasks_own_address(wanted in address(), granted in prop::sample::select(vec!["", "*"])) {
        let network = network(granted);
        for (transport, purpose) in [(Transport::Tcp, SocketAddrUse::TcpBind), (Transport::Udp, SocketAddrUse::UdpBind)] {
            let bound = network.bind_address(wanted, transport).address;
            if network.permits(bound, purpose) {
                // A client's socket, which hears only those that it may write to.
                let is_client = bound.ip().is_unspecified() && bound.port() == 0;
                prop_assert!(bound.ip() == OWN || is_client, "{bound}");
            }
        }
    }
}
