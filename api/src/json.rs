//! AWS's JSON 1.1 protocol: bodies and errors.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};

use crate::ApiError;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// An operation's input from a body; one without input may come without a body.
///
/// # Errors
/// `SerializationException` for what is not JSON, `InvalidParameterException` for a field that is unknown or has the
/// wrong type; the message names it.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    Ok(coracle_supervisor::operations::parse_request(body.trim_ascii())?)
}

/// An operation's output as a body.
///
/// # Errors
/// `ServerException`: our own types always serialize, unless one of them is wrong.
pub fn render<T: Serialize>(output: &T) -> Result<Bytes, ApiError> {
    serde_json::to_vec(output).map(Bytes::from).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        ApiError::internal()
    })
}

/// The HTTP answer to a request that went well.
pub fn success(body: Bytes, request_id: &str) -> http::Response<Full<Bytes>> {
    answer(http::StatusCode::OK, body, request_id)
}

/// The HTTP answer to one that did not. The one place where errors become wire codes.
#[must_use]
pub fn failure(error: &ApiError, request_id: &str) -> http::Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "__type")]
        code: &'a str,
        message: &'a str,
    }
    let body = Body { code: &error.code, message: &error.message };
    answer(error.status, serde_json::to_vec(&body).unwrap_or_default().into(), request_id)
}

fn answer(status: http::StatusCode, body: Bytes, request_id: &str) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, MEDIA_TYPE);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Input {
        #[serde(default)]
        desired_count: u32,
        #[serde(default)]
        tags: Vec<Tag>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Tag {
        key: String,
    }

    fn refusal(body: &str) -> (String, String) {
        let error = parse::<Input>(body.as_bytes()).expect_err(body);
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn an_operation_without_input_may_come_without_a_body() {
        assert_eq!(parse::<Input>(b" \n").unwrap(), Input { desired_count: 0, tags: vec![] });
    }

    #[test]
    fn an_unknown_field_is_named_with_its_path() {
        let (code, message) = refusal(r#"{"tags":[{"key":"a"},{"key":"b","colour":1}]}"#);
        assert_eq!(code, "InvalidParameterException");
        assert_eq!(message, "Invalid request at tags[1].colour: unknown field `colour`, expected `key`");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        let (code, message) = refusal(r#"{"desiredCount":-1}"#);
        assert_eq!(code, "InvalidParameterException");
        assert_eq!(message, "Invalid request at desiredCount: invalid value: integer `-1`, expected u32");
    }

    #[test]
    fn what_is_not_json_is_a_serialization_exception() {
        for body in ["{", "desiredCount=1", "{} {}", "\u{0}"] {
            assert_eq!(refusal(body).0, "SerializationException", "{body}");
        }
        let deep = "[".repeat(10_000);
        assert_eq!(refusal(&deep).0, "InvalidParameterException");
    }

    #[test]
    fn an_error_has_aws_s_form() {
        let error = ApiError::bad_request("ClusterNotFoundException", "Cluster not found.");
        let response = failure(&error, "id-1");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-amzn-requestid"], "id-1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/x-amz-json-1.1");
    }
}
