//! A form as an operation's input: `Actions.member.1.Type=forward` is `{"Actions":[{"Type":"forward"}]}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{ApiError, rest};

/// Parts of a name. What ELBv2 has of the deepest is eight.
const MAX_DEPTH: usize = 16;
/// What stands before the number of a list's item.
const MEMBER: &str = "member";

/// A request.
#[derive(Debug, PartialEq)]
pub(super) struct Form {
    pub(super) action: String,
    pub(super) version: String,
    /// Every value is text.
    pub(super) input: Value,
}

/// A value under construction.
#[derive(Debug)]
enum Node {
    Text(String),
    Fields(BTreeMap<String, Self>),
    /// By number; there may be gaps.
    Items(BTreeMap<u32, Self>),
}

/// Takes a form apart.
///
/// # Errors
/// `MalformedQueryString` for what is none, for a name that is given twice or as two kinds of thing, or that is too deep; `MissingAction`.
pub(super) fn parse(body: &[u8]) -> Result<Form, ApiError> {
    let malformed = |why: String| ApiError::bad_request("MalformedQueryString", why);
    let text = std::str::from_utf8(body).map_err(|_| malformed("The form is not UTF-8.".to_owned()))?;
    let (mut action, mut version) = (None, None);
    let mut root = BTreeMap::new();
    for (name, value) in rest::pairs(text)? {
        match name.as_str() {
            "Action" => action = Some(value),
            "Version" => version = Some(value),
            // An empty list, or what was not given.
            _ if value.is_empty() => {}
            _ => {
                let parts: Vec<&str> = name.split('.').collect();
                let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
                if parts.len() > MAX_DEPTH {
                    return Err(malformed(format!("The parameter {shown} has more than {MAX_DEPTH} parts.")));
                }
                let (first, others) = (parts[0].to_owned(), &parts[1..]);
                put(root.entry(first), others, value).ok_or_else(|| {
                    malformed(format!("The parameter {shown} does not go with the others."))
                })?;
            }
        }
    }
    let missing = || ApiError::bad_request("MissingAction", "The parameter Action is missing.");
    Ok(Form {
        action: action.ok_or_else(missing)?,
        version: version.unwrap_or_default(),
        input: Value::Object(root.into_iter().map(|(name, node)| (name, node.into())).collect()),
    })
}

/// `None` where something else is in its place already.
fn put<K: Ord>(
    place: std::collections::btree_map::Entry<'_, K, Node>,
    parts: &[&str],
    value: String,
) -> Option<()> {
    use std::collections::btree_map::Entry;
    match (parts, place) {
        ([], Entry::Vacant(place)) => {
            place.insert(Node::Text(value));
            Some(())
        }
        ([], Entry::Occupied(_)) => None,
        ([MEMBER, number, others @ ..], place) => {
            let number: u32 = number.parse().ok()?;
            match place.or_insert_with(|| Node::Items(BTreeMap::new())) {
                Node::Items(items) => put(items.entry(number), others, value),
                Node::Text(_) | Node::Fields(_) => None,
            }
        }
        ([field, others @ ..], place) => match place.or_insert_with(|| Node::Fields(BTreeMap::new())) {
            Node::Fields(fields) => put(fields.entry((*field).to_owned()), others, value),
            Node::Text(_) | Node::Items(_) => None,
        },
    }
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        match node {
            Node::Text(text) => Self::String(text),
            Node::Items(items) => Self::Array(items.into_values().map(Self::from).collect()),
            Node::Fields(fields) => {
                let fields = fields.into_iter().map(|(name, node)| (name, node.into()));
                Self::Object(fields.collect::<Map<_, _>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_an_input() {
        let form = parse(
            b"Action=CreateRule&Version=2015-12-01&Priority=10&Subnets=&Actions.member.1.Type=forward\
              &Actions.member.1.ForwardConfig.TargetGroups.member.2.TargetGroupArn=b\
              &Actions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn=a%2Fb+c",
        )
        .unwrap();
        assert_eq!((form.action.as_str(), form.version.as_str()), ("CreateRule", "2015-12-01"));
        let groups = json!([{ "TargetGroupArn": "a/b c" }, { "TargetGroupArn": "b" }]);
        let action = json!({ "Type": "forward", "ForwardConfig": { "TargetGroups": groups } });
        assert_eq!(form.input, json!({ "Priority": "10", "Actions": [action] }));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let deep = format!("Action=A&{}=1", vec!["a"; MAX_DEPTH + 1].join("."));
        for (body, code) in [
            ("Action=A&Name=a&Name=b", "MalformedQueryString"),
            ("Action=A&Name=a&Name.First=b", "MalformedQueryString"),
            ("Action=A&Names.member.1=a&Names.First=b", "MalformedQueryString"),
            ("Action=A&Names.member.x=a", "MalformedQueryString"),
            ("Action=A&Names.member.99999999999=a", "MalformedQueryString"),
            ("Name=a", "MissingAction"),
            ("Action=%zz", "ValidationException"),
            (deep.as_str(), "MalformedQueryString"),
        ] {
            assert_eq!(parse(body.as_bytes()).expect_err(body).code, code, "{body}");
        }
        assert_eq!(parse(b"\xff").expect_err("no UTF-8").code, "MalformedQueryString");
    }
}
