//! `coracle balance`

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{DEADLINE, Running, coracle, eventually, get};

/// An HTTP server that answers `text` to everything, health checks included.
fn server(text: &'static str) -> SocketAddr {
    serving(text, true)
}

fn serving(text: &'static str, checked: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream, text, checked));
        }
    });
    address
}

fn answer(mut stream: TcpStream, text: &str, checked: bool) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    if !checked && head.starts_with(b"GET /health ") {
        stream.read_to_end(&mut head).ok();
        return;
    }
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).ok();
}

struct File {
    _directory: TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("balance.yaml");
        fs::write(&path, text).unwrap();
        Self { _directory: directory, path }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }
}

fn start(file: &Path) -> Running {
    coracle(["balance", "--config", file.to_str().unwrap()]).start()
}

fn listening(running: &mut Running, name: &str) -> SocketAddr {
    let line = running.line_with(&format!("{name}: listening on "));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn config(targets: &[SocketAddr], rest: &str) -> String {
    let targets: Vec<_> = targets.iter().map(|address| format!("'{address}'")).collect();
    let targets = targets.join(", ");
    format!(
        "targetGroups: {{web: {{targets: [{targets}]}}}}\n\
         listeners: {{http: {{listen: '127.0.0.1:0', default: {{forward: web}}{rest}}}}}\n"
    )
}

#[test]
fn it_balances_over_servers_and_takes_in_a_changed_file() {
    let (a, b, c) = (server("a"), server("b"), server("c"));
    let file = File::new(&config(&[a, b], ""));
    let mut running = start(&file.path);
    let address = listening(&mut running, "http");
    let bodies = || (0..8).map(|_| get(address, "/").unwrap().body).collect::<BTreeSet<_>>();
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    eventually("both targets", bodies, |seen| *seen == of(&["a", "b"]));

    // A connection from before the change, idle meanwhile.
    let mut kept = TcpStream::connect(address).unwrap();
    kept.set_read_timeout(Some(DEADLINE)).unwrap();

    let rules = ", rules: [{priority: 1, conditions: [{path-pattern: /fixed}], \
                 action: {fixed-response: {statusCode: 418, messageBody: short}}}]";
    file.write(&config(&[b, c], rules));
    running.signal(Signal::HUP);
    assert_eq!(listening(&mut running, "http"), address, "port 0 stays the port it got");
    eventually("the new targets", bodies, |seen| *seen == of(&["b", "c"]));
    let fixed = get(address, "/fixed").unwrap();
    assert_eq!((fixed.status, fixed.body.as_str()), (418, "short"));
    kept.write_all(b"GET /fixed HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    kept.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 418 "), "{text}");

    running.signal(Signal::TERM);
    running.wait().assert_success();
}

/// There is nobody to serve until the first check of the new one.
#[test]
fn a_file_that_replaces_all_targets_loses_no_request() {
    let sets = [serving("0", true), serving("1", false)];
    let text = |target: SocketAddr| {
        format!(
            "targetGroups: {{web: {{targets: ['{target}'], healthCheck: {{path: /health}}}}}}\n\
             listeners: {{http: {{listen: '127.0.0.1:0', default: {{forward: web}}}}}}\n"
        )
    };
    let file = File::new(&text(sets[0]));
    let mut running = start(&file.path);
    let address = listening(&mut running, "http");
    eventually("the first target", || get(address, "/").unwrap().status, |status| *status == 200);
    for turn in [1, 0, 1, 0] {
        file.write(&text(sets[turn]));
        running.signal(Signal::HUP);
        listening(&mut running, "http");
        let answer = get(address, "/").unwrap();
        assert_eq!((answer.status, answer.body), (200, turn.to_string()));
    }
}

#[test]
fn a_file_with_an_error_changes_nothing() {
    let a = server("a");
    let file = File::new(&config(&[a], ""));
    let mut running = start(&file.path);
    let address = listening(&mut running, "http");
    eventually("the target", || get(address, "/").unwrap().body, |body| body == "a");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("}}, other: {{listen: '{}', default: {{forward: web}}", taken.local_addr().unwrap());
    for (rest, because) in [
        (
            ", rules: [{priority: 50001}]",
            "listeners.http.rules[0].priority: a number from 1 to 50000 is expected",
        ),
        (", proxyProtocol: true", "of an open listener only rules, certificates and limits can change"),
        (other.as_str(), "port in use"),
    ] {
        file.write(&config(&[], rest));
        running.signal(Signal::HUP);
        let line = running.line_with("error: ");
        assert!(line.contains(because), "{line}");
        assert_eq!(get(address, "/").unwrap().body, "a", "the target is still there");
    }
}

#[test]
fn what_cannot_be_served_is_refused_before_anything_is() {
    let file = File::new("listeners: {}\n");
    coracle(["balance", "--config", file.path.to_str().unwrap()])
        .output()
        .assert_refused("listeners: the file has no listeners");
    coracle(["balance", "--config", "/no/such/file"]).output().assert_refused("/no/such/file: No such file");
    coracle(["balance"]).output().assert_refused("--config <FILE>");
}

#[test]
fn limits_access_log_and_metrics_are_in_the_file_too() {
    let a = server("a");
    let file = File::new("");
    let log = file.path.with_file_name("access.log");
    let rest = ", limits: {ratePerClient: {perSecond: 1, burst: 1000}, bodyBytes: 10}, \
                accessLog: {path: access.log, format: json}";
    file.write(&format!("{}metrics: {{listen: '127.0.0.1:0'}}\n", config(&[a], rest)));
    let mut running = start(&file.path);
    let address = listening(&mut running, "http");
    let metrics = listening(&mut running, "metrics");
    eventually("the target", || get(address, "/").unwrap().body, |body| body == "a");
    let text = get(metrics, "/metrics").unwrap().body;
    assert!(
        text.contains("coracle_target_group_targets{target_group=\"web\",state=\"healthy\"} 1"),
        "{text}"
    );
    assert_eq!(get(metrics, "/").unwrap().status, 404);
    let logged = eventually(
        "a line",
        || fs::read_to_string(&log).unwrap(),
        |text| text.contains("\"elb_status_code\":200"),
    );
    assert!(logged.lines().all(|line| line.starts_with("{\"type\":\"http\"")), "{logged}");
    let rest = rest.replace("burst: 1000", "burst: 1");
    file.write(&format!("{}metrics: {{listen: '127.0.0.1:0'}}\n", config(&[a], &rest)));
    running.signal(Signal::HUP);
    listening(&mut running, "metrics");
    let limited = || (0..3).map(|_| get(address, "/").unwrap().status).collect::<Vec<_>>();
    assert!(limited().contains(&429));
}

#[test]
fn a_log_that_was_renamed_is_begun_anew_on_a_hangup() {
    let a = server("a");
    let file = File::new(&config(&[a], ", accessLog: {path: access.log}"));
    let log = file.path.with_file_name("access.log");
    let rotated = file.path.with_file_name("access.log.1");
    let mut running = start(&file.path);
    let address = listening(&mut running, "http");
    eventually("the target", || get(address, "/before").unwrap().body, |body| body == "a");
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    eventually("its line", || text(&log), |text| text.contains("/before"));
    fs::rename(&log, &rotated).unwrap();
    get(address, "/renamed").unwrap();
    eventually("a line in the renamed file", || text(&rotated), |text| text.contains("/renamed"));
    assert!(!log.exists());
    // Whatever becomes of the rest of the file.
    file.write("listeners: {}");
    running.signal(Signal::HUP);
    running.line_with("the file has no listeners");
    get(address, "/after").unwrap();
    eventually("a line in the new file", || text(&log), |text| text.contains("/after"));
    assert!(!text(&rotated).contains("/after"));
}
