use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn egress(text: &str) -> Egress {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn names(egress: &Egress, name: &str, port: u16) -> bool {
    egress.ports_of(name).iter().any(|ports| ports.contains(&port))
}

#[test]
fn nothing_grants_nothing() {
    for text in ["", " "] {
        let none = egress(text);
        assert!(none.is_empty() && none == Egress::default());
        assert!(!none.grants(at("1.1.1.1:443")) && !names(&none, "a.example", 443));
    }
}

#[test]
fn names_and_suffixes_are_granted_on_their_ports() {
    let some = egress("api.example.com:443, *.Example.ORG , db.internal:5432-5433");
    assert!(names(&some, "api.example.com", 443) && !names(&some, "api.example.com", 80));
    assert!(!names(&some, "example.com", 443) && !names(&some, "x.api.example.com", 443));
    assert!(names(&some, "a.example.org", 1) && names(&some, "a.b.example.org", 65535));
    assert!(!names(&some, "example.org", 80) && !names(&some, "badexample.org", 80));
    assert!(names(&some, "db.internal", 5433) && !names(&some, "db.internal", 5434));
    // Names say nothing of addresses.
    assert!(!some.grants(at("1.1.1.1:443")));
}

#[test]
fn everything_is_not_what_needs_a_pattern_of_its_own() {
    let all = egress("*");
    assert!(
        all.grants(at("1.1.1.1:443")) && all.grants(at("[2001:db8::1]:1")) && names(&all, "a.example", 80)
    );
    for special in ["127.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[fe80::1]:80", "[::ffff:127.0.0.1]:80"]
    {
        assert!(!all.grants(at(special)), "{special}");
    }
    let https = egress("*:443");
    assert!(https.grants(at("1.1.1.1:443")) && !https.grants(at("1.1.1.1:80")));
}

#[test]
fn addresses_grant_what_they_name() {
    let some = egress("127.0.0.1:5432,10.0.0.0/8:80,[fd00::/8]:443,[::1],169.254.169.254");
    for granted in [
        "127.0.0.1:5432",
        "[::ffff:127.0.0.1]:5432",
        "10.255.0.1:80",
        "[fd12::1]:443",
        "[::1]:9",
        "169.254.169.254:80",
    ] {
        assert!(some.grants(at(granted)), "{granted}");
    }
    for denied in
        ["127.0.0.1:80", "127.0.0.2:5432", "11.0.0.1:80", "10.0.0.1:443", "[fe80::1]:443", "[::2]:9"]
    {
        assert!(!some.grants(at(denied)), "{denied}");
    }
    assert!(some.grants_literally(at("127.0.0.1:5432")) && !some.grants_literally(at("10.0.0.1:80")));
    assert!(egress("10.0.0.1/32").grants_literally(at("10.0.0.1:80")));
    assert!(some.grants_address_on_some_port("10.1.1.1".parse().unwrap()));
}

#[test]
fn what_is_no_pattern_is_refused_with_what_is_wrong() {
    for (text, problem) in [
        ("a,,b", "a comma is too many"),
        ("a.example:0", "a port from 1 to 65535"),
        ("a.example:+80", "a port from 1 to 65535"),
        ("a.example:80-", "a port from 1 to 65535"),
        ("a.example:90-80", "ends before it begins: 90-80"),
        ("a.example:", "a port from 1 to 65535"),
        ("http://a.example", "needs a port"),
        ("a..example", "is no host name and no address"),
        ("-a.example", "is no host name"),
        ("b\u{fc}cher.example", "Punycode"),
        ("a.*.example", "only alone or as its first label"),
        ("*example.com", "only alone or as its first label"),
        ("1.2.3", "ends like a number"),
        ("256.1.1.1", "ends like a number"),
        ("0x7f000001", "ends like a number"),
        ("10.0.0.0/33", "a prefix length from 0 to 32"),
        ("10.0.0.1/8", "bits set after its prefix: write 10.0.0.0/8"),
        ("example/8", "has no IP address before its /"),
        ("fd00::1", "write it in brackets, [fd00::1]"),
        ("fd00::/8", "write it in brackets, [fd00::/8]"),
        ("[fd00::1", "has no closing bracket"),
        ("[fd00::1]443", "something other than :port"),
        ("[10.0.0.1]", "write it without brackets"),
        ("[::ffff:127.0.0.1]", "write it as IPv4"),
        ("[a.example]", "is no address"),
        ("localhost:80", "the task itself"),
        ("db.localhost", "the task itself"),
        (&vec!["a.example"; MAX_PATTERNS + 1].join(","), "at most 100"),
    ] {
        let error = text.parse::<Egress>().expect_err(text).to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9_-]{0,10}[a-z0-9])?"
}

fn name() -> impl Strategy<Value = String> {
    // The end is kept from looking like a number, and from being localhost.
    prop::collection::vec(label(), 0..4).prop_map(|mut labels| {
        labels.push("test".to_owned());
        labels.join(".")
    })
}

fn ports() -> impl Strategy<Value = (String, Ports)> {
    (1..=u16::MAX, 1..=u16::MAX).prop_flat_map(|(a, b)| {
        let (first, last) = (a.min(b), a.max(b));
        prop_oneof![
            Just((String::new(), ALL_PORTS)),
            Just((":*".to_owned(), ALL_PORTS)),
            Just((format!(":{first}"), first..=first)),
            Just((format!(":{first}-{last}"), first..=last)),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_and_never_panics(text in "\\PC{0,60}") {
        drop(text.parse::<Egress>());
    }

    #[test]
    fn text_near_to_a_pattern_never_panics(text in "[a-z0-9.:/*,\\[\\] -]{0,40}") {
        drop(text.parse::<Egress>());
    }

    #[test]
    fn a_name_grants_itself_on_its_ports_and_no_other((name, other) in (name(), name()), (suffix, ports) in ports(), port in 1..=u16::MAX) {
        let granted = egress(&format!("{name}{suffix}"));
        prop_assert_eq!(names(&granted, &name, port), ports.contains(&port));
        prop_assert_eq!(names(&granted, &other, port), other == name && ports.contains(&port));
        let upper = egress(&format!("{}.{suffix}", name.to_ascii_uppercase()));
        prop_assert_eq!(upper, granted);
    }

    #[test]
    fn a_suffix_grants_what_is_below_it((name, below) in (name(), label()), port in 1..=u16::MAX) {
        let granted = egress(&format!("*.{name}"));
        let (below, beside) = (format!("{below}.{name}"), format!("{below}{name}"));
        prop_assert!(names(&granted, &below, port));
        prop_assert!(!names(&granted, &name, port));
        prop_assert!(!names(&granted, &beside, port));
    }

    #[test]
    fn a_network_grants_just_its_own(bits: u32, length in 0_u8..=32, other: u32, (suffix, ports) in ports(), port in 1..=u16::MAX) {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let network = Ipv4Addr::from(bits & mask);
        let granted = egress(&format!("{network}/{length}{suffix}"));
        let other = Ipv4Addr::from(other);
        let inside = u32::from(other) & mask == bits & mask;
        prop_assert_eq!(granted.grants_address((other, port).into()), inside && ports.contains(&port));
        prop_assert_eq!(granted.grants_address((other.to_ipv6_mapped(), port).into()), inside && ports.contains(&port));
    }

    #[test]
    fn a_network_of_ipv6_grants_just_its_own(bits: u128, length in 0_u8..=128, other: u128, port in 1..=u16::MAX) {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        let network = Ipv6Addr::from(bits & mask);
        prop_assume!(network.to_ipv4_mapped().is_none());
        let granted = egress(&format!("[{network}/{length}]"));
        let other = Ipv6Addr::from(other);
        prop_assume!(other.to_ipv4_mapped().is_none());
        prop_assert_eq!(granted.grants((other, port).into()), u128::from(other) & mask == bits & mask);
    }

    #[test]
    fn no_name_and_no_star_grants_a_special_address(name in name(), ip: u32, port in 1..=u16::MAX) {
        let granted = egress(&format!("*,{name},*.{name}"));
        let ip = Ipv4Addr::from(ip);
        prop_assert_eq!(granted.grants((ip, port).into()), !special::is_special(ip.into()));
    }
}
