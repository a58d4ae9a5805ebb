//! An operation's output as XML.

use jiff::Timestamp;
use serde_json::Value;

use crate::ApiError;

/// The fields that are times: numbers in JSON, texts here.
const TIMES: [&str; 1] = ["CreatedTime"];

/// An answer with what an operation gave.
pub(super) fn answer(namespace: &str, action: &str, output: &Value, request_id: &str) -> String {
    let mut xml = String::new();
    let response = format!("{action}Response");
    open(&mut xml, &response, Some(namespace));
    element(&mut xml, &format!("{action}Result"), output);
    open(&mut xml, "ResponseMetadata", None);
    element(&mut xml, "RequestId", &Value::from(request_id));
    close(&mut xml, "ResponseMetadata");
    close(&mut xml, &response);
    xml
}

/// An answer that says why there is none.
pub(super) fn refusal(error: &ApiError, request_id: &str) -> String {
    let at_fault = if error.status.is_server_error() { "Receiver" } else { "Sender" };
    let mut xml = String::new();
    open(&mut xml, "ErrorResponse", None);
    open(&mut xml, "Error", None);
    for (name, text) in [("Type", at_fault), ("Code", &*error.code), ("Message", &error.message)] {
        element(&mut xml, name, &Value::from(text));
    }
    close(&mut xml, "Error");
    element(&mut xml, "RequestId", &Value::from(request_id));
    close(&mut xml, "ErrorResponse");
    xml
}

fn element(xml: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    open(xml, name, None);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| element(xml, name, value)),
        Value::Array(items) => items.iter().for_each(|item| element(xml, "member", item)),
        Value::String(text) => escape(xml, text),
        Value::Number(seconds) if TIMES.contains(&name) => escape(xml, &time(seconds.as_f64())),
        Value::Number(number) => xml.push_str(&whole(number.as_f64(), number.to_string())),
        Value::Bool(truth) => xml.push_str(if *truth { "true" } else { "false" }),
        Value::Null => {}
    }
    close(xml, name);
}

/// Numbers with a fraction of nothing are whole: `30.0` would be no integer to a client.
fn whole(number: Option<f64>, text: String) -> String {
    match number {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        _ => text,
    }
}

fn time(seconds: Option<f64>) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit by far")]
    let millis = (seconds.unwrap_or_default() * 1000.0).round() as i64;
    Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
}

fn open(xml: &mut String, name: &str, namespace: Option<&str>) {
    xml.push('<');
    xml.push_str(name);
    if let Some(namespace) = namespace {
        xml.push_str(" xmlns=\"");
        escape(xml, namespace);
        xml.push('"');
    }
    xml.push('>');
}

fn close(xml: &mut String, name: &str) {
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
}

/// XML 1.0 has no way to write most control characters: they are left out.
fn escape(xml: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\t' | '\n' => xml.push(c),
            '\r' => xml.push_str("&#13;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => xml.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_is_an_element_and_a_list_has_members() {
        let output = json!({
            "Groups": [{ "Name": "a<b&\u{1}c", "Port": 80, "On": true, "No": null, "Seconds": 30.0, "Half": 0.5 }],
            "Empty": [],
            "CreatedTime": 1_700_000_000.5,
        });
        let xml = answer("urn:x", "Describe", &output, "id-1");
        let expected = "<DescribeResponse xmlns=\"urn:x\"><DescribeResult><CreatedTime>2023-11-14T22:13:20.5Z</CreatedTime>\
                        <Empty></Empty><Groups><member><Half>0.5</Half><Name>a&lt;b&amp;c</Name><On>true</On><Port>80</Port>\
                        <Seconds>30</Seconds></member></Groups></DescribeResult><ResponseMetadata>\
                        <RequestId>id-1</RequestId></ResponseMetadata></DescribeResponse>";
        assert_eq!(xml, expected);
    }

    #[test]
    fn a_refusal_says_whose_fault_it_is() {
        let xml = refusal(&ApiError::bad_request("RuleNotFound", "One or more rules not found"), "id-1");
        let expected = "<ErrorResponse><Error><Type>Sender</Type><Code>RuleNotFound</Code>\
                        <Message>One or more rules not found</Message></Error><RequestId>id-1</RequestId></ErrorResponse>";
        assert_eq!(xml, expected);
        assert!(refusal(&ApiError::internal(), "").contains("<Type>Receiver</Type>"));
    }
}
