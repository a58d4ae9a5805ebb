//! Reads typed values out of a YAML tree, with the path and line for every complaint.

use super::{ComposeError, Variables, interpolate::interpolate, yaml::Node, yaml::Value};

/// One value of the file and how one gets to it.
#[derive(Clone)]
pub(crate) struct Field<'a> {
    /// As a person would write it: `services.web.ports[0]`. Empty for the document itself.
    pub(crate) path: String,
    /// Where it stands: for the value of a key, the key's line.
    line: usize,
    node: &'a Node,
    variables: Variables<'a>,
}

impl<'a> Field<'a> {
    pub(crate) fn document(node: &'a Node, variables: Variables<'a>) -> Self {
        Self { path: String::new(), line: node.line, node, variables }
    }

    /// A complaint about this value.
    pub(crate) fn error(&self, message: impl Into<String>) -> ComposeError {
        ComposeError { line: Some(self.line), path: self.path.clone(), message: message.into() }
    }

    /// The complaint about a key that means nothing here.
    pub(crate) fn unsupported(&self, supported: &[&str]) -> ComposeError {
        self.error(format!("this key is not supported; supported here: {}", supported.join(", ")))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// The entries of a mapping whose keys the specification fixes, without extensions (`x-...`): those are for others.
    pub(crate) fn settings(&self) -> Result<Vec<(&'a str, Self)>, ComposeError> {
        Ok(self.entries()?.into_iter().filter(|(key, _)| !key.starts_with("x-")).collect())
    }

    /// The entries of a mapping whose keys the user chose.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, Self)>, ComposeError> {
        let Value::Map(entries) = &self.node.value else {
            return Err(self.error(format!("a mapping is expected, not {}", self.kind())));
        };
        let fields = entries.iter().map(|(key, node)| {
            let dot = if self.path.is_empty() { "" } else { "." };
            let path = format!("{}{dot}{}", self.path, key.name);
            (key.name.as_str(), Self { path, line: key.line, node, variables: self.variables })
        });
        Ok(fields.collect())
    }

    pub(crate) fn items(&self) -> Result<Vec<Self>, ComposeError> {
        let Value::List(items) = &self.node.value else {
            return Err(self.error(format!("a list is expected, not {}", self.kind())));
        };
        let fields = items.iter().enumerate().map(|(index, node)| Self {
            path: format!("{}[{index}]", self.path),
            line: node.line,
            node,
            variables: self.variables,
        });
        Ok(fields.collect())
    }

    /// A scalar with its variables replaced.
    pub(crate) fn string(&self) -> Result<String, ComposeError> {
        let Value::Scalar(text) = &self.node.value else {
            return Err(self.error(format!("a value is expected, not {}", self.kind())));
        };
        interpolate(text, self.variables).map_err(|message| self.error(message))
    }

    /// A scalar, understood by `parse`, which says what it expects.
    pub(crate) fn parsed<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ComposeError> {
        parse(&self.string()?).map_err(|message| self.error(message))
    }

    pub(crate) fn boolean(&self) -> Result<bool, ComposeError> {
        self.parsed(|text| match text {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            other => Err(format!("true or false is expected, not {other:?}")),
        })
    }

    /// A mapping `NAME: value`, or the list `- NAME=value`. A name without a value has `None`.
    pub(crate) fn pairs(&self) -> Result<Vec<(String, Option<String>)>, ComposeError> {
        if self.is_null() {
            return Ok(Vec::new());
        }
        let mut pairs: Vec<(String, Option<String>)> = Vec::new();
        if self.is_list() {
            for item in self.items()? {
                let text = item.string()?;
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                };
                if name.is_empty() {
                    return Err(item.error("NAME=value is expected"));
                }
                // The last one wins, as in a shell.
                pairs.retain(|(known, _)| *known != name);
                pairs.push((name, value));
            }
        } else {
            for (name, field) in self.entries()? {
                let value = if field.is_null() { None } else { Some(field.string()?) };
                pairs.push((name.to_owned(), value));
            }
        }
        Ok(pairs)
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.variables)(name)
    }

    fn kind(&self) -> &'static str {
        match self.node.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}
