//! What cannot be meant is refused: exit code 2, and one line that says why.

use std::net::TcpListener;

use crate::support::{coracle, guest};

#[test]
fn a_file_that_is_no_image() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let hello = std::fs::read(guest("hello")).unwrap();
    std::fs::write(path("text.wasm"), "not a program").unwrap();
    std::fs::write(path("empty.wasm"), "").unwrap();
    std::fs::write(path("truncated.wasm"), &hello[..hello.len() / 2]).unwrap();
    std::fs::write(
        path("imports.wasm"),
        r#"(module (import "env" "launch_missiles" (func)) (import "env" "two" (func)) (func (export "_start")))"#,
    )
    .unwrap();
    std::fs::write(path("nothing.wasm"), "(module)").unwrap();
    let table = [
        ("text.wasm", "not a WebAssembly image"),
        ("empty.wasm", "not a WebAssembly image"),
        ("truncated.wasm", "invalid WebAssembly image"),
        ("imports.wasm", "launch_missiles"),
        ("nothing.wasm", "nothing to run"),
        ("missing.wasm", "No such file"),
    ];
    for (name, because) in table {
        for command in ["run", "serve"] {
            let output = coracle([command, &path(name)]).output();
            output.assert_refused(because);
            output.assert_refused(name);
        }
    }
}

#[test]
fn memory_below_the_image_s_minimum() {
    let directory = tempfile::tempdir().unwrap();
    let job = directory.path().join("job.wasm");
    std::fs::write(&job, r#"(module (memory (export "memory") 200) (func (export "_start")))"#).unwrap();
    let output = coracle(["run", job.to_str().unwrap(), "--memory", "6"]).output();
    output.assert_refused("minimum of 13 MiB");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    coracle(["serve", &guest("hello"), "--listen", &address]).output().assert_refused(&address);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let up = coracle(["up", "--api", &address, "--data-dir", data]).in_directory(directory.path());
    up.output().assert_refused(&address);
}

#[test]
fn options_that_cannot_be_meant() {
    let hello = guest("hello");
    let table: [(&[&str], &str); 12] = [
        (&["--replicas", "-1"], "from 1 to 5000"),
        (&["--replicas", "1000000000"], "from 1 to 5000"),
        (&["--listen", "nowhere"], "ADDRESS:PORT"),
        (&["--cpu", "1"], "from 2 to 196608"),
        (&["--cpu", "64"], "at least 128"),
        (&["--memory", "0"], "from 6 to"),
        (&["--fuel", "none"], "above 0"),
        (&["--egress", "a.example:99999"], "a port from 1 to 65535"),
        (&["--egress", "localhost"], "always means the task itself"),
        (&["--egress", "a.example", "--network", "host"], "everything can be reached"),
        (&["--colour", "red"], "--colour"),
        (&["--volume", "/nonexistent:/data"], "/nonexistent"),
    ];
    for (options, because) in table {
        let arguments = ["serve", &hello].into_iter().chain(options.iter().copied());
        coracle(arguments).output().assert_refused(because);
    }
}

#[test]
fn messages_that_nobody_could_write() {
    let serve = coracle(["serve", &guest("hello"), "--listen", "127.0.0.1:0"]);
    serve.env("CORACLE_LOG", "info,coracle=loud").output().assert_refused("CORACLE_LOG=info,coracle=loud");
}

#[test]
fn a_command_for_a_daemon_that_does_not_run_says_how_to_start_one() {
    let address = crate::support::free_address();
    let output = coracle(["ps"]).env("CORACLE_ENDPOINT", &format!("http://{address}")).output();
    assert_eq!(output.code, Some(1), "{output:?}");
    let expected =
        format!("error: no coracle daemon answers at http://{address}; start one with `coracle up`\n");
    assert_eq!(output.stderr, expected);
}
