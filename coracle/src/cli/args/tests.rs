//! What is understood, what is refused, and in which words.

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;
use crate::cli::error::usage_line;

fn parse(line: &str) -> Arguments {
    let words = shlex::split(line).unwrap();
    Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: &str) -> String {
    let words = shlex::split(line).unwrap();
    usage_line(&Arguments::try_parse_from(words).expect_err(line))
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_shows_examples() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:\n  "), "{} has no examples", command.get_name());
        command.get_subcommands().for_each(check);
    }
    check(&Arguments::command());
}

#[test]
fn run_takes_options_before_and_the_guest_s_arguments_after_a_double_dash() {
    let Command::Run(run) =
        parse("coracle run a.wasm -e A=1 --env B=x=y --volume .:/w:ro --network host --cpu 256 --memory 64 --fuel 9 -- -v a").command
    else {
        panic!("not run");
    };
    let workload = run.workload;
    assert_eq!(workload.environment, [("A".into(), "1".into()), ("B".into(), "x=y".into())]);
    assert_eq!(workload.volumes, [".:/w:ro".parse().unwrap()]);
    assert!(workload.volumes[0].read_only);
    assert_eq!(
        (workload.network, workload.cpu, workload.memory),
        (Some(NetworkChoice::Host), Some(256), Some(64))
    );
    assert_eq!((workload.fuel, workload.arguments), (Some(9), vec!["-v".into(), "a".into()]));
}

#[test]
fn egress_is_given_once_or_often_and_means_what_the_label_of_all_of_it_means() {
    for command in ["run", "serve"] {
        let workload = |options: &str| match parse(&format!("coracle {command} a.wasm {options}")).command {
            Command::Run(run) => run.workload,
            Command::Serve(serve) => serve.workload,
            other => panic!("{other:?}"),
        };
        assert!(workload("").granted().unwrap().is_empty());
        let label = "api.example.com:443,10.0.0.0/8:5432,[fd00::/8]".parse();
        let often = "--egress api.example.com:443,10.0.0.0/8:5432 --egress [fd00::/8]";
        assert_eq!(workload(often).granted(), Ok(label.unwrap()));
        for mode in ["host", "none"] {
            let refused = workload(&format!("--egress '*' --network {mode}")).granted().unwrap_err();
            assert!(
                refused.starts_with(&format!("--egress means nothing with --network {mode}")),
                "{refused}"
            );
        }
        let many = workload(&"--egress a.example ".repeat(101)).granted().unwrap_err();
        assert!(many.contains("at most 100"), "{many}");
    }
}

#[test]
fn serve_has_one_replica_on_loopback_unless_told_otherwise() {
    let Command::Serve(serve) = parse("coracle serve a.wasm").command else { panic!("not serve") };
    assert_eq!((serve.replicas, serve.listen), (1, "127.0.0.1:8080".parse().unwrap()));
    for (text, address) in [
        (":9000", "127.0.0.1:9000"),
        ("9000", "127.0.0.1:9000"),
        ("localhost:0", "127.0.0.1:0"),
        ("[::1]:80", "[::1]:80"),
    ] {
        let Command::Serve(serve) = parse(&format!("coracle serve a.wasm --listen {text}")).command else {
            panic!("not serve")
        };
        assert_eq!(serve.listen, address.parse().unwrap(), "{text}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line_that_names_the_option() {
    let table = [
        ("coracle serve a.wasm --replicas -1", "--replicas", "from 1 to 5000"),
        ("coracle serve a.wasm --replicas 1000000000", "--replicas", "from 1 to 5000"),
        ("coracle serve a.wasm --replicas many", "--replicas", "from 1 to 5000"),
        ("coracle service scale web -1", "<REPLICAS>", "from 0 to 5000"),
        ("coracle service scale web 1000000000", "<REPLICAS>", "from 0 to 5000"),
        ("coracle service create web -t a --replicas -1", "--replicas", "from 0 to 5000"),
        ("coracle service create we.b -t a", "<NAME>", "letters, digits"),
        ("coracle cluster create ''", "<NAME>", ""),
        ("coracle run a.wasm --cpu 0", "--cpu", "from 2 to 196608"),
        ("coracle run a.wasm --memory 0", "--memory", "from 6 to"),
        ("coracle run a.wasm --fuel -5", "--fuel", "above 0"),
        ("coracle run a.wasm --env NAME", "--env", "NAME=VALUE"),
        ("coracle run a.wasm --env =1", "--env", "NAME=VALUE"),
        ("coracle run a.wasm --volume data", "--volume", "HOST:GUEST"),
        ("coracle run a.wasm --volume .:data", "--volume", "absolute"),
        ("coracle run a.wasm --egress ''", "--egress", "at least one pattern"),
        ("coracle run a.wasm --egress a.example,", "--egress", "a comma is too many"),
        ("coracle run a.wasm --egress a.example --egress 10.0.0.1/8", "--egress", "write 10.0.0.0/8"),
        ("coracle serve a.wasm --egress ::1", "--egress", "in brackets"),
        ("coracle serve a.wasm --egress a.example:0", "--egress", "a port from 1 to 65535"),
        ("coracle run a.wasm --network bridge", "--network", "host, none"),
        ("coracle serve a.wasm --listen here", "--listen", "ADDRESS:PORT"),
        ("coracle serve a.wasm --listen 127.0.0.1:99999", "--listen", "ADDRESS:PORT"),
        ("coracle serve a.wasm --request-timeout 0", "--request-timeout", "seconds"),
        ("coracle serve a.wasm --health-path up", "--health-path", "/health"),
        ("coracle serve a.wasm --container-port 0", "--container-port", ""),
        ("coracle serve a.wasm --replica 2", "--replica", "--replicas"),
        ("coracle serve", "<IMAGE>", ""),
        ("coracle frobnicate", "frobnicate", ""),
        ("coracle ps --endpoint https://localhost:4566", "--endpoint", "https"),
        ("coracle ps --endpoint localhost", "--endpoint", "http://HOST:PORT"),
        ("coracle ps --endpoint http://:4566", "--endpoint", "http://HOST:PORT"),
        ("coracle ps --endpoint http://localhost:70000", "--endpoint", "http://HOST:PORT"),
        ("coracle ps --endpoint http://me@localhost:4566", "--endpoint", "http://HOST:PORT"),
        ("coracle ps --output yaml", "--output", "table, json"),
        ("coracle service update web", "--task-definition", ""),
        ("coracle task run a --count 11", "--count", "1..=10"),
    ];
    for (line, names, says) in table {
        let message = refusal(line);
        assert!(message.contains(names) && message.contains(says), "{line}: {message}");
        assert!(!message.contains('\n'), "{line}: {message:?}");
        assert!(!message.starts_with("error"), "{line}: {message:?}");
    }
}

/// Text near to addresses, paths and patterns, and any other.
fn text() -> impl Strategy<Value = String> {
    let near =
        "(localhost|127\\.0\\.0\\.1|\\[::1\\]|http://|https://|[a-z0-9./:=@*,\\[\\]-]){0,8}(:[0-9]{1,6})?";
    prop_oneof![3 => near, 1 => "\\PC{0,40}"]
}

proptest! {
    #[test]
    fn no_text_at_all_makes_a_value_s_parser_fall(text in text()) {
        if let Ok(address) = values::listen_address(&text) {
            prop_assert_eq!(values::listen_address(&address.to_string()), Ok(address));
        }
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
        }
        if let Ok(egress) = values::egress(&text) {
            prop_assert!(!egress.trim().is_empty());
        }
        for refusal in [
            values::listen_address(&text).err(),
            text.parse::<Endpoint>().err(),
            text.parse::<values::VolumeOption>().err(),
            values::egress(&text).err(),
            values::moment(&text).err(),
            values::seconds(&text).err(),
            values::url_path(&text).err(),
            values::variable(&text).err(),
        ] {
            prop_assert!(refusal.is_none_or(|refusal| refusal.len() > 10));
        }
    }
}
