//! Every field of ECS's RegisterTaskDefinition: taken and given back as it came, or refused by name.
//!
//! `aws-fields.txt` has the path of each field of botocore 1.44.5's model of the request; `every-field.json` sets them all.

use std::collections::BTreeSet;

use coracle_supervisor::OperationError;
use coracle_supervisor::model::task_definition::TaskDefinitionContent;
use coracle_supervisor::operations::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::world::World;

const AWS_FIELDS: &str = include_str!("aws-fields.txt");
const EVERY_FIELD: &str = include_str!("every-field.json");
/// Fields of AWS's model that are refused whatever they say, with what the refusal must say.
const ALWAYS_REFUSED: [(&str, &str); 1] =
    [("containerDefinitions.portMappings.containerPortRange", "'containerPortRange' is not supported")];

fn every_field() -> Value {
    serde_json::from_str(EVERY_FIELD).unwrap()
}

fn parsed(definition: &Value) -> Result<TaskDefinitionContent, OperationError> {
    TaskDefinitionContent::parse(parse_request::<RegisterTaskDefinitionRequest>(
        definition.to_string().as_bytes(),
    )?)
}

/// A definition of the smallest kind, with these fields put over it and over its container.
fn small(task: Value, container: Value) -> Value {
    let mut app = json!({"name": "app", "image": "app.wasm"});
    put_over(&mut app, container);
    let mut definition = json!({"family": "small", "containerDefinitions": [app]});
    put_over(&mut definition, task);
    definition
}

fn put_over(value: &mut Value, with: Value) {
    let (Value::Object(value), Value::Object(with)) = (value, with) else { panic!("objects") };
    value.extend(with);
}

/// Visits each field with its path as AWS's model has it, and its path as a JSON pointer.
fn fields(value: &Value, path: &str, pointer: &str, visit: &mut impl FnMut(&str, &str)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let pointer = format!("{pointer}/{name}");
                visit(&path, &pointer);
                fields(member, &path, &pointer, visit);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                fields(item, path, &format!("{pointer}/{index}"), visit);
            }
        }
        _ => {}
    }
}

#[test]
fn the_example_sets_every_field_that_aws_has() {
    let mut set = BTreeSet::new();
    fields(&every_field(), "", "", &mut |path, _| {
        set.insert(path.to_owned());
    });
    let refused = ALWAYS_REFUSED.map(|(path, _)| path);
    let missing: Vec<_> =
        AWS_FIELDS.lines().filter(|path| !set.contains(*path) && !refused.contains(path)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn every_field_is_given_back_as_it_came() {
    let world = World::new().await;
    let given = every_field();
    let request = parse_request(given.to_string().as_bytes()).unwrap();
    world.supervisor.register_task_definition(request).await.unwrap();
    let describe = json!({"taskDefinition": "everything", "include": ["TAGS"]});
    let describe = parse_request(describe.to_string().as_bytes()).unwrap();
    let answer = world.supervisor.describe_task_definition(describe).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    let Value::Object(members) = &given else { panic!("an object") };
    for (name, value) in members {
        let back = if name == "tags" { &answer["tags"] } else { &answer["taskDefinition"][name] };
        assert_is_within(value, back, name);
    }
}

/// Whether `back` says all that `given` does; defaults may be added.
fn assert_is_within(given: &Value, back: &Value, path: &str) {
    match (given, back) {
        (Value::Object(given), Value::Object(back)) => {
            for (name, value) in given {
                let at = format!("{path}.{name}");
                assert_is_within(value, back.get(name).unwrap_or_else(|| panic!("{at} is lost")), &at);
            }
        }
        (Value::Array(given), Value::Array(back)) => {
            assert_eq!(given.len(), back.len(), "{path}");
            for (given, back) in given.iter().zip(back) {
                assert_is_within(given, back, path);
            }
        }
        _ => assert_eq!(given, back, "{path}"),
    }
}

#[test]
fn a_field_of_the_wrong_type_is_refused_by_its_name() {
    let example = every_field();
    assert!(parsed(&example).is_ok());
    let mut wrong = Vec::new();
    fields(&example, "", "", &mut |path, pointer| wrong.push((path.to_owned(), pointer.to_owned())));
    for (path, pointer) in wrong {
        let mut definition = example.clone();
        let value = definition.pointer_mut(&pointer).unwrap();
        *value = match value {
            Value::String(_) => json!(7),
            _ => json!("nonsense"),
        };
        let error = parsed(&definition).expect_err(&path).to_string();
        let name = path.rsplit('.').next().unwrap_or(&path);
        assert!(error.contains(name), "{path}: {error}");
    }
}

#[test]
fn a_field_that_aws_does_not_have_is_refused_by_its_name() {
    let example = every_field();
    let mut objects = vec![String::new()];
    fields(&example, "", "", &mut |path, pointer| {
        let is_map =
            ["dockerLabels", "options", "driverOpts", "labels"].iter().any(|name| path.ends_with(name));
        if example.pointer(pointer).is_some_and(Value::is_object) && !is_map {
            objects.push(pointer.to_owned());
        }
    });
    for pointer in objects {
        let mut definition = example.clone();
        let Some(Value::Object(members)) = definition.pointer_mut(&pointer) else { panic!("{pointer}") };
        members.insert("colour".to_owned(), json!("red"));
        let error = parsed(&definition).expect_err(&pointer).to_string();
        assert!(error.contains("colour"), "{pointer}: {error}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_by_the_field() {
    let fargate = |more: Value| {
        let mut task = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"});
        put_over(&mut task, more);
        task
    };
    let none = || json!({});
    let health = |command: Value| json!({"healthCheck": {"command": command}});
    let table = [
        (json!({"ephemeralStorage": {"sizeInGiB": 20}}), none(), "ephemeralStorage.sizeInGiB"),
        (json!({"ephemeralStorage": {"sizeInGiB": 201}}), none(), "ephemeralStorage.sizeInGiB"),
        (fargate(json!({"cpu": null})), none(), "'cpu' be defined at the task level"),
        (fargate(json!({"memory": null})), none(), "'memory' be defined at the task level"),
        (fargate(json!({"memory": "3 GB"})), none(), "No Fargate configuration exists for given values."),
        (fargate(json!({"networkMode": "bridge"})), none(), "network mode 'awsvpc'"),
        (fargate(json!({"pidMode": "host"})), none(), "'pidMode' is not supported on Fargate"),
        (fargate(json!({"ipcMode": "task"})), none(), "'ipcMode'"),
        (
            fargate(json!({"placementConstraints": [{"type": "memberOf", "expression": "a"}]})),
            none(),
            "'placementConstraints'",
        ),
        (
            fargate(json!({"volumes": [{"name": "a", "host": {"sourcePath": "/a"}}]})),
            none(),
            "'volumes.host.sourcePath'",
        ),
        (fargate(none()), json!({"privileged": true}), "'privileged'"),
        (fargate(none()), json!({"stopTimeout": 1}), "'stopTimeout' must be 2 to 120"),
        (fargate(none()), json!({"startTimeout": 121}), "'startTimeout' must be 2 to 120"),
        (fargate(none()), json!({"linuxParameters": {"maxSwap": 1}}), "'linuxParameters.maxSwap'"),
        (
            fargate(none()),
            json!({"logConfiguration": {"logDriver": "syslog"}}),
            "'logConfiguration.logDriver'",
        ),
        (
            fargate(none()),
            json!({"resourceRequirements": [{"type": "GPU", "value": "1"}]}),
            "'resourceRequirements'",
        ),
        (fargate(none()), json!({"hostname": "a"}), "'hostname' is not supported when networkMode=awsvpc"),
        (fargate(none()), json!({"links": ["a"]}), "'links'"),
        (none(), json!({"stopTimeout": 121}), "'stopTimeout'"),
        (none(), json!({"startTimeout": 0}), "'startTimeout'"),
        (none(), json!({"memory": 64, "memoryReservation": 65}), "'memoryReservation' (65)"),
        (json!({"memory": "64"}), json!({"memory": 65}), "'memory' must not be greater"),
        (json!({"cpu": "256"}), json!({"cpu": 257}), "total 'cpu'"),
        (
            none(),
            json!({"restartPolicy": {"enabled": true, "restartAttemptPeriod": 59}}),
            "restartAttemptPeriod",
        ),
        (
            none(),
            json!({"restartPolicy": {"enabled": true, "ignoredExitCodes": vec![1; 51]}}),
            "ignoredExitCodes",
        ),
        (none(), json!({"restartPolicy": {}}), "enabled"),
        (none(), json!({"environment": [{"name": "A=B", "value": ""}]}), "'environment'"),
        (
            none(),
            json!({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/app.env"}]}),
            "object of S3, which is not read here",
        ),
        (
            none(),
            json!({"environmentFiles": vec![json!({"type": "s3", "value": "/app.env"}); 11]}),
            "'environmentFiles' may have at most 10",
        ),
        (none(), json!({"secrets": [{"name": "A", "valueFrom": "../a"}]}), "'secrets.valueFrom'"),
        (
            none(),
            json!({"environment": [{"name": "A", "value": ""}], "secrets": [{"name": "A", "valueFrom": "a"}]}),
            "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as 'A'.",
        ),
        (none(), json!({"workingDirectory": "data"}), "'workingDirectory'"),
        (none(), json!({"ulimits": [{"name": "nofile", "softLimit": 2, "hardLimit": 1}]}), "'ulimits'"),
        (none(), json!({"volumesFrom": [{"sourceContainer": "app"}]}), "'volumesFrom.sourceContainer'"),
        (
            none(),
            json!({"disableNetworking": true, "portMappings": [{"containerPort": 80}]}),
            "'disableNetworking'",
        ),
        (none(), json!({"portMappings": [{"containerPortRange": "1-2"}]}), ALWAYS_REFUSED[0].1),
        (none(), health(json!(["CMD-SHELL", "ps | grep app"])), "no shell"),
        (none(), json!({"healthCheck": {"command": ["CMD", "x"], "interval": 4}}), "'healthCheck.interval'"),
    ];
    for (task, container, message) in table {
        let definition = small(task, container);
        let definition = without_nulls(definition);
        let error = parsed(&definition).expect_err(message);
        assert!(error.to_string().contains(message), "{definition}: {error}");
        assert!(matches!(error.code(), "ClientException" | "InvalidParameterException"), "{error:?}");
    }
    let healthy = json!([
        {"name": "app", "image": "i", "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]},
        {"name": "db", "image": "i"},
    ]);
    let error = parsed(&json!({"family": "a", "containerDefinitions": healthy})).unwrap_err().to_string();
    assert_eq!(
        error,
        "Invalid dependsOn for container 'app': condition HEALTHY needs a healthCheck in container 'db'."
    );
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other,
    }
}

#[test]
fn fargate_takes_sizes_in_every_spelling_and_gives_them_back_as_numbers() {
    for (cpu, memory, expected) in [
        ("1 vCPU", "2 GB", ("1024", "2048")),
        (".25vcpu", "0.5GB", ("256", "512")),
        ("512", "1024", ("512", "1024")),
    ] {
        let task = json!({"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": cpu, "memory": memory});
        let content = parsed(&small(task, json!({"stopTimeout": 2, "startTimeout": 120}))).unwrap();
        assert_eq!((content.cpu.as_deref(), content.memory.as_deref()), (Some(expected.0), Some(expected.1)));
    }
}

/// Any JSON of a few levels, with names that a task definition has among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let names: Vec<String> =
        AWS_FIELDS.lines().filter_map(|path| path.rsplit('.').next()).map(str::to_owned).collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~\\x00\u{e9}]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "app",
            "CMD",
            "HEALTHY",
            "1 vCPU",
            "/a",
            "arn:aws:ssm:a:b:parameter/",
            "tcp"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        let key = prop_oneof![4 => prop::sample::select(names.clone()), 1 => "[a-z]{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Parses; what is refused is refused with words.
fn survives(definition: &Value) -> Result<(), TestCaseError> {
    match parsed(definition) {
        // What was accepted can be kept, and is the same when it is read again.
        Ok(content) => {
            let kept = serde_json::to_vec(&content).unwrap();
            let read: TaskDefinitionContent = serde_json::from_slice(&kept).unwrap();
            prop_assert_eq!(read, content);
        }
        Err(error) => prop_assert!(error.to_string().len() > 10, "{error:?}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn no_json_at_all_makes_the_parser_fall(json in any_json()) {
        survives(&json)?;
    }

    #[test]
    fn no_bytes_at_all_make_the_parser_fall(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse_request::<RegisterTaskDefinitionRequest>(&bytes).is_err() || bytes.is_empty());
    }

    #[test]
    fn no_change_of_a_valid_definition_makes_the_parser_fall(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)
    ) {
        let mut definition = every_field();
        for (which, with) in changes {
            let mut pointers = Vec::new();
            fields(&definition, "", "", &mut |_, pointer| pointers.push(pointer.to_owned()));
            if pointers.is_empty() {
                break;
            }
            let pointer: &String = which.get(&pointers);
            *definition.pointer_mut(pointer).unwrap() = with;
        }
        survives(&definition)?;
    }
}

/// `PROPTEST_CASES` for a long run.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500)
}
