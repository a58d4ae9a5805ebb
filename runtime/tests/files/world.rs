//! What else a program asks of WASI: clocks, random numbers, standard streams, arguments, environment, exit codes.

use super::{PROBES, Probe};
use coracle_runtime::{ContainerSpec, ExitReason};

#[tokio::test]
async fn clocks_go_on_while_a_guest_sleeps() {
    for guest in PROBES {
        let said = Probe::new(guest).run(&[], &["clocks 20"]).await;
        let numbers: Vec<u64> = said[0].split(' ').map(|number| number.parse().unwrap()).collect();
        assert!(numbers[0] >= 20 && numbers[1] >= 19 && numbers[2] >= 2024, "{guest}: {said:?}");
    }
}

#[tokio::test]
async fn random_numbers_differ_within_an_instance_and_between_them() {
    for guest in PROBES {
        let probe = Probe::new(guest);
        let (one, other) = (probe.run(&[], &["random"]).await, probe.run(&[], &["random"]).await);
        assert_ne!(one, other, "{guest}");
    }
}

#[tokio::test]
async fn streams_arguments_and_environment_are_what_was_given() {
    for guest in PROBES {
        let env = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "two=2".to_owned())];
        let spec = ContainerSpec { env, ..ContainerSpec::named("probe") };
        let said = Probe::new(guest).run_with(spec, &["input", "variables", "arguments"]).await;
        assert_eq!(said, ["\"\"", "A=1 B=two=2", "4"], "{guest}");
    }
}

/// Preview 2 tells only success from failure; preview 3 has a byte.
#[tokio::test]
async fn exit_codes_are_the_containers() {
    for (guest, code, expected) in [
        ("fsprobe", 0, 0),
        ("fsprobe", 7, 1),
        ("fsprobe-p1", 0, 0),
        ("fsprobe-p1", 7, 7),
        ("fsprobe-p1", 255, 255),
        ("fsprobe-p3", 0, 0),
        ("fsprobe-p3", 7, 7),
    ] {
        let probe = Probe::new(guest);
        let spec = ContainerSpec { args: vec![format!("exit {code}")], ..ContainerSpec::named("probe") };
        let exit = probe.runtime.start(&probe.image, spec).await.unwrap().wait().await;
        assert_eq!((exit.code, exit.reason), (Some(expected), ExitReason::Exited), "{guest} {code}");
    }
}
