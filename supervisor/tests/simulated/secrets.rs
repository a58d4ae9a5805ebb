//! Secrets and parameters through the operations.

use std::sync::Arc;

use coracle_supervisor::operations::*;
use coracle_supervisor::store::Store;
use coracle_supervisor::{OperationError, Supervisor};
use serde_json::{Value, json};

use crate::world::World;

fn parsed<T: serde::de::DeserializeOwned>(request: Value) -> T {
    parse_request(request.to_string().as_bytes()).unwrap()
}

async fn value(supervisor: &Supervisor, id: &str) -> Result<String, OperationError> {
    let answer = supervisor.get_secret_value(parsed(json!({ "SecretId": id }))).await?;
    Ok(answer.secret_string.expose().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_created_changed_and_deleted() {
    let world = World::new().await;
    let s = &world.supervisor;
    let create = || {
        parsed::<CreateSecretRequest>(
            json!({ "Name": "prod/db", "SecretString": "one", "ClientRequestToken": "t".repeat(32) }),
        )
    };
    let made = s.create_secret(create()).await.unwrap();
    assert!(
        made.arn.starts_with("arn:aws:secretsmanager:us-east-1:000000000000:secret:prod/db-"),
        "{made:?}"
    );
    assert_eq!(s.create_secret(create()).await.unwrap(), made, "a repetition");
    let other = parsed::<CreateSecretRequest>(json!({ "Name": "prod/db", "SecretString": "two" }));
    assert_eq!(s.create_secret(other).await.unwrap_err().code(), "ResourceExistsException");
    let put = parsed::<PutSecretValueRequest>(json!({ "SecretId": made.arn, "SecretString": "two" }));
    let put = s.put_secret_value(put).await.unwrap();
    assert_eq!((&put.arn, put.version_id == made.version_id), (&made.arn, false));
    for id in ["prod/db", &made.arn] {
        assert_eq!(value(s, id).await.unwrap(), "two", "{id}");
    }
    let old = parsed::<GetSecretValueRequest>(json!({ "SecretId": "prod/db", "VersionId": made.version_id }));
    assert_eq!(s.get_secret_value(old).await.unwrap_err().code(), "ResourceNotFoundException");
    let listed = s.list_secrets(ListSecretsRequest::default()).await.unwrap();
    assert_eq!((listed.secret_list.len(), listed.secret_list[0].name.as_str()), (1, "prod/db"));
    let careless = parsed::<DeleteSecretRequest>(json!({ "SecretId": "prod/db" }));
    assert!(s.delete_secret(careless).await.unwrap_err().to_string().contains("ForceDeleteWithoutRecovery"));
    let delete = json!({ "SecretId": "prod/db", "ForceDeleteWithoutRecovery": true });
    s.delete_secret(parsed(delete)).await.unwrap();
    assert_eq!(value(s, "prod/db").await.unwrap_err().code(), "ResourceNotFoundException");
    for (request, part) in [
        (json!({ "Name": "a b", "SecretString": "v" }), "Name must have"),
        (json!({ "Name": "a" }), "SecretString"),
        (json!({ "Name": "a", "SecretString": "" }), "1 to 65536 bytes"),
        (json!({ "Name": "a", "SecretString": "a\0b" }), "NUL"),
    ] {
        let error = s.create_secret(parsed(request.clone())).await.expect_err(part).to_string();
        assert!(error.contains(part), "{request}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_is_put_told_and_deleted() {
    let world = World::new().await;
    let s = &world.supervisor;
    let put = |extra: Value| {
        let mut request = json!({ "Name": "/prod/key", "Value": "one", "Type": "SecureString" });
        for (key, value) in extra.as_object().unwrap() {
            request[key] = value.clone();
        }
        s.put_parameter(parsed(request))
    };
    assert_eq!(put(json!({})).await.unwrap().version, 1);
    assert_eq!(put(json!({})).await.unwrap_err().code(), "ParameterAlreadyExists");
    assert_eq!(put(json!({ "Value": "two", "Overwrite": true })).await.unwrap().version, 2);
    let get = async |decrypt: bool| {
        let request = json!({ "Name": "/prod/key", "WithDecryption": decrypt });
        s.get_parameter(parsed(request)).await.unwrap().parameter
    };
    assert_eq!(get(true).await.value.expose(), "two");
    assert!(!get(false).await.value.expose().contains("two"));
    let both = parsed(json!({ "Names": ["/prod/key", "none"], "WithDecryption": true }));
    let both = s.get_parameters(both).await.unwrap();
    assert_eq!((both.parameters.len(), both.invalid_parameters), (1, vec!["none".to_owned()]));
    let described = s.describe_parameters(DescribeParametersRequest::default()).await.unwrap();
    assert_eq!(described.parameters[0].name, "/prod/key");
    s.delete_parameter(parsed(json!({ "Name": "/prod/key" }))).await.unwrap();
    let gone = s.get_parameter(parsed(json!({ "Name": "/prod/key" }))).await.unwrap_err();
    assert_eq!(gone.code(), "ParameterNotFound");
    assert!(put(json!({ "Type": "Integer" })).await.unwrap_err().to_string().contains("Type must be"));
}

/// The names of a whole hierarchy's pages, and how many pages it were.
async fn by_path(
    supervisor: &Supervisor,
    mut request: Value,
) -> Result<(Vec<String>, usize), OperationError> {
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let answer = supervisor.get_parameters_by_path(parsed(request.clone())).await?;
        names.extend(answer.parameters.into_iter().map(|parameter| parameter.name));
        pages += 1;
        match answer.next_token {
            Some(token) => request["NextToken"] = json!(token),
            None => return Ok((names, pages)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_are_found_by_their_path_one_level_or_all_and_in_pages() {
    let world = World::new().await;
    let s = &world.supervisor;
    let names = ["/shop/db/host", "/shop/db/password", "/shop/name", "/shopping", "plain", "/z"];
    for name in names {
        let kind = if name.ends_with("password") { "SecureString" } else { "String" };
        s.put_parameter(parsed(json!({ "Name": name, "Value": "v", "Type": kind }))).await.unwrap();
    }
    let found = async |request: Value| by_path(s, request).await.unwrap().0;
    assert_eq!(
        found(json!({ "Path": "/shop" })).await,
        ["/shop/name"],
        "one level unless it is asked for all"
    );
    assert_eq!(found(json!({ "Path": "/shop/" })).await, ["/shop/name"]);
    let all = ["/shop/db/host", "/shop/db/password", "/shop/name"];
    assert_eq!(found(json!({ "Path": "/shop", "Recursive": true })).await, all);
    assert_eq!(found(json!({ "Path": "/" })).await, ["plain", "/shopping", "/z"]);
    assert_eq!(found(json!({ "Path": "/", "Recursive": true })).await.len(), names.len());
    // The last part of a name is no path.
    assert!(found(json!({ "Path": "/shop/name", "Recursive": true })).await.is_empty());
    assert!(found(json!({ "Path": "/nowhere" })).await.is_empty());

    let (paged, pages) =
        by_path(s, json!({ "Path": "/", "Recursive": true, "MaxResults": 4 })).await.unwrap();
    assert_eq!((paged.len(), pages), (names.len(), 2), "{paged:?}");
    for number in 0..12 {
        let name = format!("/many/{number:02}");
        s.put_parameter(parsed(json!({ "Name": name, "Value": "v", "Type": "String" }))).await.unwrap();
    }
    let (paged, pages) = by_path(s, json!({ "Path": "/many" })).await.unwrap();
    assert_eq!((paged.len(), pages), (12, 2), "ten to a page unless it is asked for fewer");
}

#[tokio::test(start_paused = true)]
async fn parameters_of_a_path_are_filtered_and_sealed_unless_they_are_asked_for_in_the_clear() {
    let world = World::new().await;
    let s = &world.supervisor;
    for (name, kind) in [("/a/text", "String"), ("/a/list", "StringList"), ("/a/key", "SecureString")] {
        s.put_parameter(parsed(json!({ "Name": name, "Value": "one", "Type": kind }))).await.unwrap();
    }
    for (filters, expected) in [
        (json!([{ "Key": "Type", "Values": ["SecureString"] }]), vec!["/a/key"]),
        (
            json!([{ "Key": "Type", "Option": "BeginsWith", "Values": ["String"] }]),
            vec!["/a/list", "/a/text"],
        ),
        (json!([{ "Key": "Type", "Values": ["String", "SecureString"] }]), vec!["/a/key", "/a/text"]),
        (json!([{ "Key": "KeyId", "Values": ["alias/aws/ssm"] }]), vec!["/a/key"]),
        (json!([{ "Key": "Label", "Values": ["prod"] }]), vec![]),
    ] {
        let request = json!({ "Path": "/a", "ParameterFilters": filters });
        assert_eq!(by_path(s, request.clone()).await.unwrap().0, expected, "{request}");
    }
    for (decrypt, is_clear) in [(json!(true), true), (json!(false), false), (Value::Null, false)] {
        let request = json!({ "Path": "/a", "WithDecryption": decrypt });
        let told = s.get_parameters_by_path(parsed(request)).await.unwrap().parameters;
        let value = |name: &str| told.iter().find(|found| found.name == name).unwrap().value.expose();
        assert_eq!((value("/a/key") == "one", value("/a/text")), (is_clear, "one"), "{decrypt}");
    }
    for (request, code, part) in [
        (json!({ "Path": "a" }), "InvalidParameterException", "Path must begin with a forward slash"),
        (json!({}), "InvalidParameterException", "Path must"),
        (json!({ "Path": "/a//b" }), "InvalidParameterException", "Path must"),
        (json!({ "Path": "/a".repeat(16) }), "InvalidParameterException", "at most 15 levels"),
        (json!({ "Path": "/", "MaxResults": 0 }), "InvalidParameterException", "MaxResults must be 1 to 10"),
        (json!({ "Path": "/", "MaxResults": 11 }), "InvalidParameterException", "MaxResults must be 1 to 10"),
        (json!({ "Path": "/", "NextToken": "" }), "InvalidNextToken", "NextToken"),
        (
            json!({ "Path": "/", "ParameterFilters": [{ "Key": "Name", "Values": ["a"] }] }),
            "InvalidFilterKey",
            "Type, KeyId or Label",
        ),
        (
            json!({ "Path": "/", "ParameterFilters": [{ "Key": "Label", "Option": "BeginsWith", "Values": ["a"] }] }),
            "InvalidFilterOption",
            "must be Equals",
        ),
        (
            json!({ "Path": "/", "ParameterFilters": [{ "Key": "Type", "Values": [] }] }),
            "InvalidFilterValue",
            "1 to 50",
        ),
    ] {
        let error = by_path(s, request.clone()).await.unwrap_err();
        assert_eq!(error.code(), code, "{request}: {error}");
        assert!(error.to_string().contains(part), "{request}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_of_parameters_lose_none_whose_name_begins_with_a_slash() {
    let world = World::new().await;
    let s = &world.supervisor;
    for name in ["a", "/b", "c"] {
        s.put_parameter(parsed(json!({ "Name": name, "Value": "v", "Type": "String" }))).await.unwrap();
    }
    let mut request = DescribeParametersRequest { max_results: Some(1), ..Default::default() };
    let mut names = Vec::new();
    for _ in 0..4 {
        let page = s.describe_parameters(request.clone()).await.unwrap();
        names.extend(page.parameters.into_iter().map(|parameter| parameter.name));
        request.next_token = page.next_token;
        if request.next_token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "/b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn tasks_get_them_and_neither_records_nor_descriptions_have_them() {
    let world = World::new().await;
    let s = &world.supervisor;
    let secret = json!({ "Name": "db", "SecretString": r#"{"password": "hunter2-secret"}"# });
    let arn = s.create_secret(parsed(secret)).await.unwrap().arn;
    let parameter = json!({ "Name": "/db", "Value": "hunter2-parameter", "Type": "String" });
    s.put_parameter(parsed(parameter)).await.unwrap();
    world
        .define(json!({
            "family": "web",
            "containerDefinitions": [{ "name": "app", "image": "hello.wasm", "memory": 64, "secrets": [
                { "name": "PASSWORD", "valueFrom": format!("{arn}:password::") },
                { "name": "KEY", "valueFrom": "/db" },
            ] }],
        }))
        .await;
    let task = world.run_task("web", 1).await.unwrap().remove(0);
    world.until(|| async { !world.driver.tasks().is_empty() }).await;
    let environment = world.driver.environment(&world.task_id(&task), "app");
    let of =
        |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((of("PASSWORD"), of("KEY")), (Some("hunter2-secret"), Some("hunter2-parameter")));

    let store: Arc<dyn Store> = world.store.clone();
    for entry in store.range("").await.unwrap() {
        let text = String::from_utf8_lossy(&entry.value);
        assert!(!text.contains("hunter2"), "{}: {text}", entry.key);
    }
    let shown = format!("{:?} {:?}", world.task(&task).await, s.list_secrets(Default::default()).await);
    assert!(!shown.contains("hunter2"), "{shown}");
    let request: CreateSecretRequest = parsed(json!({ "Name": "a", "SecretString": "hunter2" }));
    assert!(!format!("{request:?}").contains("hunter2"));
}
