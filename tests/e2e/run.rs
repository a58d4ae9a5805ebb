//! `coracle run`

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use rustix::process::Signal;

use crate::support::{coracle, guest};

#[test]
fn a_job_reads_standard_input_writes_standard_output_and_ends_with_its_exit_code() {
    let output = coracle(["run", &guest("wordcount")]).output_with_input("a b\nc\n").assert_success();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["2", "3", "6"]);

    let missing = coracle(["run", &guest("wordcount"), "--", "/nope"]).output();
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("wordcount: /nope"), "{missing:?}");
}

#[test]
fn a_guest_sees_the_directories_it_is_given_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "one two").unwrap();
    let volume = format!("{}:/data:ro", directory.path().display());
    let output = coracle(["run", &guest("wordcount"), "--volume", &volume, "--", "/data/file"]).output();
    assert!(output.assert_success().stdout.contains("/data/file"));
    let unseen =
        coracle(["run", &guest("wordcount"), "--", directory.path().join("file").to_str().unwrap()]).output();
    assert_eq!(unseen.code, Some(1), "{unseen:?}");
}

#[test]
fn a_guest_reaches_what_egress_grants_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 2];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(b"pong").unwrap();
        heard
    });
    let connect = ["--", "tcp-connect", &address, "hi"];
    let image = guest("netprobe");
    let run = |options: &[&str]| {
        let arguments = [&["run", &image][..], options, &connect].concat();
        coracle(arguments).output().assert_success().stdout
    };
    for options in [&[][..], &["--network", "none"], &["--egress", "127.0.0.1:1"], &["--egress", "*"]] {
        let told = run(options);
        assert!(told.contains("error"), "{options:?}: {told}");
    }
    // Nobody has connected yet, or this one would find nobody listening.
    let told = run(&["--egress", "example.com:443", "--egress", &address]);
    assert!(told.contains(": pong from "), "{told}");
    assert_eq!(&answering.join().unwrap(), b"hi");
}

#[test]
fn a_guest_over_its_memory_limit_ends_with_137() {
    let output = coracle(["run", &guest("hog"), "--memory", "16", "--", "--mib", "64"]).output();
    assert_eq!(output.code, Some(137), "{output:?}");
    assert!(output.stderr.contains("OutOfMemoryError"), "{output:?}");
}

#[test]
fn a_guest_over_its_fuel_ends_with_134() {
    let output = coracle(["run", &guest("burn"), "--fuel", "1000000", "--", "--forever"]).output();
    assert_eq!(output.code, Some(134), "{output:?}");
    assert!(output.stderr.contains("fuel"), "{output:?}");
}

#[test]
fn an_interrupt_or_termination_ends_it_with_128_and_the_signal_s_number() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut running = coracle(["run", &guest("burn"), "--", "--forever"]).start();
        running.output_with("iterations");
        running.signal(signal);
        let output = running.wait();
        assert_eq!(output.code, Some(code), "{output:?}");
    }
}

#[test]
fn a_handler_is_for_serve() {
    coracle(["run", &guest("hello")]).output().assert_refused("coracle serve");
}
