use super::*;
use crate::network::egress::Egress;
use std::sync::Mutex;

/// Answers from a list, and notes what it was asked.
#[derive(Debug, Default)]
struct Listed {
    answers: HashMap<&'static str, Vec<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Listed {
    fn resolve(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.clone());
        let answer = match self.answers.get(name.as_str()) {
            Some(ips) => Ok(ips.iter().map(|ip| ip.parse().unwrap()).collect()),
            None if name == "slow.example" => return Box::pin(std::future::pending()),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Box::pin(std::future::ready(answer))
    }
}

fn listed(answers: &[(&'static str, &[&'static str])]) -> Listed {
    Listed {
        answers: answers.iter().map(|(name, ips)| (*name, ips.to_vec())).collect(),
        asked: Mutex::default(),
    }
}

struct Asking {
    names: Names,
    egress: Egress,
    resolver: Listed,
}

impl Asking {
    fn new(egress: &str, answers: &[(&'static str, &[&'static str])]) -> Self {
        Self { names: Names::default(), egress: egress.parse().unwrap(), resolver: listed(answers) }
    }

    async fn lookup(&self, name: &str) -> Result<String, LookupError> {
        let turns = Semaphore::new(2);
        let found = self.names.lookup(name, &self.egress, &self.resolver, &turns).await?;
        Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    fn grants(&self, address: &str) -> bool {
        self.names.grant(address.parse().unwrap())
    }
}

#[tokio::test]
async fn a_name_that_is_not_granted_is_not_even_asked_for() {
    let asking = Asking::new("*.example", &[("evil.test", &["1.1.1.1"])]);
    assert_eq!(asking.lookup("evil.test").await, Err(LookupError::Denied));
    assert!(asking.resolver.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_names_addresses_may_be_connected_to_on_its_ports_for_a_while() {
    let asking = Asking::new("a.example:443", &[("a.example", &["192.0.2.1", "2001:db8::1", "192.0.2.1"])]);
    assert!(!asking.grants("192.0.2.1:443"), "not before it was looked up");
    assert_eq!(asking.lookup("A.example.").await.unwrap(), "192.0.2.1 2001:db8::1");
    assert!(asking.grants("192.0.2.1:443") && asking.grants("[2001:db8::1]:443"));
    assert!(!asking.grants("192.0.2.1:80") && !asking.grants("192.0.2.2:443"));
    tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
    assert!(asking.grants("192.0.2.1:443"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!asking.grants("192.0.2.1:443"));
}

#[tokio::test(start_paused = true)]
async fn two_names_of_one_address_grant_their_own_ports_for_their_own_time() {
    let asking = Asking::new(
        "a.example:80,b.example:90",
        &[("a.example", &["192.0.2.1"]), ("b.example", &["192.0.2.1"])],
    );
    asking.lookup("a.example").await.unwrap();
    tokio::time::advance(LIFETIME / 2).await;
    asking.lookup("b.example").await.unwrap();
    assert!(asking.grants("192.0.2.1:80") && asking.grants("192.0.2.1:90"));
    tokio::time::advance(LIFETIME / 2).await;
    assert!(!asking.grants("192.0.2.1:80") && asking.grants("192.0.2.1:90"));
}

#[tokio::test]
async fn a_name_never_leads_to_a_special_address_unless_that_is_granted_itself() {
    let rebinding =
        &["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "fe80::1", "224.0.0.1"];
    let asking = Asking::new("*", &[("a.example", rebinding)]);
    assert_eq!(asking.lookup("a.example").await, Err(LookupError::Prohibited));
    let asking = Asking::new("a.example", &[("a.example", &["127.0.0.1", "192.0.2.1"])]);
    assert_eq!(asking.lookup("a.example").await.unwrap(), "192.0.2.1");
    let asking = Asking::new("a.example,127.0.0.0/8:5432", &[("a.example", &["127.9.9.9"])]);
    assert_eq!(asking.lookup("a.example").await.unwrap(), "127.9.9.9");
}

#[tokio::test]
async fn localhost_is_the_task_and_addresses_are_themselves_whatever_a_resolver_says() {
    let asking = Asking::new("*", &[("localhost", &["192.0.2.9"]), ("127.1", &["127.0.0.1"])]);
    assert_eq!(asking.lookup("LocalHost").await.unwrap(), "127.0.0.1");
    assert_eq!(asking.lookup("db.localhost.").await.unwrap(), "127.0.0.1");
    assert_eq!(asking.lookup("192.0.2.5").await.unwrap(), "192.0.2.5");
    assert_eq!(asking.lookup("[2001:db8::5]").await.unwrap(), "2001:db8::5");
    assert!(asking.resolver.asked.lock().unwrap().is_empty());
    assert!(!asking.grants("192.0.2.5:80"), "an address opens nothing");
    // To getaddrinfo this is 127.0.0.1.
    assert_eq!(asking.lookup("127.1").await, Err(LookupError::Prohibited));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_resolved_says_why() {
    let asking = Asking::new("*", &[]);
    assert_eq!(asking.lookup("none.example").await, Err(LookupError::NotFound));
    assert_eq!(asking.lookup("slow.example").await, Err(LookupError::TimedOut));
    for no_name in ["", "a b", "a..b", "a/b", "b\u{fc}cher.example", &"a".repeat(64)] {
        assert_eq!(asking.lookup(no_name).await, Err(LookupError::Invalid), "{no_name:?}");
    }
}

#[test]
fn no_more_addresses_are_remembered_than_fit() {
    let names = Names::default();
    let ip = |index: usize| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + u32::try_from(index).unwrap()));
    for index in 0..=MAX_ADDRESSES {
        names.remember(&[ip(index)], &[80..=80]);
    }
    assert_eq!(names.lock().len(), MAX_ADDRESSES);
    assert!(names.grant(SocketAddr::new(ip(MAX_ADDRESSES), 80)));
}
