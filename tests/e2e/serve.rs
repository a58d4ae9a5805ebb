//! `coracle serve`

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustix::process::Signal;

use crate::support::{DEADLINE, Running, coracle, eventually, get, guest};

/// Starts `coracle serve` on a port that it picks, and reads where that is from its first line.
fn serve(image: &str, options: &[&str]) -> (Running, SocketAddr) {
    let arguments = ["serve", image, "--listen", "127.0.0.1:0"].into_iter().chain(options.iter().copied());
    let mut running = coracle(arguments).start();
    let line = running.line();
    let address = line.strip_prefix("Serving on http://").unwrap_or_else(|| panic!("{line}"));
    (running, address.parse().unwrap())
}

#[test]
fn the_first_line_says_where_and_the_first_request_is_answered() {
    let (_running, address) = serve(&guest("hello"), &[]);
    let answer = get(address, "/").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn replicas_answer_in_turn() {
    let (_running, address) = serve(&guest("hello"), &["--replicas", "3"]);
    let round = || (0..3).map(|_| get(address, "/").unwrap().body).collect::<Vec<_>>();
    let first =
        eventually("three replicas", round, |bodies| bodies.iter().collect::<BTreeSet<_>>().len() == 3);
    assert_eq!(round(), first, "the next round has the same order");
}

#[test]
fn an_interrupt_or_termination_drains_and_ends_with_0() {
    for signal in [Signal::INT, Signal::TERM] {
        let (running, address) = serve(&guest("chaos"), &[]);
        // The signal comes between the answer's head and the end of its body, half a second later.
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /slow?chunks=5&ms=100 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut begin = [0; 15];
        stream.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK");
        running.signal(signal);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\r\n0\r\n\r\n"), "the body is whole: {rest:?}");
        running.wait().assert_success();
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn a_server_listens_on_an_address_of_its_own_in_each_replica() {
    let (_running, address) = serve(&guest("web"), &["--replicas", "2", "--health-path", "/health"]);
    let look = || (0..4).map(|_| get(address, "/").unwrap().body).collect::<BTreeSet<_>>();
    let bodies = eventually("two replicas", look, |bodies| bodies.len() == 2);
    assert!(bodies.iter().all(|body| !body.is_empty()), "{bodies:?}");
}

#[test]
fn instances_are_reused_when_asked_for() {
    let counts = |options: &[&str]| {
        let (_running, address) = serve(&guest("counter"), options);
        (0..3).map(|_| get(address, "/").unwrap().body.trim().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&[]), [1, 1, 1]);
    let reused = counts(&["--instance-reuse", "1000"]);
    assert!(reused.windows(2).all(|pair| pair[0] < pair[1]), "{reused:?}");
}

#[test]
fn a_request_over_its_time_is_answered_with_504() {
    let (_running, address) = serve(&guest("chaos"), &["--request-timeout", "0.2"]);
    assert_eq!(get(address, "/hang").unwrap().status, 504);
    assert_eq!(get(address, "/").unwrap().status, 200);
}

#[test]
fn a_trap_is_answered_with_502_and_its_neighbours_go_on() {
    let (_running, address) = serve(&guest("chaos"), &["--replicas", "2"]);
    assert_eq!(get(address, "/trap").unwrap().status, 502);
    assert_eq!(get(address, "/").unwrap().status, 200);
}

#[test]
fn what_a_task_printed_last_is_not_lost_at_the_end() {
    let (running, address) = serve(&guest("chaos"), &[]);
    assert_eq!(get(address, "/trap").unwrap().status, 502);
    running.signal(Signal::TERM);
    let output = running.wait();
    assert!(output.stderr.contains("wasm backtrace"), "{}", output.stderr);
}

#[test]
fn the_environment_is_what_was_given() {
    let (_running, address) = serve(&guest("hello"), &["--env", "CORACLE_TASK_ID=mine"]);
    let answer = get(address, "/").unwrap();
    assert!(answer.body.contains("mine"), "{answer:?}");
}

#[test]
fn tasks_reach_what_egress_grants_and_nothing_else() {
    // Another host is what they ask for.
    let (_other, address) = serve(&guest("hello"), &["--env", "CORACLE_TASK_ID=over-there"]);
    let variable = format!("RELAY_TO=http://{address}");
    let ask = |egress: &[&str]| {
        let options = [&["--env", &variable][..], egress].concat();
        let (_running, address) = serve(&guest("relay"), &options);
        get(address, "/").unwrap()
    };
    for denied in [&[][..], &["--egress", "*"]] {
        let answer = ask(denied);
        assert_eq!((answer.status, answer.body.trim()), (502, "HttpRequestDenied"), "{denied:?}");
    }
    let answer = ask(&["--egress", "a.example:443", "--egress", &address.to_string()]);
    assert!(answer.status == 200 && answer.body.contains("over-there"), "{answer:?}");
}

#[test]
fn a_preview_1_module_answers_the_cgi_way() {
    let (_running, address) = serve(&guest("cgi"), &["--env", "MODE=own"]);
    let answer = get(address, "/env?a=b").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("QUERY_STRING=a=b") && answer.body.contains("MODE=own"), "{answer:?}");
    assert_eq!(get(address, "/status?404").unwrap().status, 404);
    assert_eq!(get(address, "/trap").unwrap().status, 502);
    // A job that was not written for it prints no header.
    let (_running, address) = serve(&guest("wordcount"), &[]);
    assert_eq!(get(address, "/").unwrap().status, 502);
}
