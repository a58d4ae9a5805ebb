//! Whole files: what is accepted and how it is meant, what is refused and where.

use std::time::Duration;

use coracle_supervisor::model::log_configuration::LogConfiguration;

use super::*;

fn variables(name: &str) -> Option<String> {
    (name == "TAG").then(|| "v2".to_owned())
}

fn parse(text: &str) -> Result<Project, ComposeError> {
    Project::parse(text, Path::new("/home/me/shop"), &variables)
}

/// The only service of a file whose `services.web` has these lines.
fn web(lines: &str) -> Service {
    let mut project = parse(&service_text(lines)).unwrap_or_else(|error| panic!("{lines}: {error}"));
    project.services.remove(0)
}

fn service_text(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("services:\n  web:\n    image: hello.wasm\n{lines}")
}

#[test]
fn a_whole_file_is_read_as_it_is_meant() {
    let project = parse(
        r#"
version: "3"
name: store
x-common: &common
  environment: {MODE: fast}
services:
  web:
    <<: *common
    image: ./images/web.${TAG}.wasm
    command: --greeting "good day" -v
    ports: ["8080:80"]
    depends_on:
      db: {condition: service_healthy}
    volumes: ["./data:/data:ro"]
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:80/up"]
      interval: 5s
      retries: 4
      start_period: 1m
    deploy:
      replicas: 3
      resources:
        limits: {cpus: "0.5", memory: 64M}
    labels: {coracle.fuel: 1000}
    logging: {driver: json-file, options: {max-size: 1m, max-file: 3}}
    restart: always
  db:
    image: sha256:abc
"#,
    )
    .unwrap();
    assert_eq!(project.name, "store");
    let names: Vec<_> = project.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["db", "web"], "a service comes after what it depends on");
    let expected = Service {
        name: "web".into(),
        image: "/home/me/shop/images/web.v2.wasm".into(),
        ports: vec![Port { listen: "127.0.0.1:8080".parse().unwrap(), container: 80 }],
        expose: None,
        environment: vec![("MODE".into(), "fast".into())],
        command: vec!["--greeting".into(), "good day".into(), "-v".into()],
        volumes: vec![Volume { host: "/home/me/shop/data".into(), guest: "/data".into(), read_only: true }],
        depends_on: vec![("db".into(), Condition::Healthy)],
        health_check: Some(Some(HealthCheck {
            path: "/up".into(),
            port: Some(80),
            interval: Duration::from_secs(5),
            timeout: Duration::from_millis(4500),
            retries: 4,
            start_period: Some(Duration::from_secs(60)),
        })),
        container_health_check: None,
        replicas: Some(3),
        cpu: Some(512),
        memory: Some(64),
        labels: vec![("coracle.fuel".into(), "1000".into())],
        logging: Some(LogConfiguration {
            log_driver: "json-file".into(),
            options: [("max-size".into(), "1m".into()), ("max-file".into(), "3".into())].into(),
            secret_options: None,
        }),
    };
    assert_eq!(project.services[1], expected);
    assert_eq!(project.services[0].image, "sha256:abc");
}

#[test]
fn a_project_without_a_name_has_its_directory_s() {
    assert_eq!(parse("services: {a: {image: a.wasm}}").unwrap().name, "shop");
}

#[test]
fn environment_is_a_map_or_a_list_and_passes_ours_on() {
    let expected = [("A".to_owned(), "1".to_owned()), ("TAG".to_owned(), "v2".to_owned())];
    assert_eq!(web("environment:\n  A: 1\n  TAG:\n  UNSET:").environment, expected);
    assert_eq!(web("environment: [A=0, A=1, TAG, UNSET]").environment, expected);
    assert_eq!(
        web("environment: [A=x=y, B=]").environment,
        [("A".into(), "x=y".into()), ("B".into(), String::new())]
    );
}

#[test]
fn ports_have_a_short_and_a_long_form() {
    let long = web("ports:\n  - {target: 80, published: 8080, host_ip: 0.0.0.0, protocol: tcp}").ports;
    assert_eq!(long, web("ports: ['0.0.0.0:8080:80/tcp']").ports);
}

#[test]
fn volumes_have_a_short_and_a_long_form() {
    let long = web("volumes:\n  - {type: bind, source: ./data/., target: /data, read_only: true}").volumes;
    assert_eq!(long, web("volumes: ['./data:/data:ro']").volumes);
    assert!(!web("volumes: ['/data:/data']").volumes[0].read_only);
}

#[test]
fn the_forms_of_a_health_check() {
    let tests = [
        "['CMD', 'curl', '-f', 'http://localhost:80/up']",
        "['CMD', 'wget', '-q', '--spider', 'http://127.0.0.1/up']",
        "['CMD-SHELL', 'curl -f http://localhost/up || exit 1']",
        "curl --fail --silent http://localhost/up || exit 1",
        "wget --no-verbose --tries=1 --spider http://localhost/up || exit 1",
    ];
    for test in tests {
        let check = web(&format!("ports: ['8080:80']\nhealthcheck:\n  test: {test}")).health_check;
        let check = check.flatten().unwrap_or_else(|| panic!("{test}"));
        assert_eq!((check.path.as_str(), check.interval.as_secs(), check.retries), ("/up", 30, 3), "{test}");
    }
    for none in ["test: [NONE]", "test: ['CMD', 'true']\n  disable: true", "disable: true"] {
        assert_eq!(web(&format!("healthcheck:\n  {none}")).health_check, Some(None), "{none}");
    }
    assert_eq!(web("").health_check, None);
}

#[test]
fn what_the_balancer_cannot_ask_the_container_is_asked_itself() {
    for (settings, command) in [
        ("healthcheck:\n  test: ['CMD', 'check.wasm', '--quick']", &["CMD", "check.wasm", "--quick"][..]),
        (
            "ports: ['8080:80']\nhealthcheck:\n  test: ['CMD', 'tcp', 'localhost:80']",
            &["CMD", "tcp", "localhost:80"],
        ),
        (
            "healthcheck:\n  test: curl -f http://localhost:81/up || exit 1",
            &["CMD", "http", "http://localhost:81/up"],
        ),
    ] {
        let service = web(settings);
        let check = service.task_definition("shop").container_definitions.remove(0).health_check;
        let check = check.unwrap_or_else(|| panic!("{settings}"));
        assert_eq!(check.command, command);
        assert_eq!((check.interval, check.timeout, check.retries), (Some(30), Some(27), Some(3)));
        assert_eq!(service.health_check, None, "the balancer checks as it does without one");
    }
}

#[test]
fn dependencies_are_a_list_or_a_map() {
    let project = |depends: &str| {
        parse(&format!("services:\n  web: {{image: a.wasm, depends_on: {depends}}}\n  db: {{image: b.wasm}}"))
            .unwrap()
    };
    assert_eq!(project("[db]"), project("{db: {condition: service_started}}"));
    assert_eq!(project("{db: {condition: service_healthy}}").services[1].depends_on[0].1, Condition::Healthy);
}

#[test]
fn what_a_service_cannot_have_is_refused_with_its_line_and_path() {
    let table = [
        ("privileged: true", 4, "services.web.privileged", "not supported; supported here: image, ports,"),
        ("build: .", 4, "services.web.build", "not supported"),
        ("deploy:\n  mode: global", 5, "services.web.deploy.mode", "not supported"),
        (
            "deploy:\n  resources:\n    reservations: {}",
            6,
            "services.web.deploy.resources.reservations",
            "not supported",
        ),
        (
            "deploy:\n  resources:\n    limits: {pids: 1}",
            6,
            "services.web.deploy.resources.limits.pids",
            "not supported",
        ),
        ("deploy: {replicas: -1}", 4, "services.web.deploy.replicas", "from 0 to 5000"),
        ("deploy: {replicas: 1000000000}", 4, "services.web.deploy.replicas", "from 0 to 5000"),
        (
            "deploy: {resources: {limits: {cpus: 0}}}",
            4,
            "services.web.deploy.resources.limits.cpus",
            "0.125 to 192",
        ),
        (
            "deploy: {resources: {limits: {memory: 1M}}}",
            4,
            "services.web.deploy.resources.limits.memory",
            "at least 6M",
        ),
        ("ports: ['80']", 4, "services.web.ports[0]", "PUBLISHED:CONTAINER"),
        ("ports:\n  - '8080:80'\n  - '8081:81'", 6, "services.web.ports[1]", "one port"),
        ("ports: 8080:80", 4, "services.web.ports", "a list is expected"),
        ("ports: [{target: 80}]", 4, "services.web.ports[0]", "both needed"),
        ("volumes: ['data:/data']", 4, "services.web.volumes[0]", "named volumes"),
        ("volumes: ['./data']", 4, "services.web.volumes[0]", "HOST:GUEST"),
        ("volumes: ['./a:/b:rx']", 4, "services.web.volumes[0]", "ro or rw"),
        ("volumes: ['./a:b']", 4, "services.web.volumes[0]", "absolute"),
        ("volumes: [{type: tmpfs, target: /a}]", 4, "services.web.volumes[0].type", "only bind"),
        ("environment: 1", 4, "services.web.environment", "a mapping is expected"),
        ("environment: {A: [1]}", 4, "services.web.environment.A", "a value is expected"),
        ("command: 'a \"b'", 4, "services.web.command", "quote"),
        ("restart: 'no'", 4, "services.web.restart", "always or unless-stopped"),
        ("depends_on: [other]", 1, "services", "does not have"),
        ("depends_on: [web]", 1, "services", "circle"),
        (
            "depends_on: {web: {condition: service_completed_successfully}}",
            4,
            "services.web.depends_on.web.condition",
            "task run",
        ),
        ("healthcheck: {test: [CMD, curl, -X, POST, a]}", 4, "services.web.healthcheck.test", "curl"),
        ("healthcheck: {test: [pg_isready]}", 4, "services.web.healthcheck.test", "curl"),
        (
            "healthcheck: {test: [CMD, check.wasm], interval: 1s}",
            4,
            "services.web.healthcheck.test",
            "'healthCheck.interval' must be 5 to 300",
        ),
        (
            "healthcheck: {test: 'curl -f http://localhost/ | grep ok'}",
            4,
            "services.web.healthcheck.test",
            "curl",
        ),
        ("healthcheck: {interval: 5s}", 4, "services.web.healthcheck", "test is missing"),
        ("healthcheck: {test: [NONE], interval: 5}", 4, "services.web.healthcheck.interval", "duration"),
        ("healthcheck: {test: [NONE], interval: 1h}", 4, "services.web.healthcheck.interval", "300 s"),
        ("healthcheck: {test: [NONE], retries: 1}", 4, "services.web.healthcheck.retries", "2 to 10"),
        (
            "healthcheck: {test: [NONE], interval: 1s, timeout: 2s}",
            4,
            "services.web.healthcheck",
            "shorter than",
        ),
        (
            "healthcheck: {test: [NONE], start_interval: 1s}",
            4,
            "services.web.healthcheck.start_interval",
            "not supported",
        ),
        (
            "ports: ['1:80']\nhealthcheck: {test: 'curl -f localhost:81'}",
            5,
            "services.web.healthcheck",
            "port 81",
        ),
        ("labels: {a: $}", 4, "services.web.labels.a", "lone $"),
        ("image: b.wasm", 4, "", "twice"),
    ];
    for (lines, line, path, message) in table {
        let error = parse(&service_text(lines)).expect_err(lines);
        assert!(
            error.line == Some(line) && error.path == path && error.message.contains(message),
            "{lines}: {error:?}"
        );
    }
}

#[test]
fn what_a_file_cannot_be_is_refused() {
    let table = [
        ("", "a mapping is expected, not nothing"),
        ("services:", "a mapping is expected, not nothing"),
        ("services: {}", "no services"),
        ("name: shop", "no services"),
        ("services: {web: {}}", "image is missing"),
        ("services: {web: {image: ''}}", "name of an image"),
        ("services: {web.a: {image: a.wasm}}", "letters, digits"),
        ("name: Shop\nservices: {a: {image: a.wasm}}", "lower-case"),
        ("networks: {}\nservices: {a: {image: a.wasm}}", "not supported; supported here: name, services"),
        ("services: [", "not valid YAML"),
        (
            "services: {a: {image: a, ports: ['1:1']}, b: {image: a, ports: ['1:2']}}",
            "both publish 127.0.0.1:1",
        ),
    ];
    for (text, message) in table {
        let error = parse(text).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
    }
}

#[test]
fn an_error_reads_as_one_line() {
    let error =
        parse("services:\n  web:\n    image: a.wasm\n    privileged: true\n").unwrap_err().to_string();
    assert!(error.starts_with("line 4: services.web.privileged: this key is not supported"), "{error}");
    assert!(!error.contains('\n'));
}
